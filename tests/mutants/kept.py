"""What was found before, for as long as it holds."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from changes import Change
from lists import ROOT


class Results:
    """Outcomes by change. A change stays noticed while the file and the test that noticed it are
    the same, and unnoticed while the file and all of its tests are."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._path = folder / "results.jsonl"
        self._found: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            for line in self._path.read_text().splitlines():
                entry = json.loads(line)
                self._found[entry["change"]] = entry

    def of(self, change: Change) -> dict[str, Any] | None:
        entry = self._found.get(_key(change, ROOT))
        if entry is None or entry["seal"] != _seal(change, entry["outcome"], entry["test"], ROOT):
            return None
        return entry

    def keep(self, change: Change, reply: Mapping[str, Any], reached: bool, tree: Path) -> None:
        """``tree`` is the copy in which it was tried: what it was copied from may have moved on."""
        outcome, test = reply["outcome"], reply["test"]
        entry = {
            "change": _key(change, tree),
            "outcome": outcome,
            "test": test,
            "reached": reached,
            "seal": _seal(change, outcome, test, tree),
        }
        self._found[entry["change"]] = entry
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def baseline(self, tests: str) -> dict[str, Any] | None:
        """How the tests went without a change."""
        path = self.folder / f"{Path(tests).stem}.json"
        if not path.is_file():
            return None
        entry = json.loads(path.read_text())
        return dict(entry["found"]) if entry["seal"] == _baseline_seal(tests, ROOT) else None

    def keep_baseline(self, tests: str, found: dict[str, Any], tree: Path) -> None:
        path = self.folder / f"{Path(tests).stem}.json"
        path.write_text(json.dumps({"seal": _baseline_seal(tests, tree), "found": found}))


def tests_of(file: str) -> str:
    """Where the tests of a file are: the folder of its room, or the file named after it."""
    parts = Path(file).parts
    return f"tests/{parts[1]}" if len(parts) > 2 else f"tests/test_{Path(file).stem}.py"


def _key(change: Change, root: Path) -> str:
    where = f"{change.file}\0{change.start}\0{change.stop}\0{change.new}\0"
    return hashlib.sha256((where + (root / change.file).read_text()).encode()).hexdigest()


def _seal(change: Change, outcome: str, test: str, root: Path) -> str:
    file, _, name = test.partition("::")
    if outcome != "passed" and (root / file).is_file():
        return hashlib.sha256(_function(root / file, name).encode()).hexdigest()
    return _digest(root / tests_of(change.file))


def _function(file: Path, name: str) -> str:
    """The text of one test function; of a class of tests, all of it."""
    source = file.read_text()
    wanted = name.partition("[")[0].partition("::")[0]
    for node in ast.parse(source).body:
        if getattr(node, "name", None) == wanted:
            return ast.get_source_segment(source, node) or ""
    return ""


def _baseline_seal(tests: str, root: Path) -> str:
    return _digest(root / tests) + _digest(root / "bench")


def _digest(path: Path) -> str:
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
