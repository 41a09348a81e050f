"""The energy of configurations, by which they race: windows of seconds, in rounds of a few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import get_args

from bench.backend import is_cpu
from bench.cell import Cell
from bench.errors import SpecError, without_stop
from bench.measure.energy.found import Meters
from bench.measure.energy.lasting import IDLE_TURNS, turn_s
from bench.measure.energy.passes import EnergyPass
from bench.measure.member import Context
from bench.measure.plan import PlannedCell
from bench.measure.prepare import Prepared
from bench.measure.starting import Room
from bench.record.energy import energy_by, metered_in
from bench.record.result import Energy
from bench.record.windows import IDLE, OF_DEVICES, Kind, Scope, Window
from bench.runtimes.targets import parse_target
from bench.trials.tune.race import FIRST, SLACK

#: Net energies are raced by where each is at least this share of its gross one. Ratios are of
#: logarithms: of what is nearly nothing an error of a hundredth of the power would be the whole
#: difference. Our choice.
_LEAST_NET = 0.1
#: Whoever has so many windows that don't count, and no more that do, is not waited for.
_MOST_INVALID = 3
#: Rounds of a confirmation in a row that may bring nothing: where one in eight is disturbed, five
#: in a row are one chance in thirty thousand.
FUTILE = 5
_CONFIDENCE = 0.95  # of intervals that nobody reads


@dataclass(frozen=True)
class Joules:
    """J a sample by cell and round: all of one scope, read in one way, all net or all gross."""

    by_cell: Mapping[str, Mapping[int, float]]
    words: str = ""  #: which joules these are
    windows: int = 0  #: that were taken of these cells
    invalid: Mapping[str, int] = field(default_factory=dict)  #: why so many of them don't count


def scopes_of(target: str) -> tuple[Scope, ...]:
    """What a target may be tuned by, the first that there is. The CPUs' package says nothing of
    what an accelerator draws."""
    on_cpu = is_cpu(parse_target(target).device)
    return ("package", "wall") if on_cpu else (*OF_DEVICES, "wall")


def joules_of(cells: Sequence[Cell], windows: Sequence[Window]) -> Joules:
    """Net, unless any of it is nearly nothing, or none can be told: then gross. A race is decided
    on one of the two, and what was net once may become gross but not net again. Windows of little
    net energy are not left out instead: of one configuration those that had more would be kept."""
    energies = _energies(cells, windows)
    if not energies:
        return Joules({cell.id: {} for cell in cells})
    first = next(iter(energies.values()))
    net = _are_net(energies)
    found: dict[str, dict[int, float]] = {cell.id: {} for cell in cells}
    for name, energy in energies.items():
        for one in energy.rounds:
            value = one.net_j if net else one.gross_j
            if value is not None and value > 0:
                found[name][one.index] = value / energy.samples
    words = f"{'net' if net else 'gross'} joules per sample, of {first.scope}, by its {first.kind}"
    taken = [window for window in windows if window.cell_id in found]
    return Joules(found, words, len(taken), _invalid(taken, windows, energies, net=net))


def _are_net(energies: Mapping[str, Energy]) -> bool:
    rounds = [one for energy in energies.values() for one in energy.rounds]
    both = [(one.net_j, one.gross_j) for one in rounds if one.net_j is not None]
    return bool(both) and all(net_j > max(0.0, _LEAST_NET * gross_j) for net_j, gross_j in both)


def _invalid(
    taken: Sequence[Window],
    windows: Sequence[Window],
    energies: Mapping[str, Energy],
    *,
    net: bool,
) -> dict[str, int]:
    """Why windows that were ``taken`` of configurations don't count, the commonest reason first."""
    reasons = Counter(
        why
        for window in taken
        if window.cell_id in energies
        and (why := _why_invalid(window, windows, energies[window.cell_id], net=net))
    )
    return dict(reasons.most_common())


def _why_invalid(window: Window, windows: Sequence[Window], energy: Energy, *, net: bool) -> str:
    """Why one doesn't count: itself, or where energies are net an idle one of its round."""
    found = metered_in(window, energy)
    if isinstance(found, str):
        return found
    if not net or any(r.index == window.index and r.net_j is not None for r in energy.rounds):
        return ""
    idle = [metered_in(w, energy) for w in windows if (w.index, w.cell_id) == (window.index, IDLE)]
    why = next((each for each in idle if isinstance(each, str)), "there is none before or after it")
    return f"its idle window: {why}"


