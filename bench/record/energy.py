"""From windows to energies: joules a query with what idling takes, and without.

Net is taken round by round: the idle windows before and after a cell's window say what idling
would have taken in its place, drift included. So each round gives one net energy that nothing of
another round is in, and the spread of these over the rounds, of which the interval is made, holds
the uncertainty of the idle power and how it goes with the gross energy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from bench.cell import Cell
from bench.record.estimate import within_limits
from bench.record.result import Energy, EnergyRound, Estimate
from bench.record.windows import IDLE, OF_CPUS, OF_DEVICES, Kind, Scope, Trace, Window
from bench.scenarios import find_scenario
from bench.stats.metered import Metered, between, by_counter, by_power, mean_interval

#: Rounds without which there is no figure: an interval of two is hundreds of percent wide.
FEWEST_ROUNDS = 3
#: What was seen of the CPUs, by how `bench.machine.disturbance` begins or ends its words, and why a
#: window doesn't count for it. A clock below the highest is none of it: idle cores are at their
#: lowest, and all cores together are below what one alone reaches.
DISTURBANCES: Mapping[str, str] = {
    "of its highest frequency": "",
    "other processes used": "other programs used the CPUs",
    "the hypervisor took": "the hypervisor gave CPU time to others",
    "our threads waited": "bench's own processes waited for a CPU",
    "major page faults": "bench's own processes waited for pages from the disk",
    "pages swapped in": "the machine swapped",
    "pages swapped out": "the machine swapped",
    "stopped by the CPU quota": "the CPU quota stopped bench's own processes",
    "thermal throttles": "heat throttled the CPUs",
}


def energies(cell: Cell, windows: Sequence[Window], confidence: float) -> tuple[Energy, ...]:
    """The energy of a cell in each scope that was metered; ``windows`` are its own, and the idle
    ones of their rounds."""
    return tuple(first for first, _ in _by_scope(cell, windows, confidence))


def of_the_cell(found: Sequence[Energy]) -> list[Energy]:
    """Those of a cell's energies that are what it takes; without those of the host of a device that
    has a meter of its own, whether that told anything or not."""
    metered = any(energy.scope in OF_DEVICES for energy in found)
    return [energy for energy in found if not (metered and energy.scope in OF_CPUS)]


def energies_by_other_kind(
    cell: Cell, windows: Sequence[Window], confidence: float
) -> tuple[Energy, ...]:
    """The same by the kind of readings that `energies` doesn't count, where that gives a figure: a
    cell that its counter tells of has it in common with one whose counter was stuck."""
    found = (other for _, other in _by_scope(cell, windows, confidence))
    return tuple(other for other in found if other is not None and not other.missing)


def _by_scope(
    cell: Cell, windows: Sequence[Window], confidence: float
) -> Iterator[tuple[Energy, Energy | None]]:
    """By scope, the energy that counts and what the other kind of readings gives, if there is one.

    The counter counts, unless it has too few valid windows and power has more: the two differ
    within short times, so they are never mixed.
    """
    mine = [window for window in windows if window.cell_id == cell.id]
    read = _ways(mine) or _ways(windows if mine else [])
    kinds: tuple[Kind, ...] = get_args(Kind)
    for scope in get_args(Scope):
        found = [
            energy_by(cell, scope, kind, windows, confidence)
            for kind in kinds
            if (scope, kind) in read
        ]
        if len(found) == 2 and found[0].missing and len(found[1].rounds) > len(found[0].rounds):
            found.reverse()
        if found:
            yield found[0], found[1] if len(found) == 2 else None


def _ways(windows: Sequence[Window]) -> set[tuple[Scope, Kind]]:
    return {(trace.scope, trace.kind) for window in windows for trace in window.traces}


def energy_by(
    cell: Cell, scope: Scope, kind: Kind, windows: Sequence[Window], confidence: float
) -> Energy:
    """The energy of a cell in one scope, read in one way."""
    meters = _meters(cell, scope, kind, windows)
    metered = [(window, metered_as(window, scope, kind, meters)) for window in windows]
    mine = [(w, m) for w, m in metered if w.cell_id == cell.id]
    valid = [(w, m) for w, m in mine if isinstance(m, Metered)]
    idle = [(w, m) for w, m in metered if w.cell_id == IDLE and isinstance(m, Metered)]
    rounds = tuple(_round(w, m, [one for one in idle if one[0].index == w.index]) for w, m in valid)
    invalid = Counter(m for _, m in metered if isinstance(m, str))
    energy = Energy(
        scope=scope,
        meters=tuple(meters),
        kind=kind,
        samples=cell.batch,
        tokens=tokens_of(cell),
        rounds=rounds,
        windows=len(mine),
        invalid=dict(sorted(invalid.items())),
        resolution=max((m.resolution for _, m in valid), default=None),
    )
    if len(rounds) < FEWEST_ROUNDS:
        return energy.model_copy(update={"missing": _missing(len(rounds), mine)})
    update: dict[str, Estimate | None] = {
        "gross_j": _mean([r.gross_j for r in rounds], confidence),
        "net_j": _mean([r.net_j for r in rounds if r.net_j is not None], confidence),
        "power_w": _mean([m.watts for _, m in valid], confidence),
        "idle_w": _mean([r.idle_w for r in rounds if r.idle_w is not None], confidence),
    }
    return energy.model_copy(update=update)


def _meters(cell: Cell, scope: Scope, kind: Kind, windows: Sequence[Window]) -> list[str]:
    """Those that read a cell. Idle windows are read by the meters of all cells, so they tell only
    of a cell that was not read in any window of its own."""
    mine = [window for window in windows if window.cell_id == cell.id]
    own, every = (
        sorted({trace.meter for window in some for trace in _traces(window, scope, kind)})
        for some in (mine, windows)
    )
    return own or every


def _missing(valid: int, mine: Sequence[tuple[Window, Metered | str]]) -> str:
    reasons = Counter(m for _, m in mine if isinstance(m, str))
    why = f": {reasons.most_common(1)[0][0]}" if reasons else ""
    return f"{valid} of {len(mine)} windows are valid, but {FEWEST_ROUNDS} are needed{why}"


def _mean(values: Sequence[float], confidence: float) -> Estimate | None:
    if len(values) < FEWEST_ROUNDS:
        return None
    found = mean_interval(values, confidence)
    return within_limits(found.estimate, found.low, found.high, confidence)


def _round(window: Window, gross: Metered, idle: Sequence[tuple[Window, Metered]]) -> EnergyRound:
    """One window of a cell, its net energy where the idle ones before and after it are valid."""
    before = [one for one in idle if one[0].began_ns < window.began_ns]
    after = [one for one in idle if one[0].began_ns > window.began_ns]
    gross_j = gross.joules / window.queries
    if not before or not after:
        return EnergyRound(index=window.index, gross_j=gross_j)
    around = [(_middle_s(w), m.watts) for w, m in (before[-1], after[0])]
    idle_w = between(_middle_s(window), *around)
    net_j = gross_j - idle_w * gross.seconds / window.queries
    return EnergyRound(index=window.index, gross_j=gross_j, idle_w=idle_w, net_j=net_j)


def _middle_s(window: Window) -> float:
    return (window.began_ns + window.span_ns / 2) / 1e9


# -- one window -----------------------------------------------------------------------------------


def metered_as(window: Window, scope: Scope, kind: Kind, meters: Sequence[str]) -> Metered | str:
    """The energy of a whole window, all meters of the scope added up; or why it is not valid."""
    if window.failed:
        return window.failed
    if window.cell_id != IDLE and not window.queries:
        return "no query ended in it"
    if scope in OF_DEVICES and window.throttled:
        return f"the device was throttled: {window.throttled[0]}"
    if scope not in OF_DEVICES and (why := _disturbed(window)):
        return why
    if not meters:
        return "it was not read"
    traces: Mapping[str, Trace] = {t.meter: t for t in _traces(window, scope, kind)}
    parts: list[Metered] = []
    for meter in meters:
        found = metered_by(traces[meter], window) if meter in traces else f"{meter} was not read"
        if isinstance(found, str):
            return found
        parts.append(found)
    seconds = window.span_ns / 1e9
    joules = sum(part.watts for part in parts) * seconds
    return Metered(joules, seconds, max(part.resolution for part in parts))


def _disturbed(window: Window) -> str:
    """The first thing that makes a window's energy not its cell's own; empty where nothing does."""
    return next(filter(None, map(_in_general, window.disturbed)), "")


def _in_general(words: str) -> str:
    """Why a window doesn't count, without the figures; words of no known kind as they are."""
    found = (
        why for part, why in DISTURBANCES.items() if words.startswith(part) or words.endswith(part)
    )
    return next(found, words)


