"""The run that is meant where nobody names its folder: the latest one, or one by its label."""

from __future__ import annotations

import json
from pathlib import Path

from bench.errors import SpecError
from bench.store.files import HEADER
from bench.store.find import run_folders

#: Where `bench run` writes runs unless it is told another folder.
RESULTS = Path("results") / "runs"
_FEW = 5  #: so many labels are named


def latest_run(results: Path = RESULTS) -> Path:
    """The run below a folder that began last. Raises `SpecError` where there is none."""
    found = [(began, folder) for folder, began, _ in _headers(results)]
    if not found:
        raise SpecError(f"{results}: there is no run here yet. Measure one first.")
    return max(found)[1]


def labelled_run(label: str, results: Path = RESULTS) -> Path:
    """The run of that label that began last. Raises `SpecError` where no run has it."""
    headers = _headers(results)
    found = [(began, folder) for folder, began, called in headers if called == label]
    if not found:
        labels = list(dict.fromkeys(called for *_, called in headers if called))
        known = f" Labels here: {', '.join(labels[:_FEW])}." if labels else ""
        raise SpecError(
            f"{label}: no run directory, and no run in {results} has this label.{known}"
        )
    return max(found)[1]


def _headers(results: Path) -> list[tuple[Path, str, str]]:
    """Each run with when it began and its label; one whose header is broken is left out."""
    found = []
    for folder in run_folders(results):
        try:
            data = json.loads((folder / HEADER).read_bytes())
            found.append((folder, str(data["created_at"]), str(data.get("label") or "")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found
