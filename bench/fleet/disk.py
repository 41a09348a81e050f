"""A fleet's run on the disk of the driver: what nodes wrote, as it comes, and the journal.

``fleet.jsonl`` is the journal, one JSON value a line; ``machines/RUN/`` is a copy of the run
directory of a node, byte for byte as far as it came.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.cell import Cell
from bench.errors import BenchError, SpecError
from bench.fleet.transport import Grew
from bench.record.result import SCHEMA_VERSION
from bench.store.find import HEADER, RECORDS
from bench.store.lines import read_records
from bench.store.merged import MACHINES
from bench.store.write import disk_errors, lock_folder

JOURNAL = "fleet.jsonl"
#: A part of a path that leads nowhere else.
_PART = re.compile(r"(?!\.{1,2}$)[^/\\\0]{1,255}")


class BrokenFiles(BenchError):
    """A node sent what can't be a piece of its run directory."""


class Disk:
    """The writing end of a fleet's run, held by one driver at a time."""

    def __init__(self, path: Path) -> None:
        """Raises `SpecError` where another driver has the run, or nothing can be written there."""
        self.path = path
        self._lock = lock_folder(path)
        self._sizes: dict[tuple[str, str], int] = {}
        self._new: dict[Path, None] = {}  #: written, and not yet forced to the disk
        _cut_torn_line(path / JOURNAL)
        self._journal = (path / JOURNAL).open("ab")

    def note(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append to the journal; on the disk when this returns."""
        data = b"".join(json.dumps(line, default=str).encode() + b"\n" for line in lines)
        with self.errors():
            self._journal.write(data)
            self._journal.flush()
            os.fsync(self._journal.fileno())

    def take(self, grew: Grew) -> None:
        """Write a piece of a node's file; `force` brings it to the disk. Raises `BrokenFiles`."""
        path = self._place(grew)
        size = self._sizes.get((grew.run, grew.path), 0)
        whole = grew.offset == 0 and size > 0
        if grew.offset not in (0, size) or (whole and path.suffix == ".jsonl"):
            raise BrokenFiles(
                f"{grew.path} arrived from byte {grew.offset}, but {size} bytes were already there"
            )
        with self.errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            if whole:
                partial = path.with_name(path.name + ".partial")
                partial.write_bytes(grew.data)
                partial.replace(path)
            else:
                with path.open("ab") as file:
                    file.write(grew.data)
        self._sizes[grew.run, grew.path] = grew.offset + len(grew.data)
        self._new[path] = None

    def force(self) -> None:
        """Have on the disk all that was taken, records last."""
        with self.errors():
            for path in sorted(self._new, key=lambda one: one.name == RECORDS):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        self._new.clear()

    def folder(self, run: str) -> Path:
        """Where the run directory of a node is copied to."""
        return self.path / MACHINES / run

    def close_run(self, run: str) -> None:
        """Nothing more comes of a run: lines of which the end never came are cut off."""
        for path in self.folder(run).glob("*.jsonl"):
            with self.errors():
                _cut_torn_line(path)
        for path in self.folder(run).rglob("*.partial"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another driver go on with this."""
        self._journal.close()
        os.close(self._lock)

    def errors(self) -> AbstractContextManager[None]:
        """A full or failing disk as one sentence."""
        return disk_errors(self.path, f"resume with `bench fleet run --resume {self.path}`")

    def _place(self, grew: Grew) -> Path:
        parts = grew.path.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            raise BrokenFiles(f"{grew.path!r} is not a file of a run directory")
        return self.folder(grew.run).joinpath(*parts)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a fleet's journal. Raises `SpecError` where there is none, or it is broken."""
    try:
        text = (path / JOURNAL).read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: not a fleet's run (it has no {JOURNAL}).") from error
    lines = text.split(b"\n")[:-1]  # what a driver didn't write to its end never happened
    try:
        return [json.loads(line) for line in lines if line]
    except ValueError as error:
        raise SpecError(f"{path / JOURNAL}: broken, so it can't be resumed: {error}.") from error


def recorded_cells(folder: Path) -> list[Cell]:
    """The cells that a copied run directory has a record of."""
    return [record.cell for record in read_records(folder, SCHEMA_VERSION, [])]


def cells_in(lines: bytes) -> list[str]:
    """The ids of the cells whose records these whole lines are; what is no record is none."""
    found = []
    for line in lines.split(b"\n")[:-1]:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found.append(str(json.loads(line)["cell_id"]))
    return found


def begun(folder: Path) -> bool:
    """Whether a copied run directory has what makes it one."""
    return (folder / HEADER).is_file()


def _cut_torn_line(path: Path) -> None:
    """Cut off what stands behind the last end of a line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
