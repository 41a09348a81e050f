"""Finding run directories: below folders, by pattern, in whatever was copied together.

A run directory is one that has a ``run.json``; nothing below it is looked at. A bundle
(``bench results pack``) stands for its runs, once its numbers have been derived again. Two
directories with the same ``run.json`` are copies of one run where the records of one begin with
those of the other: that file is written once, at the start, and records are only ever appended.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.errors import SpecError
from bench.store.bundle.opened import accepted
from bench.store.files import BUNDLE
from bench.store.files import ENERGY as ENERGY  # who finds runs goes on to read their files
from bench.store.files import FACTS as FACTS
from bench.store.files import HEADER as HEADER
from bench.store.files import INVOCATIONS as INVOCATIONS
from bench.store.files import RECORDS as RECORDS
from bench.store.files import RESUMES as RESUMES
from bench.store.files import WORKERS as WORKERS

_ZIP = b"PK\3\4"
_FEW = 3  #: so many runs are named, more are counted


def find_runs(paths: Iterable[Path | str]) -> list[Path]:
    """All run directories that ``paths`` mean, each once, in the order of the paths and names.

    A path is a run directory, a bundle, a folder with either at any depth, or a pattern of these
    (``results/2026-*``). Raises `SpecError` for a path below which there is no run, and for a
    bundle whose numbers don't follow from its raw data.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for run in _below(path):
            found.setdefault(run.resolve(), run)
    return list(found.values())


def run_folders(path: Path) -> list[Path]:
    """The run directories at or below a path; those that are packed into bundles are none."""
    return _folders(path) if path.is_dir() else []


def only_run(path: Path) -> Path:
    """The run directory at or below ``path``. Raises `SpecError` where there is none, or several
    of them."""
    found = find_runs([path])
    if len(found) > 1:
        names = ", ".join(str(run) for run in found[:_FEW])
        more = ", ..." if len(found) > _FEW else ""
        raise SpecError(f"{path} holds {len(found)} runs ({names}{more}). Name one.")
    return found[0]


def without_copies(runs: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """The runs without those that are copies of another, of which the one with the most records is
    kept; and a sentence about each one left out."""
    order = list(runs)
    groups: dict[bytes, list[Path]] = {}
    for run in order:
        groups.setdefault(_identity(run), []).append(run)
    kept: list[Path] = []
    notes: list[str] = []
    for copies in groups.values():
        ours: list[Path] = []
        for run in sorted(copies, key=_records_bytes, reverse=True):
            original = next((longer for longer in ours if _begins(longer, run)), None)
            if original is None:
                ours.append(run)
            else:
                notes.append(f"{run}: left out: a copy of {original}")
        kept += ours
    return sorted(kept, key=order.index), notes


def _below(path: Path | str) -> list[Path]:
    if os.path.exists(path):
        return _runs_in(Path(path))
    matched = sorted(glob.glob(str(path), recursive=True))
    if not matched:
        raise SpecError(f"{path}: not a run directory (no such folder).")
    found = [run for name in matched for run in _matched(Path(name))]
    if not found:
        raise SpecError(f"{path}: nothing that matches is or contains a run ({HEADER}).")
    return found


def _runs_in(path: Path) -> list[Path]:
    if is_bundle(path):
        return _runs_of(path)
    if not path.is_dir():
        raise SpecError(
            f"{path}: neither a run directory nor a bundle of runs. Name the run's folder, or a "
            "file written by `bench results pack`."
        )
    found = _walk(path)
    if not found:
        raise SpecError(
            f"{path}: not a run directory (it has no {HEADER}), and none below it. `bench run` "
            "writes runs to results/runs."
        )
    return found


def is_bundle(path: Path) -> bool:
    """Whether a path is that of a bundle by its name or by how it begins; opening it tells."""
    if not path.is_file():
        return False
    if path.suffix == BUNDLE:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_ZIP)) == _ZIP
    except OSError:
        return False


def _runs_of(bundle: Path) -> list[Path]:
    runs = accepted(bundle).runs
    if not runs:
        raise SpecError(f"{bundle}: this bundle has no runs, only certificates.")
    return runs


def _matched(path: Path) -> list[Path]:
    if path.is_dir():
        return _walk(path)
    return _runs_of(path) if is_bundle(path) else []


def _walk(top: Path) -> list[Path]:
    found = []
    for folder, names in _entries(top):
        if HEADER in names:
            found.append(folder)
        else:
            packed = (folder / name for name in names if name.endswith(BUNDLE))
            found += [run for bundle in packed for run in _runs_of(bundle)]
    return found


def _folders(top: Path) -> list[Path]:
    return [folder for folder, names in _entries(top) if HEADER in names]


def _entries(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder with the names of its files, in order; nothing below a run directory."""
    for folder, below, names in os.walk(top):
        below.sort()
        yield Path(folder), sorted(names)
        if HEADER in names:
            below.clear()


def _identity(run: Path) -> bytes:
    """What copies of a run have in common; a run whose header is lost is its own only copy."""
    try:
        return (run / HEADER).read_bytes() or os.fsencode(run)
    except OSError:
        return os.fsencode(run)


def _begins(longer: Path, run: Path) -> bool:
    """Whether the records of ``longer`` begin with those of ``run``."""
    size = _records_bytes(run)
    if not size:
        return True
    with (longer / RECORDS).open("rb") as one, (run / RECORDS).open("rb") as other:
        return one.read(size) == other.read(size)


def _records_bytes(run: Path) -> int:
    try:
        return (run / RECORDS).stat().st_size
    except OSError:
        return 0
