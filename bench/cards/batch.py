"""Which axis of a model's inputs counts samples, and how that is known.

A rate is multiplied by the size of this axis, so an axis is the batch only where something says so:
the user, the card, labelled data, its name, or the operators. Where nothing does, one call is one
sample.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.cards.card import Card, Tensor
from bench.cards.graph import NO_FACTS, Dims, GraphFacts
from bench.errors import SpecError

#: What a user writes where a model has no batch.
NONE = "none"

_BATCH_NAME = re.compile(
    r"(n|num|dyn|dynamic)?_?(batch|batches|batch_?size|batch_?dim|bsz|bs)(_?size|_?\d+)?"
)
#: Names that mean the batch on the first axis of an array of samples; a cloud of N points is one
#: array too, so the outputs have to carry it.
_SHORT_NAME = re.compile(r"[nb]|(num_?)?(samples|examples|images|items|sentences|rows|requests)")
#: Names that exporters invent and that say nothing: tf2onnx, torch.export, dynamic_axes, paddle.
_NO_NAME = re.compile(
    r"\?|-1|none|unk_*\d*|s\d+|u\d+|dyn\w*|.*_dim_?\d+|.*dynamic_?axes_?\d+|dim_?\d+|_?\d+"
)
STATE = re.compile(r"(.*_)?(state\w*|hidden\w*|h_?[0n]?|c_?[0n]?|hx|cx)")
#: Channels of an image.
_CHANNELS = (1, 3, 4)
_TOKENS = re.compile(r"(.*_)?(ids|tokens|mask)(_.*)?")


@dataclass(frozen=True)
class BatchAxis:
    """``axes`` maps an input to its axis that counts samples; none of them where a call is one
    sample. ``names`` are what that axis is called, ``fixed`` the size that the file insists on.

    ``why`` says what was decided without being told, in words for people.
    """

    axes: Mapping[str, int] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    fixed: int | None = None
    why: str = ""

    def samples(self, batch: int) -> int:
        """How many samples a query holds where ``batch`` are asked for."""
        if not self.axes:
            return 1
        return batch if self.fixed is None else self.fixed

    def resized(
        self, shapes: Mapping[str, tuple[int, ...]], batch: int
    ) -> dict[str, tuple[int, ...]]:
        """``shapes`` with as many samples as ``batch`` says."""
        size = self.samples(batch)
        return {
            name: tuple(
                size if self.axes.get(name) == axis else old for axis, old in enumerate(shape)
            )
            for name, shape in shapes.items()
        }


NO_BATCH = BatchAxis()


def place_name(tensor: Tensor, axis: int) -> str:
    """What an axis is called that has no name."""
    return f"{tensor.name}_dim{axis}"


def axis_names(card: Card) -> list[str]:
    """The names of sizes that a model's inputs have, each once, in order."""
    dims = [dim for tensor in card.inputs for dim in tensor.shape if isinstance(dim, str)]
    return list(dict.fromkeys(part for dim in dims for part in (dim, *parts_of(dim))))


def parts_of(dim: str) -> list[str]:
    """The names in a dimension that is an expression (``past + 1``); itself where it is none."""
    try:
        tree = ast.parse(dim, mode="eval").body
    except (SyntaxError, ValueError):
        return [dim]
    hyphenated = "-" in dim and " - " not in dim
    if hyphenated or not isinstance(tree, ast.BinOp):
        return [dim]
    return list(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))


def find_batch(
    card: Card,
    facts: GraphFacts = NO_FACTS,
    asked: str | None = None,
    batches: Collection[int] = (),
) -> BatchAxis:
    """The batch axis of a model: as ``asked``, as the card says, or as its graph and names tell.

    ``batches`` are the sizes that the user asked for. Raises `SpecError` for an axis that the card
    names and the model lacks.
    """
    if asked is not None and (found := _told(card, asked)) is not None:
        return found
    if card.batch_axis is not None:
        found = _told(card, card.batch_axis)
        if found is None:
            raise SpecError(f"{card.path}: `batch_axis`: {no_such_axis(card.batch_axis, [card])}")
        return found
    if card.dataset is not None:
        return _first_axes(card)
    return (
        _by_name(card, facts)
        or _by_operator(card, facts)
        or _by_place(card, facts)
        or _fixed(card, facts, batches)
        or BatchAxis(why=_why_none(card))
    )


