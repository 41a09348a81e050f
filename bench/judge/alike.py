"""How cells were measured, in words: one list of all settings, and what tells cells apart that are
called the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from bench import bounds
from bench.cell import Cell
from bench.numbers import NAME_LIMIT, counted, printable
from bench.scenarios import find_scenario

_SHA_DIGITS = 8


class Setting(NamedTuple):
    """One setting of a cell, as people are told of it."""

    kind: str
    words: str


def shape_words(shapes: Mapping[str, Sequence[int]]) -> str:
    """``image 1x28x28, mask 28``."""
    return ", ".join(
        f"{printable(name, limit=NAME_LIMIT)} {'x'.join(map(str, shape)) or 'scalar'}"
        for name, shape in sorted(shapes.items())
    )


def loadgen_words(cell: Cell) -> str:
    """What was asked of LoadGen besides its defaults; empty where it isn't the driver."""
    given = cell.loadgen.model_dump(exclude_defaults=True) if cell.loadgen else {}
    return ", ".join(f"{name}={value}" for name, value in given.items())


def sample_shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
    """The shapes of one sample's inputs: without the axis that counts samples, where there is one
    and it is known which (see `with_their_batch`). Empty for steps of a language model, whose
    scenario's name tells the lengths."""
    if find_scenario(cell.scenario).size is not None:
        return {}
    axes = _batch_axes(cell)
    return {
        name: tuple(size for axis, size in enumerate(shape) if axis != axes.get(name))
        for name, shape in cell.shapes.items()
    }


def _batch_axes(cell: Cell) -> dict[str, int]:
    """By input the axis that counts samples: as the run kept it, and in those that did not the
    first, where that is as long as the batch."""
    if cell.batch_axes is not None:
        return dict(cell.batch_axes)
    return {name: 0 for name, shape in cell.shapes.items() if shape[:1] == (cell.batch,)}


def with_their_batch(cell: Cell) -> list[str]:
    """Inputs of which it can't be known whether an axis counts samples, and which: nobody kept it,
    and another than the first is as long as the batch. Their shapes are those of a query."""
    if cell.batch_axes is not None or cell.batch == 1:
        return []
    shapes = sample_shapes(cell)
    return [name for name in shapes.keys() - _batch_axes(cell) if cell.batch in shapes[name]]


def sample_words(cell: Cell) -> str:
    """``image 1x28x28, mask 28 (batch included)``."""
    unknown = with_their_batch(cell)
    return ", ".join(
        f"{shape_words({name: shape})}{' (batch included)' if name in unknown else ''}"
        for name, shape in sorted(sample_shapes(cell).items())
    )


#: Of one input: of how many samples its axes are, and how long these are.
Size = tuple[int, tuple[int, ...]]


def sample_sizes(cell: Cell) -> tuple[Size, ...]:
    """How large the inputs of a sample are, for comparing models, which may call them otherwise;
    of a query where a sample's can't be told. Axes of length 1 don't count."""
    unknown = with_their_batch(cell)
    return tuple(
        sorted(
            (cell.batch if name in unknown else 1, tuple(size for size in shape if size != 1))
            for name, shape in sample_shapes(cell).items()
        )
    )


class _Kind(NamedTuple):
    """What a kind of setting is in a cell, and how it is told: with no words where it is the usual
    one."""

    value: Callable[[Cell], object]
    words: Callable[[Cell], str]


#: All that a cell is besides its model's name, variant, target, scenario and batch.
_KINDS: Mapping[str, _Kind] = {
    "lane": _Kind(lambda cell: cell.lane, lambda cell: cell.lane_words),
    "tool": _Kind(lambda cell: cell.driver, lambda cell: cell.through),
    "settings": _Kind(lambda cell: cell.loadgen, loadgen_words),
    "threads": _Kind(lambda cell: cell.threads, lambda cell: counted(cell.threads, "thread")),
    "fallback": _Kind(
        lambda cell: cell.allow_fallback,
        lambda cell: "fallback allowed" if cell.allow_fallback else "",
    ),
    "bound": _Kind(bounds.values, bounds.in_words),
    # By its sizes, for another model may call its inputs otherwise.
    "shape": _Kind(sample_sizes, sample_words),
    "model": _Kind(
        lambda cell: cell.model.sha256, lambda cell: f"model {cell.model.sha256[:_SHA_DIGITS]}"
    ),
    "input": _Kind(
        lambda cell: cell.input_sha256, lambda cell: f"input {cell.input_sha256[:_SHA_DIGITS]}"
    ),
    "id": _Kind(lambda cell: cell.id, lambda cell: cell.id),
}
#: Those that say little to people: told only where the others leave cells alike.
_DIGITS = ("model", "input", "id")
READABLE = tuple(kind for kind in _KINDS if kind not in _DIGITS)
#: All that an id is made of.
DEFINING = (*READABLE, "model", "input")
#: Those that are told beside every figure, for they are unusual.
UNUSUAL = ("lane", "tool", "fallback")
#: How a model is run on a target, whatever the load.
HOW = ("lane", "tool", "threads", "fallback")


def values_of(cell: Cell, kinds: Iterable[str]) -> tuple[object, ...]:
    """Those settings of a cell as a key: equal to another cell's where both are set alike."""
    return tuple(_KINDS[kind].value(cell) for kind in kinds)


def settings_of(cell: Cell, kinds: Iterable[str]) -> tuple[Setting, ...]:
    """Those settings of a cell that there are words for."""
    found = (Setting(kind, _KINDS[kind].words(cell)) for kind in kinds)
    return tuple(setting for setting in found if setting.words)


def settings_in_words(*settings: Iterable[Setting]) -> str:
    """Settings from several sources, each kind once."""
    words = dict(setting for some in settings for setting in some)
    return ", ".join(words[kind] for kind in _KINDS if kind in words)


def _label(cell: Cell) -> object:
    return cell.label


class Alike:
    """The cells of one table or list, each called by its ``name``. ``apart(cell)`` is what that
    doesn't say and others of the same name have otherwise; empty where no other has it. Only
    settings of these ``kinds`` are told."""

    def __init__(
        self,
        cells: Iterable[Cell],
        name: Callable[[Cell], object] = _label,
        kinds: Iterable[str] = tuple(_KINDS),
    ) -> None:
        self._name = name
        self._readable = [kind for kind in kinds if kind not in _DIGITS]
        self._digits = [kind for kind in kinds if kind in _DIGITS]
        self._cells: dict[object, list[Cell]] = {}
        for cell in cells:
            known = self._cells.setdefault(name(cell), [])
            if cell not in known:
                known.append(cell)

    def apart(self, cell: Cell) -> tuple[Setting, ...]:
        alike = self._cells.get(self._name(cell), [cell])
        if len(alike) < 2:
            return ()
        kinds = [kind for kind in self._readable if len({_KINDS[kind].words(c) for c in alike}) > 1]
        left = [other for other in alike if settings_of(other, kinds) == settings_of(cell, kinds)]
        for kind in self._digits:
            words = _KINDS[kind].words(cell)
            same = [other for other in left if _KINDS[kind].words(other) == words]
            if len(same) < len(left):
                kinds.append(kind)
            left = same
        return settings_of(cell, kinds)

    def label(self, cell: Cell) -> str:
        """What a list calls it: its label, and in parentheses what that doesn't say."""
        words = settings_in_words(self.apart(cell))
        return f"{cell.label} ({words})" if words else cell.label
