"""One cell over many runs: its figure in the order of time, and where it stepped.

Only runs of one machine with the same ``machine_id`` make a series, so no two clocks are compared;
where that isn't recorded, steps are not looked for. A changed model, input or thread count is
another cell, with a series of its own; `joined` puts those under one name that differ in the
content of the model or of the input alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from bench.cell import Cell
from bench.defaults import CONFIDENCE, MARGIN
from bench.discover import nearest
from bench.errors import SpecError
from bench.record.result import Estimate, Foreign, Record
from bench.stats.interval import FEWEST_INVOCATIONS, Interval, unpaired_ratio_interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.steps import fewest_runs, find_steps, log_error
from bench.store.frames import Finished, Paths, read_finished_runs
from bench.store.machines import by_machine

#: Why a run that has a cell's record has no point of its history, as it is told.
FAILED, WRONG, NO_INTERVAL, NO_FIGURE = "failed", "WRONG", "no interval", "no figure"
PARTIAL, SIMULATED = "stopped early", "simulated"
_UNKNOWN = "unknown machine"  #: what all are called of which nothing is recorded
#: A cell, the hardware, and the machine's name.
_Key = tuple[str, str | None, str]


@dataclass(frozen=True)
class Point:
    """A cell's figure in one run: ns (latency) or samples/s; bounds are None without interval."""

    run: str
    created_at: str
    value: float
    low: float | None
    high: float | None
    confidence: float
    git_commit: str | None
    bench_version: str
    runtime_version: str
    canary_ns: float | None = None


@dataclass(frozen=True)
class Change:
    """An established step: before and at point ``index``. ``ratio`` is after over before, of the
    figure, ``times`` of times, whatever the figure: below 1 is faster. ``canary`` is that of the
    canary's time. ``slower`` is what it means."""

    index: int
    ratio: Interval
    times: Interval
    slower: bool
    p: float
    canary: Interval | None
    changed: tuple[tuple[str, str, str], ...]  #: what else changed there: name, before, after


@dataclass(frozen=True)
class Break:
    """From point ``index`` on it is another cell of the same name: what ``changed`` in it, and the
    ids of both. Figures before and after are not compared."""

    index: int
    changed: tuple[str, ...]
    before: str
    after: str


@dataclass(frozen=True)
class Series:
    """The history of one cell on one machine, the oldest point first."""

    cell_id: str
    cell: Cell
    foreign: bool
    machine_id: str | None
    cpu_model: str | None
    points: tuple[Point, ...]
    #: runs that have no point, by why: `FAILED`, `WRONG`, `PARTIAL`, `SIMULATED`, `NO_INTERVAL`,
    #: `NO_FIGURE`
    absent: Mapping[str, int]
    machine: str = ""  #: its name
    changes: tuple[Change, ...] = ()
    why_none: str = ""  #: why no step can be told, where that is so
    breaks: tuple[Break, ...] = ()  #: of several series that were `joined`

    @property
    def failed(self) -> int:
        """Runs in which the cell failed."""
        return self.absent.get(FAILED, 0)

    @property
    def marks(self) -> tuple[Change | Break, ...]:
        """Where something changed, the oldest first."""
        return tuple(sorted((*self.changes, *self.breaks), key=lambda mark: mark.index))

    @property
    def first_id(self) -> str:
        """The cell that it began as, which stays the same however long the series grows."""
        return self.breaks[0].before if self.breaks else self.cell_id


@dataclass(frozen=True)
class Selection:
    """Which cells: an id (or a beginning of it) or ``model@target[/scenario]``, and filters."""

    cell: str = ""
    model: str = ""
    target: str = ""
    scenario: str = ""
    variant: str = ""

    def wants(self, cell_id: str, cell: Cell) -> bool:
        name = f"{cell.model.name}@{cell.target}"
        by_name = self.cell in (name, f"{name}/{cell.scenario}")
        return (
            (not self.cell or by_name or cell_id.startswith(self.cell))
            and self.model in ("", cell.model.name)
            and self.target in ("", cell.target)
            and self.scenario in ("", cell.scenario)
            and self.variant in ("", cell.variant)
        )


