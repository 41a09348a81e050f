"""How large the inputs of a query are: sizes that are given, that follow, or that are guessed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from bench.cards.batch import STATE, BatchAxis, axis_names, parts_of, place_name
from bench.cards.card import Card, Tensor
from bench.cards.graph import NO_FACTS, GraphFacts
from bench.errors import SpecError

#: What a user may call every axis that has no name, but for the batch.
UNNAMED = "?"

#: What a name suggests: a typical size, in the order in which they are tried. All are our choice:
#: a short text, a second of sound at 16 kHz, what image classifiers take, a small graph.
_SUGGESTED: Sequence[tuple[re.Pattern[str], int]] = tuple(
    (re.compile(pattern), size)
    for pattern, size in (
        (r".*(past|cache|kv|history).*", 128),
        (r".*(height|width)|h|w|img_?size|image_?size|.*_(h|w)", 224),
        (r".*(audio|wave|wav|samples?|signal|pcm).*", 16_000),
        (r".*(frames?|mel|spec).*", 100),
        (r".*(channels?)|c|ch", 3),
        (r".*(edges?)", 256),
        (r".*(nodes?|vertices|atoms)", 64),
        (r".*(points?)", 1024),
        (r".*(queries|query|boxes|rois|proposals|regions|objects|patches|classes|labels)", 64),
        (r".*(choices|beams?|words_per\w*)", 4),
        (r".*(seq|length|len|tokens?|words?|text|time|steps?|chars?|phonemes?|ids).*|t|l|s", 128),
        (r"(num_?|n_?)?(samples|rows|items|examples|users|entities)|n|m|k|b", 64),
    )
)
#: The whole length of a decoder's mask: what is in its cache, and what comes.
_TOTAL = re.compile(r"total_?(seq\w*|len\w*|tokens?)")
_PAST = re.compile(r".*(past|cache|kv|history).*")
_SOUND = re.compile(r".*(audio|wave|wav|pcm|speech|sound).*")
_RATE = re.compile(r"sr|.*sampl(e|ing)_?rate.*")
_CHANNELS = (1, 3, 4)
_TOKENS, _FRAMES, _SIDE, _SECOND, _ROWS = 128, 100, 224, 16_000, 64
_CLIP_SIDE, _CLIP_FRAMES = 112, 16
#: What a detector of speech takes that keeps a state from call to call (Silero's 32 ms).
_CHUNK = 512
_OPERATIONS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.floordiv,
    ast.Mod: operator.mod,
}


@dataclass(frozen=True)
class Sizes:
    """The ``shapes`` of one query, the sizes that were ``given`` for this model's dimensions, and
    those that were ``guessed``."""

    shapes: dict[str, tuple[int, ...]]
    given: dict[str, int] = field(default_factory=dict)
    guessed: dict[str, int] = field(default_factory=dict)


def resolve(
    card: Card,
    batch_axis: BatchAxis,
    batch: int,
    given: Mapping[str, int],
    examples: Mapping[str, int],
    facts: GraphFacts = NO_FACTS,
) -> Sizes:
    """The shapes of one query of ``batch`` samples.

    A dimension's size is the one that is ``given``, else that of the model's own ``examples``,
    else what follows from the graph or from other sizes, else a guess by its name or place.
    Raises `SpecError` where there is none.
    """
    names = [name for name in axis_names(card) if name not in batch_axis.names]
    own = {name: given[name] for name in names if name in given}
    places = unnamed(card) - batch_axis.names - set(own) if UNNAMED in given else set()
    own |= dict.fromkeys(sorted(places), given.get(UNNAMED, 0))
    size = batch_axis.samples(batch)
    known = {**examples, **own, **dict.fromkeys(batch_axis.names, size)}
    open_ones = [
        (tensor, axis, dim)
        for tensor in card.inputs
        for axis, dim in enumerate(tensor.shape)
        if isinstance(dim, str)
    ]
    for tensor, axis, dim in open_ones:
        if (found := facts.sizes.get((tensor.name, axis))) is not None:
            known.setdefault(dim, found)
    guessed: dict[str, int] = {}
    for tensor, axis, dim in open_ones:
        if dim not in known and not _follows(card, dim):
            known[dim] = guessed[dim] = _guess(card, tensor, axis, batch_axis, size)
    for tensor, _, dim in open_ones:
        if dim not in known:
            known[dim] = _following(card, tensor, dim, known, guessed)
    shapes = {
        tensor.name: tuple(known[dim] if isinstance(dim, str) else dim for dim in tensor.shape)
        for tensor in card.inputs
    }
    return Sizes(shapes, own, guessed)


def unnamed(card: Card) -> set[str]:
    """Dimensions that have no name of their own."""
    return {
        dim
        for tensor in card.inputs
        for axis, dim in enumerate(tensor.shape)
        if isinstance(dim, str) and dim == place_name(tensor, axis)
    }


# -- what follows from other sizes ----------------------------------------------------------------


def _follows(card: Card, dim: str) -> bool:
    """Whether a size is made of others: ``past + 1``, or the total of a cache and what comes."""
    if _TOTAL.fullmatch(dim.lower()):
        return any(_PAST.fullmatch(name.lower()) for name in axis_names(card))
    return parts_of(dim) != [dim]


def _following(
    card: Card, tensor: Tensor, dim: str, known: dict[str, int], guessed: dict[str, int]
) -> int:
    """The value of a dimension that is made of others, of which some may be guessed."""
    if _TOTAL.fullmatch(dim.lower()):
        others = [name for name in axis_names(card) if name != dim and name in known]
        past = [known[name] for name in others if _PAST.fullmatch(name.lower())]
        new = [known[n] for n in others if not _PAST.fullmatch(n.lower()) and "seq" in n.lower()]
        return past[0] + (new[0] if new else 1)
    for name in parts_of(dim):
        if name not in known:
            known[name] = guessed[name] = _by_name(name) or _refuse(card, tensor, name)
    value = _value(ast.parse(dim, mode="eval").body, known)
    return _refuse(card, tensor, dim) if value is None or value < 0 else value


def _value(node: ast.expr, known: Mapping[str, int]) -> int | None:
    """The value of an expression of whole numbers; None for what it holds besides."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _value(node.left, known), _value(node.right, known)
        if left is None or right is None or (right == 0 and "Add" not in type(node.op).__name__):
            return None
        return _OPERATIONS[type(node.op)](left, right)
    return None


