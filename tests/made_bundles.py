"""Bundles for tests, packed, and forged as somebody could who knows how they are written."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.files import regular_files
from bench.present.publication.pack import Choices, pack
from bench.store.bundle import archive
from bench.store.bundle.manifest import MANIFEST, Manifest, Member
from bench.store.run import read_run

#: A run of four invocations of one cell, as version 1 wrote it.
SMALL = Path(__file__).parent / "runs" / "version-1"


def packed(folder: Path, run: Path = SMALL, choices: Choices | None = None) -> Path:
    return pack([read_run(run)], [], folder / "one.bench", choices or Choices())


def members(bundle: Path) -> dict[str, bytes]:
    with bundle.open("rb") as file:
        opened = archive.Archive(bundle, file)
        return {name: opened.read(name) for name in opened.entries}


def forged(
    folder: Path,
    content: Mapping[str, bytes],
    *,
    unlisted: Mapping[str, bytes] | None = None,
    **changes: object,
) -> Path:
    """A bundle of these members, with right digests; ``changes`` are fields of its manifest,
    ``unlisted`` members that it doesn't name. Names are whatever they are."""
    listed = {name: data for name, data in content.items() if name != MANIFEST}
    files = {
        name: Member(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        for name, data in sorted(listed.items())
    }
    told = Manifest.model_validate_json(content[MANIFEST])
    manifest = told.model_copy(update={"files": files, **changes})
    all_files = {**listed, **(unlisted or {}), MANIFEST: manifest.text}
    laid = folder / "forged"
    shutil.rmtree(laid, ignore_errors=True)
    laid.mkdir()
    paths = {}
    for number, (name, data) in enumerate(sorted(all_files.items())):
        paths[name] = laid / str(number)
        paths[name].write_bytes(data)
    out = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "fits", lambda name: True)
        archive.write(out, paths, manifest.bundle_id)
    path = folder / "forged.bench"
    path.write_bytes(out.getvalue())
    return path


def texts_of(folder: Path) -> dict[str, bytes]:
    """All plain files of a folder by name."""
    return {name: (folder / name).read_bytes() for name in regular_files(folder)}
