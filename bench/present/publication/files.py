"""Which files a publication consists of: nothing else is in it, and each is what was published.

`published.json` holds the SHA-256 of every other file. What follows from the raw data is derived
again besides; what is itself raw (the machine's facts, whether a worker had settled) can only be
compared with that digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from bench.errors import SpecError
from bench.files import irregular, regular_files
from bench.record.facts import CellFacts
from bench.store.find import ENERGY, FACTS, HEADER, INVOCATIONS, RECORDS, RESUMES, WORKERS
from bench.store.run import StoredRun

MANIFEST = "published.json"
RUNS = "runs"


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file but the manifest, by its name within the publication, in order."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in sorted(regular_files(folder))
        if name != MANIFEST
    }


def refuse_links(run: Path) -> None:
    """Raise `SpecError` where part of a run, but for its logs, is a link or no plain file: what it
    leads to would be published, whatever it is."""
    for name in irregular(run):
        if not name.startswith("logs/"):
            raise SpecError(
                f"{run / name}: it is a link or no plain file, and what it leads to is not part of "
                "the run. Put the file itself in its place."
            )


def run_files(run: StoredRun, facts: Iterable[CellFacts]) -> set[str]:
    """What the folder of a published run may hold besides samples."""
    found = {HEADER, RECORDS, INVOCATIONS}
    if run.resumptions:
        found.add(RESUMES)
    if run.header.keeps_raw:
        found |= {WORKERS, FACTS}
    if any(record.energy for record in run.records):
        found.add(ENERGY)
    found |= {r.accuracy.predictions for r in run.records if r.accuracy is not None}
    for one in facts:
        found |= {one.outputs, one.reference_outputs} - {""}
    return found
