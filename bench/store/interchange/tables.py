"""Results as plain tables: CSV, JSON and Parquet, with the columns of `bench.load`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from bench.store.frames import load, run_row
from bench.store.machines import machine_names
from bench.store.rows import result_rows
from bench.store.run import StoredRun

Written = tuple[bytes, list[str]]


def rows(runs: Sequence[StoredRun]) -> list[dict[str, object]]:
    """One flat row a record: the keys of `bench.store.fields.RUN_FIELDS` and `RESULT_FIELDS`."""
    return [
        {**run_row(run.path, run.header, machine), **row}
        for run, machine in zip(runs, machine_names(runs), strict=True)
        for row in result_rows(run.records)
    ]


def write_json(runs: Sequence[StoredRun]) -> Written:
    """An array of the rows, with what is missing null."""
    return json.dumps(rows(runs), indent=1, allow_nan=False).encode() + b"\n", []


def write_csv(runs: Sequence[StoredRun]) -> Written:
    """A line a record (RFC 4180, UTF-8); what is missing is empty, lists are joined by ``;``.

    A text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV
    injection").
    """
    table = rows(runs)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(table[0]) if table else [])
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in table)
    return text.getvalue().encode(), []


def write_parquet(runs: Sequence[StoredRun]) -> Written:
    """The table of `bench.load`, zstd-compressed."""
    buffer = io.BytesIO()
    load([run.path for run in runs]).to_parquet(buffer, compression="zstd", index=False)
    return buffer.getvalue(), []


def _cell(value: object) -> object:
    if isinstance(value, list):
        return ";".join(map(str, value))
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
