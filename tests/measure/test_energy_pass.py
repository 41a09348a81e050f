"""The lane of energy: rounds of windows, in turn, with idle before and after."""

from __future__ import annotations

import math
import os
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from energy_windows import window
from fake_records import TEACHER, a_cell

from bench.backend import Device
from bench.errors import BenchError, OutOfMemory, SpecError, WorkerCrashed
from bench.machine import memory
from bench.machine.powercap import Found, Zone
from bench.machine.wall import MeterFile
from bench.measure import starting
from bench.measure.energy import found, passes
from bench.measure.energy.meters import (
    CommandMeter,
    DeviceMeter,
    FileMeter,
    Series,
    Watch,
    ZoneMeter,
    bench_processes,
)
from bench.measure.energy.passes import EnergyPass, Taken, check_wall, has_energy
from bench.measure.member import COLD
from bench.measure.pace.account import Account
from bench.measure.starting import Room
from bench.record.energy import energies
from bench.record.windows import IDLE, Window
from bench.runtimes import client
from bench.runtimes.runtime import Runtime
from bench.spec import Suite
from bench.worker.messages import EnergyWatched, Warmup

RUNTIME = Runtime("x", "nowhere:Nothing", {})
GPU, SECOND = (Device(f"cuda:{number}", "NVIDIA", "H", "1") for number in range(2))
BOARDS = {GPU: "GPU-1", SECOND: "GPU-2"}
WATTS = 100.0


class Meter:
    """A worker that reads a board drawing so many watts."""

    def __init__(self, log: list[str], fails: bool = False) -> None:
        self.log, self.fails, self.pid = log, fails, 1

    def watch_energy(self, device: Device, watch_s: float, every_s: float) -> EnergyWatched:
        if self.fails:
            raise WorkerCrashed("the meter's worker died.")
        time.sleep(min(watch_s, 0.02))
        at = np.array([time.perf_counter_ns()], np.int64)
        absent = np.full(1, -1, np.int64)
        energy_uj = (at * WATTS / 1e3).astype(np.int64)
        return EnergyWatched("gpu-board", BOARDS[device], at, energy_uj, absent)

    def ended(self, wait_s: float = 0.0) -> None: ...

    def end(self) -> None:
        self.log.append("meter ended")

    kill = end


class NearTheGpu(dict[int, tuple[int, ...]]):
    """CPU 0 is near, and asked for as such."""

    def beside(self, count: int, near: tuple[int, ...]) -> tuple[int, ...]:
        assert near == (0,)
        return self[count]


class Computing:
    """A worker that computes a query a ms."""

    pid = 1

    def __init__(self, log: list[str], name: str, dies: bool = False) -> None:
        self.log, self.name, self.dies = log, name, dies
        self.well_s, self.left_s = time.monotonic(), math.inf

    def warm_up(self, budget_s: float) -> Warmup:
        self.log.append(f"{self.name} warmed up")
        return Warmup(calls=5, settled=True, latency_ns=1_000_000)

    def timed_block(self, *, calls: int, discard: int) -> SimpleNamespace:
        assert discard == 0, "what is discarded draws power, too"
        if self.dies:
            raise WorkerCrashed("it died")
        self.log.append(self.name)
        time.sleep(0.01)
        return SimpleNamespace(latency_ns=np.ones(calls, np.int64))

    def readings(self) -> SimpleNamespace:
        told = ({"throttled": []}, {"throttled": ["heat"]}) if self.name == "hot" else ()
        raised = [7] * self.log.count(self.name) if self.name == "hot" else []
        return SimpleNamespace(readings=told, raising_calls=raised)

    was_beside = client.Worker.was_beside

    @property
    def alive(self) -> bool:
        return self.left_s == math.inf

    def kill(self) -> None:
        self.log.append(f"{self.name} ended")
        self.left_s = min(self.left_s, time.monotonic())

    def ended(self, wait_s: float = 0.0) -> None:
        assert f"{self.name} ended" in self.log


