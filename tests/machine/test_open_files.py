"""A watcher's files: kept open within the process's limit, and read all the same beyond."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine.open_files import KEPT_SHARE, OpenFiles, limit, raised_limit

needs_limits = pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")


@pytest.mark.parametrize("most", [float("inf"), 0])
def test_files_are_read_anew_and_closed(tmp_path: Path, most: float) -> None:
    path = tmp_path / "counter"
    path.write_text("1")
    files = OpenFiles(most=most)
    assert files.read(str(path)) == b"1"
    path.write_text("2")
    assert files.read(str(path)) == b"2"
    assert files.read(str(tmp_path / "absent")) is None
    assert not files.refused
    assert any(files.descriptors.values()) == bool(most), "kept open where the limit allows"
    files.close()
    files.close()


def test_a_file_that_could_not_be_opened_for_now_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, flags: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    path = tmp_path / "counter"
    path.write_text("1")
    files = OpenFiles()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        assert files.read(str(path)) is None
        assert files.refused
    assert files.read(str(path)) == b"1"
    files.close()


#: Watches so many workers of so many threads as one process, and then opens a file.
MANY = """
import os, resource, sys, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from bench.machine.disturbance import block_watcher
never = threading.Event()
for _ in range(40):
    threading.Thread(target=never.wait, daemon=True).start()
for _ in range(8):
    watcher = block_watcher([os.getpid()])
    watcher.start()
    seen = watcher.stop()
    assert len(watcher._waits) == 41, len(watcher._waits)
    assert seen.own_wait_ns is not None and not seen.unseen
with open(sys.executable, "rb"):
    print("ok")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_more_threads_than_the_process_may_open_files_are_all_watched() -> None:
    told = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=False)
    assert (told.stdout, told.stderr) == ("ok\n", "")


class Limits(SimpleNamespace):
    """The system's limits, and how high it really lets one go."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

    def getrlimit(self, kind: int) -> tuple[int, int]:
        assert kind == self.RLIMIT_NOFILE
        return self.soft, self.hard

    def setrlimit(self, kind: int, limits: tuple[int, int]) -> None:
        soft, hard = limits
        assert (kind, hard) == (self.RLIMIT_NOFILE, self.hard)
        if not 0 <= soft <= self.most:
            raise ValueError("not allowed to raise maximum limit")
        self.soft = soft


@pytest.mark.parametrize(
    ("soft", "hard", "most", "after"),
    [
        (1024, 4096, 4096, 4096),
        (4096, 4096, 4096, 4096),
        (256, -1, 10_240, 10_240),  # macOS
        (1024, 4096, 1024, 1024),  # a sandbox that lets nothing be changed
        (1024, 10**9, 10**9, 65_536),  # a container
        (1024, -1, 10**9, 65_536),
        (10**6, 10**9, 10**9, 10**6),  # somebody wanted it so
    ],
)
def test_as_many_files_may_be_opened_as_a_run_needs_and_the_process_may_ask_for(
    soft: int, hard: int, most: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(soft=soft, hard=hard, most=most)
    monkeypatch.setitem(sys.modules, "resource", limits)
    with raised_limit():
        assert limits.soft == after
        assert limit() == after
        assert OpenFiles().most == KEPT_SHARE * after
    assert limits.soft == soft, "who measured through the API goes on with its own"


@needs_limits
def test_without_a_limit_all_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for absent in (None, Limits(soft=-1, hard=-1, most=-1)):
        monkeypatch.setitem(sys.modules, "resource", absent)
        with raised_limit():
            assert limit() == float("inf")
