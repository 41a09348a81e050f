"""Which cells are compared with which, and what differs between them besides the figures.

Two cells are *matched* by what a reader means by the same cell: model name, variant, target,
scenario and batch; of several such cells, those find each other that differ in least, and none that
differ in what tells cells of one side apart. Whatever else could make one of them faster is a
`Difference`: of a kind that is refused unless it is allowed by name, or one that is told only,
because its effect is usually what a comparison is made for (another version of the runtime).
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
from bench.judge.alike import DEFINING, READABLE, settings_in_words, settings_of, values_of
from bench.numbers import NAME_LIMIT, printable
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
        alike = _set_otherwise(ours, theirs, _what_is_meant)
        raise SpecError(f"{a.path} and {b.path} have no cell in common{alike or _OF_A_CELL}")
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
        alike = (
            _set_otherwise(ours, mine, _what_is_meant, (baseline, name))
            for name, mine in found.items()
        )
        raise SpecError(
            f"{baseline} has no cell in common with {' or '.join(found)}"
            f"{next(filter(None, alike), _OF_A_CELL)} `bench matrix` shows what each machine has."
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
        in_one_variant = _in_one_variant(ours) and _in_one_variant(theirs)
        keys = (_work, _load) if in_one_variant else (_work,)
        found = next(filter(None, (_match(ours, theirs, key) for key in keys)), [])
        if not found and len(ours) == len(theirs) == 1:
            found = [Match(ours[0], theirs[0])]
        if not found:
            alike = (_set_otherwise(ours, theirs, key) for key in keys)
            raise SpecError(
                f"{text!r} and {other!r} have no cells to compare in {run.path}"
                f"{next(filter(None, alike), _OF_A_LOAD)}"
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


#: Why two sides have nothing in common.
_OF_A_CELL = (
    " (the same model, variant, target, scenario and batch), so there is nothing to compare."
)
_OF_A_LOAD = ": they have no variant, scenario and batch in common."
_MOST_WAYS = 4


def _set_otherwise(
    ours: Sequence[Side],
    theirs: Sequence[Side],
    key: _Key,
    names: tuple[str, str] = ("the first", "the second"),
) -> str:
    """The same where both have cells of one key, and none of either is one of the other: how each
    has them. Else empty."""
    for mine, others in _by_key(ours, theirs, key):
        if mine and others:
            kinds, (a, b) = _telling(mine, others), names
            subject = printable(mine[0].cell.label, limit=NAME_LIMIT)
            return (
                f": {a} has {subject} with {_ways(mine, kinds)}, {b} with {_ways(others, kinds)}. "
                "To compare two such cells, give `bench compare` the id of each with --cell."
            )
    return ""


def _telling(mine: Sequence[Side], others: Sequence[Side]) -> list[str]:
    """The settings that tell cells of a side apart: those in words, where there are some."""
    kinds = [
        kind
        for kind in DEFINING
        if any(len({values_of(s.cell, [kind]) for s in some}) > 1 for some in (mine, others))
    ]
    return [kind for kind in kinds if kind in READABLE] or kinds


def _ways(sides: Sequence[Side], kinds: Sequence[str]) -> str:
    """``1 thread or 4 threads``."""
    ways = [settings_in_words(settings_of(side.cell, kinds)) for side in sides]
    told = list(dict.fromkeys(way or "the usual settings" for way in ways))
    more = [f"{len(told) - _MOST_WAYS} other ways"] if len(told) > _MOST_WAYS else []
    return " or ".join((*told[:_MOST_WAYS], *more))


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
    found = {
        id(match.a): match
        for mine, others in _by_key(ours, theirs, key)
        for match in _nearest(mine, others)
    }
    return [found[id(side)] for side in ours if id(side) in found]


def _by_key(
    ours: Sequence[Side], theirs: Sequence[Side], key: _Key
) -> list[tuple[list[Side], list[Side]]]:
    """Ours and theirs of each key."""
    found: dict[tuple[object, ...], tuple[list[Side], list[Side]]] = {}
    for place, sides in enumerate((ours, theirs)):
        for side in sides:
            found.setdefault(key(side), ([], []))[place].append(side)
    return list(found.values())


def _nearest(ours: Sequence[Side], theirs: Sequence[Side]) -> list[Match]:
    """Sides of one key that are the same cell, set otherwise at most: those that differ in least
    first.

    Two of them are not, where they differ in all that tells one of them from another cell of its
    own side: of lengths 128 and 512 against 512 and 1024, nothing makes 1024 the 128 that changed.
    """
    if len(ours) == len(theirs) == 1:
        return [Match(ours[0], theirs[0])]
    settings = {id(side): values_of(side.cell, DEFINING) for side in (*ours, *theirs)}

    def unlike(one: Side, other: Side) -> frozenset[int]:
        """In which settings they differ. An older run may not tell what the axes of an input mean:
        by their id they are the same."""
        if one.id == other.id:
            return frozenset()
        both = zip(settings[id(one)], settings[id(other)], strict=True)
        return frozenset(place for place, (a, b) in enumerate(both) if a != b)

    apart = {
        id(side): {unlike(side, other) for other in mine} - {frozenset()}
        for mine in (ours, theirs)
        for side in mine
    }
    candidates: list[tuple[bool, int, Side, Side]] = []
    for a, b in product(ours, theirs):
        found = unlike(a, b)
        if not any(known <= found for known in apart[id(a)] | apart[id(b)]):
            candidates.append((a.id != b.id, len(found), a, b))
    matches: list[Match] = []
    used: set[int] = set()
    for _, _, a, b in sorted(candidates, key=lambda candidate: candidate[:2]):
        if not used & {id(a), id(b)}:
            used |= {id(a), id(b)}
            matches.append(Match(a, b))
    return matches
