"""Which cells are compared with which, and what differs between them besides the figures.

Two cells are *matched* by what a reader means by the same cell: model name, variant, target,
scenario and batch; of several such cells, those find each other that differ in least. Whatever
else could make one of them faster is a `Difference`: of a kind that is refused unless it is allowed
by name, or one that is told only, because its effect is usually what a comparison is made for
(another version of the runtime).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from typing import TypeAlias

from bench.cell import Cell
from bench.discover import nearest
from bench.errors import SpecError
from bench.judge.alike import READABLE, sample_sizes, settings_of
from bench.record.result import Record
from bench.store.run import StoredRun

_Key: TypeAlias = "Callable[[Side], tuple[object, ...]]"


@dataclass(frozen=True)
class Side:
    """One cell of one run; without a record where it was planned and not finished."""

    run: StoredRun
    cell: Cell
    record: Record | None
    machine: str = ""  #: its name, where several are compared

    @cached_property
    def id(self) -> str:
        """The cell's, which takes long to compute for many."""
        return self.record.cell_id if self.record is not None else self.cell.id


@dataclass(frozen=True)
class Match:
    """A, the baseline, and B, the candidate."""

    a: Side
    b: Side

    @property
    def same_run(self) -> bool:
        return self.a.run is self.b.run

    @property
    def between_machines(self) -> bool:
        """Whether the two were measured on different machines, as who matched them knows."""
        return self.a.machine != self.b.machine

    @property
    def same_group(self) -> bool:
        """Whether both were measured in turn, in the same generations, as the records say."""
        groups = [one.record.group for one in (self.a, self.b) if one.record is not None]
        if not self.same_run or len(groups) < 2:
            return False
        if any(groups):
            return groups[0] == groups[1]
        # A record that names no group: such runs measured all cells of a load together.
        return _turn(self.a.cell) == _turn(self.b.cell)


@dataclass(frozen=True)
class Matched:
    """What is compared, and what only one side has.

    ``asked`` are the kinds of difference that the matching itself makes, which need no telling.
    """

    matches: tuple[Match, ...]
    only_a: tuple[Side, ...] = ()
    only_b: tuple[Side, ...] = ()
    asked: frozenset[str] = frozenset()
    names: tuple[str, str] = ("", "")  #: what the two sides are called, where not by their runs

    @property
    def machines(self) -> list[str]:
        """Where several are compared, the baseline first."""
        found = dict.fromkeys(m.a.machine for m in self.matches)
        return [name for name in {**found, **{m.b.machine: None for m in self.matches}} if name]


# -- matching -------------------------------------------------------------------------------------


def sides(run: StoredRun) -> list[Side]:
    """Every cell of a run in the order of its plan, those that have only a record last."""
    records = {record.cell_id: record for record in run.records}
    cells = {cell.id: cell for cell in run.header.cells}
    cells |= {name: record.cell for name, record in records.items() if name not in cells}
    return [Side(run, cell, records.get(name)) for name, cell in cells.items()]


def match_runs(a: StoredRun, b: StoredRun, selectors: Sequence[str] = ()) -> Matched:
    """The cells that two runs have in common; ``selectors`` narrow them.

    Raises `SpecError` where there are none, or where both are the same directory.
    """
    if a.path.resolve() == b.path.resolve():
        raise SpecError(
            f"{a.path} and {b.path} are the same run. Name another one, or only one to compare "
            "its targets."
        )
    ours, theirs = sides(a), sides(b)
    if selectors:
        chosen = {s.id for text in selectors for s in select([*ours, *theirs], text)}
        ours = [s for s in ours if s.id in chosen]
        theirs = [s for s in theirs if s.id in chosen]
    matches = _match(ours, theirs, _what_is_meant)
    if not matches:
        raise SpecError(_nothing_in_common(a.path, b.path))
    only_a, only_b = _left_over(matches, ours, theirs)
    return Matched(tuple(matches), only_a, only_b)


