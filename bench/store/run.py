"""A run on disk: append-only files that survive a kill at any byte.

run.json            the suite, the environment, the planned cells; written once
invocations.jsonl   one line for each worker process that measured a cell
records.jsonl       one line for each finished cell
samples/*.parquet   latencies: one file a generation, all its cells in the order of measuring
predictions/*.parquet  one file for each model, variant and target: one row an example
logs/               what the workers printed
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from bench.cell import Cell, Frozen
from bench.errors import BenchError, SpecError
from bench.record.migrations import migrated
from bench.record.result import SCHEMA_VERSION, Invocation, Record
from bench.spec import Suite
from bench.store.find import HEADER, RECORDS, only_run
from bench.validation import first_problem, refuse_newer

Array = np.ndarray[Any, Any]
_Line = TypeVar("_Line", bound=Frozen)


class RunHeader(Frozen):
    """What `run.json` holds."""

    schema_version: int = SCHEMA_VERSION
    bench_version: str
    created_at: str
    command: str
    suite: Suite
    targets: tuple[str, ...]
    models: tuple[str, ...]  #: as they were asked for: names, or absolute paths
    facts: dict[str, Any]
    cells: tuple[Cell, ...]
    #: version by distribution of each environment other than the interpreter of `bench`
    environments: dict[str, dict[str, str]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """Consecutive timed calls of one worker: ``latency_ns`` is int64 of shape (calls,)."""

    cell_id: str
    invocation: int
    round: int
    position: int  #: its turn within the round
    latency_ns: Array
    disturbed: bool = False


def trusted_samples(blocks: Sequence[Block]) -> Array:
    """The latencies of one invocation that its figures come from, in the order of measuring.

    Those of undisturbed blocks; of all blocks where every one was disturbed.
    """
    kept = [b.latency_ns for b in blocks if not b.disturbed] or [b.latency_ns for b in blocks]
    return np.concatenate(kept)


@dataclass(frozen=True)
class StoredRun:
    """What could be read back of a run, and what had to be skipped."""

    path: Path
    header: RunHeader
    records: list[Record]  #: in the order of the plan
    invocations: list[Invocation]
    skipped: list[str]
    header_lost: bool = False  #: `run.json` is broken, and `header` is what the records tell

    def predictions(self, record: Record, without: Collection[str] = ()) -> dict[str, Array]:
        """What the record's accuracy was counted from, one row an item (`Task.columns`), but for
        the columns in ``without``. Raises `SpecError` where it is lost or broken."""
        if record.accuracy is None:
            raise SpecError(f"{self.path}: {record.cell.label} has no predictions.")
        return read_predictions(self.path / record.accuracy.predictions, without)

    def samples(self, cell_id: str) -> dict[int, Array]:
        """The latencies in ns that the figures come from, by invocation (see `trusted_samples`).

        The first call reads the samples of all cells; a file that can't be read is left out.
        """
        return self._samples.get(cell_id, {})

    @cached_property
    def _samples(self) -> dict[str, dict[int, Array]]:
        return read_samples(self.path)


class RunStore:
    """The writing end of one run directory, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self._lock = _lock(path)

    @classmethod
    def create(cls, results: Path, header: RunHeader) -> RunStore:
        """A new run directory below ``results``, named by time and suite.

        Raises `SpecError` when it can't be written there.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        try:
            path = _new_folder(results, f"{stamp}-{header.suite.name}")
            for name in ("samples", "predictions", "logs"):
                (path / name).mkdir()
        except OSError as error:
            raise SpecError(
                f"{results}: a run can't be written there: {error.strerror}. Name another folder "
                "with --results."
            ) from error
        store = cls(path)
        store.write_atomically("run.json", header.model_dump_json(indent=1).encode())
        return store

    def append_record(self, record: Record) -> None:
        """Durable when this returns."""
        self._append(RECORDS, [record])

    def append_invocations(self, invocations: Sequence[Invocation]) -> None:
        self._append("invocations.jsonl", invocations)

    def write_samples(self, name: str, blocks: Sequence[Block]) -> None:
        """All blocks of one generation as ``samples/<name>.parquet``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        counts = [len(block.latency_ns) for block in blocks]

        def spread(values: Iterable[Any], dtype: Any) -> Array:
            return np.repeat(np.array(list(values), dtype=dtype), counts)

        cells = [block.cell_id for block in blocks]
        names = sorted(set(cells))
        places = {name: place for place, name in enumerate(names)}
        table = pa.table(
            {
                "cell_id": pa.DictionaryArray.from_arrays(
                    spread((places[cell] for cell in cells), np.int32), names
                ),
                "invocation": spread((b.invocation for b in blocks), np.int32),
                "round": spread((b.round for b in blocks), np.int32),
                "position": spread((b.position for b in blocks), np.int32),
                "disturbed": spread((b.disturbed for b in blocks), np.bool_),
                "latency_ns": np.concatenate([b.latency_ns for b in blocks])
                if blocks
                else np.empty(0, np.int64),
            }
        )
        with _disk_errors(self.path):
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, compression="zstd")
            self.write_atomically(f"samples/{name}.parquet", sink.getvalue().to_pybytes())

    def write_predictions(self, name: str, columns: Mapping[str, Array]) -> str:
        """What was scored, one row an item; a column of shape (items, n) becomes lists of n.

        Returns the file's name within the run.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({key: _column(values) for key, values in columns.items()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        relative = f"predictions/{name}.parquet"
        self.write_atomically(relative, sink.getvalue().to_pybytes())
        return relative

    def write_atomically(self, relative: str, data: bytes) -> None:
        """The whole file or none of it."""
        path = self.path / relative
        partial = path.with_name(path.name + ".partial")
        with _disk_errors(self.path):
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)

    def close(self) -> None:
        """Let another process resume this run."""
        os.close(self._lock)

    def _append(self, name: str, values: Sequence[Frozen]) -> None:
        """Append whole lines and force them to the disk."""
        path = self.path / name
        data = b"".join(value.model_dump_json().encode() + b"\n" for value in values)
        with _disk_errors(self.path), path.open("ab") as file:
            if file.tell() and not _ends_with_newline(path):
                # A run killed in the middle of a line: that line is lost, the next must not be.
                data = b"\n" + data
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def resume_run(path: Path) -> tuple[RunStore, StoredRun]:
    """Open a stopped run for going on. Raises `SpecError` when it is not one, or in use."""
    stored = read_run(path)
    if stored.header_lost:
        raise SpecError(
            f"{stored.path}: it can't be gone on with, because its {HEADER} is broken. What was "
            "measured can still be read; start a new run for the rest."
        )
    if stored.header.schema_version < SCHEMA_VERSION:
        raise SpecError(
            f"{stored.path}: it can't be gone on with, because an older bench began it (schema "
            f"version {stored.header.schema_version}, this one writes {SCHEMA_VERSION}). Start a "
            "new run."
        )
    return RunStore(stored.path), stored


def read_run(path: Path) -> StoredRun:
    """Read the run directory at ``path``, or the only one below it; what can't be read is skipped
    and listed.

    Raises `SpecError` when there is no run or several, or when it was written by a newer schema.
    """
    stored = read_results(path)
    with no_collection():
        file, version = stored.path / "invocations.jsonl", stored.header.schema_version
        lines = read_lines(file, Invocation, version, stored.skipped)
        # The same line twice where files were joined by hand; of two the last counts.
        invocations = {(i.cell_id, i.index): i for i in lines}
    return replace(stored, invocations=list(invocations.values()))


def read_results(path: Path) -> StoredRun:
    """Like `read_run`, in half of the time: the invocations of cells that have no record yet are
    not read, and those of the others are in their records."""
    path = only_run(path)
    skipped: list[str] = []
    with no_collection():
        header, records, lost = read_finished(path, skipped)
    skipped += leftovers(path)
    return StoredRun(path, header, records, [], skipped, lost)


def read_finished(path: Path, skipped: list[str]) -> tuple[RunHeader, list[Record], bool]:
    """The header of a run directory, its records in the order of the plan, and whether the header
    is lost and made up from the records. Raises `SpecError` like `read_run`."""
    header = _read_header(path, skipped)
    version = header.schema_version if header else SCHEMA_VERSION
    found = {r.cell_id: r for r in read_records(path, version, skipped)}
    records = list(found.values())
    if header is None:
        return _header_from(records), records, True
    order = {cell_id: place for place, cell_id in enumerate(cell.id for cell in header.cells)}
    return header, sorted(records, key=lambda r: order.get(r.cell_id, len(order))), False


def read_header(path: Path) -> RunHeader:
    """What `run.json` of a run directory says. Raises `SpecError` where it is broken or newer."""
    header_path = path / HEADER
    try:
        data = json.loads(header_path.read_bytes())
    except FileNotFoundError as error:
        raise SpecError(f"{path}: not a run directory (it has no {HEADER}).") from error
    except OSError as error:
        raise SpecError(f"{header_path}: can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _Broken(f"{header_path}: can't be read as a run: {error}.") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise _Broken(f"{header_path}: its schema version is {version}, not a number.")
    refuse_newer(header_path, version, SCHEMA_VERSION)
    try:
        return RunHeader.model_validate(migrated("run", data, version), extra="ignore")
    except ValidationError as error:
        problem = first_problem(error, RunHeader.model_fields)
        raise _Broken(f"{header_path}: {problem}") from error


class _Broken(SpecError):
    """A header that a fault of the disk may have broken, and the records may yet be whole."""


def _read_header(path: Path, skipped: list[str]) -> RunHeader | None:
    """None where the header is broken and there is something to read without it."""
    try:
        return read_header(path)
    except _Broken as error:
        if not any(True for _ in read_records(path, SCHEMA_VERSION, [])):
            raise
        skipped.append(f"{error} The machine and the plan are unknown, the records are shown")
        return None


def _header_from(records: Sequence[Record]) -> RunHeader:
    """What is left to say of a run whose header is lost."""
    return RunHeader(
        bench_version="unknown",
        created_at=min(record.finished_at for record in records),
        command="unknown",
        suite=Suite(),
        targets=tuple(dict.fromkeys(record.cell.target for record in records)),
        models=tuple(dict.fromkeys(record.cell.model.name for record in records)),
        facts={},
        cells=tuple(record.cell for record in records),
    )


LEFT_HALF = "left half-written when a run was stopped"


def leftovers(path: Path) -> Iterator[str]:
    """What a fault left of files that are written whole: halves, and other than Parquet."""
    for kind in ("samples", "predictions"):
        for file in sorted((path / kind).glob("*")):
            name = f"{kind}/{file.name}"
            if file.suffix == ".partial":
                yield f"{name}: {LEFT_HALF}"
            elif file.suffix == ".parquet" and not _is_whole_parquet(file):
                yield f"{name}: not a whole Parquet file"


def _is_whole_parquet(path: Path) -> bool:
    """Whether it begins and ends as the format says (apache/parquet-format: File format)."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(-4, os.SEEK_END)
            return start == file.read(4) == b"PAR1"
    except OSError:
        return False


