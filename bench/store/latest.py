"""The runs in a folder by their headers: which is the latest, and what each is called.

Headers are read as plain JSON and nothing heavy is imported: shells complete labels from this.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.errors import SpecError

#: Where `bench run` writes runs unless it is told another folder.
RESULTS = Path("results") / "runs"
#: As `bench.store.files` and `bench.store.merged` have them, which import pydantic.
_RUN, _MERGED, _RECORDS, _LOCK = "run.json", "fleet.json", "records.jsonl", ".lock"


@dataclass(frozen=True)
class KeptRun:
    """What the header of a run says."""

    path: Path
    created_at: str
    label: str
    models: frozenset[str]
    targets: frozenset[str]

    @property
    def words(self) -> str:
        return f"{self.path} ({self.label})" if self.label else str(self.path)

    def is_like(self, other: KeptRun) -> bool:
        return bool(self.models & other.models and self.targets & other.targets)


def kept_runs(results: Path = RESULTS) -> list[KeptRun]:
    """The runs and merged runs in the folder of runs, the latest first."""
    try:
        folders = sorted(path for path in results.iterdir() if path.is_dir())
    except OSError:
        return []
    found = [run for folder in folders if (run := _read(folder)) is not None]
    return sorted(found, key=lambda run: (run.created_at, run.path), reverse=True)


def _read(folder: Path) -> KeptRun | None:
    for name in (_RUN, _MERGED):
        try:
            header = json.loads((folder / name).read_bytes())
            return KeptRun(
                folder,
                str(header["created_at"])[:19],
                str(header.get("label", "")),
                frozenset(map(str, header.get("models", ()))),
                frozenset(map(str, header.get("targets", ()))),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def finished_runs(results: Path = RESULTS) -> list[KeptRun]:
    """Those that hold a result and that nobody is measuring now. Raises `SpecError`."""
    busy: list[Path] = []
    found = []
    for run in kept_runs(results):
        if _is_written_now(run.path):
            busy.append(run.path)
        elif _has_results(run.path):
            found.append(run)
    if not found:
        measured = f" ({busy[0]} is still being measured)" if busy else ""
        raise SpecError(
            f"there is no run with a result in {results}{measured}. Measure one with "
            "`bench run`, or name the folder of a run."
        )
    return found


def _has_results(folder: Path) -> bool:
    records = [folder / _RECORDS, *folder.glob(f"machines/**/{_RECORDS}")]
    return any(path.is_file() and path.stat().st_size for path in records)


def _is_written_now(folder: Path) -> bool:
    """Whether another process holds the lock of a run (`bench.store.write.lock_folder`)."""
    import fcntl  # not on Windows

    try:
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return False
