"""Certificates on disk: ``certificate.json`` and the evidence beside it.

```text
<folder>/
  certificate.json     what was asked and seen, and what follows (bench.record.certificate)
  evidence/*.parquet   a row a sample or token: comparisons with the reference, and predictions
  index.html           the certificate as a page, which `bench report` writes again
```

Evidence is named by its content, so that equal columns are stored once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from bench.arrays import Array
from bench.errors import SpecError
from bench.files import make_folder, write_bytes, write_text
from bench.record.certificate import CERTIFICATE_VERSION, Certificate
from bench.store.columnar import packed
from bench.store.predictions import read_predictions
from bench.validation import first_problem

FILE = "certificate.json"
EVIDENCE = "evidence"
PAGE = "index.html"


class Evidence:
    """Columns that are kept, each table once, by the name of its file, in a folder of their own.

    Raises `SpecError` where the folder holds something already, or can't be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            taken = folder.is_dir() and any(folder.iterdir())
        except OSError as error:
            raise SpecError(f"{folder}: can't be read: {error.strerror}.") from error
        if taken:
            raise SpecError(
                f"{folder}: it is not empty, and a certificate needs its own folder. Name another."
            )
        make_folder(folder / EVIDENCE)
        self._folder = folder
        self.files: dict[str, str] = {}  #: SHA-256 by name
        self._known: dict[str, Mapping[str, Array]] = {}

    def keep(self, columns: Mapping[str, Array]) -> str:
        """Write the columns. Returns the file's name within the folder."""
        data = packed(columns)
        digest = hashlib.sha256(data).hexdigest()
        name = f"{EVIDENCE}/{digest[:16]}.parquet"
        if name not in self.files:
            write_bytes(self._folder / name, data)
            self.files[name] = digest
        self._known[name] = columns
        return name

    def read(self, name: str) -> Mapping[str, Array]:
        """What was kept under a name."""
        return self._known[name]

    def discard(self) -> None:
        """Remove what was kept: without a certificate it is evidence of nothing."""
        for name in self.files:
            (self._folder / name).unlink(missing_ok=True)
        for folder in (self._folder / EVIDENCE, self._folder):
            with contextlib.suppress(OSError):  # somebody put something there meanwhile
                folder.rmdir()


def write_certificate(folder: Path, certificate: Certificate) -> Path:
    """Write `certificate.json`; its evidence is there already."""
    path = folder / FILE
    write_text(path, certificate.model_dump_json(indent=1) + "\n")
    return path


def is_certificate(path: Path) -> bool:
    """Whether a path is that of a certificate: the file, or a folder that has one."""
    return path.name == FILE or (path / FILE).is_file()


def read_certificate(path: Path) -> Certificate:
    """A certificate by its file or folder. Raises `SpecError` where it is none, of another schema,
    or names files that lie elsewhere."""
    file = path / FILE if path.is_dir() else path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SpecError(f"{file}: can't be read: {error.strerror or error}.") from error
    _refuse_other_version(file, data)
    try:
        return Certificate.model_validate_json(data)
    except ValidationError as error:
        problem = first_problem(error, list(Certificate.model_fields))
        raise SpecError(f"{file}: not a certificate: {problem}") from error


def _refuse_other_version(file: Path, data: bytes) -> None:
    try:
        version = json.loads(data)["certificate_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SpecError(
            f"{file}: not a certificate. `bench certify -o FOLDER` writes one."
        ) from error
    if version != CERTIFICATE_VERSION:
        raise SpecError(
            f"{file}: a certificate of version {version!r}, but this bench reads version "
            f"{CERTIFICATE_VERSION}. Read it with the bench that wrote it, or certify again."
        )


class StoredEvidence:
    """The evidence of a certificate that was read, held to its digests."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        self._folder = folder
        self._files = certificate.files
        self._known: dict[str, Mapping[str, Array]] = {}

    def changed(self) -> dict[str, str]:
        """What is lost or is not what was certified: names of files, and what each is, in words."""
        found = {}
        for name, digest in self._files.items():
            path = self._folder / name
            if not path.is_file():
                found[name] = "no file"
            elif path.is_symlink():
                found[name] = "a link"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                found[name] = "another file"
        return found

    def read(self, name: str) -> Mapping[str, Array]:
        """The columns of one file. Raises `SpecError` where it is lost, changed or not named."""
        if name not in self._known:
            path = self._folder / name
            if name not in self._files:
                raise SpecError(f"{path}: not part of this certificate's evidence.")
            try:
                data = path.read_bytes()
            except OSError as error:
                raise SpecError(f"{path}: can't be read: {error.strerror or error}.") from error
            if hashlib.sha256(data).hexdigest() != self._files[name]:
                raise SpecError(f"{path}: it is not the file that was certified.")
            self._known[name] = read_predictions(path)
        return self._known[name]
