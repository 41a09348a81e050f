"""Whether a publication says what its raw data says: whole files are derived again and compared.

What can't be derived, for lack of raw data, is counted and said. When two values agree is told by
`bench.record.differing`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bench import __version__
from bench.cell import Frozen
from bench.errors import SpecError
from bench.files import irregular, regular_files
from bench.judge.differences import machine_id_of
from bench.present.publication.files import MANIFEST, RUNS, digests, run_files
from bench.present.publication.write import (
    PAGE,
    PAIRS,
    README,
    RESULTS,
    SCHEMA_VERSION,
    Manifest,
    section,
    tables,
)
from bench.record.differing import Problem, compare, is_number, same
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.header import RunHeader
from bench.record.result import Invocation, Record
from bench.record.windows import Window
from bench.store.derive import Derived, derived
from bench.store.find import ENERGY, FACTS, HEADER, INVOCATIONS, RECORDS, WORKERS
from bench.store.lines import read_lines
from bench.store.raw import read_raw
from bench.store.run import StoredRun, read_run
from bench.store.samples import sample_files
from bench.validation import first_problem


@dataclass(frozen=True)
class Account:
    """What was checked, and what was found."""

    runs: int
    numbers: int  #: derived again
    taken: int  #: numbers without raw data: taken as published
    problems: tuple[Problem, ...]
    written_by: str = ""  #: where another bench than this one wrote it


def publications(path: Path) -> list[Path]:
    """The publications at or below ``path``."""
    return sorted(manifest.parent for manifest in path.rglob(MANIFEST)) if path.is_dir() else []


def check(folder: Path) -> Account:
    """Derive everything in one publication again.

    Raises `SpecError` where it can't be read at all.
    """
    manifest, text = _manifest(folder)
    problems = _files(folder, manifest, text)
    if irregular(folder):  # what a link leads to is nothing to be read here
        return Account(len(manifest.runs), 0, 0, tuple(problems))
    sections, numbers, taken = [], 0, 0
    for name in manifest.runs:
        published = read_run(folder / RUNS / name)
        file = f"{RUNS}/{name}"
        problems += [Problem(file, "", "", text, "whole files") for text in published.skipped]
        problems += _repeated(file, published)
        problems += _rewritten(file, published)
        problems += _unaccounted(folder, file, published)
        again = derived(published)
        problems += [
            Problem(file, "", "", "a number", f"nothing: {text}") for text in again.problems
        ]
        counts = _compare_runs(file, published, again, problems)
        numbers, taken = numbers + counts.numbers, taken + counts.taken
        made, unread = section(name, again.run)
        problems += [Problem(file, "pairs", "", "a number", f"nothing: {text}") for text in unread]
        sections.append(made)
    for file, expected in tables(manifest.title, sections).items():
        numbers += compare_table(file, _read(folder / file), expected, problems)
    named = {problem.file for problem in problems}
    problems += [one for one in _changed(folder, manifest) if one.file not in named]
    return Account(len(manifest.runs), numbers, taken, tuple(problems), _made_by(manifest))


def _made_by(manifest: Manifest) -> str:
    """Which other bench wrote the publication, whose tables may be worded or laid out otherwise."""
    if manifest.bench_version == __version__:
        return ""
    return f"bench {manifest.bench_version}" if manifest.bench_version else "an older bench"


def _manifest(folder: Path) -> tuple[Manifest, str]:
    """What the manifest says, and how it is written."""
    path = folder / MANIFEST
    if path.is_symlink():
        raise SpecError(f"{path}: it is a link. A publication consists of plain files.")
    text = _read(path)
    try:
        data = json.loads(text)
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
    return found, text


def _read(path: Path) -> str:
    """The text with its line ends as they are."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(f"{path}: can't be read: {reason}.") from error


# -- files ----------------------------------------------------------------------------------------


def _files(folder: Path, manifest: Manifest, text: str) -> list[Problem]:
    """What is no part of a publication, and a manifest that is written otherwise."""
    found = [Problem(name, "", "", "a link", "a plain file") for name in irregular(folder)]
    known = {MANIFEST, README, PAGE, RESULTS, PAIRS}
    inside = tuple(f"{RUNS}/{name}/" for name in manifest.runs)
    outside = [name for name in regular_files(folder) if not name.startswith(inside)]
    found += [Problem(name, "", "", "a file", "none") for name in outside if name not in known]
    if text != manifest.text:
        found.append(Problem(MANIFEST, "", "", text, manifest.text))
    return found


