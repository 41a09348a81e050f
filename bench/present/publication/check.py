"""Whether a publication says what its raw data says: every number is derived again and compared.

What can't be derived, for lack of raw data, is counted and said. A number agrees within 1e-9 of
its size: the last digits of a logarithm or of a beta quantile differ between builds of numpy and
scipy. Everything else has to be equal.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cell import Frozen
from bench.errors import SpecError
from bench.judge.differences import machine_id_of
from bench.numbers import printable
from bench.present.publication.write import (
    MANIFEST,
    PAGE,
    PAIRS,
    README,
    RESULTS,
    RUNS,
    SCHEMA_VERSION,
    Manifest,
    section,
    tables,
)
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.header import RunHeader
from bench.record.result import Invocation, Record
from bench.store.derive import Derived, derived
from bench.store.find import FACTS, HEADER, INVOCATIONS, RECORDS, WORKERS
from bench.store.lines import read_lines
from bench.store.run import StoredRun, read_run
from bench.validation import first_problem

TOLERANCE = 1e-9
_SHOWN = 400


@dataclass(frozen=True)
class Problem:
    """One difference: in which file, which row and column, and the two values."""

    file: str
    row: str
    column: str
    published: str
    derived: str

    def __str__(self) -> str:
        row, column = printable(self.row, _SHOWN), printable(self.column, _SHOWN)
        where = ", ".join(filter(None, (self.file, row, column)))
        return f"{where}: published {_quoted(self.published)}, derived {_quoted(self.derived)}"


@dataclass(frozen=True)
class Account:
    """What was checked, and what was found."""

    runs: int
    numbers: int  #: derived again
    taken: int  #: numbers without raw data: taken as published
    problems: tuple[Problem, ...]


def publications(path: Path) -> list[Path]:
    """The publications at or below ``path``. Raises `SpecError` where there is none."""
    found = sorted(manifest.parent for manifest in path.rglob(MANIFEST)) if path.is_dir() else []
    if not found:
        raise SpecError(
            f"{path}: there is no publication of bench at or below it (no {MANIFEST}). Make one "
            "with `bench publish`."
        )
    return found


def check(folder: Path) -> Account:
    """Derive everything in one publication again.

    Raises `SpecError` where it can't be read at all.
    """
    manifest = _manifest(folder)
    problems: list[Problem] = []
    sections, numbers, taken = [], 0, 0
    for name in manifest.runs:
        published = read_run(folder / RUNS / name)
        file = f"{RUNS}/{name}"
        problems += [Problem(file, "", "", text, "whole files") for text in published.skipped]
        problems += _repeated(file, published)
        again = derived(published)
        problems += [
            Problem(file, "", "", "a number", f"nothing: {text}") for text in again.problems
        ]
        counts = _compare_runs(file, published, again, problems)
        numbers, taken = numbers + counts.numbers, taken + counts.taken
        made, unread = section(name, again.run)
        problems += [Problem(file, "pairs", "", "a number", f"nothing: {text}") for text in unread]
        sections.append(made)
    expected = tables(manifest.title, sections)
    for file in (RESULTS, PAIRS):
        numbers += _compare_csv(file, _read(folder / file), expected[file], problems)
    for file in (README, PAGE):
        _compare_lines(file, _read(folder / file), expected[file], problems)
    return Account(len(manifest.runs), numbers, taken, tuple(problems))


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        data = json.loads(_read(path))
    except ValueError as error:
        raise SpecError(f"{path}: can't be read: {error}.") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise SpecError(
            f"{path}: its schema version is {version}, this bench reads up to {SCHEMA_VERSION}. "
            "Update bench."
        )
    try:
        found = Manifest.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, Manifest.model_fields)}") from error
    for name in found.runs:
        if Path(name).name != name or name in ("", ".", ".."):
            raise SpecError(f"{path}: {name!r} is not the name of a folder below {RUNS}/.")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(f"{path}: can't be read: {reason}.") from error


# -- records --------------------------------------------------------------------------------------


def _repeated(file: str, run: StoredRun) -> list[Problem]:
    """Lines that stand for what another line stands for: `bench publish` writes each once."""
    version = run.header.schema_version
    found = []
    for name, kind, key in _LINES:
        lines = read_lines(run.path / name, kind, version, [])
        keys = Counter(tuple(getattr(line, part) for part in key) for line in lines)
        for values, count in keys.items():
            if count > 1:
                row = " ".join(f"{part} {value}" for part, value in zip(key, values, strict=True))
                found.append(Problem(f"{file}/{name}", row, "", f"{count} lines", "one"))
    return found


#: Files of lines, and the fields that tell one line from another.
_LINES: tuple[tuple[str, type[Frozen], tuple[str, ...]], ...] = (
    (RECORDS, Record, ("cell_id",)),
    (INVOCATIONS, Invocation, ("cell_id", "index")),
    (WORKERS, WorkerFacts, ("cell_id", "index")),
    (FACTS, CellFacts, ("cell_id",)),
)


@dataclass(frozen=True)
class _Counts:
    """Numbers that were derived again, and numbers taken as published."""

    numbers: int = 0
    taken: int = 0


def _compare_runs(
    file: str, published: StoredRun, again: Derived, problems: list[Problem]
) -> _Counts:
    """Every field of the header and of every record and invocation."""
    _compare(f"{file}/{HEADER}", "", *_with_machine_id(published, again.run), problems)
    numbers = taken = 0
    pairs: tuple[tuple[str, Sequence[Record | Invocation], Sequence[Record | Invocation]], ...] = (
        (RECORDS, published.records, again.run.records),
        (INVOCATIONS, published.invocations, again.run.invocations),
    )
    for name, ours, theirs in pairs:
        for mine, other in zip(ours, theirs, strict=True):
            leaves = _compare(f"{file}/{name}", _line_name(mine), mine, other, problems)
            unborne = again.taken_as_it_is(mine)
            found = [path for path, value in leaves.items() if _is_number(value)]
            without = [path for path in found if _is_below(path, unborne)]
            numbers, taken = numbers + len(found) - len(without), taken + len(without)
    return _Counts(numbers, taken)


def _compare(
    file: str, row: str, mine: Frozen, other: Frozen, problems: list[Problem]
) -> dict[str, object]:
    """Name each plain value in which the two differ; those of the first by their dotted paths."""
    one, two = (dict(_leaves(value.model_dump(mode="json"))) for value in (mine, other))
    for column in dict.fromkeys([*one, *two]):
        a, b = one.get(column), two.get(column)
        if not _same(a, b):
            problems.append(Problem(file, row, column, str(a), str(b)))
    return one


def _with_machine_id(published: StoredRun, again: StoredRun) -> tuple[RunHeader, RunHeader]:
    """Both headers, the second with the machine's id as it follows from the facts."""
    facts = published.header.facts
    machine_id = machine_id_of(facts)
    if machine_id is None or not published.header.keeps_raw:
        return published.header, again.header
    derived_facts = {**facts, "machine_id": machine_id}
    return published.header, again.header.model_copy(update={"facts": derived_facts})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_below(path: str, fields: Collection[str]) -> bool:
    """Whether a dotted path begins with one of the fields, whichever element of a list it is in."""
    plain = re.sub(r"\[\d+\]", "", path)
    return any(plain == name or plain.startswith(f"{name}.") for name in fields)


