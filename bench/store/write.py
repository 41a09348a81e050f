"""The writing end of a run directory: append-only, and whole after a kill at any byte."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bench.arrays import Array
from bench.cell import Frozen
from bench.errors import BenchError, SpecError
from bench.record.block import Block
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.header import RunHeader
from bench.record.result import SCHEMA_VERSION, Invocation, Record
from bench.record.resumption import Resumption
from bench.record.windows import Window
from bench.store import outputs
from bench.store.columnar import Column, Names, packed
from bench.store.find import (
    ENERGY,
    FACTS,
    HEADER,
    INVOCATIONS,
    RECORDS,
    RESUMES,
    WORKERS,
    only_run,
)
from bench.store.gaps import GAPS, gaps_column
from bench.store.run import StoredRun, read_run
from bench.store.samples import TTFT
from bench.validation import first_problem


class RunStore:
    """The writing end of one run directory, held by one process at a time.

    ``written`` is told the name of each file within the run once what was written is on the disk.
    """

    def __init__(self, path: Path, *, keeps_raw: bool = True) -> None:
        self.path = path
        self.written: Callable[[str], None] = lambda name: None
        #: False for a run that an older bench began: it goes on as it began
        self.keeps_raw = keeps_raw
        #: what to do once there is space again
        self.remedy = f"resume with `bench run --resume {path}`"
        self.logs = path / "logs"
        self._lock = lock_folder(path)

    @classmethod
    def create(cls, results: Path, header: RunHeader) -> RunStore:
        """A new run directory below ``results``, named by time and suite.

        Raises `SpecError` when it can't be written there.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        try:
            path = _new_folder(results, f"{stamp}-{header.suite.name}")
        except OSError as error:
            raise _unwritable(results, error) from error
        return cls.begin(path, header)

    @classmethod
    def begin(
        cls, path: Path, header: RunHeader, written: Callable[[str], None] | None = None
    ) -> RunStore:
        """A new run directory at ``path``, an empty folder or none. Raises `SpecError` as
        `create` does."""
        try:
            for name in ("samples", "predictions", outputs.FOLDER, "logs"):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path.parent, error) from error
        store = cls(path, keeps_raw=header.keeps_raw)
        store.written = written or store.written
        store.write_atomically(HEADER, header.model_dump_json(indent=1).encode())
        return store

    def append_record(self, record: Record) -> None:
        """Durable when this returns."""
        self._append(RECORDS, [record])

    def append_invocations(self, invocations: Sequence[Invocation]) -> None:
        self._append(INVOCATIONS, invocations)

    def append_workers(self, told: Sequence[WorkerFacts]) -> None:
        if self.keeps_raw:
            self._append(WORKERS, told)

    def append_facts(self, facts: CellFacts) -> None:
        if self.keeps_raw:
            self._append(FACTS, [facts])

    def append_energy(self, windows: Sequence[Window]) -> None:
        """Those of one round."""
        self._append(ENERGY, windows)

    def append_resumption(self, resumption: Resumption) -> None:
        self._append(RESUMES, [resumption])

    def write_samples(self, name: str, blocks: Sequence[Block]) -> None:
        """All blocks of one generation as ``samples/<name>.parquet``."""
        counts = [len(block.latency_ns) for block in blocks]

        def spread(values: Iterable[Any], dtype: Any) -> Array:
            return np.repeat(np.array(list(values), dtype=dtype), counts)

        cells = [block.cell_id for block in blocks]
        names = sorted(set(cells))
        places = {name: place for place, name in enumerate(names)}
        columns: dict[str, Column] = {
            "cell_id": Names(names, spread((places[cell] for cell in cells), np.int32)),
            "invocation": spread((b.invocation for b in blocks), np.int32),
            "round": spread((b.round for b in blocks), np.int32),
            "position": spread((b.position for b in blocks), np.int32),
            "disturbed": spread((b.disturbed for b in blocks), np.bool_),
            "latency_ns": np.concatenate([b.latency_ns for b in blocks])
            if blocks
            else np.empty(0, np.int64),
        }
        if any(block.ttft_ns is not None for block in blocks):
            columns[TTFT] = _ttft_column(blocks)
        if any(block.gaps_ns is not None for block in blocks):
            columns[GAPS] = gaps_column(blocks)
        self._write_columns(f"samples/{name}.parquet", columns)

    def write_predictions(self, name: str, columns: Mapping[str, Array]) -> str:
        """What was scored, one row an item; a column of shape (items, n) becomes lists of n.

        Returns the file's name within the run.
        """
        relative = f"predictions/{name}.parquet"
        self._write_columns(relative, columns)
        return relative

    def write_outputs(self, arrays: Sequence[Array]) -> str:
        """Outputs that are compared. Returns the file's name within the run; empty where they are
        not kept."""
        if not self.keeps_raw or not outputs.can_be_kept(arrays):
            return ""
        name = outputs.file_name(arrays)
        if not (self.path / name).is_file():
            self.write_atomically(name, outputs.packed(arrays))
        return name

    def folder(self, relative: str) -> Path:
        """A folder of the run for files that others write there."""
        path = self.path / relative
        with self._disk_errors():
            path.mkdir(parents=True, exist_ok=True)
        return path.resolve()

    def write_atomically(self, relative: str, data: bytes) -> None:
        """The whole file or none of it."""
        path = self.path / relative
        partial = path.with_name(path.name + ".partial")
        with self._disk_errors():
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        self.written(relative)

    def _write_columns(self, relative: str, columns: Mapping[str, Column]) -> None:
        with self._disk_errors():
            data = packed(columns)
        self.write_atomically(relative, data)

    def _disk_errors(self) -> AbstractContextManager[None]:
        return disk_errors(self.path, self.remedy)

    def close(self) -> None:
        """Let another process resume this run."""
        os.close(self._lock)

    def _append(self, name: str, values: Sequence[Frozen]) -> None:
        """Append whole lines and force them to the disk."""
        path = self.path / name
        data = b"".join(_line(path, value) for value in values)
        with self._disk_errors(), path.open("ab") as file:
            if file.tell() and not _ends_with_newline(path):
                # A run killed in the middle of a line: that line is lost, the next must not be.
                data = b"\n" + data
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.written(name)


