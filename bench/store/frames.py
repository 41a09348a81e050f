"""Results as tables: `load` gives what runs have stored as a pandas DataFrame.

What can't be read is left out, and told by a `ResultsWarning`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from bench.errors import SpecError, Unavailable
from bench.record.header import RunHeader
from bench.record.result import Invocation, Record
from bench.store.bundle.opened import mark, shown
from bench.store.fields import RESULT_FIELDS, RUN_FIELDS, SAMPLE_FIELDS
from bench.store.find import INVOCATIONS, find_runs, without_copies
from bench.store.lines import read_lines
from bench.store.machines import machine_of
from bench.store.rows import result_rows
from bench.store.run import (
    LEFT_HALF,
    StoredRun,
    leftovers,
    no_collection,
    read_finished,
    read_header,
    read_header_or_none,
    read_results,
    read_run,
    take_finished,
)
from bench.store.samples import sample_files, sample_schema

if TYPE_CHECKING:
    import pandas

What = Literal["records", "samples", "invocations", "predictions"]
Paths = str | Path | Iterable[str | Path]
_Read = TypeVar("_Read")

INVOCATION_FIELDS = ("run", *Invocation.model_fields)
PREDICTION_FIELDS = ("run", "model", "variant", "target", "item")
#: Columns of whole numbers; others of numbers end with a unit or stand in `_FRACTIONS`.
_COUNTS = {
    *("parameters", "batch", "threads", "samples", "p99_samples_needed", "invocations"),
    *("accuracy_examples", "index", "warmup_calls", "calls", "blocks", "discarded_calls"),
    *("disturbed_blocks", "queries_per_call", "prompt_tokens", "new_tokens"),
}
#: ``cache_token_bytes``: what grows once in several tokens adds a share of its bytes to each.
_FRACTIONS = {
    *("confidence", "accuracy", "accuracy_low", "accuracy_high", "on_device_share"),
    "cache_token_bytes",
}
_TIMES = ("created_at", "finished_at")


class ResultsWarning(UserWarning):
    """Something of a run could not be read; all else was."""


def load(paths: Paths, what: What = "records") -> pandas.DataFrame:
    """What runs have stored, as one table.

    ``paths`` is one path or several: run directories, folders that hold some at any depth, or
    patterns. Copies of a run count once. ``what`` is

    - ``"records"``: a row a finished cell, with the columns of `bench.store.fields.RUN_FIELDS` and
      `bench.store.fields.RESULT_FIELDS` (ns, bytes, samples/s, fractions; missing values are NA);
    - ``"samples"``: a row a timed call, `bench.store.fields.SAMPLE_FIELDS`;
    - ``"invocations"``: a row a worker process, ``run`` and the fields of an invocation;
    - ``"predictions"``: a row a scored item: ``run``, ``model``, ``variant``, ``target``, ``item``
      (its place in the data), and the columns of the task; not the ``logits``.

    `bench debug schema record` describes the fields. Raises `bench.errors.SpecError` where there is
    no run; warns with `ResultsWarning` of what could not be read.
    """
    if what not in _READERS:
        raise SpecError(f"what={what!r}: no such table. Available: {', '.join(_READERS)}.")
    require_pandas()
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise SpecError("load: name a run directory, or a folder that contains some.")
    runs, skipped = without_copies(find_runs(given))
    skipped += [f"{shown(run)}: {told}" for run in runs if (told := mark(run))]
    with no_collection():
        table = _READERS[what](runs, skipped)
    for text in skipped:
        warnings.warn(text, ResultsWarning, stacklevel=2)
    return table


def require_pandas() -> None:
    """Raises `Unavailable` where pandas is not installed."""
    try:
        import pandas  # noqa: F401  # the extra `data`
    except ImportError as error:
        raise Unavailable(
            "Tables (bench.load, Parquet files) need pandas, which is not installed.",
            "Install the extra `data` (pip install 'infer-bench[data]').",
        ) from error


def read_runs(paths: Paths) -> tuple[list[StoredRun], list[str]]:
    """All runs that ``paths`` mean, the oldest first, and those that were left out; each as
    `read_results` gives it.

    What was skipped within a run is in its `StoredRun.skipped`. Raises `SpecError` where there is
    none that can be read.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    runs, skipped = without_copies(find_runs(given))
    with no_collection():
        found = list(_readable(runs, skipped, read_results))
    return sorted(found, key=lambda run: run.header.created_at), skipped