def has_axis(card: Card, asked: str) -> bool:
    """Whether a model has the axis that a user calls ``asked``."""
    return _told(card, asked) is not None


def no_such_axis(asked: str, cards: Sequence[Card]) -> str:
    """The sentence for an axis that no model has."""
    return (
        f"there is no axis {asked!r} to use as the batch: {_told_names(cards)}. Give one of "
        "these, the "
        f"number of an axis (0 is the first of each input), or {NONE}."
    )


def _told_names(cards: Sequence[Card]) -> str:
    return "; ".join(f"{card.name} has {', '.join(_all_names(card)) or 'none'}" for card in cards)


def _all_names(card: Card) -> list[str]:
    """Every name that an axis can be called by: its own, or by its place where it is fixed."""
    return list(
        dict.fromkeys(
            dim if isinstance(dim, str) else place_name(tensor, axis)
            for tensor in card.inputs
            for axis, dim in enumerate(tensor.shape)
        )
    )


def _told(card: Card, asked: str) -> BatchAxis | None:
    """The axis that a user or a card names, by name, place or number; None where there is none."""
    if asked == NONE:
        return NO_BATCH
    axes = {
        tensor.name: axis
        for tensor in card.inputs
        for axis, dim in reversed(list(enumerate(tensor.shape)))
        if asked in (dim, place_name(tensor, axis), str(axis))
    }
    return _axes(card, axes) if axes else None


def _axes(card: Card, axes: Mapping[str, int], why: str = "") -> BatchAxis:
    """The batch along ``axes``: fixed where none of them is symbolic."""
    dims = {
        tensor.name: tensor.shape[axes[tensor.name]]
        for tensor in card.inputs
        if tensor.name in axes
    }
    names = frozenset(dim for dim in dims.values() if isinstance(dim, str))
    if names:
        symbolic = {name: axis for name, axis in axes.items() if isinstance(dims[name], str)}
        return BatchAxis(symbolic, names, None, why)
    sizes = {dim for dim in dims.values() if isinstance(dim, int)}
    if len(sizes) > 1:
        return BatchAxis(why="its inputs differ in the size of that axis, so a call is one sample")
    return BatchAxis(axes, names, next(iter(sizes), None), why)


def _first_axes(card: Card) -> BatchAxis:
    """Labelled data come as rows, so the first axis counts them."""
    return _axes(card, {tensor.name: 0 for tensor in card.inputs if tensor.shape})


def _by_name(card: Card, facts: GraphFacts) -> BatchAxis | None:
    """Axes whose name says that they are the batch."""
    axes = {
        tensor.name: axis
        for tensor in card.inputs
        for axis, dim in _named(tensor)
        if _BATCH_NAME.fullmatch(dim.lower()) and tensor.shape.count(dim) == 1
    }
    if axes:
        return _axes(card, axes)
    short = {
        tensor.name: axis
        for tensor in card.inputs
        for axis, dim in _named(tensor)
        if _SHORT_NAME.fullmatch(dim.lower()) and tensor.shape.count(dim) == 1
        if axis == 0 or (axis == 1 and not isinstance(tensor.shape[0], int))
    }
    ranks = [len(tensor.shape) for tensor in card.inputs if tensor.name in short]
    if not short or max(ranks) < 2:
        return None
    name = next(iter(sorted(_axes(card, short).names)))
    found = _axes(card, short, f"the axis {name} is used as the batch")
    # A cloud of N points is one sample, and its outputs don't have that axis.
    return found if _carried(card, facts, found.names) is True and _only_axes(card, found) else None


def _only_axes(card: Card, found: BatchAxis) -> bool:
    """Whether its names are nowhere else in the inputs."""
    places = sum(tensor.shape.count(name) for tensor in card.inputs for name in found.names)
    return places == len(found.axes)


def _named(tensor: Tensor) -> Iterator[tuple[int, str]]:
    return ((axis, dim) for axis, dim in enumerate(tensor.shape) if isinstance(dim, str))


def _by_operator(card: Card, facts: GraphFacts) -> BatchAxis | None:
    """Axes that a recurrent operator takes for the batch."""
    axes = {
        tensor.name: facts.batch_axes[tensor.name]
        for tensor in card.inputs
        if facts.batch_axes.get(tensor.name, len(tensor.shape)) < len(tensor.shape)
    }
    if not axes:
        return None
    return _axes(card, axes, "the batch is the axis that its recurrent operator uses as the batch")