def sample_files(path: Path) -> list[Path]:
    """The files of samples of a run directory, in the order of measuring."""
    return sorted((path / "samples").glob("*.parquet"))


def read_samples(path: Path) -> dict[str, dict[int, Array]]:
    """The trusted latencies in ns of all cells of a run, by invocation (see `trusted_samples`).

    Each file is read once; one that can't be read is left out. int64, in the order of measuring.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[str, dict[int, Array]] = {}
    columns = ["cell_id", "invocation", "disturbed", "latency_ns"]
    for file in sample_files(path):
        try:
            table = pq.read_table(file, columns=columns, read_dictionary=["cell_id"])
        except (OSError, pa.ArrowException):
            continue
        for (cell_id, index), latency_ns in _by_invocation(table):
            found.setdefault(cell_id, {})[index] = latency_ns
    return found


def _by_invocation(table: Any) -> Iterator[tuple[tuple[str, int], Array]]:
    """Split a table of samples without looking at any row twice."""
    cells = table["cell_id"].combine_chunks()
    if not len(cells):
        return
    names = cells.dictionary.to_pylist()
    codes = cells.indices.to_numpy(zero_copy_only=False)
    invocations = table["invocation"].to_numpy()
    latency_ns = table["latency_ns"].to_numpy()
    trusted = ~table["disturbed"].to_numpy(zero_copy_only=False)
    order = np.lexsort((invocations, codes))  # stable: the order of measuring stays
    codes, invocations = codes[order], invocations[order]
    latency_ns, trusted = latency_ns[order], trusted[order]
    ends = np.flatnonzero((np.diff(codes) != 0) | (np.diff(invocations) != 0)) + 1
    starts = np.concatenate([[0], ends])
    for start, end in zip(starts, [*ends, len(order)], strict=True):
        mine, kept = latency_ns[start:end], trusted[start:end]
        yield (
            (names[codes[start]], int(invocations[start])),
            mine[kept] if kept.any() else mine,
        )


def _column(values: Array) -> Any:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def read_predictions(path: Path, without: Collection[str] = ()) -> dict[str, Array]:
    """The columns of `RunStore.write_predictions`. Raises `SpecError` when the file is lost or
    broken."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = [name for name in pq.read_schema(path).names if name not in without]
        table = pq.read_table(path, columns=names)
        return {name: _array(table[name].combine_chunks()) for name in table.column_names}
    except (OSError, pa.ArrowException) as error:
        raise SpecError(f"{path}: the predictions can't be read: {error}.") from error