def history(
    paths: Paths,
    selection: Selection,
    confidence: float = CONFIDENCE,
    margin: float = MARGIN,
) -> tuple[list[Series], list[str]]:
    """The series that are selected, and what could not be read.

    The chance of even one false step in all of them is at most 1 - ``confidence``. Raises
    `SpecError` where there is no run, or no such cell in any.
    """
    runs, skipped = read_finished_runs(paths)
    found = _series(runs, selection)
    if not found:
        raise SpecError(_nothing(runs, selection))
    looked_at = [one for one in found if not _why_none(one, confidence)]
    each = simultaneous_confidence(max(1, len(looked_at)), confidence)
    return [_with_changes(one, each, margin) for one in found], skipped


def _series(runs: Iterable[Finished], selection: Selection) -> list[Series]:
    """One for each cell and machine, in the order in which they first appear."""
    points: dict[_Key, list[Point]] = {}
    about: dict[_Key, tuple[Record, Finished]] = {}
    absent: dict[_Key, Counter[str]] = {}
    every = list(runs)
    machines = {id(run): m.name for m, mine in by_machine(every).items() for run in mine}
    for run in every:
        machine_id = run.header.facts.get("machine_id")
        for record in run.records:
            if not selection.wants(record.cell_id, record.cell):
                continue
            hardware = None if machine_id is None else str(machine_id)
            known = hardware is not None or run.header.machine_name
            key = record.cell_id, hardware, machines[id(run)] if known else _UNKNOWN
            about.setdefault(key, (record, run))
            point = _point(run, record)
            if point is None:
                absent.setdefault(key, Counter())[_why_absent(record)] += 1
            else:
                points.setdefault(key, []).append(point)
    return [
        Series(
            cell_id=key[0],
            cell=record.cell,
            foreign=record.foreign is not None,
            machine_id=key[1],
            machine=key[2],
            cpu_model=run.header.facts.get("cpu_model"),
            points=tuple(sorted(points.get(key, []), key=lambda point: point.created_at)),
            absent=absent.get(key, {}),
        )
        for key, (record, run) in about.items()
    ]


def _point(run: Finished, record: Record) -> Point | None:
    """None where the cell has no figure in this run."""
    figure = _figure(record)
    if figure is None or not figure[0] > 0:
        return None
    value, low, high, confidence = figure
    facts = run.header.facts
    return Point(
        run=str(run.path),
        created_at=run.header.created_at,
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        git_commit=_text(facts.get("git_commit")),
        bench_version=run.header.bench_version,
        runtime_version=record.runtime_version,
        canary_ns=record.canary_ns.value if record.canary_ns else None,
    )


def _figure(record: Record) -> tuple[float, float | None, float | None, float] | None:
    if record.foreign is not None:
        value = _foreign_figure(record.foreign, rate=record.cell.is_rate)
        return None if value is None else (value, None, None, CONFIDENCE)
    if record.standing != "ok" or record.simulated:
        return None
    estimate: Estimate | None = record.throughput if record.cell.is_rate else None
    if not record.cell.is_rate and record.latency is not None:
        estimate = record.latency.median_ns
    if estimate is None:
        return None
    return estimate.value, estimate.low, estimate.high, estimate.confidence


def _foreign_figure(found: Foreign, *, rate: bool) -> float | None:
    if rate:
        return found.throughput_per_s
    return found.mean_ns if found.median_ns is None else found.median_ns


def _why_absent(record: Record) -> str:
    """Why a record has no point, in as few words as do."""
    if record.standing == "failed":
        return FAILED
    if record.standing == "wrong":
        return WRONG
    if record.partial:
        return PARTIAL
    if record.simulated:
        return SIMULATED
    lone = record.lone_ns if record.lone_rate is None else record.lone_rate
    return NO_FIGURE if lone is None else NO_INTERVAL


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


# -- steps ----------------------------------------------------------------------------------------


def _why_none(series: Series, confidence: float) -> str:
    if series.machine_id is None:
        return "the machine is not recorded, so steps are not looked for"
    fewest = fewest_runs(confidence)
    if len(series.points) < fewest:
        return f"it takes {fewest} runs on one machine, and there are {len(series.points)}"
    return ""


