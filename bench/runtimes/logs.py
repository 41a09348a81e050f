"""What workers print: its last lines for a message, and never more than a disk can bear."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TAIL_LINES = 12
#: Characters of a line that are shown; a runtime may print a whole graph as one.
_LINE = 500
#: More than a dozen lines of that length, also where characters are of several bytes.
_TAIL_BYTES = 64 << 10
#: What is kept of a worker's output: a driver that prints at each call fills a disk in an hour.
MOST_LOG_BYTES = 1 << 20
_CUT = b"[the beginning was cut off]\n"


def log_tail(log: Path) -> str:
    """The last lines of a worker's output; empty when there are none."""
    try:
        lines = _end_of(log, _TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    cut = (line if len(line) <= _LINE else f"{line[:_LINE]}..." for line in lines[-_TAIL_LINES:])
    return "\n".join(cut)


def last_words(tail: str) -> str:
    """The last line of a log, to stand in a message: the log itself goes with the run's end."""
    line = tail.splitlines()[-1].strip() if tail else ""
    return f" ({line})" if line else ""


def cap_log(log: Path) -> None:
    """Keep the end of a log that grew too large."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > MOST_LOG_BYTES:
            log.write_bytes(_CUT + _end_of(log, MOST_LOG_BYTES - len(_CUT)))


def _end_of(log: Path, most_bytes: int) -> bytes:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most_bytes))
        return file.read(most_bytes)
