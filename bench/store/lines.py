"""Files of one JSON value a line, in which a broken line costs only itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bench.cell import Frozen
from bench.record.migrations import migrated
from bench.record.result import SCHEMA_VERSION, Record
from bench.store.find import RECORDS

_Line = TypeVar("_Line", bound=Frozen)


def read_records(path: Path, version: int, skipped: list[str]) -> Iterator[Record]:
    """The records of a run directory in the order of writing; see `read_lines`."""
    return read_lines(path / RECORDS, Record, version, skipped)


def read_lines(path: Path, kind: type[_Line], version: int, skipped: list[str]) -> Iterator[_Line]:
    """The values of a file of lines that a run of schema ``version`` wrote.

    A broken line is left out, and a field that this bench doesn't know, which a later one of the
    same version may write; ``skipped`` tells of both.
    """
    unknown: dict[str, None] = {}
    for number, line in enumerate(_lines(path, skipped), start=1):
        if not line.strip():
            continue
        try:
            yield _read_line(line, kind, version, unknown)
        except (ValidationError, ValueError, RecursionError):
            skipped.append(f"{path.name} line {number}: incomplete {kind.__name__.lower()}")
    if unknown:
        skipped.append(
            f"{path.name}: fields that this bench does not know ({', '.join(unknown)}); update "
            "bench to see them"
        )


def _lines(path: Path, skipped: list[str]) -> Iterator[bytes]:
    """One after the other, so that a file may be larger than memory; none where there is none."""
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as error:
        skipped.append(f"{path.name}: {error.strerror}")


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
