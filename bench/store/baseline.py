"""A run in one file, for a repository to commit: what a later run is compared with.

The file is JSON: the header of the run, its records (with their invocations, from which every
interval of a comparison comes) and the columns of the predictions that accuracy is counted from.
Samples and logits stay behind. Each column is stored once, however many targets predict the same,
as zlib over little-endian bytes in base64: 10,000 predicted classes take some 7 kB.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from bench.arrays import Array
from bench.cell import Frozen
from bench.errors import SpecError
from bench.numbers import printable
from bench.record.header import RunHeader
from bench.record.result import Record
from bench.store.run import StoredRun, read_results
from bench.validation import first_problem, refuse_newer

KIND = "bench-baseline"
SCHEMA_VERSION = 1
_BEGINNING = 100  #: bytes of a file within which its kind stands
_COMMIT_DIGITS = 8
_MINUTE = 16  #: characters of a time up to its minutes
_BIGGEST_COLUMN = 1 << 30  #: bytes; a file that claims more is broken or hostile


class StoredColumn(Frozen):
    """One column of predictions: ``data`` is base64 of zlib of its bytes, in C order."""

    dtype: str  #: as numpy writes it, little-endian: ``<i8``, ``|b1``
    shape: tuple[int, ...]
    data: str


class BaselineFile(Frozen):
    """What the file holds. ``predictions`` maps a record's file of predictions to its columns,
    each by its key in ``columns``."""

    kind: Literal["bench-baseline"] = "bench-baseline"
    schema_version: int = SCHEMA_VERSION
    header: RunHeader
    records: tuple[Record, ...]
    predictions: dict[str, dict[str, str]]
    columns: dict[str, StoredColumn]


@dataclass(frozen=True)
class Baseline(StoredRun):
    """A run that was read from a baseline file: it has no samples."""

    content: BaselineFile | None = field(default=None, kw_only=True)

    def predictions(self, record: Record, without: Collection[str] = ()) -> dict[str, Array]:
        """See `StoredRun.predictions`. Raises `SpecError` where the file has none of it."""
        assert self.content is not None
        file = record.accuracy.predictions if record.accuracy else ""
        if file not in self.content.predictions:
            raise SpecError(f"{self.path}: it has no predictions of {record.cell.label}.")
        keys = self.content.predictions[file]
        try:
            return {
                name: _unpacked(self.content.columns[key])
                for name, key in keys.items()
                if name not in without
            }
        except (KeyError, ValueError, TypeError, zlib.error) as error:
            raise SpecError(
                f"{self.path}: the predictions of {record.cell.label} are broken ({error}). Write "
                "the baseline again."
            ) from error


def read_baseline(path: Path) -> StoredRun:
    """A run directory, or a baseline file. Raises `SpecError` where it is neither."""
    if path.is_dir():
        return read_results(path)
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise SpecError(
            f"{path}: no such baseline. Write one with `bench gate RUN --save {path}`."
        ) from error
    except OSError as error:
        raise SpecError(f"{path}: can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not a baseline file: {error}.") from error
    content = _checked(path, data)
    return Baseline(path, content.header, list(content.records), [], [], content=content)


def there_already(path: Path) -> str:
    """What a new baseline at ``path`` replaces, in words; empty where it replaces nothing. Raises
    `SpecError` for somebody's file that is no baseline."""
    if not path.is_file() or not path.stat().st_size:
        return ""
    try:
        header = read_baseline(path).header
    except SpecError as error:
        if KIND.encode() not in path.read_bytes()[:_BEGINNING]:
            raise SpecError(
                f"{path}: the file that is there is no baseline, so it is not replaced. Name "
                "another."
            ) from error
        return "a baseline that can't be read"
    commit = str(header.facts.get("git_commit") or "")[:_COMMIT_DIGITS]
    named = [header.label, commit and f"commit {commit}", header.machine_name]
    about = printable(", ".join(filter(None, named)))
    when = printable(header.created_at[:_MINUTE].replace("T", " "))
    return f"the baseline of {when}{f' ({about})' if about else ''}"


def _checked(path: Path, data: Any) -> BaselineFile:
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise SpecError(
            f"{path}: not a baseline file of bench. Write one with `bench gate RUN --save FILE`."
        )
    refuse_newer(path, data.get("schema_version"), SCHEMA_VERSION)
    try:
        # Fields that a later bench of the same schema version added are left out, as in a run.
        return BaselineFile.model_validate(data, extra="ignore")
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, BaselineFile.model_fields)}") from error


def make_baseline(run: StoredRun) -> tuple[BaselineFile, list[str]]:
    """What a file of this run holds, and in words what could not be taken into it."""
    columns: dict[str, StoredColumn] = {}
    predictions: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for record in run.records:
        if record.accuracy is None or record.accuracy.predictions in predictions:
            continue
        try:
            found = run.scored_columns(record)
        except SpecError as error:
            problems.append(str(error))
            continue
        predictions[record.accuracy.predictions] = _stored(found, columns)
    content = BaselineFile(
        header=run.header, records=tuple(run.records), predictions=predictions, columns=columns
    )
    return content, problems


def baseline_text(content: BaselineFile) -> str:
    """The file: one line a record and a column, so that a repository's differences are readable."""
    parts = [
        f'"kind": {json.dumps(KIND)}',
        f'"schema_version": {content.schema_version}',
        f'"header": {content.header.model_dump_json()}',
        '"records": [\n' + ",\n".join(r.model_dump_json() for r in content.records) + "\n]",
        f'"predictions": {json.dumps(content.predictions, indent=0, sort_keys=True)}',
        '"columns": {\n'
        + ",\n".join(
            f"{json.dumps(key)}: {column.model_dump_json()}"
            for key, column in sorted(content.columns.items())
        )
        + "\n}",
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _stored(found: Mapping[str, Array], columns: dict[str, StoredColumn]) -> dict[str, str]:
    """The key of each column, which is added to ``columns`` where it is new."""
    keys = {}
    for name, values in found.items():
        packed = _packed(values)
        key = hashlib.sha256(packed.model_dump_json().encode()).hexdigest()[:12]
        columns[key] = packed
        keys[name] = key
    return keys


def _packed(values: Array) -> StoredColumn:
    smallest = _smallest(values)
    plain = np.ascontiguousarray(smallest.astype(smallest.dtype.newbyteorder("<")))
    data = base64.b64encode(zlib.compress(plain.tobytes(), 9)).decode()
    return StoredColumn(dtype=plain.dtype.str, shape=tuple(values.shape), data=data)


def _smallest(values: Array) -> Array:
    """Whole numbers in the smallest type that holds them; floats as they are."""
    if values.dtype.kind not in "iu" or not values.size:
        return values
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= values.min() and values.max() <= limits.max:
            return values.astype(kind)
    return values


def _unpacked(column: StoredColumn) -> Array:
    dtype = np.dtype(column.dtype)
    if dtype.kind not in "biuf":
        raise ValueError(f"columns of type {column.dtype} are not stored")
    if any(size < 0 for size in column.shape):
        raise ValueError("a negative size")
    expected = int(np.prod(column.shape, dtype=object)) * dtype.itemsize
    if expected > _BIGGEST_COLUMN:
        raise ValueError(f"{expected} bytes in a column")
    inflate = zlib.decompressobj()
    data = inflate.decompress(base64.b64decode(column.data, validate=True), expected + 1)
    if len(data) != expected:
        raise ValueError(f"{len(data)} bytes where {expected} were promised")
    values: Array = np.frombuffer(data, dtype).reshape(column.shape)
    return values.astype(np.int64) if dtype.kind in "iu" else values