class Stage:
    """What an energy pass needs from a run, with what it did to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **suite: Any) -> None:
        self.log: list[str] = []
        self.notes: list[str] = []
        self.rounds: list[list[Window]] = []
        self.fails: dict[str, BenchError] = {}
        self.dies: set[str] = set()
        self.took: list[float] = []
        monkeypatch.setattr(passes, "LEAD_S", 0.02)
        monkeypatch.setattr(passes, "TAIL_S", 0.02)
        monkeypatch.setattr(found, "find_zones", lambda: Found(trouble="no counters here"))
        monkeypatch.setattr(starting, "start_member", self.start)
        monkeypatch.setattr(memory, "spare_bytes", lambda: 10**12)
        given = {"energy_window_s": 0.25, "min_invocations": 3, "wall_command": None}
        given |= {"wall_csv": None, "wall_offset_s": 0.0, "wall_zone": "UTC", **suite}
        self.context: Any = SimpleNamespace(
            suite=SimpleNamespace(**given),
            account=Account(),
            rng=np.random.default_rng(1),
            cpus=NearTheGpu({1: (0,)}),
            listener=SimpleNamespace(note=self.notes.append, phase=lambda text: None),
            launcher=SimpleNamespace(worker=lambda runtime, threads: Meter(self.log)),
            store=SimpleNamespace(append_energy=self.rounds.append),
            at_once=2,
        )

    def start(self, state: Any, context: Any, born: Any, *, warm: bool, glimpse: bool) -> Any:
        assert not warm, "a worker is warmed up while no other starts"
        assert not glimpse, "nobody waits for a figure of time"
        name = state.cell.model.name
        self.born = born
        self.begin(name)
        if name in self.fails:
            raise self.fails[name]
        self.log.append(f"{name} started")
        worker = Computing(self.log, name, name in self.dies)
        born(worker)
        return SimpleNamespace(
            worker=worker,
            warmup=COLD,
            device_memory=None,
            bound=SimpleNamespace(queries_per_call=2, tells_of_device=True),
            watcher=SimpleNamespace(close=lambda: None),
            grown_bytes=0,
            glimpse_ns=None,
            state=state,
        )

    born: Any  #: is told of the worker that starts

    def begin(self, name: str) -> None:
        """A worker begins to start."""

    def run(self, *cells: Any) -> bool:
        rounds = self.context.suite.min_invocations
        return EnergyPass(cells, self.context, 4).run(lambda: rounds, self.took.append)


def planned(name: str = "one", target: str = "x:cuda:0", **changes: Any) -> Any:
    cell = a_cell(TEACHER.model_copy(update={"name": name}), target, **changes)
    devices = {device.id: device for device in BOARDS}
    device = devices.get(target.partition(":")[2], Device("cpu", "AMD", "EPYC", "1"))
    choice = SimpleNamespace(device=device, runtime=RUNTIME)
    return SimpleNamespace(cell=cell, choice=choice, cores=1, on_accelerator=True, near_cpus=(0,))


def test_each_round_has_fresh_workers_and_idle_before_and_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, cells = Stage(monkeypatch), (planned("one"), planned("hot"))
    assert stage.run(*cells)
    assert len(stage.rounds) == 3
    for number, windows in enumerate(stage.rounds):
        assert [w.position for w in windows] == [0, 1, 2, 3]
        assert [w.cell_id == IDLE for w in windows] == [True, False, False, True]
        assert {w.index for w in windows} == {4 + number}
        assert [w.queries > 0 for w in windows] == [False, True, True, False]
    assert stage.log.count("one started") == stage.log.count("one ended") == 3
    assert stage.log[-1] == "meter ended"
    hot = [w for windows in stage.rounds for w in windows if w.cell_id == cells[1].cell.id]
    assert [w.throttled for w in hot] == [("heat",)] * 3
    (energy,) = energies(cells[0].cell, [w for ws in stage.rounds for w in ws], 0.95)
    assert energy.power_w is not None, energy.missing
    assert energy.power_w.value == pytest.approx(WATTS, rel=0.02)
    queries = next(w for w in stage.rounds[0] if w.cell_id == cells[0].cell.id).queries
    assert queries % 200 == 0, "blocks of 100 ms of a call a ms, two queries a call"


def test_cells_on_two_boards_have_an_energy_each(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, cells = Stage(monkeypatch), (planned("one"), planned("two", "x:cuda:1"))
    assert stage.run(*cells)
    windows = [w for ws in stage.rounds for w in ws]
    for one, board in zip(cells, ("GPU-1", "GPU-2"), strict=True):
        near = [w for w in windows if w.cell_id in (one.cell.id, IDLE)]
        (energy,) = energies(one.cell, near, 0.95)
        assert energy.meters == (board,)
        assert energy.power_w is not None, energy.missing
        assert energy.net_j is not None, energy.invalid


def test_a_meter_whose_worker_dies_costs_the_windows_of_its_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Dying(Meter):
        """It opens, is looked at before the first round, and dies in the first window."""

        asked = 0

        def watch_energy(self, device: Device, watch_s: float, every_s: float) -> EnergyWatched:
            self.asked += 1
            self.fails = self.asked > 2
            return super().watch_energy(device, watch_s, every_s)

    stage = Stage(monkeypatch, min_invocations=5)
    none = WorkerCrashed("no memory for it.")
    workers: list[Meter | None] = [Dying(stage.log), None, None, Meter(stage.log)]

    def worker(runtime: Any, threads: int) -> Meter:
        found = workers.pop(0)
        if found is None:
            raise none
        return found

    stage.context.launcher.worker = worker
    one = planned("one")
    assert stage.run(one)
    lost = [{bool(t.missing) for w in ws for t in w.traces} for ws in stage.rounds]
    assert lost == [{True}, {True}, {True}, {False}, {False}]
    assert stage.notes == [
        "energy of cuda:0: the meter's worker died. No new worker can be started for its meter: no "
        "memory for it.",
        "energy of cuda:0: a new worker was started for its meter.",
    ], "in each round it is tried, but not told again"
    assert stage.log.count("meter ended") == 3 + 2, "each is killed or ended"


def test_a_meter_s_new_worker_is_told_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    workers = [Meter(stage.log), Meter(stage.log)]
    opened = workers[0]
    stage.context.launcher.worker = lambda runtime, threads: workers.pop(0)
    meters = found.Meters(stage.context.suite, stage.context.launcher, stage.notes.append)
    with ExitStack() as held:
        meters.open([planned("one")], held)
        opened.fails = True
        meters.mend()
        meters.mend()
    assert stage.notes == [
        "energy of cuda:0: the meter's worker died. A new worker was started for its meter."
    ]


def test_workers_of_a_round_start_side_by_side_and_nothing_is_measured_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, wall_command="echo 40")
    cells = [planned(name, "x:cpu") for name in ("one", "two", "three")]
    for cell in cells:
        cell.on_accelerator = False
    met = threading.Barrier(2)
    begun: list[str] = []

    def begin(name: str) -> None:
        begun.append(name)
        if len(begun) % 3 != 1:  # of each round the first starts alone, to learn what one takes
            met.wait(10)

    monkeypatch.setattr(stage, "begin", begin)
    monkeypatch.setattr(passes.EnergyPass, "_in_turn", lambda self, members, meters: taken(members))
    in_turn: list[list[str]] = []

    def taken(members: Any) -> list[Taken]:
        in_turn.append(stage.log[-6:])
        return [Taken(window("idle", len(in_turn), 0, []), [])]

    stage.run(*cells)
    assert len(in_turn) == 3
    for last in in_turn:
        assert [words.partition(" ")[2] for words in last] == ["started"] * 3 + ["warmed up"] * 3
    assert stage.context.account.starting_s > 0


def test_what_memory_does_not_hold_beside_others_has_a_round_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    cells = [planned("one"), planned("two")]
    monkeypatch.setattr(memory, "spare_bytes", lambda: -1)
    assert stage.run(*cells)
    assert stage.notes == []
    measured = [[w.cell_id for w in windows if w.cell_id != IDLE] for windows in stage.rounds]
    assert all(len(one) == 1 for one in measured)
    assert Counter(cell_id for (cell_id,) in measured) == {p.cell.id: 3 for p in cells}
    assert [windows[0].index for windows in stage.rounds] == list(range(4, 10))


def test_what_runs_out_of_memory_in_its_window_beside_others_has_a_round_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    cells = [planned("one"), planned("two")]
    plain = Computing.timed_block

    def full(self: Computing, **asked: int) -> SimpleNamespace:
        alive = stage.log.count("one started") > stage.log.count("one ended")
        if self.name == "two" and alive:
            raise OutOfMemory("all is taken")
        return plain(self, **asked)

    monkeypatch.setattr(Computing, "timed_block", full)
    assert stage.run(*cells)
    assert stage.notes == []
    measured = Counter(w.cell_id for windows in stage.rounds for w in windows if w.queries)
    assert measured == {p.cell.id: 3 for p in cells}
    assert stage.log.count("two started") == 3 + 1, "beside the other once, and no more"
    stage.rounds.clear()
    assert stage.run(cells[1])
    monkeypatch.setattr(Computing, "timed_block", lambda self, **asked: full_alone())
    assert stage.run(cells[1])
    (note,) = stage.notes
    assert "no energy: all is taken" in note


def test_who_ran_out_of_memory_while_it_was_timed_has_rounds_of_its_own_from_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, cells, room = Stage(monkeypatch), [planned("one"), planned("two")], Room()
    room.apart = {cells[1].cell.id}
    assert EnergyPass(cells, stage.context, 0, room).run(lambda: 3, stage.took.append)
    measured = [[w.cell_id for w in windows if w.cell_id != IDLE] for windows in stage.rounds]
    assert measured == 3 * [[cells[0].cell.id], [cells[1].cell.id]]
    assert stage.log.count("two started") == 3


def test_a_worker_that_the_kernel_kills_while_another_starts_has_a_round_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though the other fails, and is gone when the first is asked to warm up."""
    stage, cells = Stage(monkeypatch), [planned("one"), planned("two")]
    plain = Computing.warm_up
    dead: list[str] = []

    def begin(name: str) -> None:
        if stage.log and stage.log[-1].endswith(" started") and not dead:
            dead.append(stage.log[-1].partition(" ")[0])
            other = Computing(stage.log, name)
            stage.born(other)
            other.kill()
            raise WorkerCrashed("it died, too")

    def warm_up(self: Computing, budget_s: float) -> Warmup:
        if dead == [self.name]:
            dead.append("found out")
            raise OutOfMemory("the kernel killed it")
        return plain(self, budget_s)

    monkeypatch.setattr(stage, "begin", begin)
    monkeypatch.setattr(Computing, "warm_up", warm_up)
    assert stage.run(*cells)
    (note,) = stage.notes
    assert "it died, too" in note
    measured = Counter(w.cell_id for windows in stage.rounds for w in windows if w.queries)
    assert list(measured.values()) == [3]


