"""Runs commands side by side, and ends those that are still running when their time is up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: How long commands may take to end after each signal. SIGINT comes first: bench then writes what
#: it measured and pytest its summary, which SIGTERM would cost.
PATIENCE = ((signal.SIGINT, 8.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 1.0))
#: The same where the check itself is being ended, and may be killed at any moment.
HURRY = ((signal.SIGINT, 1.5), (signal.SIGTERM, 0.5), (signal.SIGKILL, 0.5))
#: So long before the end of their time are commands interrupted.
ENDING_S = sum(seconds for _, seconds in PATIENCE)
_STEP_S = 0.05
_COULD_NOT_START = 127  # as shells say it


@dataclass(frozen=True)
class Command:
    """What is run, and the file that it prints to; ``output`` gets what is meant for programs."""

    words: Sequence[str]
    log: Path
    output: Path | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended; ``cut`` if its time was up before that."""

    log: Path
    status: int | None  #: None: it could not even be killed
    seconds: float
    cut: bool = False

    @property
    def last_words(self) -> str:
        """The last line that it printed, which says what was wrong."""
        lines = [line.strip() for line in read(self.log).splitlines() if line.strip()]
        return lines[-1] if len(lines) > 1 else ""  # the first is the command itself


def read(path: Path) -> str:
    """A file's text, whatever bytes are in it; empty if it isn't there."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def run(commands: Sequence[Command], until: float) -> list[Ended]:
    """Run all at once. By ``until`` (on `time.monotonic`) each has ended or was killed."""
    running = [_Running(command) for command in commands]
    try:
        _wait(running, until - ENDING_S)
        _end(running, PATIENCE)
    except BaseException:
        _end(running, HURRY)
        raise
    return [one.ended() for one in running]


def _hear_interrupts() -> None:
    """What a script starts in the background ignores SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class _Running:
    """A command in a session of its own, so that a signal to the check doesn't reach it, and its
    children can be killed with it."""

    def __init__(self, command: Command) -> None:
        self.log = command.log
        self.cut = False
        self.process: subprocess.Popen[bytes] | None = None
        self.began = self.last_seen = time.monotonic()
        with contextlib.ExitStack() as files:
            log = files.enter_context(self.log.open("w", encoding="utf-8", errors="replace"))
            print("$ " + " ".join(command.words), file=log, flush=True)
            out = files.enter_context(command.output.open("wb")) if command.output else log
            try:
                # Not in the checkout, whose folder bench/ would hide the installed package.
                self.process = subprocess.Popen(
                    list(command.words),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    cwd=self.log.parent,
                    env={**os.environ, "COLUMNS": "100"},
                    start_new_session=True,
                    preexec_fn=_hear_interrupts,
                )
            except OSError as error:
                print(error, file=log)

    def runs(self) -> bool:
        """Whether it hasn't ended. Nobody takes leave of it before `ended`: until then its number,
        which is its group's too, is no other's."""
        if self.process is None or self.process.returncode is not None:
            return False
        if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        self.last_seen = time.monotonic()
        return True

    def signal(self, number: signal.Signals) -> None:
        self.cut = True
        assert self.process is not None
        os.kill(self.process.pid, number)  # `send_signal` may take leave of it

    def kill_all(self) -> None:
        """Its children too, whichever survived it."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def ended(self) -> Ended:
        status = _COULD_NOT_START if self.process is None else self.process.poll()
        return Ended(self.log, status, self.last_seen - self.began, self.cut)


def _wait(running: Sequence[_Running], until: float) -> None:
    left = list(running)
    while (left := [one for one in left if one.runs()]) and time.monotonic() < until:
        time.sleep(_STEP_S)


def _end(running: Sequence[_Running], patience: Sequence[tuple[signal.Signals, float]]) -> None:
    """Ask those that still run to end, more and more firmly."""
    late = [one for one in running if one.runs()]
    for number, seconds in patience:
        for one in late:
            if number == signal.SIGKILL:
                one.kill_all()
            elif one.runs():
                one.signal(number)
        _wait(late, time.monotonic() + seconds)
