"""Which cells are compared with which, and what differs between them besides the figures.

Two cells are *matched* by what a reader means by the same cell: model name, variant, target,
scenario and batch. Whatever else could make one of them faster is a `Difference`: of a kind that
is refused unless it is allowed by name, or one that is told only, because its effect is usually
what a comparison is made for (another version of the runtime).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from bench.cell import Cell
from bench.discover import nearest
from bench.errors import SpecError
from bench.machine.facts import COMPARABLE, MachineFacts
from bench.numbers import duration, printable
from bench.record.result import Record
from bench.store.run import StoredRun

#: kinds of difference that make figures incomparable -> what they are, in words
REFUSED: dict[str, str] = {
    "machine": "machine",
    "device": "device",
    "model": "model content",
    "scenario": "scenario",
    "batch": "batch",
    "shape": "input shape",
    "input": "input data",
    "threads": "thread count",
    "lane": "lane",
    "bound": "latency bound",
    "fallback": "fallback allowed",
    "tool": "the tool that measured",
}
#: kinds that are told and never refused
TOLD: dict[str, str] = {
    "name": "model",
    "variant": "variant",
    "target": "target",
    "runtime": "runtime version",
    "dataset": "labelled data",
    "bench": "bench version",
    "host": "host",
    "kernel": "kernel",
    "python": "Python",
    "package": "package",
}
ALL = "all"

_SHA_DIGITS = 12
_FACT_LIMIT = 60


@dataclass(frozen=True)
class Side:
    """One cell of one run; without a record where it was planned and not finished."""

    run: StoredRun
    cell: Cell
    record: Record | None

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
    """What is compared, and the cells that only one side has.

    ``asked`` are the kinds of difference that the matching itself makes, which need no telling.
    """

    matches: tuple[Match, ...]
    only_a: tuple[Cell, ...] = ()
    only_b: tuple[Cell, ...] = ()
    asked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Difference:
    """``a`` and ``b`` are the two values in words, ``subjects`` what has them (none: the runs)."""

    kind: str
    a: str
    b: str
    subjects: tuple[str, ...] = ()
    detail: str = ""

    @property
    def refused(self) -> bool:
        """Whether it is refused unless allowed."""
        return self.kind in REFUSED

    @property
    def words(self) -> str:
        return REFUSED.get(self.kind) or TOLD[self.kind]


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
            f"{a.path} and {b.path} are the same run. Name another one, or one alone to compare "
            "its targets."
        )
    ours, theirs = sides(a), sides(b)
    if selectors:
        chosen = {s.id for text in selectors for s in select([*ours, *theirs], text)}
        ours = [s for s in ours if s.id in chosen]
        theirs = [s for s in theirs if s.id in chosen]
    matches = _match(ours, theirs, _what_is_meant)
    if not matches:
        raise SpecError(
            f"{a.path} and {b.path} have no cell in common (the same model, variant, target, "
            "scenario and batch), so there is nothing to compare."
        )
    used = {id(side) for match in matches for side in (match.a, match.b)}
    return Matched(
        tuple(matches),
        only_a=tuple(s.cell for s in ours if id(s) not in used),
        only_b=tuple(s.cell for s in theirs if id(s) not in used),
    )


def match_cells(run: StoredRun, selectors: Sequence[str]) -> Matched:
    """The cells that each selector means, each with each later selector's, at the same load.

    Raises `SpecError` where a selector means nothing, or two of them have no load in common.
    """
    if len(selectors) < 2:
        raise SpecError("one cell can't be compared with itself: give --cell twice.")
    everything = sides(run)
    chosen = [(text, select(everything, text)) for text in selectors]
    matches: list[Match] = []
    for (text, ours), (other, theirs) in combinations(chosen, 2):
        if {s.id for s in ours} & {s.id for s in theirs}:
            raise SpecError(f"{text!r} and {other!r} mean the same cell. Name two different ones.")
        found = _match(ours, theirs, _load)
        if not found and len(ours) == len(theirs) == 1:
            found = [Match(ours[0], theirs[0])]
        if not found:
            raise SpecError(
                f"{text!r} and {other!r} have no scenario and batch in common in {run.path}."
            )
        matches.extend(found)
    return Matched(tuple(matches))


def match_targets(run: StoredRun) -> Matched:
    """Every two targets of each model at the same variant, scenario and batch.

    Raises `SpecError` where no model has two.
    """
    groups: dict[tuple[object, ...], list[Side]] = {}
    for side in sides(run):
        cell = side.cell
        groups.setdefault((cell.model.name, cell.variant, *_load(side)), []).append(side)
    matches = [
        Match(a, b)
        for group in groups.values()
        for a, b in combinations(group, 2)
        if a.cell.target != b.cell.target
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
        raise SpecError(f"--cell {text}: {len(ids)} cells begin so ({', '.join(ids[:4])}).")
    if not ids:
        names = list(dict.fromkeys(_name(s.cell) for s in found))
        close = nearest(text, names) or names[:4]
        hint = f"Did you mean {' or '.join(close)}?" if close else "There are no cells."
        raise SpecError(f"--cell {text}: there is no such cell. {hint}")
    return prefixed


def _turn(cell: Cell) -> tuple[object, ...]:
    return cell.scenario, cell.batch, cell.threads, cell.lane


def _name(cell: Cell) -> str:
    return f"{cell.model.name}@{cell.target}"


def _load(side: Side) -> tuple[object, ...]:
    return side.cell.scenario, side.cell.batch


def _what_is_meant(side: Side) -> tuple[object, ...]:
    cell = side.cell
    return cell.model.name, cell.variant, cell.target, cell.scenario, cell.batch


def _match(
    ours: Sequence[Side], theirs: Sequence[Side], key: Callable[[Side], tuple[object, ...]]
) -> list[Match]:
    """Sides with the same key, in our order; those that are defined alike find each other first."""
    waiting: dict[tuple[object, ...], list[Side]] = {}
    for side in theirs:
        waiting.setdefault(key(side), []).append(side)
    found: dict[int, Match] = {}
    for alike in (True, False):
        for position, side in enumerate(ours):
            candidates = waiting.get(key(side), [])
            fitting = [c for c in candidates if not alike or c.id == side.id]
            if position not in found and fitting:
                found[position] = Match(side, fitting[0])
                candidates.remove(fitting[0])
    return [found[position] for position in sorted(found)]


# -- differences ----------------------------------------------------------------------------------


def differences(matched: Matched) -> list[Difference]:
    """What differs in the runs and in their matched cells, each once with all that it is of."""
    found: dict[tuple[str, str, str], Difference] = {}
    for match in matched.matches:
        for new in (*_of_runs(match.a.run, match.b.run), *_of_cells(match)):
            key = (new.kind, new.a, new.b)
            old = found.setdefault(key, new)
            subjects = tuple(dict.fromkeys((*old.subjects, *new.subjects)))
            found[key] = Difference(new.kind, new.a, new.b, subjects, new.detail)
    order = [*REFUSED, *TOLD]
    told = [d for d in found.values() if d.kind not in matched.asked]
    return sorted(told, key=lambda difference: order.index(difference.kind))


def check_allowed_kinds(allowed: Collection[str]) -> None:
    """Raise `SpecError` for a kind that doesn't exist or needs no permission."""
    for kind in allowed:
        if kind in TOLD:
            raise SpecError(f"--allow {kind}: that difference is told and never refused.")
        if kind not in REFUSED and kind != ALL:
            close = nearest(kind, [*REFUSED, ALL])
            hint = f"Did you mean {' or '.join(close)}? " if close else ""
            kinds = ", ".join([*REFUSED, ALL])
            raise SpecError(f"--allow {kind}: there is no such kind. {hint}There are: {kinds}.")


