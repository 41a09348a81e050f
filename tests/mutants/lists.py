"""The two lists beside this file: changes written by hand, and changes that may go unnoticed."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from changes import Change

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KNOWN = HERE / "known.tsv"
IGNORED = HERE / "ignored.tsv"


@dataclass(frozen=True)
class Ignored:
    """A change that no test can or need notice, and why."""

    file: str
    scope: str
    before: str
    after: str
    reason: str

    def is_of(self, change: Change) -> bool:
        mine = (self.file, self.scope, self.before, self.after)
        return mine == (change.file, change.scope, change.before, change.after)


def read_known(root: Path = ROOT, path: Path = KNOWN) -> dict[str, Change]:
    """The changes written by hand, by name. Raises `ValueError` for a row whose text the tree does
    not have exactly once: it proves nothing any more."""
    found = {}
    for row in _rows(path):
        old, new = (_unescaped(row[key]) for key in ("old", "new"))
        source = (root / row["file"]).read_text() if (root / row["file"]).is_file() else ""
        times = source.count(old)
        if times != 1:
            raise ValueError(
                f"{path.name}: {row['name']}: {row['file']} has {old!r} {times} times, not once"
            )
        start = source.index(old)
        line = source.count("\n", 0, start) + 1
        found[row["name"]] = Change(
            file=row["file"],
            scope="",
            line=line,
            lines=range(line, line + old.count("\n") + 1),
            start=start,
            stop=start + len(old),
            old=old,
            new=new,
            before=" ".join(old.split()),
            after=" ".join(new.split()),
        )
    return found


def read_ignored(path: Path = IGNORED) -> list[Ignored]:
    """The changes that may go unnoticed. Raises `ValueError` where one has no reason."""
    found = [Ignored(**row) for row in _rows(path)]
    for one in found:
        if not one.reason:
            raise ValueError(f"{path.name}: {one.before} -> {one.after} has no reason")
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _unescaped(text: str) -> str:
    """A line break is written \\n."""
    return text.replace("\\n", "\n")
