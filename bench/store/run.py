"""A run on disk: append-only files that survive a kill at any byte.

run.json            the suite, the environment, the planned cells; written once
invocations.jsonl   one line for each worker process that measured a cell
workers.jsonl       one line for each of them: what it told
records.jsonl       one line for each finished cell
resumes.jsonl       one line for each time that it was gone on with
facts.jsonl         one line for each of them: what was found out of it besides its timed calls
samples/*.parquet   latencies: one file a generation, all its cells in the order of measuring
predictions/*.parquet  one file for each model, variant and target: one row an example
outputs/*.npz       what the timed sessions and the references put out, as much as is compared
logs/               what the workers printed
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bench.arrays import Array
from bench.errors import SpecError
from bench.record.header import RunHeader
from bench.record.migrations import migrated
from bench.record.result import SCHEMA_VERSION, Invocation, Record
from bench.record.resumption import Resumption
from bench.spec import Suite
from bench.store.bundle.opened import UNCHECKED, bundle_name, mark, shown
from bench.store.find import HEADER, INVOCATIONS, RESUMES, only_run
from bench.store.gaps import read_gaps
from bench.store.held import Holder
from bench.store.lines import read_lines, read_records
from bench.store.predictions import read_predictions
from bench.store.samples import read_samples, read_ttft
from bench.validation import first_problem, refuse_newer

_Taken = TypeVar("_Taken")


@dataclass(frozen=True)
class StoredRun:
    """What could be read back of a run, and what had to be skipped."""

    path: Path
    header: RunHeader
    records: list[Record]  #: in the order of the plan
    invocations: list[Invocation]
    skipped: list[str]
    header_lost: bool = False  #: `run.json` is broken, and `header` is what the records tell
    resumptions: list[Resumption] = field(default_factory=list)
    mark: str = ""  #: what whoever reads it has to know of the bundle that it is from

    @property
    def shown(self) -> str:
        """How people are told which run this is: by its path, or by its bundle and its name."""
        return shown(self.path)

    @property
    def remarks(self) -> list[str]:
        """What whoever reads the records has to be told of them: what could not be read, and what
        was no longer the same when the run was gone on with."""
        return [*([self.mark] if self.mark else []), *self.of_its_own]

    @property
    def of_its_own(self) -> list[str]:
        """The remarks without that on its bundle, which all runs of a bundle share."""
        return [*(f"skipped {text}" for text in self.skipped), *self.changed]

    @property
    def unchecked(self) -> str:
        """The mark where nobody can vouch for the numbers, which every output has to show."""
        return self.mark if self.mark.startswith(UNCHECKED) else ""

    @property
    def changed(self) -> list[str]:
        """What was no longer the same when the run was gone on with, in words."""
        return [
            f"it was resumed at {resumption.resumed_at} with another {change}"
            for resumption in self.resumptions
            for change in resumption.changes
        ]

    @cached_property
    def without_predictions(self) -> bool:
        """Whether models were scored, and none of the predictions are there: of runs that were
        handed on without them only the scores are known."""
        files = {r.accuracy.predictions for r in self.records if r.accuracy and not r.foreign}
        return bool(files) and not any((self.path / file).exists() for file in files)

    def predictions(self, record: Record, without: Collection[str] = ()) -> dict[str, Array]:
        """What the record's accuracy was counted from, one row an item (`Task.columns`), but for
        the columns in ``without``. Raises `SpecError` where it is lost or broken."""
        if record.accuracy is None:
            raise SpecError(f"{self.path}: {record.cell.label} has no predictions.")
        if self.without_predictions:
            raise SpecError(
                f"{self.path}: it has no predictions, so its accuracies can't be compared or "
                "derived again."
            )
        return read_predictions(self.path / record.accuracy.predictions, without)

    def scored_columns(self, record: Record) -> dict[str, Array]:
        """The predictions without the large columns that no metric is made of."""
        from bench.cards.tasks import bulky_columns  # start-up: few readers need tasks

        return self.predictions(record, without=bulky_columns(record.cell.model.task))

    def samples(self, cell_id: str) -> dict[int, Array]:
        """The latencies in ns that the figures come from, by invocation (see `trusted_samples`).

        The first call reads the samples of all cells; a file that can't be read is left out.
        """
        return self._samples.get(cell_id, {})

    def ttft_samples(self, cell_id: str) -> dict[int, Array]:
        """Of the same calls the times to the first token, where they are whole queries."""
        return self._ttft_samples.get(cell_id, {})

    def gap_samples(self, cell_id: str) -> dict[int, Array]:
        """Of the same calls the times from token to token, (calls, tokens)."""
        return self._gap_samples.get(cell_id, {})

    @cached_property
    def _gap_samples(self) -> dict[str, dict[int, Array]]:
        return read_gaps(self.path)

    @cached_property
    def _ttft_samples(self) -> dict[str, dict[int, Array]]:
        return read_ttft(self.path)

    @cached_property
    def _samples(self) -> dict[str, dict[int, Array]]:
        return read_samples(self.path)


def remarks_of(runs: Iterable[StoredRun]) -> list[str]:
    """The remarks on several runs, each with the run that it is on; what is to be said of a bundle
    once, and not for each run of it."""
    found: dict[str, None] = {}
    for run in runs:
        found |= dict.fromkeys(marks_of([run]))
        found |= dict.fromkeys(f"{run.shown}: {text}" for text in run.of_its_own)
    return list(found)


def marks_of(runs: Iterable[StoredRun], *, unchecked: bool = False) -> list[str]:
    """What is to be said of the bundles that runs are from, each once; with ``unchecked`` of those
    alone whose numbers nobody can vouch for."""
    return told_of_bundles((run.path, run.unchecked if unchecked else run.mark) for run in runs)


def told_of_bundles(marked: Iterable[tuple[Path, str]]) -> list[str]:
    """Each mark once, with the bundle of the run at the path; empty ones are none."""
    told = (f"{bundle_name(path) or shown(path)}: {text}" for path, text in marked if text)
    return list(dict.fromkeys(told))


def read_run(path: Path) -> StoredRun:
    """Read the run directory at ``path``, or the only one below it; what can't be read is skipped
    and listed.

    Raises `SpecError` when there is no run or several, or when it was written by a newer schema.
    """
    stored = _read(path, packed=False)
    with no_collection():
        file, version = stored.path / INVOCATIONS, stored.header.schema_version
        lines = read_lines(file, Invocation, version, stored.skipped)
        # The same line twice where files were joined by hand; of two the last counts.
        invocations = {(i.cell_id, i.index): i for i in lines}
    return replace(stored, invocations=list(invocations.values()))


def read_results(path: Path) -> StoredRun:
    """Like `read_run`, in half of the time and a quarter of the memory, and only to be looked at:
    the invocations of cells that have no record yet are not read, those of the others are packed in
    their records."""
    return _read(path, packed=True)


def _read(path: Path, *, packed: bool) -> StoredRun:
    path = only_run(path)
    skipped: list[str] = []
    with no_collection():
        header, records, lost = read_finished(path, skipped, packed=packed)
    skipped += leftovers(path)
    resumptions = list(read_lines(path / RESUMES, Resumption, header.schema_version, skipped))
    return StoredRun(path, header, records, [], skipped, lost, resumptions, mark(path))


def read_finished(
    path: Path, skipped: list[str], *, packed: bool
) -> tuple[RunHeader, list[Record], bool]:
    """The header of a run directory, its records in the order of the plan, and whether the header
    is lost and made up from the records; ``packed`` as in `read_results`. Raises `SpecError` like
    `read_run`."""
    header = read_header_or_none(path, skipped)
    holder = Holder(header.cells if header else ())
    records = take_finished(path, header, skipped, holder.packed if packed else holder.whole)
    return header or _header_from(records), records, header is None


def take_finished(
    path: Path, header: RunHeader | None, skipped: list[str], take: Callable[[Record], _Taken]
) -> list[_Taken]:
    """What ``take`` makes of each finished record, in the order of the plan. The records
    themselves aren't held."""
    version = header.schema_version if header else SCHEMA_VERSION
    found = {r.cell_id: take(r) for r in read_records(path, version, skipped)}
    if header is None:
        return list(found.values())
    order = {cell_id: place for place, cell_id in enumerate(cell.id for cell in header.cells)}
    return [found[n] for n in sorted(found, key=lambda n: order.get(n, len(order)))]


