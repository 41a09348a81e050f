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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bench import __version__
from bench.errors import SpecError
from bench.files import irregular, regular_files
from bench.present.publication.files import MANIFEST, RUNS, digests
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
from bench.record.differing import Problem, same
from bench.store.check import check_copy
from bench.store.run import read_run
from bench.validation import first_problem


@dataclass(frozen=True)
class Account:
    """What was checked, and what was found."""

    runs: int
    numbers: int  #: derived again
    taken: Counter[str]  #: numbers without raw data, by what they are of: taken as published
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
    taken: Counter[str] = Counter()
    if irregular(folder):  # what a link leads to is nothing to be read here
        return Account(len(manifest.runs), 0, taken, tuple(problems))
    sections, numbers = [], 0
    for name in manifest.runs:
        file, without = f"{RUNS}/{name}", name in manifest.without_predictions
        found = check_copy(read_run(folder / file), file, without_predictions=without)
        problems += found.problems
        numbers += found.numbers
        taken.update(found.taken)
        made, unread = section(name, found.derived.run)
        if not without:
            problems += [Problem(file, "pairs", "", "a number", f"nothing: {u}") for u in unread]
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