def _by_place(card: Card, facts: GraphFacts) -> BatchAxis | None:
    """First axes that are open and have no name, where the outputs have them too."""
    first = {tensor.name: tensor.shape[0] for tensor in card.inputs if tensor.shape}
    open_ones = {name: dim for name, dim in first.items() if isinstance(dim, str)}
    ranks = [len(tensor.shape) for tensor in card.inputs if tensor.name in open_ones]
    if not open_ones or max(ranks) < 2:
        return None
    if not all(_NO_NAME.fullmatch(dim.lower()) for dim in open_ones.values()):
        return None
    if _carried(card, facts, frozenset(open_ones.values())) is False:
        return None
    names = ", ".join(dict.fromkeys(open_ones.values()))
    found = _axes(
        card,
        {**_state_axes(card), **dict.fromkeys(open_ones, 0)},
        f"the first axis ({names}), which has no name, is used as the batch",
    )
    return found if _only_axes(card, found) else None


def _state_axes(card: Card) -> dict[str, int]:
    """The batch of a state that a recurrent model is handed: layers, batch, width."""
    return {
        tensor.name: 1
        for tensor in card.inputs
        if len(tensor.shape) == 3 and STATE.fullmatch(tensor.name.lower())
        if isinstance(tensor.shape[0], int) and isinstance(tensor.shape[1], str)
    }


def _carried(card: Card, facts: GraphFacts, names: frozenset[str]) -> bool | None:
    """Whether an output has one axis of these names; None where nothing tells."""
    known = [dims for dims in _output_shapes(card, facts) if dims]
    counts = [sum(dim in names for dim in dims) for dims in known]
    if 1 in counts:
        return True
    if not known or any(_says_nothing(d[0]) for d, n in zip(known, counts, strict=True) if n == 0):
        return None
    return False


def _output_shapes(card: Card, facts: GraphFacts) -> list[Dims]:
    """As they follow from the inputs, else as the file declares them."""
    declared: list[Dims] = [tensor.shape for tensor in card.outputs]
    own = axis_names(card)
    if len(facts.outputs) != len(declared):
        return declared
    return [
        told
        if found is None or len(found) != len(told)
        else tuple(
            b if a not in own and _says_nothing(a) else a for a, b in zip(found, told, strict=True)
        )
        for found, told in zip(facts.outputs, declared, strict=True)
    ]


def _says_nothing(dim: int | str | None) -> bool:
    return dim is None or (isinstance(dim, str) and _NO_NAME.fullmatch(dim.lower()) is not None)


def _fixed(card: Card, facts: GraphFacts, batches: Collection[int]) -> BatchAxis | None:
    """A first axis of one size in all inputs and outputs, where more than that says it is the
    batch: it is 1, it was asked for, or the input is an image or tokens."""
    arrays = [tensor for tensor in card.inputs if tensor.shape]
    first = {tensor.shape[0] for tensor in arrays}
    if len(first) != 1 or not isinstance(size := next(iter(first)), int):
        return None
    axes = {tensor.name: 0 for tensor in arrays}
    if size == 1:
        return _axes(card, axes)
    outputs = [tensor.shape[:1] for tensor in card.outputs]
    if any(dims not in ((size,), ()) and not isinstance(dims[0], str) for dims in outputs):
        return None
    if max(len(tensor.shape) for tensor in arrays) < 2 or () in outputs:
        return None
    if size in batches or all(_is_samples(tensor) for tensor in arrays):
        return _axes(card, axes)
    return None


def _is_samples(tensor: Tensor) -> bool:
    """Whether an input is images or rows of tokens, which come in batches."""
    shape = tensor.shape
    if len(shape) == 4:
        return shape[1] in _CHANNELS or shape[3] in _CHANNELS
    return len(shape) == 2 and _TOKENS.fullmatch(tensor.name.lower()) is not None


def _why_none(card: Card) -> str:
    """Why a call counts as one sample, for people."""
    if not any(tensor.shape for tensor in card.inputs):
        return ""
    return "the batch axis of its inputs is unknown, so a call counts as one sample"