def _array(column: Any) -> Array:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(column.type):
        flat: Array = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(-1, column.type.list_size)
    values: Array = column.to_numpy(zero_copy_only=False)
    return values.astype(np.int64) if values.dtype.kind in "iu" else values


def read_records(path: Path, version: int, skipped: list[str]) -> Iterator[Record]:
    """The records of a run directory in the order of writing; see `read_lines`."""
    return read_lines(path / RECORDS, Record, version, skipped)


def read_lines(path: Path, kind: type[_Line], version: int, skipped: list[str]) -> Iterator[_Line]:
    """The values of a file of lines that a run of schema ``version`` wrote.

    A broken line is left out, and a field that this bench doesn't know, which a later one of the
    same version may write; ``skipped`` tells of both.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        skipped.append(f"{path.name}: {error.strerror}")
        return
    unknown: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _read_line(line, kind, version, unknown)
        except (ValidationError, ValueError, RecursionError):
            skipped.append(f"{path.name} line {number}: not a whole {kind.__name__.lower()}")
    if unknown:
        skipped.append(
            f"{path.name}: fields that this bench does not know ({', '.join(unknown)}); update it "
            "to see them"
        )


def _read_line(line: bytes, kind: type[_Line], version: int, unknown: dict[str, None]) -> _Line:
    if version < SCHEMA_VERSION:
        data = migrated(kind.__name__.lower(), json.loads(line), version)
        line = json.dumps(data).encode()
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        if any(problem["type"] != "extra_forbidden" for problem in problems):
            raise
        value = kind.model_validate_json(line, extra="ignore")
        unknown |= {str(problem["loc"][-1]): None for problem in problems}
        return value


def _new_folder(results: Path, name: str) -> Path:
    """Make a folder that no other process has made, numbering it if it must."""
    results.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        path = results / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise OSError(errno.EEXIST, "too many runs in the same second")


def _lock(path: Path) -> int:
    """An exclusive lock that ends with the process. Raises `SpecError` when another holds it."""
    import fcntl

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
def _disk_errors(path: Path) -> Iterator[None]:
    """A full or failing disk as one clear sentence."""
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"{path}: writing failed: {error.strerror or error}. What was written before is whole: "
            f"free space, then go on with `bench run --resume {path}`."
        ) from error


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Values that are read don't refer to each other in circles, and looking for such circles
    among so many takes as long as reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
