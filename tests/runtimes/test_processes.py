"""Processes: what happens to a worker becomes a typed error that says so."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from high_numbers import high_numbers

from bench.backend import Device, ModelFile, Options
from bench.errors import BenchError, OutOfMemory, WorkerCrashed, WorkerTimeout
from bench.machine.disturbance import process_cpu_ns, round_watcher
from bench.measure.canary import CANARY_RUNTIME
from bench.measure.member import used_by
from bench.runtimes import client
from bench.runtimes import processes as serving
from bench.runtimes.client import End, Worker
from bench.runtimes.logs import MOST_LOG_BYTES, cap_log, log_tail
from bench.runtimes.probe import probe
from bench.runtimes.processes import (
    Abandoned,
    ForkServer,
    Launcher,
    launcher,
    thread_environment,
)
from bench.runtimes.runtime import Runtime
from bench.worker.wire import Channel

LOAD = (ModelFile("canary"), Device("cpu", "", ""), Options())


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Launcher]:
    with launcher(tmp_path / "logs", timeout_s=20) as started:
        yield started


@pytest.fixture
def worker(processes: Launcher) -> Worker:
    return processes.worker(CANARY_RUNTIME, 1)


def test_a_worker_loads_binds_and_times_blocks(worker: Worker) -> None:
    assert worker.load(*LOAD).load_ns > 0
    worker.bind({})
    assert worker.warm_up(1.0).calls >= 5
    latency_ns = worker.block(calls=7, discard=2)
    assert latency_ns.shape == (7,)
    assert latency_ns.dtype == np.int64
    assert (latency_ns > 0).all()


def test_a_worker_killed_from_outside_is_reported_as_out_of_memory(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(OutOfMemory, match="out-of-memory killer"):
        worker.peak_rss_bytes()


def test_a_worker_that_dies_of_having_no_memory_was_not_killed_by_the_kernel(
    worker: Worker,
) -> None:
    with worker.log.open("a") as log:
        print("terminate called after throwing an instance of 'std::bad_alloc'", file=log)
    os.kill(worker.pid, signal.SIGABRT)
    with pytest.raises(OutOfMemory, match=r"died of SIGABRT during .*bad_alloc.*ran out of") as why:
        worker.peak_rss_bytes()
    assert "killer" not in str(why.value)


def test_a_segfault_is_named(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(WorkerCrashed, match="SIGSEGV"):
        worker.peak_rss_bytes()


def test_a_worker_that_hangs_is_killed_in_time(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGSTOP)
    worker.timeout_s = 0.2
    with pytest.raises(WorkerTimeout, match="--cell-timeout"):
        worker.peak_rss_bytes()
    _wait_until_gone(worker.pid)


def test_requests_out_of_order_are_errors_and_the_worker_lives_on(worker: Worker) -> None:
    with pytest.raises(BenchError, match="no input is bound"):
        worker.block(calls=1, discard=0)
    assert (worker.peak_rss_bytes() or 0) > 0


def test_a_dead_server_fails_its_worker_and_is_replaced(processes: Launcher) -> None:
    first = processes.worker(CANARY_RUNTIME, 1)
    server = psutil.Process(first.pid).parent()
    assert server is not None
    server.kill()
    server.wait(5)
    with pytest.raises(WorkerCrashed):
        processes.worker(CANARY_RUNTIME, 1)
    assert probe(processes.worker(CANARY_RUNTIME, 1))[0] == "1"


def test_an_adapter_that_cannot_be_imported_fails_once_and_fast(processes: Launcher) -> None:
    broken = Runtime("broken", "no_such_module:Backend", {})
    for _ in range(2):
        with pytest.raises(WorkerCrashed, match="No module named 'no_such_module'"):
            processes.worker(broken, 1)


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    with launcher(tmp_path / "logs", timeout_s=20) as processes:
        workers = [processes.worker(CANARY_RUNTIME, 1) for _ in range(3)]
    for worker in workers:
        _wait_until_gone(worker.pid)


def test_threads_of_a_runtime_sleep_when_they_have_nothing_to_do() -> None:
    """OpenMP's and MKL's pools spin for up to 200 ms after a call unless these say otherwise, and
    would heat the core that another worker is timed on."""
    variables = thread_environment(3)
    assert variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert variables["KMP_BLOCKTIME"] == "0"
    assert variables["GOMP_SPINCOUNT"] == "0"


def test_the_thread_count_is_told_to_every_library_that_has_a_pool() -> None:
    variables = thread_environment(3)
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert {name: variables[name] for name in pools} == dict.fromkeys(pools, "3")


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    with contextlib.suppress(psutil.NoSuchProcess):  # between being found and being asked, too
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"process {pid} is still there"
            time.sleep(0.01)


def test_a_worker_that_is_not_understood_when_it_starts_is_ended(
    processes: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def greet(self: Worker) -> None:
        pids.append(self.pid)
        raise WorkerCrashed("another version of bench")

    monkeypatch.setattr(Worker, "greet", greet)
    with pytest.raises(WorkerCrashed, match="another version") as kept:
        processes.worker(CANARY_RUNTIME, 1)
    _wait_until_gone(pids[0])
    assert kept.value.__traceback__ is not None, "which has the channel: its end is not what did it"


def test_a_process_is_ended_once_for_its_number_may_be_anothers_then(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.end()
    _wait_until_gone(worker.pid)
    nobody_is_ended(monkeypatch)
    worker.kill()
    worker.end()


def nobody_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("end_group", "end_all", "descendants"):
        monkeypatch.setattr(client, name, lambda pids: pytest.fail("another process is ended"))


@pytest.mark.parametrize("how", ["kill", "end"])
def test_a_process_that_ended_by_itself_is_left_alone_for_its_number_may_be_anothers(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    _wait_until_gone(worker.pid)
    nobody_is_ended(monkeypatch)
    getattr(worker, how)()
    assert not worker.alive


def test_what_died_in_an_answer_is_left_alone(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(OutOfMemory):
        worker.peak_rss_bytes()
    nobody_is_ended(monkeypatch)
    worker.kill()


def test_a_number_that_another_worker_has_by_now_tells_nothing_of_the_one_before(
    worker: Worker, processes: Launcher
) -> None:
    (server,) = processes._servers.values()
    server._note({"ended": worker.pid, "status": 9})
    assert server.end_of(worker.pid, 0) == End(9, None)
    server._note({"pid": worker.pid})
    assert server.end_of(worker.pid, 0) is None


def test_nobody_waits_for_an_import_to_end_a_worker(worker: Worker, processes: Launcher) -> None:
    (server,) = processes._servers.values()
    with ThreadPoolExecutor(1) as other, server._turn:
        other.submit(worker.kill).result(timeout=10)
    _wait_until_gone(worker.pid)


def test_what_killed_a_worker_is_told_when_an_import_for_another_is_over(
    worker: Worker, processes: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for an import has the server's turn, for longer than a dead worker's end takes
    to be told otherwise."""
    monkeypatch.setattr(client, "_REAPED_S", 0.5)
    (server,) = processes._servers.values()
    with ThreadPoolExecutor(1) as other:
        with server._turn:
            asked = other.submit(worker.peak_rss_bytes)
            os.kill(worker.pid, signal.SIGKILL)
            time.sleep(1.5)
        with pytest.raises(OutOfMemory):
            asked.result(timeout=10)


