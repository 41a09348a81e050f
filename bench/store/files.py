"""How the files of a run directory are called, and bundles of runs."""

from __future__ import annotations

import shlex
from pathlib import Path

HEADER = "run.json"
RECORDS = "records.jsonl"
INVOCATIONS = "invocations.jsonl"
WORKERS = "workers.jsonl"
FACTS = "facts.jsonl"
ENERGY = "energy.jsonl"
RESUMES = "resumes.jsonl"
#: What a run of `bench tune` has beside others'.
TUNE = "tune.json"
#: The ending of files that `bench results pack` writes.
BUNDLE = ".bench"


def is_tune(run: Path) -> bool:
    return (run / TUNE).is_file()


def resuming(run: Path) -> str:
    """The command that resumes a run."""
    command = "tune" if is_tune(run) else "run"
    return f"bench {command} --resume {shlex.quote(str(run))}"
