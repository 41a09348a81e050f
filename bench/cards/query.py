"""What one query of a model holds: samples of its data set, its own examples, or seeded values."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.arrays import Array
from bench.cards.batch import (
    BatchAxis,
    axis_names,
    find_batch,
    has_axis,
    no_such_axis,
)
from bench.cards.card import Card
from bench.cards.graph import NO_FACTS, GraphFacts, read_graph
from bench.cards.inputs import draw_samples, filled, random_inputs, unfeedable
from bench.cards.modules import for_shapes
from bench.cards.ready import Loaded
from bench.cards.sizes import UNNAMED, Sizes, resolve, unnamed
from bench.errors import BenchError, OutOfMemory, SpecError, Unsupported
from bench.numbers import size as in_bytes


@dataclass(frozen=True)
class Query:
    """The arrays of a query. ``sizes`` are those that were asked for by name, ``assumed`` what
    nobody said, in words; ``refused`` says why there are no values for an input."""

    feeds: dict[str, Array]
    sizes: Mapping[str, int] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    refused: BenchError | None = None


def not_compared(card: Card) -> list[str]:
    """Outputs that are timed and can't be compared, in words."""
    names = [tensor.name for tensor in card.outputs if np.dtype(tensor.dtype).kind == "O"]
    if not names:
        return []
    are, they = ("is", "it is") if len(names) == 1 else ("are", "they are")
    listed = ", ".join(map(repr, names))
    return [
        f"{listed} {are} not a tensor of numbers (text, a sequence or a map): {they} timed with "
        "the rest, but not compared"
    ]


def facts_of(model: Loaded) -> GraphFacts:
    """What the model's ONNX form tells of its inputs, where it has one."""
    if model.file.onnx is None:
        return NO_FACTS
    return read_graph(model.file.onnx, {t.name: t.shape for t in model.card.inputs})


def batch_axis_of(model: Loaded, asked: str | None, batches: Collection[int]) -> BatchAxis:
    """The axis of a model that counts samples."""
    return find_batch(model.card, facts_of(model), asked, batches)


def refuse_unknown_names(
    models: Sequence[Loaded],
    sizes: Mapping[str, int],
    batch_axis: str | None,
    batches: Collection[int],
) -> None:
    """Raise `SpecError` for a size or an axis that the user named and no model has."""
    cards = [model.card for model in models]
    if batch_axis is not None and not any(has_axis(card, batch_axis) for card in cards):
        raise SpecError(f"--batch-axis: {no_such_axis(batch_axis, cards)}")
    axes = {id(model.card): batch_axis_of(model, batch_axis, batches) for model in models}
    for name in sizes:
        having = [card for card in cards if name in _sizable(card)]
        if not having:
            raise SpecError(f"--shape {name}={sizes[name]}: {_known_names(models, axes)}")
        if all(name in axes[id(card)].names or _only_batch(card, axes, name) for card in having):
            raise SpecError(
                f"--shape {name}={sizes[name]}: {name} is the batch of "
                f"{', '.join(card.name for card in having)}, which --batch sets (offline and "
                "multi-stream; a query of the others is one sample). Give --batch-axis if it is "
                "another axis."
            )


def sizes_for(card: Card, sizes: Mapping[str, int]) -> dict[str, int]:
    """Those of ``sizes`` that a model has."""
    return {name: size for name, size in sizes.items() if name in _sizable(card)}


def _sizable(card: Card) -> set[str]:
    """What a size can be given to by name."""
    return {*axis_names(card), *([UNNAMED] if unnamed(card) else [])}


def _only_batch(card: Card, axes: Mapping[int, BatchAxis], name: str) -> bool:
    return name == UNNAMED and not unnamed(card) - axes[id(card)].names


def _known_names(models: Sequence[Loaded], axes: Mapping[int, BatchAxis]) -> str:
    """The sentence that lists the sizes that there are."""
    told = []
    for card in (model.card for model in models):
        batch = axes[id(card)].names
        names = [f"{n} (the batch: --batch)" if n in batch else n for n in axis_names(card)]
        told.append(f"{card.name} has {', '.join(names) or 'none'}")
    return f"no model of the run has a size with this name; {'; '.join(told)}."


def make_query(
    model: Loaded,
    batch_axis: BatchAxis,
    batch: int,
    sizes: Mapping[str, int],
    seed: int,
    spare_bytes: int | None = None,
) -> Query:
    """One query of ``batch`` samples, the dimensions sized as ``sizes`` says. Inputs that
    ``spare_bytes`` of memory can't hold are refused before they are made.

    What can't be had (a size that is not known, or is another in the data set) is refused.
    """
    if model.unfit is not None:
        return Query({}, refused=model.unfit)
    try:
        return _query(model, batch_axis, batch, sizes, seed, spare_bytes)
    except SpecError as error:
        return Query({}, refused=error)