def _with_changes(series: Series, confidence: float, margin: float) -> Series:
    why = _why_none(series, confidence)
    if why:
        return replace(series, why_none=why)
    points = series.points
    errors = [log_error(p.low, p.high, p.confidence) for p in points]
    steps = find_steps([p.value for p in points], errors, confidence, margin)
    edges = [0, *(step.index for step in steps), len(points)]
    changes = []
    for place, step in enumerate(steps):
        before, after = points[edges[place] : step.index], points[step.index : edges[place + 2]]
        ratio = unpaired_ratio_interval([p.value for p in before], [p.value for p in after])
        times = ratio.inverse() if series.cell.is_rate else ratio
        slower = (step.log_ratio > 0) != series.cell.is_rate
        changes.append(
            Change(
                step.index,
                ratio,
                times,
                slower,
                step.p,
                _canary(before, after),
                _changed(before, after),
            )
        )
    return replace(series, changes=tuple(changes))


def _canary(before: Sequence[Point], after: Sequence[Point]) -> Interval | None:
    times = [[p.canary_ns for p in part if p.canary_ns] for part in (before, after)]
    if min(map(len, times)) < FEWEST_INVOCATIONS:
        return None
    return unpaired_ratio_interval(times[0], times[1])


def _changed(before: Sequence[Point], after: Sequence[Point]) -> tuple[tuple[str, str, str], ...]:
    """What changed between the last run before the step and the first one after it."""
    old, new = before[-1], after[0]
    pairs = (
        ("commit", old.git_commit, new.git_commit),
        ("runtime", old.runtime_version, new.runtime_version),
        ("bench", old.bench_version, new.bench_version),
    )
    return tuple((name, a or "none", b or "none") for name, a, b in pairs if a != b)


# -- several contents under one name --------------------------------------------------------------


def joined(found: Sequence[Series]) -> list[Series]:
    """The series, those of one name as one: of cells on one machine that differ in the content of
    the model or of the input alone, and of which no run has two. It stands where the first did, and
    is called as the newest is."""
    groups: dict[tuple[Any, ...], list[Series]] = {}
    for one in found:
        groups.setdefault((one.foreign, one.machine_id, one.machine, _called(one)), []).append(one)
    whole = {id(one): group for group in groups.values() for one in group if _in_turn(group)}
    joins: list[Series] = []
    for one in found:
        group = whole.get(id(one), [one])
        if one is group[0]:
            joins.append(_joined(group) if len(group) > 1 else one)
    return joins


def _called(series: Series) -> str:
    """Everything that defines the cell but for contents."""
    cell = series.cell
    called = cell.defining("model", "input_sha256")
    return repr((cell.model.name, called))


def _in_turn(group: Sequence[Series]) -> bool:
    """Whether each has figures, and no run has those of two."""
    runs = [{point.run for point in one.points} for one in group]
    return all(runs) and sum(map(len, runs)) == len(set().union(*runs))


def _joined(group: Sequence[Series]) -> Series:
    placed = [(point, one) for one in group for point in one.points]
    placed.sort(key=lambda pair: pair[0].created_at)
    place = {point.run: n for n, (point, _) in enumerate(placed)}
    breaks = [
        Break(n, _differing(a, b), a.cell_id, b.cell_id)
        for n, ((_, a), (_, b)) in enumerate(pairwise(placed), 1)
        if a is not b
    ]
    changes = [
        replace(change, index=place[one.points[change.index].run])
        for one in group
        for change in one.changes
    ]
    return replace(
        placed[-1][1],
        points=tuple(point for point, _ in placed),
        absent=sum((Counter(one.absent) for one in group), Counter()),
        changes=tuple(sorted(changes, key=lambda change: change.index)),
        breaks=tuple(breaks),
    )


def _differing(a: Series, b: Series) -> tuple[str, ...]:
    pairs = {
        "model's content": a.cell.model.sha256 != b.cell.model.sha256,
        "input": a.cell.input_sha256 != b.cell.input_sha256,
    }
    return tuple(name for name, differs in pairs.items() if differs)


def _nothing(runs: Sequence[Finished], selection: Selection) -> str:
    names = {f"{r.cell.model.name}@{r.cell.target}": None for run in runs for r in run.records}
    asked = selection.cell or f"{selection.model}@{selection.target}"
    close = nearest(asked, names) or list(names)[:4]
    hint = f"Available: {', '.join(close)}." if close else "They hold no finished cell."
    return f"no cell of {len(runs)} runs is what was asked for. {hint}"