def not_allowed(found: Iterable[Difference], allowed: Collection[str]) -> list[Difference]:
    """The differences because of which nothing is compared."""
    return [d for d in found if d.refused and d.kind not in allowed and ALL not in allowed]


def refuse(found: Iterable[Difference], allowed: Collection[str]) -> None:
    """Raise `SpecError` where a difference is neither harmless nor allowed."""
    kinds = list(dict.fromkeys(d.kind for d in not_allowed(found, allowed)))
    if kinds:
        words = ", ".join(REFUSED[kind] for kind in kinds)
        flags = " ".join(f"--allow {kind}" for kind in kinds)
        raise SpecError(f"A and B are not comparable: they differ in {words}. To compare: {flags}.")


def _of_runs(a: StoredRun, b: StoredRun) -> Iterator[Difference]:
    if a is b:
        return
    one, other = a.header.facts, b.header.facts
    yield from _of_machines(one, other)
    yield from _unequal("bench", a.header.bench_version, b.header.bench_version)
    if one.get("machine_id") == other.get("machine_id"):
        yield from _unequal("host", one.get("hostname_hash"), other.get("hostname_hash"))
    yield from _unequal("kernel", one.get("kernel"), other.get("kernel"))
    yield from _unequal("python", one.get("python"), other.get("python"))
    ours, theirs = _mapping(one.get("packages")), _mapping(other.get("packages"))
    for name in sorted({*ours, *theirs} - {"infer-bench"}):
        if ours.get(name) != theirs.get(name):
            a_version, b_version = ours.get(name) or "none", theirs.get(name) or "none"
            yield Difference("package", f"{name} {a_version}", f"{name} {b_version}")


