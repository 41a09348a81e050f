"""When a cell has its answer, or has used up its budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from bench.measure.state import CellState
from bench.numbers import counted
from bench.record.estimate import relative_half_width, turns
from bench.record.result import StopReason
from bench.spec import DECENT, Suite
from bench.stats.nested.pairing import Turns
from bench.stats.percentile import minimum_samples
from bench.stats.stopping import FEWEST_TO_RANK, RankingRule, clearly_narrow

#: A cell may overdraw its time by this factor for its first invocations.
PATIENCE = 3.0
#: Starting its workers does not count against a cell's time, but may not take longer than this many
#: times it: a model that takes minutes to compile would take hours.
STARTING_PATIENCE = 5.0
#: An overview waits for the calls of a p99 where they take at most this share of a cell's time.
TAIL_SHARE = 0.25
P99 = 0.99


def stops(
    active: Sequence[CellState],
    everybody: Sequence[CellState],
    suite: Suite,
    *,
    late: bool = False,
    least: Mapping[str, float] = MappingProxyType({}),
) -> list[tuple[CellState, StopReason]]:
    """Which of the active cells have their answer, or have used up their budget; ``late``: that of
    the run is used up. ``least``: half-widths below which an interval is narrow by luck alone
    (`Spending.least_half_widths`)."""
    done = _answered(active, everybody, suite, least)
    found: list[tuple[CellState, StopReason]] = []
    for state in active:
        count = len(state.invocations)
        if state.cell.id in done:
            found.append((state, done[state.cell.id]))
        elif (late or out_of_time(state, suite)) and count >= fewest(state, suite):
            found.append((state, "max-time"))
        elif count >= suite.max_invocations:
            found.append((state, "max-invocations"))
    return found


def _answered(
    active: Sequence[CellState],
    everybody: Sequence[CellState],
    suite: Suite,
    least: Mapping[str, float],
) -> dict[str, StopReason]:
    """The cells that have the answer which the goal asks for, and why they stop."""
    if suite.goal == "rank":
        enough = {s.cell.id for s in active if len(s.invocations) >= suite.min_invocations}
        return dict.fromkeys(_ranked(everybody, suite) & enough, "ranked")
    precise = _precise(active, suite, suite.precision, least)
    found: dict[str, StopReason] = dict.fromkeys(precise, "precision")
    found.update(dict.fromkeys(precise & _clearly_narrow(active, suite), "first-look"))
    if suite.goal != "overview":
        return found
    contested = {s.cell.id for states in rivals(everybody) if len(states) > 1 for s in states}
    settled = contested & _ranked(everybody, suite)
    settled &= _precise(active, suite, max(DECENT, suite.precision), least)
    enough = {state.cell.id for state in active if _tells_p99(state, suite)}
    found.update(dict.fromkeys((settled & enough) - found.keys(), "ranked"))
    return found


def _tells_p99(state: CellState, suite: Suite) -> bool:
    """Whether there are the calls that a p99 needs, or would take too long to have."""
    if state.cell.is_rate or not state.invocations:
        return True
    needed = minimum_samples(P99)
    latency_s = state.invocations[-1].median_ns / 1e9
    calls = sum(one.calls for one in state.invocations)
    return calls >= needed or needed * latency_s > TAIL_SHARE * suite.max_time_s


def out_of_time(state: CellState, suite: Suite) -> bool:
    """Whether the cell's workers have used up its time, or what they may take to start."""
    return state.spent_s >= suite.max_time_s or _starts_too_long(state, suite)


def fewest(state: CellState, suite: Suite) -> int:
    """Invocations that a cell gets although its time is up: an interval from two processes is
    hundreds of percent wide. A model that takes minutes to compile makes do with two."""
    if state.spent_s >= PATIENCE * suite.max_time_s or _starts_too_long(state, suite):
        return 2
    return suite.min_invocations


def overdraft_words(spent_s: Sequence[float], suite: Suite) -> str:
    """What is told where cells took longer than their time, which they spent instead."""
    return (
        f"{counted(len(spent_s), 'cell')} took up to {max(spent_s):.3g} s, more than --max-time "
        f"{suite.max_time_s:g}s: the fewest invocations come first, {suite.min_invocations} here "
        f"(--min-invocations), or 2 once {PATIENCE:g} times that time is spent."
    )


def _starts_too_long(state: CellState, suite: Suite) -> bool:
    return state.starting_s >= STARTING_PATIENCE * suite.max_time_s


def _precise(
    active: Sequence[CellState], suite: Suite, precision: float, least: Mapping[str, float]
) -> set[str]:
    """Cells whose interval is so narrow, and not by luck alone: who stops at the first few
    processes that happen to agree is wrong too often."""
    return {
        state.cell.id
        for state in active
        if len(state.invocations) >= suite.min_invocations
        and least.get(state.cell.id, 0.0) <= precision
        and relative_half_width(state.figures(), suite.confidence) <= precision
    }


def _clearly_narrow(active: Sequence[CellState], suite: Suite) -> set[str]:
    """Cells that are looked at for the first time, with an interval that luck alone doesn't make
    so narrow."""
    return {
        state.cell.id
        for state in active
        if len(state.invocations) == suite.min_invocations
        and clearly_narrow(state.figures(), suite.confidence, suite.precision)
    }


def rivals(everybody: Sequence[CellState]) -> list[list[CellState]]:
    """Cells whose order is asked for: those of one model and variant that didn't fail."""
    found: dict[tuple[str, str], list[CellState]] = {}
    for state in everybody:
        if state.failure is None:
            found.setdefault((state.cell.model.sha256, state.cell.variant), []).append(state)
    return list(found.values())


def ranking_rule(cells: int, suite: Suite) -> RankingRule:
    """What settles the order of so many rivals."""
    first = min(FEWEST_TO_RANK, suite.min_invocations)
    return RankingRule(cells, suite.confidence, suite.margin, first, suite.max_invocations)


def _ranked(everybody: Sequence[CellState], suite: Suite) -> set[str]:
    """Cells whose order among the targets of their model is settled."""
    settled: set[str] = set()
    for states in rivals(everybody):
        rule = ranking_rule(len(states), suite)
        cells = {state.cell.id: turns_of(state) for state in states}
        if min(len(each) for each in cells.values()) >= rule.first:
            settled |= set(cells) - rule.open_cells(cells)
    return settled


def turns_of(state: CellState) -> dict[int, Turns]:
    """What is compared of a cell with others of its group, by generation."""
    if state.cell.is_rate:
        return {
            one.index: Turns(float(value))
            for one, value in zip(state.invocations, state.figures(), strict=True)
        }
    return {one.index: turns(one) for one in state.invocations}