def no_energy(cells: Sequence[Cell], windows: Sequence[Window]) -> dict[str, str]:
    """Those of which most windows don't count, with the commonest reason. ``cells`` are all that
    are raced: how energies are read is one for all."""
    counting = joules_of(cells, windows).by_cell
    energies = _energies(cells, windows)
    net = _are_net(energies)
    found: dict[str, str] = {}
    for cell in cells:
        mine = [window for window in windows if window.cell_id == cell.id]
        invalid = len(mine) - len(counting[cell.id])
        if invalid >= _MOST_INVALID and invalid >= len(counting[cell.id]):
            reasons = _invalid(mine, windows, energies, net=net)
            why = next(iter(reasons), "its meter reported nothing")
            found[cell.id] = f"{invalid} of {len(mine)} windows are invalid ({why})"
    return found


def _energies(cells: Sequence[Cell], windows: Sequence[Window]) -> dict[str, Energy]:
    """Of the first scope that is read, by its counter unless readings of power have twice as many
    valid windows: the two differ within short times, and nobody is judged by both."""
    names = {cell.id for cell in cells}
    read = {(t.scope, t.kind) for w in windows if w.cell_id in names for t in w.traces}
    scopes = {scope for scope, _ in read}
    scope = next((s for cell in cells for s in scopes_of(cell.target) if s in scopes), None)
    if scope is None:
        return {}
    near = {cell.id: _windows_of(cell.id, windows) for cell in cells}
    best: dict[str, Energy] = {}
    valid = -1
    kinds: tuple[Kind, ...] = get_args(Kind)
    for kind in kinds:
        if (scope, kind) not in read:
            continue
        found = {
            c.id: energy_by(c, scope, kind, near[c.id], _CONFIDENCE) for c in cells if near[c.id]
        }
        count = sum(len(one.rounds) for one in found.values())
        if valid < 0 or count > 2 * valid:
            best, valid = found, count
    return best


def _windows_of(cell_id: str, windows: Sequence[Window]) -> list[Window]:
    """Its own, and the idle ones of their rounds."""
    rounds = {window.index for window in windows if window.cell_id == cell_id}
    return [w for w in windows if w.index in rounds and w.cell_id in (cell_id, IDLE)]


class RaceWindows(EnergyPass):
    """Windows of the cells that a race names; the meters stay open from round to round."""

    def __init__(
        self,
        cells: Sequence[PlannedCell],
        context: Context,
        first: int,
        room: Room,
        held: ExitStack,
    ) -> None:
        super().__init__(cells, context, first, room)
        self._open = self.meters(held)

    def windows(self, cells: Sequence[PlannedCell]) -> list[Window]:
        """One of each."""
        return self.windows_of(cells, self._open)


# -- before anything is measured ------------------------------------------------------------------


def check_meters(prepared: Prepared, planned: PlannedCell, max_time_s: float) -> None:
    """Raise `SpecError` where there is no meter of what the target draws, or no time for it."""
    suite, target = prepared.plan.suite, planned.cell.target
    told: list[str] = []
    with ExitStack() as held:
        meters = Meters(suite, prepared.launcher, told.append)
        meters.open([planned], held)
        scopes = meters.scopes
    if not scopes & set(scopes_of(target)):
        on_cpu = "package" in scopes_of(target)
        # A device's own trouble comes first, that of the CPUs last.
        why = without_stop(told[-1 if on_cpu else 0] if told else "nothing can be read")
        wall = "" if "--wall-command" in why else "; --wall-command reads a wall meter"
        raise SpecError(f"--for energy on {target}: no meter to tune by: {why}{wall}.")
    least_s = SLACK * FIRST * (2 + IDLE_TURNS) * turn_s(suite)
    if max_time_s < least_s:
        raise SpecError(
            f"--for energy needs windows of {suite.energy_window_s:g} s: a first look at two "
            f"configurations takes at least {least_s:.0f} s, so give a longer --max-time."
        )
