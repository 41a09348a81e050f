"""Other programs that are asked something: a vendor's tool, git, a compiler.

They may be absent, broken, or hang. One that waits for a driver that hangs can't even be killed,
and whoever waits for its end hangs with it (`subprocess.run` does). Workers ask programs too,
perhaps in an interpreter that has only numpy and its runtime (Python 3.9 and later).
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import Sequence

#: How long the end of a killed program is waited for; most end at once.
_END_S = 1.0


def ask(
    command: Sequence[str], longest_s: float, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """What a program answers within ``longest_s`` seconds; ``given`` is its standard input.

    Bytes that are no text are replaced. Raises `OSError` where it can't be started, and
    `subprocess.TimeoutExpired` where it takes longer: it is killed then.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace"
    )
    try:
        printed, complained = process.communicate(given, timeout=longest_s)
    except BaseException:
        _kill(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, printed, complained)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a program, or leave it alone where it can't be ended."""
    with contextlib.suppress(OSError):  # `sudo` runs as somebody else
        process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):  # it did not read all that it was given
            if stream is not None:
                stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