def metered_in(window: Window, energy: Energy) -> Metered | str:
    """A window read as the energy of its cell is."""
    return metered_as(window, energy.scope, energy.kind, energy.meters)


def metered_by(trace: Trace, window: Window) -> Metered | str:
    """What one meter tells of a window, whatever else happened in it."""
    if trace.missing:
        return trace.missing
    if trace.others:
        return "another process computed on the device"
    at = [ns / 1e9 for ns in trace.at_ns]
    seconds = window.span_ns / 1e9
    if trace.kind == "power":
        return by_power(at, [mw / 1e3 for mw in trace.values], 0.0, seconds)
    wraps_at = None if trace.wraps_at_uj is None else trace.wraps_at_uj / 1e6
    return by_counter(at, [uj / 1e6 for uj in trace.values], 0.0, seconds, wraps_at)


def _traces(window: Window, scope: Scope, kind: Kind) -> list[Trace]:
    return [t for t in window.traces if t.scope == scope and t.kind == kind]


def tokens_of(cell: Cell) -> int | None:
    """Tokens that a query makes, all its samples together: of a prompt those that it takes, of a
    text those of the answer; None where a query has none."""
    scenario = find_scenario(cell.scenario)
    if not scenario.counts or scenario.size is None:
        return None
    one = scenario.answer if scenario.counts == "text" else scenario.new_tokens
    return (one or 0) * cell.batch or None
