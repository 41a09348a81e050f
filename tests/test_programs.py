"""Other programs that are asked something, and don't answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.backends.onnxruntime import native
from bench.backends.torch import compile

from bench.contract import targets
from bench.errors import BenchError, SpecError, Unavailable
from bench.machine.commit import commit_of
from bench.programs import ask
from bench.trials.revisions.repository import repository


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_an_answer_has_both_outputs_and_the_status() -> None:
    code = "import sys; print(input()); print('no', file=sys.stderr); sys.exit(3)"
    done = ask(python(code), 30, "given")
    assert (done.stdout, done.stderr, done.returncode) == ("given\n", "no\n", 3)


def test_bytes_that_are_no_text_are_replaced() -> None:
    code = "import sys; sys.stdout.buffer.write(b'H\\xf6he'); sys.stderr.buffer.write(b'\\xff')"
    done = ask(python(code), 30)
    assert (done.stdout, done.stderr) == (
        "H\N{REPLACEMENT CHARACTER}he",
        "\N{REPLACEMENT CHARACTER}",
    )


def test_one_that_cannot_be_started_is_an_error_of_the_system(tmp_path: Path) -> None:
    broken = tmp_path / "tool"
    broken.write_bytes(b"\0")
    broken.chmod(0o755)
    for command in (broken, tmp_path / "nothing", tmp_path):
        with pytest.raises(OSError, match=r"\[Errno \d+\]"):
            ask([str(command)], 30)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def hangs(tmp_path: Path) -> tuple[list[str], Path]:
    """A program that sleeps, and the file in which its number will be."""
    file = tmp_path / "pid"
    return ["sh", "-c", f"echo $$ > {file}; exec sleep 60"], file


def test_one_that_hangs_is_killed(hangs: tuple[list[str], Path]) -> None:
    command, file = hangs
    with pytest.raises(subprocess.TimeoutExpired):
        ask(command, 2)
    assert not is_alive(int(file.read_text()))


def test_one_that_cannot_be_killed_is_not_waited_for(
    hangs: tuple[list[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits in the kernel for a driver."""
    monkeypatch.setattr(subprocess.Popen, "kill", lambda self: None)
    command, file = hangs
    with pytest.raises(subprocess.TimeoutExpired):
        ask(command, 2)
    pid = int(file.read_text())
    assert is_alive(pid), "its end was waited for"
    os.kill(pid, signal.SIGKILL)


# -- who asks -------------------------------------------------------------------------------------


@pytest.fixture
def standing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], None]:
    """Puts a program of that name, with that content, in the place of all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o755)

    return put


BROKEN = b"\0"
HANGS = b"#!/bin/sh\nexec /bin/sleep 60\n"
FAILS_IN_SILENCE = b"#!/bin/sh\nexit 3\n"


@pytest.mark.parametrize("content", [BROKEN, HANGS, FAILS_IN_SILENCE])
def test_without_a_c_compiler_that_works_the_native_loop_is_ctypes(
    content: bytes, standing_in: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    standing_in("cc", content)
    monkeypatch.setattr(native, "_COMPILER_S", 0.5)
    assert native._compiled_loop() is None


@pytest.mark.parametrize(
    ("content", "told"), [(BROKEN, "Exec format error"), (FAILS_IN_SILENCE, "exit code 3")]
)
def test_a_cxx_compiler_that_does_not_work_makes_torch_compile_absent(
    content: bytes,
    told: str,
    standing_in: Callable[[str, bytes], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    standing_in("g++", content)
    with pytest.raises(Unavailable, match=f"torch-compile is not available: .*g[+][+]: .*{told}"):
        compile.require_compiler.__wrapped__()


def test_a_git_that_cannot_be_started_is_one_sentence(
    tmp_path: Path, standing_in: Callable[[str, bytes], None]
) -> None:
    standing_in("git", BROKEN)
    assert commit_of(tmp_path) is None
    with pytest.raises(SpecError, match=r"^git can't be started: Exec format error\.$"):
        repository(tmp_path)


def test_a_backend_that_hangs_in_its_devices_is_no_absent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(targets, "_LONGEST_S", 2.0)
    process = targets._ask("hanging:Backend")
    with pytest.raises(BenchError, match=r"^hanging:Backend: devices\(\) took longer than 2 s\.$"):
        targets._output("hanging:Backend", process)
    assert process.wait(30) == -signal.SIGKILL
