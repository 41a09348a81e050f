"""What a bundle says of itself: `bundle.json`, whose SHA-256 is the bundle's id."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import Annotated

from pydantic import Field

from bench.cell import Count, Frozen
from bench.machine.facts import MachineFacts
from bench.store.files import ENERGY, FACTS, HEADER, INVOCATIONS, RECORDS, RESUMES, WORKERS

BUNDLE_VERSION = 1
MANIFEST = "bundle.json"
RUNS = "runs"
CERTIFICATES = "certificates"
#: What may be left out of a bundle: names of hosts, users and paths; what the workers printed.
NAMES, LOGS = "names", "logs"
#: Facts of the machine that a bundle has; others come from other tools, and may say anything.
MACHINE_FACTS = {*(one.name for one in fields(MachineFacts)), "machine_id"}

Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._@+=-]*$", max_length=120)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_OF_A_RUN = "|".join(
    re.escape(name) for name in (HEADER, RECORDS, INVOCATIONS, WORKERS, FACTS, ENERGY, RESUMES)
)
_RUN_FILE = re.compile(
    rf"{_OF_A_RUN}|samples/[^/]+\.parquet|predictions/[^/]+\.parquet|outputs/[^/]+\.npz|logs/[^/]+"
)
_CERTIFICATE_FILE = re.compile(r"certificate\.json|evidence/[^/]+\.parquet")


class Member(Frozen):
    """A file of the bundle."""

    sha256: Digest
    size_bytes: Count


class Manifest(Frozen):
    """What `bundle.json` holds: every other file of the bundle, and what they are of."""

    bundle_version: int = BUNDLE_VERSION
    label: Annotated[str, Field(max_length=200)] = ""
    runs: tuple[Folder, ...] = ()  #: folders below `runs/`
    certificates: tuple[Folder, ...] = ()  #: folders below `certificates/`
    left_out: tuple[str, ...] = ()  #: "names", "logs"
    #: runs that were packed without predictions, so that their accuracies are taken as they are
    without_predictions: tuple[Folder, ...] = ()
    files: dict[str, Member] = Field(default_factory=dict)

    @property
    def text(self) -> bytes:
        """The file; fields that only a later bench writes are absent where they were."""
        return self.model_dump_json(indent=1, exclude_unset=True).encode() + b"\n"

    @property
    def bundle_id(self) -> str:
        return hashlib.sha256(self.text).hexdigest()

    def strangers(self, members: Collection[str]) -> Iterator[str]:
        """What keeps the members from being those that the manifest names, in words."""
        for name in sorted({*members} - {*self.files, MANIFEST}):
            yield f"{name} is not in its list of files"
        for name in sorted({*self.files} - {*members}):
            yield f"{name} is missing"
        for name in sorted(self.files):
            if not self._is_known(name):
                yield f"{name} is not part of a run or a certificate"
        folded = [name.casefold() for name in members]
        if len({*folded}) != len(folded):
            yield "the names of two of its files differ only in upper and lower case"
        for folder, names in ((RUNS, self.runs), (CERTIFICATES, self.certificates)):
            for name in names:
                needed = HEADER if folder == RUNS else "certificate.json"
                if f"{folder}/{name}/{needed}" not in self.files:
                    yield f"{folder}/{name} has no {needed}"

    def _is_known(self, name: str) -> bool:
        folder, _, rest = name.partition("/")
        of, _, file = rest.partition("/")
        if folder == RUNS:
            return of in self.runs and _RUN_FILE.fullmatch(file) is not None
        of_certificate = folder == CERTIFICATES and of in self.certificates
        return of_certificate and _CERTIFICATE_FILE.fullmatch(file) is not None