@dataclass(frozen=True)
class Finished:
    """The finished records of one run, without its invocations and samples."""

    path: Path
    header: RunHeader
    records: list[Record]


def read_finished_runs(paths: Paths) -> tuple[list[Finished], list[str]]:
    """Like `read_runs`, with everything that was skipped in the list."""
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    runs, skipped = without_copies(find_runs(given))

    def read(path: Path) -> Finished:
        notes: list[str] = []
        header, records, _ = read_finished(path, notes, packed=True)
        skipped.extend(f"{path}: skipped {note}" for note in notes)
        return Finished(path, header, records)

    with no_collection():
        found = list(_readable(runs, skipped, read))
    return sorted(found, key=lambda run: run.header.created_at), skipped


def _readable(
    runs: Iterable[Path], skipped: list[str], read: Callable[[Path], _Read]
) -> Iterator[_Read]:
    """What ``read`` makes of each run; one that is broken is told, and raised where all are."""
    problems: list[SpecError] = []
    some = False
    for path in runs:
        try:
            value = read(path)
        except SpecError as error:
            problems.append(error)
            continue
        some = True
        yield value
    if problems and not some:
        raise problems[0]
    skipped += [f"left out: {problem}" for problem in problems]


# -- the tables -----------------------------------------------------------------------------------


def _records(runs: list[Path], skipped: list[str]) -> pandas.DataFrame:
    columns: dict[str, list[Any]] = {name: [] for name in (*RUN_FIELDS, *RESULT_FIELDS)}

    def read(path: Path) -> None:
        notes: list[str] = []
        header, rows = read_rows(path, notes)
        skipped.extend(f"{path}: skipped {note}" for note in (*notes, *leftovers(path)))
        for name, value in run_row(path, header).items():
            columns[name] += [value] * len(rows)
        for place, name in enumerate(RESULT_FIELDS):
            columns[name] += [row[place] for row in rows]

    for _ in _readable(runs, skipped, read):
        pass
    return _table(columns)


def read_rows(path: Path, notes: list[str]) -> tuple[RunHeader, list[tuple[object, ...]]]:
    """The header of a run, and of each finished record the values of `RESULT_FIELDS`."""

    def values(record: Record) -> tuple[object, ...]:
        (row,) = result_rows([record])
        return tuple(row[name] for name in RESULT_FIELDS)

    header = read_header_or_none(path, notes)
    rows = take_finished(path, header, notes, values)
    if header is None:
        header, _, _ = read_finished(path, [], packed=True)
    return header, rows


def run_row(path: Path, header: RunHeader) -> dict[str, Any]:
    """The values of `bench.store.fields.RUN_FIELDS`."""
    own = {
        "run": str(path),
        "suite": header.suite.name,
        "label": header.label,
        "machine": machine_of(Finished(path, header, [])).name,
        "created_at": header.created_at,
        "bench_version": header.bench_version,
    }
    return {n: own[n] if n in own else _text(header.facts.get(n)) for n in RUN_FIELDS}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _invocations(runs: list[Path], skipped: list[str]) -> pandas.DataFrame:
    columns: dict[str, list[Any]] = {name: [] for name in INVOCATION_FIELDS}

    def read(path: Path) -> None:
        notes: list[str] = []
        version = read_header(path).schema_version
        lines = read_lines(path / INVOCATIONS, Invocation, version, notes)
        found = {(i.cell_id, i.index): i for i in lines}
        columns["run"] += [str(path)] * len(found)
        for name in Invocation.model_fields:
            columns[name] += [getattr(invocation, name) for invocation in found.values()]
        skipped.extend(f"{path}: skipped {note}" for note in notes)

    for _ in _readable(runs, skipped, read):
        pass
    return _table(columns)


