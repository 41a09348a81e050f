"""What a run left on the disk, read as docs/results-format.md describes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from in_time import read

Json = dict[str, Any]

#: A target that can't do what was asked of it says so: that is an answer, not a fault.
REFUSED = ("unsupported",)
#: Checks whose failure means that something else was measured than was asked for.
DECISIVE = ("parity", "placement", "precision")
_MOST_NAMED = 5


@dataclass(frozen=True)
class Run:
    """The cells that a run planned, and its records."""

    planned: Sequence[Json]
    records: Sequence[Json]

    @property
    def measured(self) -> list[Json]:
        """The records with figures that were measured to their end."""
        return [r for r in self.records if r["status"] == "ok" and r["stop"] != "interrupted"]

    @property
    def refused(self) -> list[Json]:
        """The records of what a target can't do."""
        return [r for r in self.records if r["failure"] and r["failure"]["kind"] in REFUSED]

    def notes(self) -> list[str]:
        """How much there is, and what was refused."""
        of = max(len(self.planned), len(self.records))  # a sweep adds cells as it goes
        return [f"{len(self.measured)} of {of} cells measured", *_refusals(self.refused)]

    def faults(self) -> list[str]:
        """What failed, and what was measured wrongly."""
        failed = [f"{label(r)}: {_failure(r)}" for r in self.records if _has_failed(r)]
        wrong = [f"{label(r)}: {words}" for r in self.measured for words in _wrong(r)]
        return _first([*failed, *wrong])


def runs_in(folder: Path) -> set[Path]:
    """The directories of runs in a folder."""
    return {path.parent for path in folder.glob("*/run.json")}


def read_run(folder: Path) -> Run:
    """A run, which may have been killed at any byte."""
    try:
        planned = json.loads(read(folder / "run.json"))["cells"]
    except (ValueError, KeyError):
        planned = []
    records = {record["cell_id"]: record for record in _lines(folder / "records.jsonl")}
    return Run(planned, list(records.values()))


def _lines(path: Path) -> Iterator[Json]:
    for line in read(path).splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def label(record: Json) -> str:
    """Which cell it is of."""
    cell = record["cell"]
    return f"{cell['model']['name']} {cell['target']} {cell['scenario']} batch {cell['batch']}"


def _has_failed(record: Json) -> bool:
    return record["failure"] is not None and record["failure"]["kind"] not in REFUSED


def _failure(record: Json) -> str:
    return f"{record['failure']['kind']}: {record['failure']['message']}"


def _refusals(records: Iterable[Json]) -> list[str]:
    return _first([f"refused: {label(r)}: {r['failure']['message']}" for r in records])


def _wrong(record: Json) -> list[str]:
    """Without `parity` nothing was compared, and the check of that name says only that."""
    failed = [check for check in record["checks"] if not check["ok"] and check["name"] in DECISIVE]
    return [
        f"{check['name']}: {check['detail']}"
        for check in failed
        if check["name"] != "parity" or record["parity"] is not None
    ]


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_NAMED
    return [*lines[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]


def without_energy(run: Run, scope: str) -> list[str]:
    """The complaint that no meter of a scope was read in a cell."""
    unread = [r for r in run.measured if not _read_by(r, scope)]
    if run.measured and not unread:
        return []
    why = {e["missing"] for r in unread for e in r["energy"] if e["scope"] == scope} - {None, ""}
    reason = ": " + "; ".join(sorted(why)) if why else ""
    return [f"no energy of the {scope} in {len(unread)} of {len(run.measured)} cells{reason}"]


def _read_by(record: Json, scope: str) -> bool:
    return any(e["scope"] == scope and e["gross_j"] for e in record["energy"])


def without_roofline(run: Run) -> list[str]:
    """The complaint that no cell was held against the peaks of its target."""
    return [] if any(r["roofline"] for r in run.measured) else ["no roofline was measured"]


def without_sweep(run: Run) -> list[str]:
    """The complaint that the batch was not doubled even once."""
    batches = {r["cell"]["batch"] for r in run.measured}
    return [] if len(batches) > 1 else ["no second batch was measured"]


def unmeasured(run: Run) -> list[str]:
    """The complaint that a cell that has to be measured was refused."""
    return _refusals(run.refused)


def device_times(records: Iterable[Json], kind: str) -> list[str]:
    """For each target of a kind: in how many of its cells the device's own time was told, and of
    which it was not."""
    by_target: dict[str, list[Json]] = {}
    for record in records:
        if f":{kind}" in record["cell"]["target"]:
            by_target.setdefault(record["cell"]["target"], []).append(record)
    return [line for target, mine in by_target.items() for line in _told(target, mine)]


def _told(target: str, records: Sequence[Json]) -> list[str]:
    silent = [record for record in records if record.get("device_ns") is None]
    line = f"{target}: told in {len(records) - len(silent)} of {len(records)} cells"
    partly = silent if len(silent) < len(records) else []
    return [line, *_first([f"  not in {label(record)}" for record in partly])]