def full_alone() -> None:
    raise OutOfMemory("all is taken")


def test_a_cell_that_failed_is_told_once_a_round_and_not_in_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    cells = [planned("one"), planned("two"), planned("three")]
    stage.fails = {"three": BenchError("no such kernel")}
    monkeypatch.setattr(memory, "spare_bytes", lambda: -1)
    assert stage.run(*cells)
    assert sum(bool(w.failed) for windows in stage.rounds for w in windows) == 3


def test_calls_that_raise_the_clock_count_as_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.run(planned("hot"))
    # A block is 100 calls of a ms, and 7 that nobody timed; each call makes two queries.
    counts = [w.queries for windows in stage.rounds for w in windows if w.queries]
    assert counts
    assert all(count % 214 == 0 for count in counts)


def test_queries_of_the_lead_and_the_tail_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.run(planned("one"))
    counted = sum(w.queries for windows in stage.rounds for w in windows)
    assert 0 < counted < 200 * stage.log.count("one")


def test_a_cell_that_dies_costs_its_own_windows_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, cells = Stage(monkeypatch), (planned("one"), planned("two"), planned("three"))
    stage.dies, stage.fails = {"two"}, {"three": BenchError("no such kernel")}
    assert stage.run(*cells)
    told = {w.cell_id: w.failed for windows in stage.rounds for w in windows if w.failed}
    assert told == {cells[1].cell.id: "it died", cells[2].cell.id: "no such kernel"}
    taken = Counter(w.cell_id for windows in stage.rounds for w in windows if w.cell_id != IDLE)
    assert taken == {planned.cell.id: 3 for planned in cells}, "one in each round"
    assert len([note for note in stage.notes if "no energy" in note]) == 2
    (energy,) = energies(cells[0].cell, [w for ws in stage.rounds for w in ws], 0.95)
    assert energy.power_w is not None


