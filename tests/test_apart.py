"""What is done apart breaks, ends and leaves behind nothing here."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from high_numbers import high_numbers

from bench import guest
from bench.apart import apart, tell
from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, WorkerCrashed

# Forks this process: one in which other tests loaded runtimes may not survive that.
pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def really_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_IN_PROCESS", raising=False)


def test_a_value_comes_back_whatever_its_size() -> None:
    large = np.arange(2_000_000)
    np.testing.assert_array_equal(apart("it", lambda: large * 2), large * 2)
    assert apart("it", lambda: None) is None


def test_an_error_comes_back_as_what_it_is() -> None:
    def unavailable() -> None:
        raise Unavailable("It is not there.", "Install it.")

    with pytest.raises(Unavailable) as caught:
        apart("it", unavailable)
    assert (caught.value.reason, caught.value.remedy) == ("It is not there.", "Install it.")
    with pytest.raises(ZeroDivisionError):
        apart("it", lambda: 1 // 0)

    class OfItsOwn(Exception):
        pass

    def raises() -> None:
        raise OfItsOwn("what nobody else knows")

    with pytest.raises(RuntimeError, match="OfItsOwn: what nobody else knows"):
        apart("it", raises)


def dies_of(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("work", "kind", "words"),
    [
        (lambda: ctypes.string_at(0), WorkerCrashed, "died of SIGSEGV"),
        (dies_of(signal.SIGABRT), WorkerCrashed, "died of SIGABRT"),
        (dies_of(signal.SIGTERM), WorkerCrashed, "died of SIGTERM"),
        (dies_of(signal.SIGKILL), OutOfMemory, "most likely by the kernel's"),
        (lambda: os._exit(0), WorkerCrashed, "ended with exit code 0"),
    ],
)
def test_a_process_that_dies_is_one_sentence(
    work: Callable[[], None], kind: type[BenchError], words: str
) -> None:
    def without_core() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        work()

    with pytest.raises(kind, match=words) as caught:
        apart("net.py:net", without_core)
    assert str(caught.value).startswith("net.py:net: ")


def test_nothing_that_it_sets_is_set_here() -> None:
    def sets() -> None:
        os.environ["SET_APART"] = "1"
        os.chdir("/")
        sys.modules["made_apart"] = sys

    here = os.getcwd()
    apart("it", sets)
    assert "SET_APART" not in os.environ
    assert os.getcwd() == here
    assert "made_apart" not in sys.modules


def until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    for pid in pids:
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "it is still there"
            time.sleep(0.02)


#: A plain child, one in a session of its own, one that was forked, and a daemon.
STARTS = """
def starts():
    plain = subprocess.Popen(["sleep", "60"])
    session = subprocess.Popen(["sleep", "60"], start_new_session=True)
    forked = os.fork()
    if forked == 0:
        time.sleep(60)
        os._exit(0)
    daemon = subprocess.run(["sh", "-c", "setsid sleep 60 >/dev/null & echo $!"], stdout=-1).stdout
    return [plain.pid, session.pid, forked, int(daemon)]
"""


@pytest.mark.parametrize("ends", ["returns", "segfaults", "exits"])
def test_no_process_that_it_started_outlives_it(ends: str, tmp_path: Path) -> None:
    def starts() -> list[int]:
        place = dict(globals())
        exec(STARTS, place)
        found: list[int] = place["starts"]()
        (tmp_path / "pids").write_text(" ".join(map(str, found)))
        if ends == "segfaults":
            faulthandler.disable()
            ctypes.string_at(0)
        if ends == "exits":
            os._exit(0)
        return found

    with contextlib.suppress(WorkerCrashed):
        assert len(apart("it", starts)) == 4
    until_gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])


def test_a_process_that_keeps_the_pipe_open_keeps_nobody_waiting() -> None:
    def leaves_one() -> None:
        if os.fork() == 0:
            os.setsid()
            time.sleep(3)
            os._exit(0)
        os._exit(1)

    started = time.monotonic()
    with pytest.raises(WorkerCrashed, match="ended with exit code 1"):
        apart("it", leaves_one)
    assert time.monotonic() - started < 2.5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_process_that_waits_for_it_and_all_that_it_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = (
        "import os, pathlib, signal, subprocess, time\nfrom bench.apart import apart\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"note = pathlib.Path({str(tmp_path / 'pid')!r})\n{STARTS}"
        "def work():\n"
        "    pids = [os.getpid(), *starts()]\n"
        "    note.with_suffix('.new').write_text(' '.join(map(str, pids)))\n"
        "    note.with_suffix('.new').rename(note)\n    time.sleep(60)\n"
        "apart('it', work)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "pid").exists():
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(number)
        process.wait()
    until_gone([int(pid) for pid in (tmp_path / "pid").read_text().split()])


def test_what_takes_time_is_told_and_what_guests_set_is_noted() -> None:
    said: list[str] = []

    def works() -> int:
        tell("one")
        tell("two")
        with guest.guest("net.py"):
            os.chdir("/")
        return 3

    guest.changes()
    assert apart("it", works, said.append) == 3
    assert said == ["one", "two"]
    assert guest.changes() == {"net.py": ["the working folder"]}


def test_it_is_done_here_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_IN_PROCESS", "1")
    said: list[str] = []
    assert apart("it", lambda: (tell("one"), os.getpid())[1], said.append) == os.getpid()
    assert said == ["one"]
    with pytest.raises(SpecError):
        apart("it", _refuses)


def _refuses() -> None:
    raise SpecError("no")


def test_what_it_prints_is_not_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    apart("it", lambda: os.system("echo from a child"))
    apart("it", lambda: print("from Python"))
    out, err = capfd.readouterr()
    assert out == ""
    assert "from a child" in err
    assert "from Python" in err


def test_what_was_garbage_before_is_not_torn_down_in_the_copy() -> None:
    """A session of ONNX Runtime that nobody holds joins its threads, which a copy doesn't have."""
    here = os.getpid()

    class Session:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            if os.getpid() != here:
                os.kill(os.getpid(), signal.SIGSEGV)

    gc.disable()
    try:
        Session()
        assert apart("net.py:net", gc.collect) >= 0
    finally:
        gc.enable()


def test_a_value_comes_back_through_a_pipe_of_a_high_number() -> None:
    with high_numbers():
        assert apart("it", lambda: 7) == 7
