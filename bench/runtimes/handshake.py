"""What a worker's interpreter says about itself, and what is wrong with one, in one sentence."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import Unavailable
from bench.runtimes.environments.interpreter import Interpreter
from bench.worker import PROTOCOL
from bench.worker.hello import OLDEST_PYTHON

#: `bench.backend` and the adapters are tested with this one, and nothing older.
OLDEST_NUMPY = (1, 24)


@dataclass(frozen=True)
class Greeting:
    """An interpreter that workers can run in."""

    python: str  #: version
    numpy: str  #: version


def check_greeting(
    message: Mapping[str, Any], where: str, python: str, interpreter: Interpreter | None
) -> Greeting:
    """The greeting of a fork server. Raises `Unavailable` where no worker can run there."""
    mend = interpreter.mend if interpreter is not None else "Reinstall bench."
    protocol, version = message["hello"], str(message.get("python"))
    if protocol != PROTOCOL:
        raise Unavailable(
            f"{where}: {python} imports another bench than the one it was given (protocol "
            f"{protocol}, this is {PROTOCOL}).",
            "Something there puts its own first on the path: look for PYTHONPATH or a .pth file.",
        )
    if _numbers(version) < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise Unavailable(
            f"{where}: {python} is Python {version}, but workers need {wanted} or later.", mend
        )
    if "numpy" not in message:
        raise Unavailable(
            f"{where}: {python} (Python {version}) can't import numpy: {message.get('problem')}.",
            f"Install it there: {python} -m pip install numpy.",
        )
    numpy = str(message["numpy"])
    if _numbers(numpy) < OLDEST_NUMPY:
        wanted = ".".join(map(str, OLDEST_NUMPY))
        raise Unavailable(
            f"{where}: {python} has numpy {numpy}, but workers need {wanted} or later.",
            f"Install it there: {python} -m pip install 'numpy>={wanted}'.",
        )
    return Greeting(version, numpy)


def cannot_start(
    where: str, python: str, interpreter: Interpreter | None, error: OSError
) -> Unavailable:
    """The error for an interpreter that the system doesn't start."""
    mend = interpreter.mend if interpreter is not None else ""
    if error.errno == errno.ENOENT:
        # An absolute path that is there and still "not found" is a script whose own interpreter
        # is gone, or a link to nothing.
        gone = f"the interpreter {python} does not exist"
        why = (
            f"{python} starts with an interpreter that no longer exists"
            if os.path.exists(python)
            else gone
        )
        return Unavailable(f"{where}: {why}.", mend)
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Unavailable(f"{where}: {python} can't be executed: {reason}.", mend)


def silent(how: str, where: str, python: str, interpreter: Interpreter | None) -> Unavailable:
    """The error for a process that ended before it greeted; ``how`` it ended."""
    mend = interpreter.mend if interpreter is not None else ""
    return Unavailable(f"{where}: {python} {how} before it could identify itself.", mend)


def _numbers(version: str) -> tuple[int, int]:
    """``3.13.0rc1`` -> (3, 13)."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