def read_header(path: Path) -> RunHeader:
    """What `run.json` of a run directory says. Raises `SpecError` where it is broken or newer."""
    header_path = path / HEADER
    try:
        data = json.loads(header_path.read_bytes())
    except FileNotFoundError as error:
        raise SpecError(f"{path}: not a run directory (it has no {HEADER}).") from error
    except OSError as error:
        raise SpecError(f"{header_path}: can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _Broken(f"{header_path}: can't be read as a run: {error}.") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise _Broken(f"{header_path}: its schema version is {version}, not a number.")
    refuse_newer(header_path, version, SCHEMA_VERSION)
    try:
        return RunHeader.model_validate(migrated("run", data, version), extra="ignore")
    except ValidationError as error:
        problem = first_problem(error, RunHeader.model_fields)
        raise _Broken(f"{header_path}: {problem}") from error


class _Broken(SpecError):
    """A header that a fault of the disk may have broken, and the records may yet be whole."""


def read_header_or_none(path: Path, skipped: list[str]) -> RunHeader | None:
    """None where the header is broken and there is something to read without it."""
    try:
        return read_header(path)
    except _Broken as error:
        if not any(True for _ in read_records(path, SCHEMA_VERSION, [])):
            raise
        skipped.append(f"{error} The machine and the plan are unknown, the records are shown")
        return None


def _header_from(records: Sequence[Record]) -> RunHeader:
    """What is left to say of a run whose header is lost."""
    return RunHeader(
        bench_version="unknown",
        created_at=min(record.finished_at for record in records),
        command="unknown",
        suite=Suite(),
        targets=tuple(dict.fromkeys(record.cell.target for record in records)),
        models=tuple(dict.fromkeys(record.cell.model.name for record in records)),
        facts={},
        cells=tuple(record.cell for record in records),
    )


LEFT_HALF = "incomplete, because a run was stopped"


def leftovers(path: Path) -> Iterator[str]:
    """What a fault left of files that are written whole: halves, and other than Parquet."""
    for kind in ("samples", "predictions", "outputs"):
        for file in sorted((path / kind).glob("*")):
            name = f"{kind}/{file.name}"
            if file.suffix == ".partial":
                yield f"{name}: {LEFT_HALF}"
            elif file.suffix == ".parquet" and not _is_whole_parquet(file):
                yield f"{name}: incomplete Parquet file"


def _is_whole_parquet(path: Path) -> bool:
    """Whether it begins and ends as the format says (apache/parquet-format: File format)."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(-4, os.SEEK_END)
            return start == file.read(4) == b"PAR1"
    except OSError:
        return False


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Values that are read don't refer to each other in circles, and looking for such circles
    among so many takes as long as reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