def resume_run(path: Path) -> tuple[RunStore, StoredRun]:
    """Open a stopped run for going on. Raises `SpecError` when it is not one, or in use."""
    if path.is_file():
        raise SpecError(f"{path}: only a run directory can be resumed.")
    path = only_run(path)
    # Locked before it is read: another process may be adding to it until then.
    store = RunStore(path)
    try:
        stored = read_run(path)
        _refuse_unresumable(stored)
    except BaseException:
        store.close()
        raise
    store.keeps_raw = stored.header.keeps_raw
    return store, stored


def _unwritable(results: Path, error: OSError) -> SpecError:
    return SpecError(
        f"{results}: a run can't be written there: {error.strerror}. Name another folder with "
        "--results."
    )


def _refuse_unresumable(stored: StoredRun) -> None:
    if stored.header_lost:
        raise SpecError(
            f"{stored.path}: it can't be resumed, because its {HEADER} is broken. Its "
            "measurements can still be read; start a new run for the rest."
        )
    if stored.header.schema_version < SCHEMA_VERSION:
        raise SpecError(
            f"{stored.path}: it can't be resumed, because an older bench started it (schema "
            f"version {stored.header.schema_version}, this one writes {SCHEMA_VERSION}). Start a "
            "new run."
        )


def _line(path: Path, value: Frozen) -> bytes:
    """A value as a line that reads back as the same value: what can't be read is not written."""
    text = value.model_dump_json()
    try:
        same = type(value).model_validate_json(text) == value
    except ValidationError as error:
        problem = first_problem(error, type(value).model_fields)
        raise BenchError(
            f"{path}: a line was not written, because it could not be read again: {problem}"
        ) from error
    if not same:
        raise BenchError(f"{path}: a line was not written, because it would be read differently.")
    return text.encode() + b"\n"


def _ttft_column(blocks: Sequence[Block]) -> Array:
    """The blocks' times to first tokens; masked where a block has none."""
    absent = np.repeat([b.ttft_ns is None for b in blocks], [len(b.latency_ns) for b in blocks])
    values = np.zeros(len(absent), np.int64)
    values[~absent] = np.concatenate([b.ttft_ns for b in blocks if b.ttft_ns is not None])
    return np.ma.MaskedArray(values, absent)


def _new_folder(results: Path, name: str) -> Path:
    """Make a folder that no other process has made, numbering it if it must."""
    results.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        path = results / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise OSError(errno.EEXIST, "too many runs in the same second")


def lock_folder(path: Path) -> int:
    """An exclusive lock that ends with the process. Raises `SpecError` when another holds it."""
    import fcntl  # not on Windows

    try:
        descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SpecError(f"{path}: can't be written: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SpecError(
            f"{path}: another bench process is writing this run. Wait for it, or stop it first."
        ) from error
    return descriptor


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


@contextlib.contextmanager
def disk_errors(path: Path, remedy: str) -> Iterator[None]:
    """A full or failing disk as one clear sentence. ``remedy``: what to do once there is space."""
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"{path}: writing failed: {error.strerror or error}. Everything written before is "
            f"intact: free space, then {remedy}."
        ) from error
