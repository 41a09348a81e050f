"""Paired comparisons of predictions that runs have stored: no model is run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.cards.tasks import find_task
from bench.cards.tasks.base import Change, Columns
from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.record.result import Record
from bench.store.run import StoredRun

#: A run directory, and a file of predictions within it.
_File = tuple[Path, str]


def change_between(
    run: StoredRun,
    record: Record,
    other_run: StoredRun,
    other: Record,
    confidence: float = CONFIDENCE,
) -> Change:
    """The primary metric of ``record`` minus that of ``other``, on the same labelled items.

    Raises `SpecError` where predictions are lost, of other items, or of another task.
    """
    mine, theirs = _columns(run, record), _columns(other_run, other)
    return change_of_columns(record, mine, other, theirs, confidence)


def _columns(run: StoredRun, record: Record) -> Columns:
    return run.scored_columns(record)


def change_of_columns(
    record: Record, mine: Columns, other: Record, others: Columns, confidence: float
) -> Change:
    """The same from predictions that were read. Raises `SpecError` like `change_between`."""
    task, theirs = record.cell.model.task, other.cell.model.task
    if task != theirs:
        raise SpecError(
            f"{record.cell.model.name} is scored as {task} and {other.cell.model.name} as "
            f"{theirs}, so their accuracies are not compared."
        )
    found = find_task(task).change(mine, others, confidence)
    if found is None:
        raise SpecError(
            f"the predictions of {record.cell.label} were scored on different examples than those "
            f"of {other.cell.label}, so accuracy is not compared."
        )
    return found


class Changes:
    """The comparisons within one run, or of several; what can't be compared is told once, in
    `problems`.

    Each file of predictions is read once, and each pair of them compared once.
    """

    def __init__(
        self, run: StoredRun | Callable[[Record], StoredRun], confidence: float = CONFIDENCE
    ) -> None:
        self._run = run
        self._confidence = confidence
        self._columns: dict[_File, Columns] = {}
        self._known: dict[tuple[_File, _File], Change | None] = {}
        self.problems: list[str] = []

    def at(self, confidence: float) -> Changes:
        """The same at another confidence."""
        other = Changes(self._run, confidence)
        other._columns = self._columns
        other.problems = self.problems
        return other

    def __call__(self, record: Record, other: Record) -> Change | None:
        key = self._file(record), self._file(other)
        if key not in self._known:
            self._known[key] = self._compare(record, other)
        return self._known[key]

    def _compare(self, record: Record, other: Record) -> Change | None:
        try:
            mine, theirs = self._read(record), self._read(other)
            return change_of_columns(record, mine, other, theirs, self._confidence)
        except SpecError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None

    def _read(self, record: Record) -> Columns:
        file = self._file(record)
        if file not in self._columns:
            self._columns[file] = _columns(self._run_of(record), record)
        return self._columns[file]

    def _file(self, record: Record) -> _File:
        return self._run_of(record).path, record.accuracy.predictions if record.accuracy else ""

    def _run_of(self, record: Record) -> StoredRun:
        return self._run if isinstance(self._run, StoredRun) else self._run(record)
