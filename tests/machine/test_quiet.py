"""The CPUs to measure on are those that other programs leave idle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.backend import Device, ModelFile, Options
from bench.machine import quiet
from bench.machine.cores import choose_cores
from bench.machine.disturbance import Disturbance, Watcher, block_watcher
from bench.machine.linux import CPUS
from bench.machine.quiet import WINDOW_S, Cores, busy_shares, parse_cpu_times
from bench.measure.canary import CANARY_RUNTIME
from bench.runtimes.processes import launcher

STAT = """cpu  100 0 0 100 0 0 0 0 0 0
cpu0 10 1 2 30 4 5 6 7 1 1
cpu1 50 0 0 0 0 0 0 0 0 0
cpu2 1 2 3
intr 5 cpu9 1 1 1 1 1 1 1 1
"""


class Kernel:
    """A made-up machine whose CPUs are used as ``used`` says while somebody sleeps."""

    def __init__(self, root: Path, used: dict[int, int], **topology: dict[int, str]) -> None:
        self.root, self.used, self.slept = root, used, 0.0
        self.ticks = dict.fromkeys(used, 0)
        self.idle = dict.fromkeys(used, 0)
        for name, values in topology.items():
            for cpu, value in values.items():
                self.write(f"{CPUS}/cpu{cpu}/{name.replace('__', '/')}", value)
        self.write(f"{CPUS}/online", f"0-{max(used)}")
        self.show()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def show(self) -> None:
        lines = [f"cpu{c} {self.ticks[c]} 0 0 {self.idle[c]} 0 0 0 0 0 0" for c in self.used]
        self.write("proc/stat", "cpu  9 0 0 9 0 0 0 0 0 0\n" + "\n".join(lines) + "\n")

    def sleep(self, seconds: float) -> None:
        """Five ticks, of which each CPU is used in so many."""
        self.slept += seconds
        for cpu, ticks in self.used.items():
            self.ticks[cpu] += ticks
            self.idle[cpu] += 5 - ticks
        self.show()


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    cpus = [0, 1, 2, 3]
    monkeypatch.setattr(quiet, "allowed_cpus", lambda: tuple(cpus))
    return cpus


def chosen(kernel: Kernel, *counts: int) -> list[tuple[int, ...]]:
    cores = Cores(counts, kernel.root, kernel.sleep)
    cores.choose_again()
    return [cores[count] for count in counts]


def test_used_is_all_but_idle_and_waiting_for_a_disk() -> None:
    assert parse_cpu_times(STAT) == {0: (31, 65), 1: (50, 50)}


def test_a_share_is_of_the_window_and_never_a_guess() -> None:
    before, after = {0: (10, 20), 1: (5, 5), 2: (0, 0)}, {0: (13, 26), 1: (5, 5), 3: (9, 9)}
    assert busy_shares(before, after) == {0: 0.5, 1: 0.0}
    assert busy_shares({0: (10, 20)}, {0: (4, 30)}) == {0: 0.0}


def test_the_idlest_cpu_is_taken_in_place_of_the_highest(tmp_path: Path, allowed: object) -> None:
    kernel = Kernel(tmp_path, {0: 0, 1: 3, 2: 1, 3: 5})
    assert chosen(kernel, 1, 2, 3) == [(2,), (0, 2), (0, 1, 2)]
    assert kernel.slept == WINDOW_S, "all counts follow from one look"


def test_an_idle_machine_is_measured_on_where_it_always_was(
    tmp_path: Path, allowed: object
) -> None:
    """One tick of five is no reason to move."""
    kernel = Kernel(tmp_path, {0: 0, 1: 0, 2: 0, 3: 1})
    assert (
        chosen(kernel, 1, 2)
        == [(3,), (2, 3)]
        == [tuple(choose_cores(count, tmp_path, allowed=[0, 1, 2, 3])) for count in (1, 2)]
    )


def test_where_all_are_busy_alike_nothing_moves(tmp_path: Path, allowed: object) -> None:
    assert chosen(Kernel(tmp_path, dict.fromkeys(range(4), 5)), 1) == [(3,)]


def test_only_allowed_cpus_are_chosen(tmp_path: Path, allowed: list[int]) -> None:
    allowed[:] = [1, 3]
    assert chosen(Kernel(tmp_path, {0: 0, 1: 2, 2: 0, 3: 5}), 1, 2) == [(1,), (1, 3)]


def test_the_other_hardware_thread_of_a_core_counts(tmp_path: Path, allowed: list[int]) -> None:
    """CPU 4 is not ours, and whoever uses it takes half of core 0 away."""
    allowed[:] = [0, 1, 2]
    pairs = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5", 2: "2,6", 6: "2,6"}
    used = {0: 0, 1: 0, 2: 0, 4: 0, 5: 5, 6: 5}
    kernel = Kernel(tmp_path, used, topology__thread_siblings_list=pairs)
    assert chosen(kernel, 1) == [(0,)]


def test_an_idle_weak_core_is_no_substitute_for_a_busy_strong_one(
    tmp_path: Path, allowed: object
) -> None:
    capacity = {0: "1024", 1: "1024", 2: "400", 3: "400"}
    kernel = Kernel(tmp_path, {0: 2, 1: 5, 2: 0, 3: 0}, cpu_capacity=capacity)
    assert chosen(kernel, 1, 2) == [(0,), (0, 1)]


def test_threads_stay_on_one_socket_and_take_the_idler_one(tmp_path: Path, allowed: object) -> None:
    packages = {0: "0", 1: "1", 2: "0", 3: "1"}
    kernel = Kernel(tmp_path, {0: 0, 1: 0, 2: 0, 3: 5}, topology__physical_package_id=packages)
    assert chosen(kernel, 2) == [(0, 2)]


def test_without_counters_or_with_one_cpu_nothing_is_looked_at(
    tmp_path: Path, allowed: list[int]
) -> None:
    kernel = Kernel(tmp_path, {0: 0, 1: 0, 2: 0, 3: 5})
    (tmp_path / "proc/stat").unlink()
    assert chosen(kernel, 1) == [(3,)]
    allowed[:] = [2]
    assert chosen(Kernel(tmp_path, {0: 0, 1: 0, 2: 0, 3: 5}), 1) == [(2,)]
    assert kernel.slept == 0


# -- waiting --------------------------------------------------------------------------------------


def test_the_thread_that_waited_longest_tells_how_long_an_inference_waited() -> None:
    """A pool's thread on a shared CPU holds up a main thread that has its own."""
    waits = {"7": 0, "8": 0}

    def read(path: str) -> bytes | None:
        task = path.split("/")[4] if "/task/" in path else "7"
        return f"5 {waits[task]} 1".encode() if path.endswith("schedstat") else None

    watcher = Watcher(
        [7],
        every_thread=True,
        read=read,
        tasks=lambda pid: [str(pid), "8"],
        cpu_ns=lambda pid: 0,
        clock_ns=iter([0, 1000]).__next__,
    )
    watcher.start()
    waits.update({"7": 10, "8": 480})
    seen = watcher.stop()
    assert seen.wait_share == 0.48
    assert seen.disturbed() == ["our threads waited for 48% of a CPU"]