def _line_name(value: Record | Invocation) -> str:
    if isinstance(value, Invocation):
        return f"cell {value.cell_id} invocation {value.index}"
    return f"cell {value.cell_id} ({value.cell.label})"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of nested objects, by its dotted path; of an empty one that it is empty."""
    if value in ({}, []):
        yield path, "empty"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{place}]")
    else:
        yield path, value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, int | float):
        return bool(a == b)
    if not isinstance(b, int | float):
        return False
    return bool(a == b or abs(a - b) <= TOLERANCE * max(abs(a), abs(b)))


# -- tables ---------------------------------------------------------------------------------------


def _compare_csv(file: str, published: str, again: str, problems: list[Problem]) -> int:
    """Cell by cell, by the name of the column; how many numbers there were.

    A column that a later version of bench has beside the published ones is no difference.
    """
    ours, theirs = (list(csv.reader(io.StringIO(text))) for text in (published, again))
    shown, header, numbers = ours[0] if ours else [], theirs[0], 0
    unknown = [column for column in shown if column not in header]
    if unknown or "run" not in shown or len(set(shown)) < len(shown):
        problems.append(Problem(file, "header", "", ",".join(shown), ",".join(header)))
        return 0
    if len(ours) != len(theirs):
        problems.append(Problem(file, "", "", f"{len(ours) - 1} rows", f"{len(theirs) - 1} rows"))
    for mine, other in zip(ours[1:], theirs[1:], strict=False):
        row, values = _row_name(header, other), dict(zip(header, other, strict=True))
        padded = [*mine, *[""] * (len(shown) - len(mine))]
        for column, a in zip(shown, padded, strict=False):
            b = values[column]
            numbers += _number(b) is not None
            if a != b and not _same_text(a, b):
                problems.append(Problem(file, row, column, a, b))
    return numbers


def _row_name(header: Sequence[str], row: Sequence[str]) -> str:
    values = dict(zip(header, row, strict=False))
    keys = ("model", "variant", "other", "target", "scenario", "batch")
    return " ".join(values[key] for key in keys if values.get(key))


def _same_text(a: str, b: str) -> bool:
    numbers = _number(a), _number(b)
    return None not in numbers and _same(*numbers)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _compare_lines(file: str, published: str, again: str, problems: list[Problem]) -> None:
    """Line by line, and cell by cell where both lines are rows of a table."""
    ours, theirs = published.splitlines(), again.splitlines()
    if len(ours) != len(theirs):
        problems.append(Problem(file, "", "", f"{len(ours)} lines", f"{len(theirs)} lines"))
    header: list[str] = []
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        a, b = _cells(mine), _cells(other)
        if b and (not header or "<th" in other or (len(b) != len(header))):
            header = b
        if not other:
            header = []
        if mine == other:
            continue
        if a and len(a) == len(b) == len(header):
            row = " ".join(b[:3])
            for column, one, two in zip(header, a, b, strict=True):
                if one != two:
                    problems.append(Problem(file, f"line {number} {row}", column, one, two))
        else:
            problems.append(Problem(file, f"line {number}", "", mine, other))


def _cells(line: str) -> list[str]:
    """The cells of a row of a Markdown or HTML table; none where it is no row."""
    if line.startswith("| "):
        return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)
    return [re.sub(r"<[^>]*>", "", cell) for cell in found]


def _quoted(value: str) -> str:
    return printable(value, _SHOWN) or "nothing"