def _changed(folder: Path, manifest: Manifest) -> list[Problem]:
    """Files that are not those whose digests the manifest holds."""
    there, column = digests(folder), f"SHA-256 in {MANIFEST}"
    pairs = {n: (manifest.files.get(n, "none"), there.get(n, "none")) for n in there}
    pairs |= {n: (digest, "none") for n, digest in manifest.files.items() if n not in there}
    return [Problem(n, "", column, one, two) for n, (one, two) in pairs.items() if one != two]


def _unaccounted(folder: Path, file: str, run: StoredRun) -> list[Problem]:
    """Files of a run that nothing in it refers to."""
    expected = run_files(run, read_raw(run).cells.values())
    expected |= {f"samples/{path.name}" for path in sample_files(run.path)}
    return [
        Problem(f"{file}/{name}", "", "", "a file", "none")
        for name in regular_files(folder / file)
        if name not in expected
    ]


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
    (ENERGY, Window, ("index", "cell_id", "position")),
)


def _rewritten(file: str, run: StoredRun) -> list[Problem]:
    """Lines that bench would write otherwise, as one in which a key is there twice: another reader
    could take it for something else. Fields that only a later bench writes may be absent."""
    found = []
    for name, kind, _ in _LINES:
        path = run.path / name
        lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        for number, line in enumerate(lines, start=1):
            if _written_as(line, kind, None) != line or (number == len(lines) and line):
                found.append(
                    Problem(f"{file}/{name}", f"line {number}", "", _words(line), _AS_WRITTEN)
                )
    header = (run.path / HEADER).read_bytes()
    if _written_as(header, RunHeader, 1) != header:
        found.append(Problem(f"{file}/{HEADER}", "", "", _words(header), _AS_WRITTEN))
    return found


_AS_WRITTEN = "JSON as bench writes it"


def _written_as(line: bytes, kind: type[Frozen], indent: int | None) -> bytes:
    """How bench writes the value of a line; a line that is broken is told of elsewhere."""
    if not line:
        return line
    try:
        value = kind.model_validate_json(line)
    except ValidationError:
        return line
    return value.model_dump_json(exclude_unset=True, indent=indent).encode()


