"""Taking cells out of a run directory, as if they had not been measured."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import SpecError
from bench.files import write_bytes, write_text
from bench.record.header import RunHeader
from bench.record.result import SCHEMA_VERSION, Record
from bench.record.steps import steps_checked
from bench.store import columnar
from bench.store.columnar import Unreadable
from bench.store.find import ENERGY, FACTS, HEADER, INVOCATIONS, RECORDS, WORKERS
from bench.store.run import read_header_or_none, read_run
from bench.store.samples import read_rows, sample_files


def leave_out(path: Path, cell_ids: Collection[str]) -> None:
    """Take the cells out of the run in ``path``: all other lines and samples stay as they are.

    Raises `SpecError` for a run of an older schema, whose lines this bench doesn't write.
    """
    before = read_run(path)
    if before.header.schema_version < SCHEMA_VERSION:
        raise SpecError(
            f"{path}: an older bench wrote it (schema version {before.header.schema_version}), so "
            "single cells can't be removed from it. Leave the whole run out."
        )
    header = read_header_or_none(path, [])
    if header is not None:
        _rewrite_header(path, header, cell_ids)
    for name in (RECORDS, INVOCATIONS, WORKERS, FACTS, ENERGY):
        _filter_lines(path / name, cell_ids)
    for file in sample_files(path):
        _filter_samples(file, cell_ids)
    _check_steps_again(path)
    gone = [record for record in before.records if record.cell_id in cell_ids]
    kept = [record for record in before.records if record.cell_id not in cell_ids]
    still_used = {record.accuracy.predictions for record in kept if record.accuracy}
    for record in gone:
        if record.accuracy and record.accuracy.predictions not in still_used:
            (path / record.accuracy.predictions).unlink(missing_ok=True)


def _rewrite_header(path: Path, header: RunHeader, cell_ids: Collection[str]) -> None:
    """Without the cells in its plan; all else as it was written."""
    data = json.loads((path / HEADER).read_bytes())
    cells = zip(header.cells, data["cells"], strict=True)
    data["cells"] = [raw for cell, raw in cells if cell.id not in cell_ids]
    write_text(path / HEADER, json.dumps(data, indent=1))


def _filter_lines(file: Path, cell_ids: Collection[str]) -> None:
    if file.is_file():
        lines = file.read_bytes().splitlines(keepends=True)
        write_bytes(file, b"".join(line for line in lines if _cell_of(line) not in cell_ids))


def _cell_of(line: bytes) -> str | None:
    """A broken line is nobody's, and stays."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    found = data.get("cell_id") if isinstance(data, dict) else None
    return found if isinstance(found, str) else None


def _filter_samples(file: Path, cell_ids: Collection[str]) -> None:
    """Without the rows of the cells; a file that can't be read stays, others skip it too."""
    with contextlib.suppress(Unreadable):
        cells = read_rows(file)["cell_id"]
        gone = [place for place, name in enumerate(cells.names) if name in cell_ids]
        write_bytes(file, columnar.repacked(file, ~np.isin(cells.codes, gone)))


def _check_steps_again(path: Path) -> None:
    """What was taken out may be the steps by which a query of a language model was checked."""
    records = read_run(path).records
    changed = {
        record.cell_id: record
        for record, old in zip(steps_checked(records), records, strict=True)
        if record != old
    }
    if changed:
        file = path / RECORDS
        lines = file.read_bytes().splitlines(keepends=True)
        write_bytes(file, b"".join(_with_checks(line, changed) for line in lines))


def _with_checks(line: bytes, changed: dict[str, Record]) -> bytes:
    record = changed.get(_cell_of(line) or "")
    if record is None:
        return line
    data: dict[str, Any] = json.loads(line)
    data["checks"] = [check.model_dump(mode="json") for check in record.checks]
    return json.dumps(data).encode() + b"\n"
