"""What a run does around measuring: where the harness itself computes meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import WorkerCrashed
from bench.machine import quiet
from bench.machine.facts import machine_facts
from bench.machine.linux import allowed_cpus
from bench.machine.quiet import Cores
from bench.measure import run
from bench.measure.canary import CANARY_RUNTIME
from bench.measure.listener import QuietProgress
from bench.runtimes.processes import launcher
from bench.runtimes.targets import default_threads


class Affinity:
    """The CPUs that this process may use, as the system keeps them."""

    def __init__(self, allowed: set[int]) -> None:
        self.allowed = allowed

    def get(self, pid: int) -> set[int]:
        assert pid == 0
        return set(self.allowed)

    def set(self, pid: int, cpus: set[int]) -> None:
        assert pid == 0
        assert cpus, "a process without any CPU"
        self.allowed = set(cpus)


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch) -> Affinity:
    kept = Affinity({0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_getaffinity", kept.get, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", kept.set, raising=False)
    return kept


def cores(monkeypatch: pytest.MonkeyPatch, *chosen: list[int]) -> Cores:
    """Of one CPU for a cell; each choice that is made is the next of ``chosen``."""
    choices = iter(chosen)
    monkeypatch.setattr(quiet, "choose_cores", lambda *_, **__: next(choices))
    monkeypatch.setattr(quiet, "read_text", lambda *_: "cpu0 1 0 0 1 0 0 0 0\n")
    return Cores({1}, sleep=lambda seconds: None)


def test_the_harness_leaves_the_cpus_that_workers_are_timed_on_and_comes_back(
    affinity: Affinity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cores(monkeypatch, [1, 3]):
        assert affinity.allowed == {0, 2}
    assert affinity.allowed == {0, 1, 2, 3}


def test_the_harness_makes_room_where_workers_move_to(
    affinity: Affinity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cores(monkeypatch, [3], [0]) as chosen:
        assert affinity.allowed == {0, 1, 2}
        chosen.choose_again()
        assert chosen[1] == (0,)
        assert affinity.allowed == {1, 2, 3}
    assert affinity.allowed == {0, 1, 2, 3}


def test_the_harness_stays_where_there_is_no_other_cpu(
    affinity: Affinity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cores(monkeypatch, [0, 1, 2, 3]):
        assert affinity.allowed == {0, 1, 2, 3}


def test_the_harness_comes_back_after_an_interrupt(
    affinity: Affinity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt), cores(monkeypatch, [1]):
        raise KeyboardInterrupt
    assert affinity.allowed == {0, 1, 2, 3}


def test_what_may_be_used_does_not_depend_on_where_the_harness_is(
    affinity: Affinity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads, chosen CPUs and a machine's identity follow from it."""
    before = default_threads(), machine_facts().machine_id
    with cores(monkeypatch, [2, 3]):
        assert affinity.allowed == {0, 1}
        assert allowed_cpus() == (0, 1, 2, 3)
        assert (default_threads(), machine_facts().machine_id) == before
    assert allowed_cpus() == (0, 1, 2, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="needs CPUs that a process can be kept on")
def test_workers_that_are_pinned_to_nothing_may_run_where_the_harness_does_not(
    tmp_path: Path,
) -> None:
    """Scores beside others and references compute on all CPUs, whenever their runtime started."""
    whole = os.sched_getaffinity(0)
    if len(whole) < 2:
        pytest.skip("needs two CPUs")
    with Cores({1}), launcher(tmp_path / "logs", timeout_s=60) as processes:
        assert os.sched_getaffinity(0) < whole
        worker = processes.worker(CANARY_RUNTIME, 1)
        assert os.sched_getaffinity(worker.pid) == whole
        worker.end()


def test_a_run_may_open_as_many_files_as_it_may_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher has one for each thread of a worker."""
    done: list[str] = []

    @contextmanager
    def raised() -> Iterator[None]:
        done.append("raised")
        yield
        done.append("as before")

    monkeypatch.setattr(run, "raised_limit", raised)
    measuring = SimpleNamespace(cpus=nullcontext(), run=lambda: done.append("measured"))
    prepared: Any = SimpleNamespace(launcher=SimpleNamespace(logs=None), account=None)
    store: Any = SimpleNamespace(path=Path("here"), logs=Path("here/logs"), close=lambda: None)
    measurer: Any = lambda opened: measuring  # noqa: E731
    run.carry_out(prepared, store, None, QuietProgress(), measurer)
    assert done == ["raised", "measured", "as before"]


def test_an_environment_that_can_not_tell_its_packages_leaves_no_worker() -> None:
    ended: list[str] = []

    def packages() -> dict[str, str]:
        raise WorkerCrashed("it died")

    worker = SimpleNamespace(packages=packages, end=lambda: ended.append("worker"))
    choice = SimpleNamespace(runtime=SimpleNamespace(environment_name="old"), device="cpu")
    cell: Any = SimpleNamespace(choice=choice, cell=SimpleNamespace(threads=1))
    prepared: Any = SimpleNamespace(
        plan=SimpleNamespace(cells=[cell]),
        launcher=SimpleNamespace(worker=lambda runtime, threads: worker),
    )
    assert run._environments(prepared) == {}
    assert ended == ["worker"]
