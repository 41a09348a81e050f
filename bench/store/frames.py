"""Results as tables: `load` gives what runs have stored as a pandas DataFrame.

What can't be read is left out, and told by a `ResultsWarning`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from bench.errors import SpecError, Unavailable, first_line
from bench.record.header import RunHeader
from bench.record.result import Invocation, Record
from bench.store.bundle.opened import UNCHECKED, mark
from bench.store.fields import RESULT_FIELDS, RUN_FIELDS, SAMPLE_FIELDS
from bench.store.find import INVOCATIONS, find_runs, without_copies
from bench.store.lines import read_lines
from bench.store.machines import machine_names
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
    told_of_bundles,
)
from bench.store.samples import TTFT, sample_files

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
    table, skipped = read_table([paths] if isinstance(paths, str | Path) else list(paths), what)
    for text in skipped:
        warnings.warn(text, ResultsWarning, stacklevel=2)
    return table


def read_table(paths: Sequence[str | Path], what: What) -> tuple[pandas.DataFrame, list[str]]:
    """The table of `load`, and what could not be read."""
    if what not in _READERS:
        raise SpecError(f"what={what!r}: no such table. Available: {', '.join(_READERS)}.")
    require_pandas()
    if not paths:
        raise SpecError("load: name a run directory, or a folder that contains some.")
    runs, skipped = without_copies(find_runs(paths))
    skipped += told_of_bundles((run, mark(run)) for run in runs)
    with no_collection():
        return _READERS[what](runs, skipped), skipped


def require_pandas() -> None:
    """Raises `Unavailable` where pandas or pyarrow is not installed."""
    try:
        import pandas  # noqa: F401  # the extra `data`
        import pyarrow  # noqa: F401  # the extra `data`
    except ImportError as error:
        raise Unavailable(
            f"Tables (bench.load, Parquet files) need {error.name}, which is not installed.",
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

    skipped += told_of_bundles((run, mark(run)) for run in runs)
    with no_collection():
        found = list(_readable(runs, skipped, read))
    return sorted(found, key=lambda run: run.header.created_at), skipped


def unchecked_at(paths: Paths) -> list[str]:
    """What is to be said of the bundles whose numbers nobody can vouch for, each once."""
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    runs, _ = without_copies(find_runs(given))
    marked = ((run, mark(run)) for run in runs)
    return told_of_bundles((run, text) for run, text in marked if text.startswith(UNCHECKED))


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
    found: list[Finished] = []
    counts: list[int] = []

    def read(path: Path) -> None:
        notes: list[str] = []
        header, rows = read_rows(path, notes)
        skipped.extend(f"{path}: skipped {note}" for note in (*notes, *leftovers(path)))
        found.append(Finished(path, header, []))
        counts.append(len(rows))
        for name, value in run_row(path, header).items():
            columns[name] += [value] * len(rows)
        for place, name in enumerate(RESULT_FIELDS):
            columns[name] += [row[place] for row in rows]

    for _ in _readable(runs, skipped, read):
        pass
    names = zip(machine_names(found), counts, strict=True)
    columns["machine"] = [name for name, count in names for _ in range(count)]
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


def run_row(path: Path, header: RunHeader, machine: str = "") -> dict[str, Any]:
    """The values of `bench.store.fields.RUN_FIELDS`; ``machine`` is what it is called among all
    that are shown (`machine_names`)."""
    own = {
        "run": str(path),
        "suite": header.suite.name,
        "label": header.label,
        "machine": machine,
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


def _sample_schema() -> Any:
    """What the columns hold, those included that not every file has."""
    import pyarrow as pa  # pyarrow: start-up

    whole = ("invocation", "round", "position")
    times = ("latency_ns", TTFT)
    return pa.schema(
        [
            ("cell_id", pa.dictionary(pa.int32(), pa.string())),
            *((name, pa.int32()) for name in whole),
            ("disturbed", pa.bool_()),
            *((name, pa.int64()) for name in times),
        ]
    )


def _sample_tables(files: list[Path], skipped: list[str]) -> list[Any]:
    """All files in one read, which uses all cores; file by file where one of them is broken."""
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.parquet as pq

    if not files:
        return []
    try:
        # By the schema, so that a column that a file doesn't have is null.
        return [pq.read_table(files, schema=_sample_schema(), read_dictionary=["cell_id"])]
    except (OSError, pa.ArrowException) as error:
        if len(files) > 1:
            return [table for file in files for table in _sample_tables([file], skipped)]
        skipped.append(f"{files[0]}: left out: {first_line(error)[:200]}")
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
