"""Environments that `bench env create` made: where they are, and what each was made from.

Each is a virtual environment with one file more, ``environment.json``, which is rewritten after
every step, so that a creation that was killed can go on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bench.cell import Frozen
from bench.discover import unknown
from bench.errors import SpecError
from bench.folders import data_folder
from bench.runtimes.environments.declared import Declared

FOLDER_VARIABLE = "BENCH_ENVIRONMENTS"
RECORD = "environment.json"

State = Literal["whole", "stale", "unfinished", "broken"]


class EnvironmentRecord(Frozen):
    """``environment.json``."""

    schema_version: int = 1
    name: str
    backends: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...]  #: arguments of ``pip install``, in order
    base_python: str  #: the interpreter that it was made from
    installer: str  #: ``pip`` or ``uv``
    done: int = 0  #: steps that ended well
    begun: bool = False  #: the next step was begun: what it left is not to be trusted
    python: str = ""  #: version; empty until it is whole
    packages: dict[str, str] = Field(default_factory=dict)  #: version by distribution
    bench_version: str = ""
    created_at: str = ""

    @property
    def whole(self) -> bool:
        return self.done == len(self.steps) and bool(self.python)


def environments_folder() -> Path:
    """Where environments are kept: the folder that the variable names, else the user's."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else data_folder("environments")


def python_of(name: str) -> Path:
    """The interpreter of the created environment ``name``."""
    return environments_folder() / name / "bin" / "python"


def created_environments() -> dict[str, EnvironmentRecord | None]:
    """Every environment in the folder, sorted by name; None where its record can't be read."""
    folder = environments_folder()
    names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    return {name: read_record(name) for name in names if not name.startswith(".")}


def read_record(name: str) -> EnvironmentRecord | None:
    """What an environment was made from; None where there is no such file, or it is damaged."""
    try:
        text = (environments_folder() / name / RECORD).read_text()
        return EnvironmentRecord.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def write_record(record: EnvironmentRecord) -> None:
    """Replace the record whole: a kill leaves the old one or the new one."""
    path = environments_folder() / record.name / RECORD
    partial = path.with_suffix(".partial")
    partial.write_text(record.model_dump_json(indent=1) + "\n")
    partial.replace(path)


def state_of(name: str, record: EnvironmentRecord | None, declared: Declared | None) -> State:
    """Whether an environment can be used, and is what its backends ask for today.

    ``broken`` is one whose interpreter is gone or whose record can't be read; one that no
    backend declares any more is not stale, for nothing says what it should be.
    """
    if record is None or not _starts(python_of(name)):
        return "unfinished" if record is not None and not record.whole else "broken"
    if not record.whole:
        return "unfinished"
    return "stale" if declared is not None and declared.steps != record.steps else "whole"


def _starts(python: Path) -> bool:
    """Whether the interpreter runs: its base may have been removed or replaced since."""
    try:
        command = [str(python), "-I", "-S", "-c", ""]
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def remove(name: str) -> None:
    """Delete a created environment. Raises `SpecError` for one that is not there."""
    folder = environments_folder() / name
    known = created_environments()
    if name not in known:
        raise unknown("created environment", name, known)
    # Renamed first: one that is half deleted must not look like one that is there.
    doomed = folder.with_name(f".removed-{name}-{os.getpid()}")
    try:
        folder.rename(doomed)
    except OSError as error:
        raise SpecError(f"{folder} can't be removed: {error.strerror}.") from error
    shutil.rmtree(doomed, ignore_errors=True)