def test_a_wait_that_began_before_the_window_is_no_longer_than_the_window() -> None:
    """The kernel counts it when it ends."""
    assert Disturbance(duration_ns=100, jiffy_error_ns=0, own_wait_ns=860).wait_share == 1


def test_a_worker_is_watched_with_its_threads() -> None:
    assert block_watcher([os.getpid()]).every_thread


# -- a real neighbour -----------------------------------------------------------------------------


@pytest.fixture
def neighbour() -> Iterator[int]:
    """A program that never rests on the CPU that would be taken first; which it is."""
    (cpu,) = choose_cores(1)
    burn = f"import os; os.sched_setaffinity(0, [{cpu}]); print(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield cpu
    process.kill()
    process.communicate()


@pytest.mark.alone
@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs to choose from",
)
def test_a_worker_moves_away_from_a_pinned_neighbour_and_has_its_cpu_for_itself(
    neighbour: int, tmp_path: Path
) -> None:
    cores = Cores({1})
    for _ in range(60):
        cores.choose_again()
        if cores[1] != (neighbour,):
            break
    else:
        pytest.skip("other programs use the rest of the machine as much")
    (own,) = cores[1]
    shares: dict[int, list[float]] = {own: [], neighbour: []}
    block_ns: dict[int, list[int]] = {own: [], neighbour: []}
    with launcher(tmp_path / "logs", timeout_s=60) as processes:
        workers = {cpu: processes.worker(CANARY_RUNTIME, 1) for cpu in (own, neighbour)}
        for cpu, worker in workers.items():
            worker.load(ModelFile("canary"), Device("cpu", "", ""), Options(), [cpu])
            worker.bind({})
            worker.warm_up(1.0)
        for _ in range(8):
            for cpu, worker in workers.items():
                with block_watcher([worker.pid]) as watcher:
                    watcher.start()
                    block_ns[cpu].append(int(worker.block(calls=300, discard=5).sum()))
                    shares[cpu].append(watcher.stop().wait_share or 0.0)
    assert np.median(shares[neighbour]) > np.median(shares[own]) + 0.15
    assert np.median(block_ns[neighbour]) > 1.2 * np.median(block_ns[own])