def _query(
    model: Loaded,
    batch_axis: BatchAxis,
    batch: int,
    sizes: Mapping[str, int],
    seed: int,
    spare_bytes: int | None,
) -> Query:
    card = model.card
    if model.dataset is not None:
        samples = batch_axis.samples(batch)
        stored = model.dataset.inputs
        drawn = {name: (samples, *array.shape[1:]) for name, array in stored.items()}
        types = {name: str(array.dtype) for name, array in stored.items()}
        too_large = _too_large(card.name, drawn, types, spare_bytes)
        if too_large is not None:
            return Query({}, refused=too_large)
        feeds = draw_samples(stored, samples, seed)
        return Query(feeds, _as_drawn(card, feeds, sizes))
    facts = facts_of(model)
    found = resolve(card, batch_axis, batch, sizes, _example_sizes(model), facts)
    why = next(((t.name, words) for t in card.inputs if (words := unfeedable(t))), None)
    if why is not None:
        refused = Unsupported(f"{card.name}: its input {why[0]!r} {why[1]}.")
        return Query({}, found.given, refused=refused)
    dtypes = {tensor.name: tensor.dtype for tensor in card.inputs}
    too_large = _too_large(card.name, found.shapes, dtypes, spare_bytes)
    if too_large is not None:
        return Query({}, found.given, refused=too_large)
    limits = _limits(model, facts, found)
    given = for_shapes(model.examples, found.shapes) if model.examples else None
    feeds = given or random_inputs(found.shapes, dtypes, limits, seed)
    told, guessed = filled(card.inputs, found.shapes, batch_axis)
    guessed = {} if given else guessed
    feeds = feeds | {n: np.full_like(feeds[n], v) for n, v in (guessed | told).items()}
    values = {f"the value of {name}": int(value) for name, value in guessed.items()}
    return Query(feeds, found.given, tuple(_guesses(found.guessed, values)))


#: Of the inputs: as they are drawn, as a message to a worker, and in the worker.
_COPIES = 3


def _too_large(
    model: str,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, str],
    spare_bytes: int | None,
) -> OutOfMemory | None:
    taken = {n: math.prod(shape) * np.dtype(dtypes[n]).itemsize for n, shape in shapes.items()}
    needed = _COPIES * sum(taken.values())
    if spare_bytes is None or needed <= spare_bytes:
        return None
    largest = max(taken, key=lambda name: taken[name])
    text = "x".join(map(str, shapes[largest]))
    return OutOfMemory(
        f"{model}: its inputs ({largest} is {text} {dtypes[largest]}) need {in_bytes(needed)} "
        f"including copies in each process, but only {in_bytes(max(0, spare_bytes))} of memory is "
        "free. Use a smaller batch or shape, or a larger machine."
    )


def _guesses(sizes: Mapping[str, int], values: Mapping[str, int]) -> list[str]:
    """What was guessed, in words."""
    words = []
    if sizes:
        listed = ", ".join(f"{name}={size}" for name, size in sizes.items())
        words.append(f"guessed sizes: {listed} (--shape {next(iter(sizes))}=... sets another)")
    if values:
        listed = ", ".join(f"{name} as {size}" for name, size in values.items())
        words.append(f"guessed: {listed} (`fill` in a card sets another)")
    return words


def _as_drawn(card: Card, feeds: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, int]:
    """Which of the sizes asked for the model's labelled data have. Raises `SpecError` for another
    than they have."""
    found: dict[str, int] = {}
    for tensor in card.inputs:
        for dim, size in zip(tensor.shape, feeds[tensor.name].shape, strict=False):
            if isinstance(dim, str) and dim in sizes:
                found[dim] = sizes[dim]
                if size != sizes[dim]:
                    raise SpecError(
                        f"{card.name}: its data set has {dim}={size}, so --shape "
                        f"{dim}={sizes[dim]} can't be timed on it. Leave it out, or time the "
                        "model without its card."
                    )
    return found


def _limits(model: Loaded, facts: GraphFacts, found: Sizes) -> dict[str, int]:
    """Rows of the tables that integer inputs index, as large as they are in this query."""
    card = model.card
    sizes = {
        dim: size
        for tensor in card.inputs
        for dim, size in zip(tensor.shape, found.shapes[tensor.name], strict=True)
        if isinstance(dim, str)
    }
    limits = dict(model.index_limits)
    for name, rows in facts.limits.items():
        known = [row if isinstance(row, int) else sizes.get(row, 0) for row in rows]
        known = [row for row in known if row > 0]
        if known:
            limits[name] = min(known)
    return limits


def _example_sizes(model: Loaded) -> dict[str, int]:
    """Sizes of symbolic dimensions as the model's own examples have them."""
    examples = model.examples or {}
    return {
        dim: size
        for tensor in model.card.inputs
        if tensor.name in examples and len(tensor.shape) == examples[tensor.name].ndim
        for dim, size in zip(tensor.shape, examples[tensor.name].shape, strict=True)
        if isinstance(dim, str)
    }