def _samples(runs: list[Path], skipped: list[str]) -> pandas.DataFrame:
    """Files are joined as Arrow tables; what the runs have in common is stored once."""
    import pyarrow as pa  # pyarrow: start-up

    tables = []
    for path in runs:
        skipped += [f"{path}: skipped {n}" for n in leftovers(path) if n.endswith(LEFT_HALF)]
        for table in _sample_tables(sample_files(path), skipped):
            first = pa.array(np.zeros(len(table), np.int32))
            run = pa.DictionaryArray.from_arrays(first, [str(path)])
            tables.append(table.add_column(0, "run", run))
    if not tables:
        return _empty(SAMPLE_FIELDS)
    joined = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    return joined.to_pandas(split_blocks=True, self_destruct=True)


def _sample_tables(files: list[Path], skipped: list[str]) -> list[Any]:
    """All files in one read, which uses all cores; file by file where one of them is broken."""
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.parquet as pq

    if not files:
        return []
    try:
        # By the schema, so that a column that a file doesn't have is null.
        return [pq.read_table(files, schema=sample_schema(), read_dictionary=["cell_id"])]
    except (OSError, pa.ArrowException) as error:
        if len(files) > 1:
            return [table for file in files for table in _sample_tables([file], skipped)]
        why = (str(error).splitlines() or ["it is broken"])[0]
        skipped.append(f"{files[0]}: left out: {why[:200]}")
        return []


def _predictions(runs: list[Path], skipped: list[str]) -> pandas.DataFrame:
    import pandas  # pandas: start-up

    tables = []

    def read(path: Path) -> None:
        run = read_run(path)
        skipped.extend(f"{run.path}: skipped {note}" for note in run.skipped)
        scored = {r.accuracy.predictions: r for r in run.records if r.accuracy}
        for record in scored.values():
            try:
                found = run.scored_columns(record)
            except SpecError as error:
                skipped.append(f"left out: {error}")
                continue
            cell = record.cell
            key = {"run": str(path), "model": cell.model.name, "variant": cell.variant}
            table = pandas.DataFrame({k: v for k, v in found.items() if v.ndim == 1})
            key |= {"target": cell.target}
            tables.append(table.assign(**key, item=range(len(table))))

    for _ in _readable(runs, skipped, read):
        pass
    if not tables:
        return _empty(PREDICTION_FIELDS)
    joined = pandas.concat(tables, ignore_index=True)
    first = list(PREDICTION_FIELDS)
    return joined[first + [name for name in joined.columns if name not in first]]


_READERS: dict[str, Callable[[list[Path], list[str]], pandas.DataFrame]] = {
    "records": _records,
    "samples": _samples,
    "invocations": _invocations,
    "predictions": _predictions,
}


# -- making frames --------------------------------------------------------------------------------


def _table(columns: dict[str, list[Any]]) -> pandas.DataFrame:
    import pandas  # pandas: start-up

    return pandas.DataFrame({name: _series(name, found) for name, found in columns.items()})


def _series(name: str, values: list[Any]) -> Any:
    """One column with the same type whatever is in it, so that runs can be joined."""
    import pandas  # pandas: start-up

    if name in _TIMES:
        texts = pandas.Series(values, dtype=object)
        times = pandas.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")
        return times.dt.as_unit("us")
    if name in _FRACTIONS or name.endswith(("_ns", "_per_s", "_error")):
        return pandas.array(values, dtype="float64")
    if name in _COUNTS or name.endswith("_bytes"):
        try:
            return pandas.array(values, dtype="Int64")
        except OverflowError:  # a broken digit: not worth losing the table for
            return pandas.array(values, dtype="Float64")
    return pandas.Series(values, dtype=None if values and None not in values else object)


def _empty(names: Iterable[str]) -> pandas.DataFrame:
    import pandas  # pandas: start-up

    return pandas.DataFrame({name: [] for name in names})
