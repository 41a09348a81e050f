"""Which commit of the user's project is measured."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.programs import ask

_LONGEST_S = 5.0


def commit_of(folder: Path) -> str | None:
    """The commit that is checked out around a folder; None outside of git, or without git."""
    try:
        done = ask(["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"], _LONGEST_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