def test_a_worker_that_failed_is_ended_before_the_next_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, seen = Stage(monkeypatch), []
    stage.dies = {"two"}
    of_cell = EnergyPass._of_cell

    def noting(self: EnergyPass, *given: Any) -> Any:
        taken = of_cell(self, *given)
        if taken.window.failed:
            seen.append("two ended" in stage.log)
        return taken

    monkeypatch.setattr(EnergyPass, "_of_cell", noting)
    assert stage.run(planned("one"), planned("two"))
    assert seen == [True]


def test_without_any_meter_nothing_is_measured_and_the_remedy_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    assert not stage.run(planned("one", "x:cpu"))
    assert stage.rounds == []
    assert stage.notes == ["energy of the CPUs: no counters here."]


@pytest.mark.parametrize("wall", [None, "echo 40"])
def test_counters_that_are_closed_are_told_beside_other_meters_too(
    monkeypatch: pytest.MonkeyPatch, wall: str | None
) -> None:
    stage = Stage(monkeypatch, wall_command=wall, min_invocations=1)
    closed = Found(closed="energy of package: package-1 can't be read: it is broken")
    monkeypatch.setattr(found, "find_zones", lambda: closed)
    assert stage.run(planned("one"))
    assert stage.notes == ["energy of package: package-1 can't be read: it is broken."]