def match_within(
    run: StoredRun, before: StoredRun, now: StoredRun, names: tuple[str, str]
) -> Matched:
    """The cells that two parts of one run have in common, called ``names``: of two contents of a
    model, which were measured in turn. There are none where a revision renamed every model."""
    ours, theirs = ([replace(s, run=run) for s in sides(part)] for part in (before, now))
    matches = _match(ours, theirs, _what_is_meant)
    only_a, only_b = _left_over(matches, ours, theirs)
    return Matched(tuple(matches), only_a, only_b, asked=frozenset({"model"}), names=names)


def match_machines(
    runs: Mapping[str, Sequence[StoredRun]], baseline: str, selectors: Sequence[str] = ()
) -> Matched:
    """Each cell of the machine ``baseline`` with the same one of every other machine.

    ``runs`` are those of each machine by its name; of a cell that several of them have, the latest
    counts. Raises `SpecError` where no other machine has one of the cells.
    """
    found = {name: _latest(name, mine) for name, mine in runs.items()}
    if selectors:
        everything = [side for mine in found.values() for side in mine]
        chosen = {side.id for text in selectors for side in select(everything, text)}
        found = {name: [s for s in mine if s.id in chosen] for name, mine in found.items()}
    ours = found.pop(baseline)
    matches = [match for mine in found.values() for match in _match(ours, mine, _what_is_meant)]
    if not matches:
        raise SpecError(
            f"{baseline} has no cell in common with {' or '.join(found)} (the same model, variant, "
            "target, scenario and batch), so there is nothing to compare. `bench matrix` shows "
            "what each machine has."
        )
    theirs = [side for mine in found.values() for side in mine]
    only_a, only_b = _left_over(matches, ours, theirs)
    return Matched(tuple(matches), only_a, only_b)


def _latest(machine: str, runs: Sequence[StoredRun]) -> list[Side]:
    """The cells of a machine's runs: measured ones rather than others, then later ones."""
    found: dict[str, Side] = {}
    for run in sorted(runs, key=lambda run: run.header.created_at):
        for side in sides(run):
            old = found.get(side.id)
            if old is None or side.record is not None:
                found[side.id] = replace(side, machine=machine)
    return list(found.values())


def match_cells(run: StoredRun, selectors: Sequence[str]) -> Matched:
    """The cells that each selector means, each with each later selector's, in the same variant and
    at the same load.

    Raises `SpecError` where a selector means nothing, or two of them have none in common.
    """
    if len(selectors) < 2:
        raise SpecError("one cell can't be compared with itself: name two with --cell.")
    everything = sides(run)
    chosen = [(text, select(everything, text)) for text in selectors]
    matches: list[Match] = []
    for (text, ours), (other, theirs) in combinations(chosen, 2):
        if {s.id for s in ours} & {s.id for s in theirs}:
            raise SpecError(f"{text!r} and {other!r} mean the same cell. Name two different ones.")
        found = _match(ours, theirs, _work)
        if not found and _in_one_variant(ours) and _in_one_variant(theirs):
            found = _match(ours, theirs, _load)
        if not found and len(ours) == len(theirs) == 1:
            found = [Match(ours[0], theirs[0])]
        if not found:
            raise SpecError(
                f"{text!r} and {other!r} have no variant, scenario and batch in common in "
                f"{run.path}."
            )
        matches.extend(found)
    first, *others = (meant for _, meant in chosen)
    only_a, only_b = _left_over(matches, first, [side for each in others for side in each])
    return Matched(tuple(matches), only_a, only_b)


def _in_one_variant(sides: Sequence[Side]) -> bool:
    return len({side.cell.variant for side in sides}) == 1


def match_targets(run: StoredRun) -> Matched:
    """Every two targets of each model at the same variant, scenario and batch.

    Raises `SpecError` where no model has two.
    """
    groups: dict[tuple[object, ...], dict[str, list[Side]]] = {}
    for side in sides(run):
        of_targets = groups.setdefault((side.cell.model.name, *_work(side)), {})
        of_targets.setdefault(side.cell.target, []).append(side)
    matches = [
        match
        for of_targets in groups.values()
        for ours, theirs in combinations(of_targets.values(), 2)
        for match in _match(ours, theirs, _work)
    ]
    if not matches:
        raise SpecError(
            f"{run.path} has no model on two targets, so there is nothing to compare in it. "
            "Name a second run, or two cells with --cell."
        )
    return Matched(tuple(matches), asked=frozenset({"target"}))


