"""Files that installed packages brought, found without importing anything."""

from __future__ import annotations

import sys
from pathlib import Path

#: Begins the name of such a file in a card: ``package:gensim/test/test_data/x.tsv``.
PREFIX = "package:"


def in_packages(name: str) -> Path:
    """The first file ``name`` below a folder that Python imports from; where none is there, where
    it would be looked for last."""
    folders = [Path(entry) for entry in sys.path if entry] or [Path()]
    found = (folder / name for folder in folders if (folder / name).exists())
    return next(found, folders[-1] / name)
