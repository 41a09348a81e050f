"""A bundle as a folder of run directories: verified, unpacked into the cache, and derived again.

Nothing of a bundle is ever executed, and nothing of it is read as a run before every byte has been
held to its digest. Unpacked bundles are kept by their ids, with the verdict beside them, so that
neither is made twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError

import bench.store
from bench.apart import exit_words
from bench.cell import Frozen
from bench.errors import SpecError
from bench.files import irregular, regular_files
from bench.folders import cache_folder
from bench.numbers import counted, printable
from bench.store.bundle import limits
from bench.store.bundle.archive import Archive
from bench.store.bundle.manifest import (
    BUNDLE_VERSION,
    CERTIFICATES,
    MANIFEST,
    RUNS,
    Manifest,
)
from bench.validation import first_problem

#: Of the cache's folder name: 128 bits of the id, which nobody can make a second bundle for.
_DIGITS = 32
#: Where the code lies that makes figures out of raw data.
_DERIVING = ("stats", "record", "store", "cards/tasks")
#: As many as are in the names of files that `bench results pack` names.
_SHOWN_DIGITS = 12
#: How the mark of a bundle begins whose numbers nobody can vouch for.
UNCHECKED = "unchecked"
_CONTENT = "content"
_VERDICT = "verdict.json"


@dataclass(frozen=True)
class Unpacked:
    """A bundle every byte of which is what was packed."""

    path: Path  #: the bundle
    folder: Path  #: its content
    manifest: Manifest

    @property
    def runs(self) -> list[Path]:
        return [self.folder / RUNS / name for name in self.manifest.runs]

    @property
    def certificates(self) -> list[Path]:
        return [self.folder / CERTIFICATES / name for name in self.manifest.certificates]


class Verdict(Frozen):
    """Whether the numbers of a bundle's runs follow from their raw data."""

    derived_by: str  #: which code derived them (`deriver`)
    numbers: int  #: derived again
    taken: dict[str, int] = Field(default_factory=dict)  #: numbers without raw data, by kind
    problems: tuple[str, ...] = ()  #: what differs
    reworded: int = 0  #: checks that this bench words otherwise


def unpacked(path: Path) -> Unpacked:
    """Verify a bundle and lay it out in the cache. Raises `SpecError` for what is no bundle, is
    damaged, or can't be unpacked."""
    try:
        with path.open("rb") as file:
            archive = Archive(path, file)
            manifest = _manifest(path, archive)
            place = cache_folder() / "bundles" / archive.bundle_id[:_DIGITS]
            with tempfile.TemporaryDirectory(
                prefix="bench-bundle-", dir=_made(place.parent)
            ) as top:
                fresh = Path(top) / _CONTENT
                _lay_out(path, archive, manifest, fresh)
                _put(fresh, place / _CONTENT, manifest)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpecError(f"{path}: the bundle can't be opened: {reason}.") from error
    return Unpacked(path, place / _CONTENT, manifest)


def accepted(path: Path) -> Unpacked:
    """Like `unpacked`, of a bundle whose numbers all follow from its raw data as far as it has
    any. Raises `SpecError` for one in which some don't."""
    found = unpacked(path)
    verdict = judge(found)
    if verdict.problems:
        more = f" and {len(verdict.problems) - 1} more" if len(verdict.problems) > 1 else ""
        raise SpecError(
            f"{path}: its numbers do not follow from its raw data, so none are used: "
            f"{verdict.problems[0]}{more}. See them all with `bench publish --check {path}`; "
            "`show`, `report` and `matrix` read it anyway with --unchecked."
        )
    return found


def look_anyway(paths: Iterable[Path]) -> list[Path]:
    """The paths with each bundle's folder in its place, whatever its numbers follow from; runs in
    it are marked (`mark`)."""
    return [unpacked(path).folder if path.is_file() else path for path in paths]


def judge(found: Unpacked) -> Verdict:
    """The verdict on a bundle, from the cache where this bench has judged it before."""
    file = found.folder.parent / _VERDICT
    known = _read_verdict(file)
    if known is not None and known.derived_by == deriver():
        return known
    verdict = _judged(found)
    partial = file.with_name(f"{_VERDICT}.{os.getpid()}.partial")
    partial.write_text(verdict.model_dump_json(indent=1), encoding="utf-8")
    partial.replace(file)
    return verdict


def shown(run: Path) -> str:
    """How people are told which run lies at a path: those of unpacked bundles by the bundle."""
    bundle = bundle_name(run)
    return f"{bundle}: {run.name}" if bundle else str(run)


def bundle_name(run: Path) -> str:
    """How people are told of the bundle that a run was unpacked from; empty for other runs."""
    place = _place_of(run)
    return "" if place is None else f"bundle {place.name[:_SHOWN_DIGITS]}"