# -- guesses --------------------------------------------------------------------------------------


def _guess(card: Card, tensor: Tensor, axis: int, batch_axis: BatchAxis, batch: int) -> int:
    """What a dimension's name suggests, else its place. Raises `SpecError` where neither does."""
    dim = tensor.shape[axis]
    assert isinstance(dim, str)
    found = None if dim in unnamed(card) else _by_name(dim)
    return found or _by_place(card, tensor, axis, batch_axis, batch) or _refuse(card, tensor, dim)


def _by_name(dim: str) -> int | None:
    return next((size for name, size in _SUGGESTED if name.fullmatch(dim.lower())), None)


def _by_place(
    card: Card, tensor: Tensor, axis: int, batch_axis: BatchAxis, batch: int
) -> int | None:
    """What is usual for an input of this rank, type and name."""
    shape, rank, counted = tensor.shape, len(tensor.shape), batch_axis.axes.get(tensor.name)
    name, is_float = tensor.name.lower(), np.dtype(tensor.dtype).kind == "f"
    if rank == 3 and axis == 1 and isinstance(shape[0], int) and STATE.fullmatch(name):
        return batch  # layers, batch, width
    if rank in (1, 2) and is_float and axis == rank - 1 and _hears(card, name):
        return _CHUNK if _keeps_state(card) else _SECOND
    if rank == 5:
        return _CLIP_SIDE if axis > 2 else _CLIP_FRAMES
    if rank == 4:
        return 3 if axis == 1 and shape[3] not in _CHANNELS else _SIDE
    if rank == 3 and counted is None and (shape[0] in _CHANNELS or shape[2] in _CHANNELS):
        return _SIDE
    if rank == 3:
        return _FRAMES if axis == 2 else _TOKENS
    if rank == 2 and not is_float:
        return _TOKENS
    return _ROWS if rank == 2 and axis == 0 else None


def _hears(card: Card, name: str) -> bool:
    """Whether an input is sound: by its name, or because the model takes a sample rate."""
    return bool(_SOUND.fullmatch(name)) or any(is_rate(tensor) for tensor in card.inputs)


def _keeps_state(card: Card) -> bool:
    return any(STATE.fullmatch(tensor.name.lower()) for tensor in card.inputs)


def is_rate(tensor: Tensor) -> bool:
    """Whether an input is a sample rate: one number, so called."""
    return tensor.shape in ((), (1,)) and _RATE.fullmatch(tensor.name.lower()) is not None


def _refuse(card: Card, tensor: Tensor, dim: str) -> NoReturn:
    raise SpecError(
        f"{card.name}: input {tensor.name!r} has the dimension {dim!r}, whose size is unknown. "
        f"Give it: --shape {dim}=128."
    )