def _of_machines(one: dict[str, Any], other: dict[str, Any]) -> Iterator[Difference]:
    """Ids that are not recorded can't be shown to be equal."""
    ids = one.get("machine_id"), other.get("machine_id")
    if ids[0] == ids[1] and ids[0] is not None:
        return
    ours, theirs = _comparable(one), _comparable(other)
    details = [
        f"{name.replace('_', ' ')} {_fact(ours[name])} / {_fact(theirs[name])}"
        for name in COMPARABLE
        if ours[name] != theirs[name]
    ]
    yield Difference("machine", _fact(ids[0]), _fact(ids[1]), detail="; ".join(details))


def _comparable(facts: dict[str, Any]) -> dict[str, Any]:
    try:
        return MachineFacts.from_json(facts).comparable
    except (TypeError, KeyError, ValueError, AttributeError):  # of another version of bench
        return {name: facts.get(name) for name in COMPARABLE}


def _of_cells(match: Match) -> Iterator[Difference]:
    a, b = match.a.cell, match.b.cell
    subject = (a.label,)
    if a.model.name == b.model.name:
        yield from _unequal_sha("model", a.model.sha256, b.model.sha256, (a.model.name,))
    yield from _unequal("name", a.model.name, b.model.name)
    yield from _unequal("variant", a.variant, b.variant, subject)
    yield from _unequal("target", a.target, b.target)
    yield from _unequal("scenario", a.scenario, b.scenario, subject)
    yield from _unequal("batch", a.batch, b.batch, subject)
    yield from _unequal("shape", _shapes(a), _shapes(b), subject)
    yield from _unequal_sha("input", a.input_sha256, b.input_sha256, subject)
    yield from _unequal("threads", a.threads, b.threads, subject)
    yield from _unequal("lane", a.lane, b.lane, subject)
    yield from _unequal("bound", _bound(a), _bound(b), subject)
    yield from _unequal("fallback", a.allow_fallback, b.allow_fallback, subject)
    yield from _of_records(match)


def _tool(record: Record) -> str:
    return record.foreign.tool if record.foreign else "bench"


def _of_records(match: Match) -> Iterator[Difference]:
    a, b = match.a.record, match.b.record
    if a is None or b is None:
        return
    yield from _unequal("tool", _tool(a), _tool(b))
    if a.cell.target == b.cell.target:
        target = (a.cell.target,)
        if a.device_name and b.device_name:
            yield from _unequal("device", a.device_name, b.device_name, target)
        if a.runtime_version and b.runtime_version:
            yield from _unequal("runtime", a.runtime_version, b.runtime_version, target)
    if a.accuracy is not None and b.accuracy is not None:
        data = a.accuracy.dataset_sha256, b.accuracy.dataset_sha256
        yield from _unequal_sha("dataset", *data, (a.accuracy.dataset,))


def _unequal(
    kind: str, a: object, b: object, subjects: tuple[str, ...] = ()
) -> Iterator[Difference]:
    if a != b:
        yield Difference(kind, _fact(a), _fact(b), subjects)


def _unequal_sha(kind: str, a: str, b: str, subjects: tuple[str, ...]) -> Iterator[Difference]:
    """All digits are compared, as many are shown as people can take in."""
    if a != b:
        yield Difference(kind, _fact(a[:_SHA_DIGITS]), _fact(b[:_SHA_DIGITS]), subjects)


def _bound(cell: Cell) -> str:
    return "none" if cell.latency_bound_ns is None else duration(cell.latency_bound_ns)


def _shapes(cell: Cell) -> str:
    return ", ".join(
        f"{name} {'x'.join(map(str, shape)) or 'scalar'}"
        for name, shape in sorted(cell.shapes.items())
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _fact(value: object) -> str:
    """A fact in words, as one short line."""
    if value is None:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return printable(text, limit=_FACT_LIMIT)