def test_what_an_idle_worker_started_ends_with_it_though_its_channel_tells_it_first(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that sees its channel end leaves before anybody asks what it started."""
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    close = worker._channel.close

    def closed() -> None:
        close()
        _wait_until_gone(worker.pid)
        assert worker.ended(wait_s=5) is not None

    def started_by(pid: int) -> list[int]:
        return [] if worker.ended() else [child.pid]

    monkeypatch.setattr(worker._channel, "close", closed)
    monkeypatch.setattr(client, "descendants", started_by)
    monkeypatch.setattr(client, "end_group", lambda pid: pytest.fail("it may be another's number"))
    try:
        worker.kill()
        assert child.wait(10) == -signal.SIGKILL
    finally:
        child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's clocks of processes")
def test_a_process_that_ended_leaves_the_time_that_it_used(worker: Worker) -> None:
    worker.load(*LOAD)
    worker.bind({})
    worker.warm_up(1.0)
    used_ns = process_cpu_ns(worker.pid)
    assert used_ns
    os.kill(worker.pid, signal.SIGKILL)
    end = worker.ended(wait_s=10)
    assert end is not None
    assert end.cpu_ns is not None
    assert used_ns <= end.cpu_ns < 2 * used_ns
    assert os.waitstatus_to_exitcode(end.status) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
@pytest.mark.parametrize("by", ["us", "itself"])
def test_what_others_use_is_known_beside_a_worker_that_ends(worker: Worker, by: str) -> None:
    with round_watcher([os.getpid(), worker.pid], [0], used_by([worker])) as watcher:
        watcher.start()
        if by == "us":
            worker.kill()
        else:
            os.kill(worker.pid, signal.SIGSEGV)
        _wait_until_gone(worker.pid)
        seen = watcher.stop()
    assert seen.unseen == ()
    assert seen.other_cpu_ns is not None


# -- whose memory it was --------------------------------------------------------------------------


@pytest.fixture
def two(processes: Launcher) -> tuple[Worker, Worker]:
    one, other = (processes.worker(CANARY_RUNTIME, 1) for _ in "ab")
    for worker in (one, other):
        worker.load(*LOAD)
    return one, other


def test_a_worker_that_was_killed_is_beside_another_that_was_there_when_it_last_answered(
    two: tuple[Worker, Worker],
) -> None:
    """Nobody knows when it was killed, and the other may be gone when it is found dead."""
    one, other = two
    os.kill(one.pid, signal.SIGKILL)
    _wait_until_gone(one.pid)
    other.end()
    with pytest.raises(OutOfMemory):
        one.bind({})
    assert one.was_beside([one, other])


def test_a_worker_is_not_beside_one_that_ended_before_its_last_answer(
    two: tuple[Worker, Worker],
) -> None:
    one, other = two
    other.end()
    one.peak_rss_bytes()
    os.kill(one.pid, signal.SIGKILL)
    with pytest.raises(OutOfMemory):
        one.bind({})
    assert not one.was_beside([one, other])
    assert other.was_beside([one, other])


def test_what_a_worker_answers_is_of_the_time_since_it_was_asked(
    two: tuple[Worker, Worker],
) -> None:
    one, other = two
    with pytest.raises(BenchError):
        one.block(calls=1, discard=0)  # of nothing that is bound
    assert one.was_beside([other])
    other.end()
    with pytest.raises(BenchError):
        one.block(calls=1, discard=0)
    assert not one.was_beside([other])


# -- a channel that is of no more use -------------------------------------------------------------


def test_a_worker_answers_through_a_channel_of_a_high_number(processes: Launcher) -> None:
    with high_numbers():
        assert processes.worker(CANARY_RUNTIME, 1).load(*LOAD).load_ns > 0


def test_an_interrupted_worker_is_killed_and_never_talked_to_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a message may be read by then: what came next would be taken for a beginning."""

    def interrupted(self: Channel, timeout_s: float | None = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Channel, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worker.peak_rss_bytes()
    _wait_until_gone(worker.pid)
    with pytest.raises(WorkerCrashed, match="sent to a worker that has exited"):
        worker.peak_rss_bytes()
    worker.end()


def test_what_a_worker_prints_is_kept_up_to_a_limit_and_shown_in_part(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"first\n" + b"x" * (2 * MOST_LOG_BYTES) + b"\nlast \xff")
    *_, line, last = log_tail(log).splitlines()
    assert len(line) < 1000
    assert last == "last \N{REPLACEMENT CHARACTER}"
    cap_log(log)
    kept = log.read_bytes()
    assert len(kept) <= MOST_LOG_BYTES
    assert kept.startswith(b"[the beginning was cut off]\n")
    assert kept.endswith(b"x\nlast \xff")
    cap_log(log)
    assert log.read_bytes() == kept
    assert log_tail(tmp_path / "none.log") == ""


@pytest.mark.parametrize(
    "line",
    [b"{{\n", b"7\n", b"{}\n", b'{"pid": -1}\n', b'{"pid": "1"}\n', b"an endless line" * 100_000],
    ids=["no JSON", "a number", "nothing", "all processes", "a text", "a line without an end"],
)
def test_a_server_that_says_nonsense_is_a_crash_and_nobody_is_killed_for_it(
    tmp_path: Path, line: bytes
) -> None:
    program = tmp_path / "server"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        f"os.write(int(sys.argv[3]), {line!r})\ntime.sleep(60)\n"
    )
    program.chmod(0o755)
    runtime = SimpleNamespace(
        label="acme",
        python=str(program),
        reference="a:B",
        interpreter=None,
        start_variables=lambda: dict(os.environ),
    )
    server = ForkServer(runtime, {}, tmp_path / "log")  # type: ignore[arg-type]
    with pytest.raises(WorkerCrashed, match="the output of its process is not understood"):
        server.spawn(tmp_path / "worker.log", 5)
    server.hang_up()
    server._process.kill()
    server.close()


# -- a fork that nobody waited for ----------------------------------------------------------------


def test_a_worker_that_is_forked_too_late_is_nobodys(
    processes: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks next would talk to one process and end another."""
    living = processes.worker(CANARY_RUNTIME, 1)
    server = psutil.Process(living.pid).parent()
    (asked,) = processes._servers.values()
    assert server is not None
    server.suspend()
    with monkeypatch.context() as patched:
        patched.setattr(serving, "_START_TIMEOUT_S", 0.3)
        with pytest.raises(WorkerTimeout):
            asked.spawn(processes.logs / "late.log", 5)
    server.resume()
    asked._await(lambda: bool(asked._ended), 20)
    assert list(asked._ended) == list(asked._pids), "it ends: its channel has no other end"
    with pytest.raises(Abandoned) as told:
        asked.spawn(processes.logs / "next.log", 5)
    assert isinstance(told.value.why, WorkerTimeout)


def test_who_waited_for_a_server_that_hangs_gets_a_worker_of_another(
    processes: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = processes.worker(CANARY_RUNTIME, 1)
    server = psutil.Process(first.pid).parent()
    plain, tried = ForkServer._forked, []

    def forked(self: ForkServer, *given: Any) -> int:
        tried.append(self)
        if len(tried) == 1:
            raise WorkerTimeout("its process did not answer")
        return plain(self, *given)

    monkeypatch.setattr(ForkServer, "_forked", forked)
    (hanging,) = processes._servers.values()
    with ThreadPoolExecutor(2) as pool:
        with hanging._turn:
            asked = [pool.submit(processes.worker, CANARY_RUNTIME, 1) for _ in range(2)]
            _wait_for(lambda: processes._spawned == 3)  # both wait for their turn
        failed, (found,) = partitioned(asked)
    assert [type(error) for error in failed] == [WorkerTimeout], "of the one that saw it hang"
    assert psutil.Process(found.pid).parent() != server
    assert tried[0] is hanging is not tried[1]
    assert first.peak_rss_bytes() is not None, "its other workers live on"


def partitioned(asked: list[Future[Worker]]) -> tuple[list[BaseException], list[Worker]]:
    failed = [error for one in asked if (error := one.exception(30)) is not None]
    return failed, [one.result() for one in asked if one.exception() is None]


def _wait_for(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (what := found()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return what


# -- messages about what is gone ------------------------------------------------------------------


def test_how_a_worker_ended_is_told_with_its_last_words_and_names_no_file_that_will_be_gone(
    processes: Launcher, worker: Worker
) -> None:
    worker.log.write_text("much before\nthe driver gave up\n")
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(WorkerCrashed) as caught:
        worker.peak_rss_bytes()
    assert str(caught.value).endswith("during `ask-memory` (the driver gave up).")
    assert str(processes.logs) not in str(caught.value)
    assert caught.value.log_tail == "much before\nthe driver gave up"


def test_a_dead_server_is_told_with_its_last_words_and_names_no_file(processes: Launcher) -> None:
    first = processes.worker(CANARY_RUNTIME, 1)
    (server,) = processes._servers.values()
    server.log.write_text("cannot open libcard.so\n")
    parent = psutil.Process(first.pid).parent()
    assert parent is not None
    parent.kill()
    with pytest.raises(WorkerCrashed) as caught:
        processes.worker(CANARY_RUNTIME, 1)
    assert str(processes.logs) not in str(caught.value)
    assert "the runtime died of SIGKILL (cannot open libcard.so)." in str(caught.value)
