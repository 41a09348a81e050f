"""Running MLPerf's own submission checker on a pack; it is no package but a part of a clone of
mlcommons/inference."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import SpecError
from bench.files import file_stem
from bench.store.mlperf.layout import Asked

#: Where it may be in what a user names: a clone, its tools/submission, or the checker itself.
_PLACES = ("tools/submission/submission_checker", "submission_checker", ".")
_PACKAGE = "submission_checker"
_LONGEST_S = 600.0
#: What it prints before an error: a time, files and lines, or the level alone.
_ERROR = re.compile(r"^(?:\[\S+ \S+ \S+ ERROR\]|ERROR:\w+:)\s*(.*)$")
_SUMMARY = re.compile(r"SUMMARY: (.*)$")


@dataclass(frozen=True)
class Verdict:
    """What the checker says."""

    ok: bool
    summary: str
    complaints: tuple[str, ...]


def find_checker(path: Path) -> Path:
    """The folder ``submission_checker`` in what the user names. Raises `SpecError`."""
    for place in _PLACES:
        found = (path / place).resolve()
        if found.name == _PACKAGE and (found / "main.py").is_file():
            return found
    raise SpecError(
        f"{path} has no submission checker. Name a clone of "
        "https://github.com/mlcommons/inference, which has one."
    )


def check(pack: Path, asked: Asked, checker: Path, version: str) -> Verdict:
    """Run it. Raises `SpecError` where it can't be run, or ends without a verdict."""
    found = find_checker(checker)
    with tempfile.TemporaryDirectory(prefix="bench-checker-") as folder:
        command = [
            sys.executable,
            "-m",
            f"{_PACKAGE}.main",
            *("--input", str(pack.resolve())),
            *("--version", version),
            *("--submitter", file_stem(asked.submitter)),
            *("--csv", str(Path(folder) / "summary.csv")),
        ]
        try:
            done = subprocess.run(
                command,
                cwd=found.parent,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LONGEST_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SpecError(f"{found}: the checker could not be run: {error}.") from error
    lines = (done.stderr + done.stdout).splitlines()
    summary = next((m[1] for line in lines if (m := _SUMMARY.search(line))), "")
    if not summary:
        last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
        raise SpecError(f"{found}: the checker ended without a verdict: {last}")
    complaints = dict.fromkeys(_complaints(lines, pack.resolve()))
    return Verdict(done.returncode == 0, summary, tuple(complaints))


def _complaints(lines: list[str], pack: Path) -> Iterator[str]:
    """Its errors, with paths as the pack has them."""
    for line in lines:
        found = _ERROR.match(line)
        if found is not None and not _SUMMARY.search(line):
            yield found[1].replace(f"{pack}/", "")
