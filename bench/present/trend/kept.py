"""What a trend site keeps of each run: a run directory with the header and the records, which
everything that reads runs reads. Invocations, samples and predictions are left out, so that a site
can grow for years in a branch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.errors import SpecError
from bench.files import write_text
from bench.store.find import HEADER, RECORDS
from bench.store.run import StoredRun, read_header

RUNS = "runs"
#: What a folder may be called on every file system and in an address.
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def keep(runs: Sequence[StoredRun], site: Path) -> list[Path]:
    """Add the runs to those that the site has, each once; the folders of the new ones."""
    return [added for run in runs if (added := _kept(run, site / RUNS)) is not None]


def _kept(run: StoredRun, folder: Path) -> Path | None:
    """None where the site has the run already."""
    name = _ODD.sub("-", run.path.resolve().name).strip(".-") or "run"
    place, number = folder / name, 1
    while place.exists():
        if _same(run, place):
            return None
        number += 1
        place = folder / f"{name}-{number}"  # another machine began one in the same second
    place.mkdir(parents=True)
    write_text(place / HEADER, run.header.model_dump_json(indent=1) + "\n")
    lines = [r.model_copy(update={"invocations": ()}).model_dump_json() for r in run.records]
    write_text(place / RECORDS, "".join(f"{line}\n" for line in lines))
    return place


def _same(run: StoredRun, place: Path) -> bool:
    """Whether a kept run is this one; what can't be read is not, and stays as it is."""
    try:
        kept = read_header(place)
    except SpecError:
        return False
    ours = run.header
    return (kept.created_at, kept.facts.get("machine_id"), kept.command) == (
        ours.created_at,
        ours.facts.get("machine_id"),
        ours.command,
    )