@cache
def deriver() -> str:
    """A digest of the code that derives: what another bench, or a changed one, found counts no
    more."""
    top = Path(bench.store.__file__).parents[1]
    found = hashlib.sha256()
    for room in _DERIVING:
        for file in sorted((top / room).rglob("*.py")):
            found.update(f"{file.relative_to(top)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:_DIGITS]


def mark(run: Path) -> str:
    """What whoever reads a run of an unpacked bundle has to know of it; empty for other runs."""
    place = _place_of(run)
    if place is None:
        return ""
    verdict = _read_verdict(place / _VERDICT)
    if verdict is None or verdict.derived_by != deriver():
        return f"{UNCHECKED}: the numbers of this bundle were not derived again"
    if verdict.problems:
        wrong = counted(len(verdict.problems), "value")
        verb = "does" if len(verdict.problems) == 1 else "do"
        return (
            f"{UNCHECKED}: {wrong} of this bundle {verb} not follow from its raw data, first "
            f"{verdict.problems[0]}"
        )
    told = [f"from its bundle: {taken_in_words(verdict.taken)}"] if verdict.taken else []
    told += [reworded_in_words(verdict.reworded)] if verdict.reworded else []
    return "; ".join(told)


def _place_of(run: Path) -> Path | None:
    """Where the bundle is unpacked that a run is of; None where it is of none."""
    content = run.parent.parent
    return content.parent if run.parent.name == RUNS and (content / MANIFEST).is_file() else None


def reworded_in_words(count: int) -> str:
    """What it means that another bench wrote the words of so many checks and reasons."""
    return (
        f"{count} checks and reasons are worded differently by this version of bench, with the "
        "same outcome"
    )


def taken_in_words(taken: Mapping[str, int]) -> str:
    """How many numbers could not be derived, of what, and what that means."""
    kinds = ", ".join(f"{count} of {what}" for what, count in sorted(taken.items()))
    return (
        f"{sum(taken.values())} numbers could not be derived, because their raw data was not kept "
        f"({kinds}): they are used as written"
    )


def _judged(found: Unpacked) -> Verdict:
    """Derived in a process of its own, which what a stranger wrote may end without ending this."""
    call = [sys.executable, "-P", "-m", "bench.store.bundle.judging", str(found.folder)]
    done = subprocess.run(call, capture_output=True, text=True, errors="replace", check=False)
    try:
        return Verdict.model_validate_json(done.stdout)
    except ValidationError as error:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise SpecError(
            f"{found.path}: its numbers can't be derived again: the process that did it "
            f"{exit_words(done.returncode)} ({printable(last, limit=200)})."
        ) from error


def _read_verdict(file: Path) -> Verdict | None:
    try:
        return Verdict.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):  # none yet, or one of a bench that said other things
        return None


# -- unpacking ------------------------------------------------------------------------------------


def _manifest(path: Path, archive: Archive) -> Manifest:
    """What the bundle says of itself, held to its id and to the files that are there."""
    if MANIFEST not in archive.entries:
        raise SpecError(f"{path}: not a bundle of bench: it has no {MANIFEST}.")
    limits.refuse_large_manifest(path, archive.entries[MANIFEST].size)
    data = archive.read(MANIFEST)
    if hashlib.sha256(data).hexdigest() != archive.bundle_id:
        raise SpecError(f"{path}: its {MANIFEST} doesn't match the bundle's name. Get it again.")
    _refuse_other_version(path, data)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        problem = first_problem(error, Manifest.model_fields)
        raise SpecError(f"{path}: {MANIFEST}: {problem}") from error
    if manifest.text != data:
        raise SpecError(f"{path}: its {MANIFEST} is not written as bench writes it.")
    for problem in manifest.strangers(archive.entries):
        raise SpecError(f"{path}: not a bundle as bench packs it: {problem}.")
    return manifest


def _refuse_other_version(path: Path, data: bytes) -> None:
    try:
        version = json.loads(data)["bundle_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SpecError(f"{path}: its {MANIFEST} can't be read.") from error
    if version != BUNDLE_VERSION:
        raise SpecError(
            f"{path}: a bundle of version {version!r}, and this bench reads version "
            f"{BUNDLE_VERSION}. Update bench, or ask for a bundle of that version."
        )


def _lay_out(path: Path, archive: Archive, manifest: Manifest, folder: Path) -> None:
    """Write all members below ``folder``, each held to its digest and its limits."""
    for name, member in [*manifest.files.items(), (MANIFEST, None)]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("xb") as file:
            for chunk in archive.chunks(name):
                digest.update(chunk)
                file.write(chunk)
        size = archive.entries[name].size
        if member is not None and (digest.hexdigest(), size) != (member.sha256, member.size_bytes):
            raise SpecError(f"{path}: {name} is not the file that was packed. Get it again.")
        limits.refuse_swollen(path, name, target)


def _put(fresh: Path, place: Path, manifest: Manifest) -> None:
    """Move the unpacked content into its place, unless all of it is there already."""
    if _is_whole(place, manifest):
        return
    if place.exists():  # somebody changed it: what was judged is no longer what is there
        shutil.rmtree(place.parent)
    _made(place.parent)
    try:
        fresh.rename(place)
    except OSError:
        if not _is_whole(place, manifest):  # another process was not faster
            raise


def _is_whole(place: Path, manifest: Manifest) -> bool:
    names = {*manifest.files, MANIFEST}
    if irregular(place) or {*regular_files(place)} != names:
        return False
    digests = {name: member.sha256 for name, member in manifest.files.items()}
    digests[MANIFEST] = manifest.bundle_id
    return all(_digest(place / name) == digest for name, digest in digests.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