def _words(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")


@dataclass(frozen=True)
class _Counts:
    """Numbers that were derived again, and numbers taken as published."""

    numbers: int = 0
    taken: int = 0


def _compare_runs(
    file: str, published: StoredRun, again: Derived, problems: list[Problem]
) -> _Counts:
    """Every field of the header and of every record and invocation."""
    compare(f"{file}/{HEADER}", "", *_with_machine_id(published, again.run), problems)
    numbers = taken = 0
    pairs: tuple[tuple[str, Sequence[Record | Invocation], Sequence[Record | Invocation]], ...] = (
        (RECORDS, published.records, again.run.records),
        (INVOCATIONS, published.invocations, again.run.invocations),
    )
    for name, ours, theirs in pairs:
        for mine, other in zip(ours, theirs, strict=True):
            leaves = compare(f"{file}/{name}", _line_name(mine), mine, other, problems)
            unborne = again.taken_as_it_is(mine)
            found = [path for path, value in leaves.items() if is_number(value)]
            without = [path for path in found if _is_below(path, unborne)]
            numbers, taken = numbers + len(found) - len(without), taken + len(without)
    return _Counts(numbers, taken)


def _with_machine_id(published: StoredRun, again: StoredRun) -> tuple[RunHeader, RunHeader]:
    """Both headers, the second with the machine's id as it follows from the facts."""
    facts = published.header.facts
    machine_id = machine_id_of(facts)
    if machine_id is None or not published.header.keeps_raw:
        return published.header, again.header
    derived_facts = {**facts, "machine_id": machine_id}
    return published.header, again.header.model_copy(update={"facts": derived_facts})


def _is_below(path: str, fields: Collection[str]) -> bool:
    """Whether a dotted path begins with one of the fields, whichever element of a list it is in."""
    plain = re.sub(r"\[\d+\]", "", path)
    return any(plain == name or plain.startswith(f"{name}.") for name in fields)


def _line_name(value: Record | Invocation) -> str:
    if isinstance(value, Invocation):
        return f"cell {value.cell_id} invocation {value.index}"
    return f"cell {value.cell_id} ({value.cell.label})"


# -- tables ---------------------------------------------------------------------------------------


def compare_table(file: str, published: str, again: str, problems: list[Problem]) -> int:
    """Add each difference of a published table from the one that is derived; how many numbers of
    full precision there were."""
    if file in (RESULTS, PAIRS):
        return _compare_csv(file, published, again, problems)
    _compare_lines(file, published, again, problems)
    return 0


def _compare_csv(file: str, published: str, again: str, problems: list[Problem]) -> int:
    """Cell by cell, by the name of the column; how many numbers there were."""
    before = len(problems)
    ours, theirs = (list(csv.reader(io.StringIO(text))) for text in (published, again))
    shown, header, numbers = ours[0] if ours else [], theirs[0], 0
    if shown != header:
        problems.append(Problem(file, "header", "", ",".join(shown), ",".join(header)))
        return 0
    if len(ours) != len(theirs):
        problems.append(Problem(file, "", "", f"{len(ours) - 1} rows", f"{len(theirs) - 1} rows"))
    for mine, other in zip(ours[1:], theirs[1:], strict=False):
        row = _row_name(header, other)
        if len(mine) != len(header):
            problems.append(Problem(file, row, "", f"{len(mine)} cells", f"{len(header)} cells"))
        for column, a, b in zip(header, mine, other, strict=False):
            numbers += _number(b) is not None
            if a != b and not _same_text(a, b):
                problems.append(Problem(file, row, column, a, b))
    if len(problems) == before and published != _as_written(ours):
        problems.append(Problem(file, "", "", "quotes or line ends of others", "those of bench"))
    return numbers


def _as_written(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _row_name(header: Sequence[str], row: Sequence[str]) -> str:
    values = dict(zip(header, row, strict=False))
    keys = ("model", "variant", "other", "target", "scenario", "batch")
    return " ".join(values[key] for key in keys if values.get(key))


def _same_text(a: str, b: str) -> bool:
    """Whether two cells are one number, of which a last digit may differ; written in full."""
    one, two = _number(a), _number(b)
    return one is not None and two is not None and a == repr(one) and same(one, two)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _compare_lines(file: str, published: str, again: str, problems: list[Problem]) -> None:
    """Line by line, and cell by cell where both lines are rows of one table."""
    ours, theirs = published.split("\n"), again.split("\n")
    if len(ours) != len(theirs):
        problems.append(Problem(file, "", "", f"{len(ours)} lines", f"{len(theirs)} lines"))
    header: list[str] = []
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        a, b = _cells(mine), _cells(other)
        if b and (not header or "<th" in other or (len(b) != len(header))):
            header = b
        if not other:
            header = []
        if mine == other or _same_values(mine, other):
            continue
        differing: list[Problem] = []
        if len(a) == len(b) == len(header):
            row = f"line {number} {' '.join(b[:3])}"
            cells = zip(header, a, b, strict=True)
            differing = [Problem(file, row, name, x, y) for name, x, y in cells if x != y]
        # No cell where the line is none of a table, or where it differs between the cells alone.
        problems += differing or [Problem(file, f"line {number}", "", mine, other)]


#: What a page sorts by: numbers in full, whose last digits differ between machines.
_SORTED_BY = re.compile(r'(?<= data-v=")[^"]*(?=")')


def _same_values(mine: str, other: str) -> bool:
    """Whether two lines of a page differ at most in the last digits of what is sorted by."""
    if _SORTED_BY.sub("", mine) != _SORTED_BY.sub("", other):
        return False
    ours, theirs = (" ".join(_SORTED_BY.findall(line)).split(" ") for line in (mine, other))
    return len(ours) == len(theirs) and all(
        a == b or _same_text(a, b) for a, b in zip(ours, theirs, strict=True)
    )


def _cells(line: str) -> list[str]:
    """The cells of a row of a Markdown or HTML table; none where it is no row."""
    if line.startswith("| "):
        return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)
    return [re.sub(r"<[^>]*>", "", cell) for cell in found]
