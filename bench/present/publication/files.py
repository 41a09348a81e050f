"""Which files a publication consists of: nothing else is in it, and each is what was published.

`published.json` holds the SHA-256 of every other file. What follows from the raw data is derived
again besides; what is itself raw (the machine's facts, whether a worker had settled) can only be
compared with that digest.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.files import regular_files

MANIFEST = "published.json"
RUNS = "runs"


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file but the manifest, by its name within the publication, in order."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in sorted(regular_files(folder))
        if name != MANIFEST
    }
