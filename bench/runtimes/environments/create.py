"""Making a private environment: a virtual environment, then one installer call a step."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import __version__
from bench.errors import BenchError, SpecError, Unavailable
from bench.runtimes.environments.created import (
    EnvironmentRecord,
    environments_folder,
    python_of,
    read_record,
    state_of,
    write_record,
)
from bench.runtimes.environments.declared import Declared
from bench.runtimes.environments.installer import Installer, failure
from bench.runtimes.environments.interpreter import shell_variables
from bench.worker.hello import OLDEST_PYTHON

#: Would send what is installed elsewhere.
_MISLEADING = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PYTHONPATH", "VIRTUAL_ENV")

#: Asked of an interpreter: its version, and of one that is ready the versions of what is there.
_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
_PACKAGES = (
    "import importlib.metadata as m, json, sys, numpy; found = {d.metadata['Name']: d.version "
    "for d in m.distributions()}; print(json.dumps([sys.version.split()[0], found]))"
)

#: Told what happens, one line at a time.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What `bench env create` was asked for."""

    declared: Declared
    installer: Installer
    python: str = ""  #: the interpreter to make it from; empty: the one that it has, else ours


def create(wish: Wish, tell: Tell) -> EnvironmentRecord:
    """Make the environment, or finish one that was begun; one that is whole stays as it is.

    Raises `Unavailable` where something can't be had (the network, a package, a Python), and
    `SpecError` for an interpreter that is none.
    """
    name = wish.declared.name
    with _alone(name, tell) as lock:
        record = read_record(name)
        base = _base_python(wish.python, record)
        state = state_of(name, record, wish.declared)
        same = record is not None and record.base_python == base
        if record is not None and same and state == "whole":
            tell("it is already complete")
            return record
        if record is None or not same or not _can_go_on(record, wish.declared):
            record = _begin(wish, base, tell, lock)
        return _finish(record, wish.installer, tell, lock)


def _can_go_on(record: EnvironmentRecord, declared: Declared) -> bool:
    """Whether what is there is to be trusted: an installer that was killed leaves half a package,
    which the next one takes for a whole one."""
    fine = record.steps == declared.steps and not record.begun and not record.whole
    return fine and python_of(record.name).exists()


def _begin(wish: Wish, base: str, tell: Tell, lock: int) -> EnvironmentRecord:
    """An empty virtual environment with a record of what it is to become."""
    declared = wish.declared
    folder = environments_folder() / declared.name
    version, problem = _ask(base, _VERSION)
    if problem or not re.fullmatch(r"\d+(\.\d+)+", version):
        raise SpecError(f"{base} is not a working Python: {problem or version[:80]}.")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise SpecError(f"{base} is Python {version}, but an environment needs {wanted} or later.")
    tell(f"virtual environment with Python {version}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _log(declared.name).unlink(missing_ok=True)
    record = EnvironmentRecord(
        name=declared.name,
        backends=declared.backends,
        steps=declared.steps,
        base_python=base,
        installer=wish.installer.name,
        begun=True,
        bench_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_record(record)
    _carry_out(wish.installer.venv_command(base, version, folder), record, "", tell, lock)
    record = record.model_copy(update={"begun": False})
    write_record(record)
    return record


def _finish(
    record: EnvironmentRecord, installer: Installer, tell: Tell, lock: int
) -> EnvironmentRecord:
    """Carry out the steps that are left, and write down what is there then."""
    python = python_of(record.name)
    for number, step in enumerate(record.steps[record.done :], start=record.done + 1):
        wanted = " ".join(step)
        tell(f"step {number} of {len(record.steps)}: {wanted}")
        write_record(record.model_copy(update={"begun": True}))
        _carry_out(installer.install_command(python, step), record, wanted, tell, lock)
        record = record.model_copy(update={"done": number, "begun": False})
        write_record(record)
    found, problem = _ask(str(python), _PACKAGES)
    if problem:
        raise Unavailable(
            f"the environment {record.name} has no importable numpy, which workers need: "
            f"{problem}.",
            f"The requirements of the backend {record.backends[0]} must name one that works.",
        )
    version, packages = json.loads(found)
    record = record.model_copy(
        update={"python": version, "packages": dict(sorted(packages.items()))}
    )
    write_record(record)
    return record


def _carry_out(
    command: Sequence[str], record: EnvironmentRecord, wanted: str, tell: Tell, lock: int
) -> None:
    """Run an installer, passing on what it says, which goes to a log beside the environment too."""
    log = _log(record.name)
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            env=_variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[lock],  # held until the installer ends, even if we are killed
        )
    except OSError as error:
        raise Unavailable(f"{command[0]} can't be started: {error.strerror}.") from error
    assert process.stdout is not None
    with process, log.open("a") as output:
        output.write(f"$ {' '.join(command)}\n")
        for line in process.stdout:
            output.write(line)
            lines.append(line.rstrip())
            tell(lines[-1].strip())
    if process.returncode != 0:
        raise failure(record.name, wanted, lines, process.returncode, log)


def _log(name: str) -> Path:
    return environments_folder() / f".{name}.log"


def _variables() -> Mapping[str, str]:
    kept = {name: text for name, text in shell_variables().items() if name not in _MISLEADING}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}


def _base_python(asked: str, record: EnvironmentRecord | None) -> str:
    """The absolute path of the interpreter to start from: the one asked for, the one that the
    environment was made from before, where that is still there, or ours. Raises `SpecError`."""
    if asked:
        found = shutil.which(os.path.expanduser(asked))
        if found is None:
            raise SpecError(f"no interpreter {asked!r}; name a Python with --python.")
        return os.path.abspath(found)
    before = record.base_python if record is not None else ""
    return before if before and shutil.which(before) else sys.executable


def _ask(python: str, program: str) -> tuple[str, str]:
    """What a program prints in an interpreter, and where it fails its last line of complaint."""
    try:
        done = subprocess.run(
            [python, "-c", program],
            env=dict(_variables()),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if done.returncode != 0 or not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        return "", said[-1].rstrip(
            "."
        ) if said else f"it printed nothing (exit code {done.returncode})"
    return done.stdout.strip(), ""


@contextlib.contextmanager
def _alone(name: str, tell: Tell) -> Iterator[int]:
    """A lock on the environment ``name``; its file descriptor. Waits for who else makes it."""
    folder = environments_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BenchError(f"{folder} can't be written: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process is creating it; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
