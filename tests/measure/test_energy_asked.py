"""What meters' own programs use of the CPUs is not what else the machine does."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.backend import Device
from bench.errors import SpecError
from bench.machine.disturbance import Disturbance
from bench.machine.wall import read_command
from bench.measure.energy import asked as asked_module
from bench.measure.energy import meters, passes
from bench.measure.energy.asked import Asked
from bench.measure.energy.meters import CommandMeter, DeviceMeter, Watch
from bench.measure.energy.passes import EnergyPass
from bench.runtimes.client import End
from bench.spec import Suite
from bench.worker.family import descendants, end_all

BUSY_NS = 200_000_000
#: What is counted of it at least: both ends are counted in jiffies of 10 ms, of two kinds.
COUNTED_NS = BUSY_NS - 40_000_000


@pytest.fixture
def busy(tmp_path: Path) -> str:
    """A command that uses so much CPU time, waits for as long as it is told and prints its
    argument."""
    script = tmp_path / "busy.py"
    script.write_text(
        "import sys, time\n"
        f"while time.process_time_ns() < {BUSY_NS}: pass\n"
        "time.sleep(float(sys.argv[1]))\n"
        "print(*sys.argv[2:])\n"
    )
    return f"{sys.executable} {script}"


def npu_meter(worker: Any) -> DeviceMeter:
    return DeviceMeter(worker, Device("npu:0", "Huawei", "x", "1"), "npu", "npu-smi 0:0")


def test_a_command_that_ended_has_used_what_it_used(busy: str) -> None:
    asked = Asked()
    assert asked.used_ns() == 0
    for count in (1, 2):
        with asked.asking():
            assert read_command(f"{busy} 0 40") == 40
        assert asked.used_ns() >= count * COUNTED_NS
    before = asked.used_ns()
    read_command(f"{busy} 0 40")
    assert asked.used_ns() == before, "what others start is none of it"


def test_a_command_that_fails_has_used_it_too(busy: str) -> None:
    asked = Asked()
    with pytest.raises(SpecError), asked.asking():
        read_command(f"{busy} 0 no watts")
    assert asked.used_ns() >= COUNTED_NS


@pytest.mark.parametrize("shell", ["{}", 'sh -c "{}; true"'])
def test_a_command_that_still_runs_counts_with_what_it_started(busy: str, shell: str) -> None:
    meter = CommandMeter(shell.format(f"{busy} 2 40"))
    with Watch([meter]) as watch:
        seen = [watch.programs_ns()]
        while seen[-1] < COUNTED_NS:
            assert watch.programs_ns() < 2 * BUSY_NS, "not only when it has ended"
            time.sleep(0.01)
            seen.append(watch.programs_ns())
    assert watch.series[0].missing == ""
    assert seen == sorted(seen), "what was used is never unused"
    assert meter.programs_ns() >= COUNTED_NS


@pytest.mark.parametrize("waits", ["0", "600"], ids=["ended", "running"])
def test_a_tool_that_a_meter_s_worker_asks_counts(busy: str, waits: str) -> None:
    code = "import subprocess, sys; subprocess.run(sys.argv[1:]); sys.stdin.read()"
    worker = subprocess.Popen(
        [sys.executable, "-c", code, *busy.split(), waits], stdin=subprocess.PIPE
    )
    meter = npu_meter(SimpleNamespace(pid=worker.pid, ended=lambda: None))
    try:
        while meter.programs_ns() < COUNTED_NS:
            time.sleep(0.01)
            assert worker.poll() is None
    finally:
        end_all([*descendants(worker.pid), worker.pid])
        worker.wait()
    assert meter.programs_ns() >= COUNTED_NS, "what a worker that is gone had used is not unused"
    meter.read_by(SimpleNamespace(pid=worker.pid, ended=lambda: None))  # type: ignore[arg-type]
    assert meter.programs_ns() == 0, "another's tool counts from its own beginning"


def test_the_number_of_a_worker_that_ended_is_not_asked_for_its_tool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meters, "below_ns", lambda pid: 10**9)
    end: list[End | None] = [None]
    worker = SimpleNamespace(pid=5, ended=lambda: end[0])
    assert npu_meter(worker).programs_ns() == 10**9
    end[0] = End(9, 0)
    assert npu_meter(worker).programs_ns() == 0


def test_what_ends_while_it_is_counted_is_not_counted_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program has used 100 ns, and its parent takes leave of it after the first of both looks."""
    looks: list[str] = []

    def running(pid: int) -> int | None:
        looks.append("running")
        return 100 if looks == ["running"] else None

    def waited_for(pid: int) -> int:
        looks.append("waited for")
        return 100 if pid == 1 and "running" in looks else 0

    monkeypatch.setattr(asked_module, "descendants", lambda pid: [2])
    monkeypatch.setattr(asked_module, "process_cpu_ns", running)
    monkeypatch.setattr(asked_module, "_waited_for_by_ns", waited_for)
    assert asked_module.below_ns(1) <= 100


def test_time_of_our_own_is_not_that_of_others() -> None:
    seen = Disturbance(10**9, 0.0, busy_ns=10**9, own_cpu_ns=6 * 10**8)
    assert seen.disturbed() == ["other processes used 40% of a CPU"]
    assert seen.with_own(4 * 10**8).disturbed() == []
    unknown = Disturbance(10**9, 0.0, busy_ns=10**9)
    assert unknown.with_own(10**8) == unknown


def test_a_window_is_not_disturbed_by_what_its_meters_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    class Machine:
        """A machine on which meters' programs use 0.4 s, and others ``more_ns``."""

        used_ns = 0
        more_ns = 0

        def __enter__(self) -> Machine:
            return self

        def __exit__(self, *_: object) -> None: ...

        def start(self) -> None: ...

        def stop(self) -> Disturbance:
            Machine.used_ns += 4 * 10**8
            return Disturbance(10**9, 0.0, busy_ns=4 * 10**8 + Machine.more_ns, own_cpu_ns=0)

    monkeypatch.setattr(passes, "round_watcher", lambda *_: Machine())
    monkeypatch.setattr(passes, "cpus_of", lambda *_: ())
    monkeypatch.setattr(passes, "LEAD_S", 0.0)
    monkeypatch.setattr(passes, "TAIL_S", 0.0)
    monkeypatch.setattr(Watch, "programs_ns", lambda self: Machine.used_ns)
    context: Any = SimpleNamespace(
        suite=Suite(energy=True).model_copy(update={"energy_window_s": 0.01})
    )
    one = EnergyPass([], context, 0)
    none: Any = SimpleNamespace(all=[])
    for Machine.more_ns, words in ((0, ()), (2 * 10**8, ("other processes used 20% of a CPU",))):
        assert one._idle(none, [], 0).window.disturbed == words