def select(found: Sequence[Side], text: str) -> list[Side]:
    """The cells that ``text`` means: ``model@target``, ``model@target/scenario``, or an id or a
    prefix of it that only one id has. Raises `SpecError` where it means none or several ids."""
    named = [s for s in found if text in (_name(s.cell), f"{_name(s.cell)}/{s.cell.scenario}")]
    if named:
        return named
    prefixed = [s for s in found if text and s.id.startswith(text)]
    ids = sorted({s.id for s in prefixed})
    if len(ids) > 1:
        raise SpecError(
            f"--cell {text}: {len(ids)} cells match, so it is ambiguous ({', '.join(ids[:4])})."
        )
    if not ids:
        names = list(dict.fromkeys(_name(s.cell) for s in found))
        close = nearest(text, names) or names[:4]
        hint = f"Did you mean {' or '.join(close)}?" if close else "There are no cells."
        raise SpecError(f"--cell {text}: no such cell. {hint}")
    return prefixed


def _turn(cell: Cell) -> tuple[object, ...]:
    return cell.scenario, cell.batch, cell.threads, cell.lane, cell.driver


def _name(cell: Cell) -> str:
    return f"{cell.model.name}@{cell.target}"


def _load(side: Side) -> tuple[object, ...]:
    return side.cell.scenario, side.cell.batch


def _work(side: Side) -> tuple[object, ...]:
    return side.cell.variant, *_load(side)


def _what_is_meant(side: Side) -> tuple[object, ...]:
    return side.cell.model.name, side.cell.target, *_work(side)


def _nothing_in_common(a: object, b: object) -> str:
    return (
        f"{a} and {b} have no cell in common (the same model, variant, target, scenario and "
        "batch), so there is nothing to compare."
    )


def _left_over(
    matches: Sequence[Match], ours: Sequence[Side], theirs: Sequence[Side]
) -> tuple[tuple[Side, ...], tuple[Side, ...]]:
    """What of each is in no match."""
    used = {id(side) for match in matches for side in (match.a, match.b)}
    return (
        tuple(side for side in ours if id(side) not in used),
        tuple(side for side in theirs if id(side) not in used),
    )


def _match(ours: Sequence[Side], theirs: Sequence[Side], key: _Key) -> list[Match]:
    """Sides with the same key, in our order; of several, those that differ in least find each other
    first."""
    waiting: dict[tuple[object, ...], tuple[list[Side], list[Side]]] = {}
    for place, sides in enumerate((ours, theirs)):
        for side in sides:
            waiting.setdefault(key(side), ([], []))[place].append(side)
    found = {
        id(match.a): match for mine, others in waiting.values() for match in _nearest(mine, others)
    }
    return [found[id(side)] for side in ours if id(side) in found]


def _nearest(ours: Sequence[Side], theirs: Sequence[Side]) -> list[Match]:
    if len(ours) == len(theirs) == 1:
        return [Match(ours[0], theirs[0])]
    details = {id(side): _details(side.cell) for side in (*ours, *theirs)}

    def distance(pair: tuple[Side, Side]) -> tuple[bool, int]:
        both = (details[id(side)] for side in pair)
        return pair[0].id != pair[1].id, sum(a != b for a, b in zip(*both, strict=True))

    matches: list[Match] = []
    used: set[int] = set()
    for a, b in sorted(product(ours, theirs), key=distance):
        if not used & {id(a), id(b)}:
            used |= {id(a), id(b)}
            matches.append(Match(a, b))
    return matches


def _details(cell: Cell) -> list[object]:
    """What cells of one key may differ in; inputs by how large they are, for another model may call
    them otherwise."""
    kinds = (*(kind for kind in READABLE if kind != "shape"), "model", "input")
    return [sample_sizes(cell), *(settings_of(cell, [kind]) for kind in kinds)]