def test_simulated_devices_and_rates_under_bounds_have_no_energy() -> None:
    one = planned("one")
    assert has_energy(one)
    server = planned("one", scenario="server", latency_bound_ns=5_000_000)
    assert not has_energy(server)
    one.choice.device = Device("npu:0", "x", "x", "x", simulated=True)
    assert not has_energy(one)


# -- meters ---------------------------------------------------------------------------------------


def watched(meter: Any, seconds: float = 0.1) -> list[Series]:
    with Watch([meter]) as watch:
        time.sleep(seconds)
    return watch.series


def test_rapl_is_read_until_it_is_enough(tmp_path: Path) -> None:
    (tmp_path / "energy_uj").write_text("5\n")
    (series,) = watched(ZoneMeter([Zone("package-0", "package", tmp_path / "energy_uj", 99)]))
    assert (series.scope, series.kind, series.wraps_at_uj) == ("package", "counter", 99)
    assert len(series.values) >= 3
    assert set(series.values) == {5}


def test_a_counter_that_is_taken_away_says_so(tmp_path: Path) -> None:
    (series,) = watched(ZoneMeter([Zone("package-0", "package", tmp_path / "none", None)]))
    assert "package-0 could not be read" in series.missing


@pytest.mark.parametrize("missing", ["", "no pynvml; install it"])
def test_a_device_that_tells_no_energy_says_why(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def nothing(self: Meter, *asked: Any) -> EnergyWatched:
        time.sleep(0.01)
        none = np.empty(0, np.int64)
        return EnergyWatched("", "", none, none, none, missing=missing)

    monkeypatch.setattr(Meter, "watch_energy", nothing)
    stage = Stage(monkeypatch)
    assert not stage.run(planned("one"))
    why = missing or "the device doesn't report it"
    assert f"energy of {planned('one').cell.target}: {why}." in stage.notes
    (series,) = watched(DeviceMeter(Meter([]), GPU, "gpu-board", "GPU-1"))  # type: ignore[arg-type]
    assert series.missing == (missing or "the device reported no power")


def test_a_device_whose_meter_fails_says_so() -> None:
    (series,) = watched(DeviceMeter(Meter([], fails=True), GPU, "gpu-board", "GPU-1"))  # type: ignore[arg-type]
    assert series.missing == "the meter could not be read: the meter's worker died."


class Shared(Meter):
    """The driver's processes are told beside each reading, from the first to the last."""

    def __init__(self, *told: tuple[set[int], set[int]]) -> None:
        super().__init__([])
        self.told = list(told)

    def watch_energy(self, device: Device, watch_s: float, every_s: float) -> EnergyWatched:
        present, computing = self.told.pop(0) if self.told else (set[int](), set[int]())
        found = super().watch_energy(device, watch_s, every_s)
        return replace(found, present=tuple(present), computing=tuple(computing))


@pytest.mark.parametrize(
    ("told", "others"),
    [
        ([({1, 2}, {1})], set()),  # ours alone computes
        ([({1, 2}, {1, 2})], {2}),
        ([({1, 2}, set()), ({1}, {2})], {2}),  # it has just ended
        ([({1, 2}, {1, 9})], set()),  # one that only draws
        ([({7, 2}, {7, 2})], set()),  # the driver has other numbers for ours
        ([], set()),
    ],
)
def test_other_processes_that_compute_on_the_board_are_told_from_ours(
    told: list[tuple[set[int], set[int]]], others: set[int]
) -> None:
    meter = DeviceMeter(Shared(*told), GPU, "gpu-board", "GPU-1", own=lambda: {1, 3})  # type: ignore[arg-type]
    began = time.perf_counter_ns()
    (series,) = watched(meter)
    assert set(series.trace(began, time.perf_counter_ns()).others) == others


def test_what_another_process_did_counts_in_the_window_in_which_it_was_known() -> None:
    series = Series("gpu-board", "GPU-1", "counter", others=[(n, {n}) for n in (5, 15, 25, 35)])
    assert series.trace(10, 20).others == (15, 25), "known behind it, it may have been in it"
    assert series.trace(40, 50).others == ()
    assert series.trace(0, 4).others == (5,)


def test_bench_s_processes_are_all_that_it_started() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert {os.getpid(), child.pid} <= bench_processes()
            assert os.getppid() not in bench_processes()
        finally:
            child.kill()


def test_a_command_at_the_wall_is_read_in_watts() -> None:
    (series,) = watched(CommandMeter("echo 41.5"), 0.3)
    assert (series.scope, series.kind, series.values[0]) == ("wall", "power", 41_500)
    (series,) = watched(CommandMeter("false"), 0.1)
    assert "status 1" in series.missing


def clock(seconds: float) -> str:
    return repr(time.time() + seconds)


def test_a_meter_s_file_is_aligned_by_the_time_of_day_at_which_a_window_began(
    tmp_path: Path,
) -> None:
    """Whatever the clock is when the file is read: it may have been set since."""
    path = tmp_path / "m.csv"
    path.write_text("".join(f"2026-11-28T08:00:{20 + s},{40 + s}\n" for s in range(-5, 6)))
    one = window("a", 0, 1, [], began_at="2026-11-28T08:00:20.250+00:00", span_ns=2 * 10**9)
    trace = Taken(one, []).whole(FileMeter(MeterFile(path)).read(0)).traces[0]
    assert trace.values == (40_000, 41_000, 42_000, 43_000)
    assert trace.at_ns[0] == pytest.approx(-0.25e9, abs=1e3)
    off = FileMeter(MeterFile(path, offset_s=-3)).read(0).trace(one)
    assert off.values[0] == 43_000
    late = one.model_copy(update={"began_at": "2026-11-28T09:00:00.000+00:00"})
    assert FileMeter(MeterFile(path)).read(0).trace(late).values == (45_000,)


def test_lines_that_are_late_are_waited_for_but_not_for_long(tmp_path: Path) -> None:
    path, waits = tmp_path / "m.csv", []
    path.write_text(f"{clock(-5)},40\n")

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            path.write_text(f"{clock(-5)},40\n{clock(5)},40\n")

    meter = FileMeter(MeterFile(path), sleep)
    assert len(meter.read(time.time()).readings) == 2
    assert len(waits) == 2
    meter.read(time.time() + 1000)
    assert 2 < len(waits) < 20


def test_a_broken_file_is_why_there_are_no_readings(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("time,watts\nnow,40\n")
    meter = FileMeter(MeterFile(path), sleep=lambda seconds: None)
    assert "'now' is not a time" in meter.read(0).missing


def test_a_file_that_can_t_be_read_yet_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("time,wat")
    whole = f"time,watts\n{clock(-5)},40\n{clock(5)},41\n"
    meter = FileMeter(MeterFile(path), sleep=lambda seconds: path.write_text(whole) and None)
    found = meter.read(time.time())
    assert (found.missing, [watts for _, watts in found.readings]) == ("", [40, 41])


def test_a_file_that_comes_after_the_run_is_not_waited_for(tmp_path: Path) -> None:
    waits: list[float] = []
    meter = FileMeter(MeterFile(tmp_path / "m.csv"), waits.append)
    assert "can't be read" in meter.read(0).missing
    assert waits == []


def test_a_wall_that_can_t_be_read_is_told_before_anything_is_measured() -> None:
    with pytest.raises(SpecError, match="status 1"):
        check_wall(Suite(energy=True, wall_command="false"))
    with pytest.raises(SpecError, match="not a time zone"):
        check_wall(Suite(energy=True, wall_csv="m.csv", wall_zone="Mars"))
    check_wall(Suite(energy=True, wall_command="echo 40"))


@pytest.mark.parametrize(
    "given", [{"wall_command": "x"}, {"energy": True, "wall_command": "x", "wall_csv": "y"}]
)
def test_a_wall_without_energy_and_two_walls_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"with `energy`|give only one"):
        Suite(**given)
