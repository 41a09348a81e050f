"""Power that a meter wrote to a file, put to the windows of a run that has ended.

Windows and readings are matched by the time of day: of a window its beginning is kept, of a reading
the meter's own clock. Nothing that was measured is changed: each window is written once more, with
the file's readings beside what it had, and the last line counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import SpecError
from bench.machine.wall import MeterFile
from bench.measure.energy.meters import FileReadings, began_unix_s
from bench.record.energy import metered_as, metered_by
from bench.record.result import Record
from bench.record.windows import Scope, Trace, Window
from bench.stats.metered import Metered
from bench.store.derive import derived
from bench.store.raw import read_raw
from bench.store.run import read_run
from bench.store.write import resume_run

_WALL: Scope = "wall"


@dataclass(frozen=True)
class Attached:
    """What came of it: windows of cells and of the idle machine, and why some have no energy."""

    windows: int
    invalid: Mapping[str, int]
    records: Sequence[Record]  #: those of the run that have windows, as they are now


def attach(run: Path, file: MeterFile) -> Attached:
    """Put a meter's readings to those of a run's windows that lack them, and write their records
    anew.

    Raises `SpecError` where the run has no such windows or another meter at the wall was read, and
    where the file covers none of them.
    """
    readings, name = file.read(), file.path.name
    store, stored = resume_run(run)
    store.remedy = "attach the readings again"
    try:
        taken = read_raw(stored).energy
        windows = [window for window in taken if not window.failed]
        _check(store.path, windows, name)
        due = [window for window in windows if not _is_covered(window, name)]
        filled = [with_readings(window, readings, name) for window in due]
        reasons = [_why_none(window, name) for window in filled]
        if not (useless := all(reasons)):
            store.append_energy(filled)
        # Also of a cell none of whose windows was taken: it has the idle ones of its rounds.
        records = _records_again(store.path, {window.cell_id for window in taken})
        # Whoever was stopped behind the windows left records that don't know of them.
        if useless and _at_the_wall(records) <= _at_the_wall(stored.records):
            raise SpecError(_nothing_new(file, store.path, readings, windows, filled, reasons))
        for record in records:
            store.append_record(record)
    finally:
        store.close()
    reasons += [_why_none(window, name) for window in windows if _is_covered(window, name)]
    return Attached(len(windows), dict(Counter(filter(None, reasons)).most_common()), records)


def with_readings(window: Window, readings: Sequence[tuple[float, float]], meter: str) -> Window:
    """A window with the readings (unix time, watts) of its time."""
    others = tuple(trace for trace in window.traces if trace.scope != _WALL)
    told = FileReadings(meter, readings).trace(window)
    return window.model_copy(update={"traces": (*others, told)})


def _is_lost(trace: Trace) -> bool:
    """Whether a meter at the wall could not be read when the window was taken."""
    return trace.scope == _WALL and (bool(trace.missing) or not trace.values)


def _why_none(window: Window, meter: str) -> str:
    """Why a window has no energy at the wall; empty where it has."""
    found = metered_as(window, _WALL, "power", (meter,))
    return found if isinstance(found, str) else ""


def _is_covered(window: Window, meter: str) -> bool:
    """Whether there are readings for all of it: the meter could be read, and its last lines didn't
    come too late."""
    mine = [trace for trace in window.traces if (trace.scope, trace.meter) == (_WALL, meter)]
    return any(isinstance(metered_by(trace, window), Metered) for trace in mine)


def _check(path: Path, windows: Sequence[Window], meter: str) -> None:
    if not windows:
        raise SpecError(
            f"{path} has no energy windows for these readings: `bench run --energy --wall-csv "
            "FILE` records them, even if FILE is only written afterwards."
        )
    told = {t.meter for w in windows for t in w.traces if t.scope == _WALL and not _is_lost(t)}
    if others := sorted(told - {meter}):
        raise SpecError(
            f"{path} already has readings of a wall meter ({', '.join(others)}), and those of a "
            "second can't be mixed with them. A file with more of the same meter's readings must "
            "have the same name."
        )


def _nothing_new(
    file: MeterFile,
    run: Path,
    readings: Sequence[tuple[float, float]],
    windows: Sequence[Window],
    filled: Sequence[Window],
    reasons: Sequence[str],
) -> str:
    """Why no window that had no energy gets one from the readings that it is ``filled`` with. Where
    there are readings for all of any window, the meter's clock is right."""
    name = file.path.name
    if not filled:
        return f"{run} already has readings of {name} in every window."
    ((why, count),) = Counter(reasons).most_common(1)
    rest = f"all {count}" if count == len(reasons) else f"{count} of {len(reasons)}"
    if covered := len(windows) - len(filled):
        return (
            f"{file.path} has nothing new: {covered} of {len(windows)} windows have their readings "
            f"of it already, and it gives none to the others ({rest}: {why})."
        )
    if covered := sum(_is_covered(window, name) for window in filled):
        return (
            f"{file.path} has readings for {covered} of {len(windows)} windows, but no window "
            f"counts ({rest}: {why})."
        )
    return _covers_none(file, readings, windows, why)


def _covers_none(
    file: MeterFile,
    readings: Sequence[tuple[float, float]],
    windows: Sequence[Window],
    why: str,
) -> str:
    """That there are readings for no window, with both clocks."""
    began = [began_unix_s(window) for window in windows]
    theirs = f"{_clock(readings[0][0])} to {_clock(readings[-1][0])}" if readings else "none"
    return (
        f"{file.path}: no window gets an energy from it ({why}). Its readings are from {theirs}, "
        f"the windows from {_clock(min(began))} to {_clock(max(began))}, both UTC: --wall-zone "
        "and --wall-offset shift its times."
    )


def _records_again(run: Path, cell_ids: set[str]) -> list[Record]:
    """New records of these cells, from all that is stored."""
    return [r for r in derived(read_run(run)).run.records if r.cell_id in cell_ids]


def _at_the_wall(records: Sequence[Record]) -> set[tuple[str, tuple[int, ...]]]:
    """The rounds of which each record has an energy at the wall."""
    return {
        (record.cell_id, tuple(one.index for one in energy.rounds))
        for record in records
        for energy in record.energy
        if energy.scope == _WALL
    }


def _clock(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
