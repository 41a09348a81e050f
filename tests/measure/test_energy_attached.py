"""A meter's file that was exported after the run, put to its windows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from energy_windows import SPAN_S, window
from measured_runs import measured_run

from bench.commands.results.attach_energy import command
from bench.errors import SpecError
from bench.machine.wall import MeterFile
from bench.measure.energy.attach import attach, with_readings
from bench.present.publication.check import check
from bench.present.publication.write import publish
from bench.record.result import Record
from bench.record.windows import IDLE
from bench.store.raw import read_raw
from bench.store.run import read_run
from bench.store.write import RunStore, resume_run

BEGAN = "2026-11-28T08:00:00.000+00:00"
BEGAN_S = datetime(2026, 11, 28, 8, tzinfo=UTC).timestamp()


def meter(
    path: Path, watts: Callable[[float], float], first: float = -10, last: float = 20
) -> Path:
    """A reading a second, with a head, in UTC."""
    lines = ["time,watts"]
    seconds = first
    while seconds <= last:
        moment = datetime.fromtimestamp(BEGAN_S + seconds, UTC)
        lines.append(f"{moment.isoformat()},{watts(seconds)}")
        seconds += 0.5
    path.write_text("\n".join(lines) + "\n")
    return path


def test_readings_are_put_to_a_window_by_the_time_of_day(tmp_path: Path) -> None:
    one = window("a", 0, 1, [], began_at="2026-11-28T08:00:02.250+00:00")
    file = MeterFile(meter(tmp_path / "m.csv", lambda s: 100 + s))
    (trace,) = with_readings(one, file.read(), "m.csv").traces
    # From the last reading before the window to the first one behind it.
    assert trace.at_ns[0] == pytest.approx(-0.25e9, abs=1e3)
    assert trace.at_ns[-1] == pytest.approx(SPAN_S * 1e9 + 0.25e9)
    assert (trace.values[0], trace.values[-1]) == (102_000, 105_500)
    assert (trace.scope, trace.kind, trace.meter) == ("wall", "power", "m.csv")


def test_an_energy_at_the_wall_follows_and_is_derived_again(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    before = read_raw(read_run(run)).energy
    found = attach(run, MeterFile(meter(tmp_path / "m.csv", lambda s: 200.0)))
    stored = read_run(run)
    after = read_raw(stored).energy
    assert [(w.index, w.cell_id, w.position) for w in after] == [
        (w.index, w.cell_id, w.position) for w in before
    ], "each window is there once, in its place"
    assert found.windows == sum(not w.failed for w in before)
    assert found.invalid == {}
    energies = {e.scope: e for r in stored.records for e in r.energy}
    wall = energies["wall"]
    assert wall.gross_j is not None, wall.missing
    one = next(w for w in after if w.cell_id != IDLE and w.queries)
    assert wall.gross_j.value == pytest.approx(200 * SPAN_S / one.queries)
    assert energies["gpu-board"].gross_j is not None, "what was read then is kept"
    publish([stored], tmp_path / "published", "A run")
    assert check(tmp_path / "published").problems == ()


def test_windows_that_the_file_does_not_cover_are_told_and_not_filled_in(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    lines = meter(tmp_path / "m.csv", lambda s: 200.0).read_text().splitlines()
    # The windows of measured_runs all begin at the same moment: a gap in it is one in all of them.
    gap = [line for line in lines if not "08:00:00.4" < line[11:21] < "08:00:02.9"]
    path = tmp_path / "gap.csv"
    path.write_text("\n".join(gap) + "\n")
    with pytest.raises(
        SpecError,
        match=r"no window gets an energy from it \(\d power readings in",
    ):
        attach(run, MeterFile(path))
    assert all(t.meter != "gap.csv" for w in read_raw(read_run(run)).energy for t in w.traces)


def test_a_clock_that_is_off_is_told_with_both_times(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    file = meter(tmp_path / "m.csv", lambda s: 200.0, first=3600, last=3700)
    with pytest.raises(SpecError, match=r"from 2026-11-28 09:00:00 to .* 09:01:40, .*--wall-zone"):
        attach(run, MeterFile(file))
    attach(run, MeterFile(file, offset_s=-3610.0))


def test_windows_that_were_disturbed_are_not_told_as_a_clock_that_is_off(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    store, stored = resume_run(run)
    windows = [w for w in read_raw(stored).energy if not w.failed]
    busy = {"disturbed": ("other processes used 1.2 CPUs",)}
    store.append_energy([w.model_copy(update=busy) for w in windows])
    store.close()
    file = meter(tmp_path / "m.csv", lambda s: 200.0)
    count = len(windows)
    with pytest.raises(SpecError) as raised:
        attach(run, MeterFile(file))
    assert str(raised.value) == (
        f"{file} has readings for {count} of {count} windows, but no window counts (all {count}: "
        "other programs used the CPUs)."
    )


def test_a_second_meter_at_the_wall_is_refused(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    file = meter(tmp_path / "m.csv", lambda s: 200.0)
    attach(run, MeterFile(file))
    with pytest.raises(SpecError, match=r"already has readings of m.csv in every window"):
        attach(run, MeterFile(file))
    other = meter(tmp_path / "other.csv", lambda s: 200.0)
    with pytest.raises(SpecError, match=r"already has readings of a wall meter \(m.csv\)"):
        attach(run, MeterFile(other))


def test_lines_that_came_too_late_are_filled_in(tmp_path: Path) -> None:
    """Of one round the file was read to the end, of others in part or not at all."""
    run = measured_run(tmp_path)
    whole = MeterFile(meter(tmp_path / "m.csv", lambda s: 200.0)).read()
    store, stored = resume_run(run)
    windows = [w for w in read_raw(stored).energy if not w.failed]
    early = [reading for reading in whole if reading[0] < BEGAN_S + 1.2]
    some = [
        with_readings(w, {0: whole, 1: early}[w.index], "m.csv") for w in windows if w.index < 2
    ]
    store.append_energy(some)
    store.close()
    found = attach(run, MeterFile(meter(tmp_path / "m.csv", lambda s: 300.0)))
    assert (found.windows, found.invalid) == (len(windows), {})
    powers = {w.index: w.traces[-1].values[0] for w in read_raw(read_run(run)).energy if w.traces}
    assert powers.pop(0) == 200_000, "what was read is kept"
    assert set(powers.values()) == {300_000}
    assert all(len(w.traces) == 3 for w in read_raw(read_run(run)).energy if not w.failed)


def test_a_file_that_is_attached_again_has_nothing_new_for_a_window_with_a_gap(
    tmp_path: Path,
) -> None:
    run = measured_run(tmp_path)
    path = meter(tmp_path / "m.csv", lambda s: 200.0)
    whole = MeterFile(path).read()
    store, stored = resume_run(run)
    windows = [w for w in read_raw(stored).energy if not w.failed]
    store.append_energy([with_readings(w, whole, "m.csv") for w in windows if w.index == 0])
    store.close()
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(x for x in lines if not "08:00:00.4" < x[11:21] < "08:00:02.9") + "\n"
    )
    first = sum(w.index == 0 for w in windows)
    found = attach(run, MeterFile(path))
    assert sum(found.invalid.values()) == len(windows) - first, "for records that lack the others"
    with pytest.raises(SpecError) as raised:
        attach(run, MeterFile(path))
    assert str(raised.value).startswith(
        f"{path} has nothing new: {first} of {len(windows)} windows have their readings of it "
        f"already, and it gives none to the others (all {len(windows) - first}: "
    )
    assert "--wall-offset" not in str(raised.value), "its clock is right"


def test_a_file_is_attached_again_where_the_disk_was_full_before_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measured_run(tmp_path)
    file = MeterFile(meter(tmp_path / "m.csv", lambda s: 200.0))
    append, written = RunStore.append_record, list[str]()

    def full(store: RunStore, record: Record) -> None:
        if written:
            raise SpecError("the disk is full")
        written.append(record.cell_id)
        append(store, record)

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "append_record", full)
        with pytest.raises(SpecError, match="the disk is full"):
            attach(run, file)
    found = attach(run, file)
    walls = [e for r in read_run(run).records for e in r.energy if e.scope == "wall"]
    assert all(energy.meters == ("m.csv",) for energy in walls)
    assert len(walls) == len(found.records) == 3
    with pytest.raises(SpecError, match=r"m\.csv in every window"):
        attach(run, file)


def test_the_command_prints_the_energies_and_how_many_windows_have_one(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    file = meter(tmp_path / "m.csv", lambda s: 200.0)
    done = CliRunner().invoke(command, [str(run), "--wall-csv", str(file)])
    assert done.exit_code == 0, done.output
    assert "wall" in done.output
    count = sum(not w.failed for w in read_raw(read_run(run)).energy)
    assert f"{count} of {count} windows have an energy." in done.output
