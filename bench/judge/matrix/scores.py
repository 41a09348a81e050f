"""Accuracies of several runs compared item by item; each file of predictions is read once."""

from __future__ import annotations

import hashlib

import numpy as np

from bench.cards.tasks.base import Change, Columns
from bench.errors import SpecError
from bench.judge.changes import change_of_columns
from bench.judge.matching import Side
from bench.judge.pairs import same_data


class Scores:
    """What can't be compared is told once, in `problems`.

    Targets of one model mostly predict the same; equal predictions are compared once.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._columns: dict[tuple[str, str], tuple[str, Columns] | None] = {}
        self._known: dict[tuple[str, str, float], Change | None] = {}

    def known(self, side: Side | None) -> bool:
        """Whether there are predictions to compare: without them only the score is known."""
        if side is None or side.record is None or side.record.accuracy is None:
            return False
        return self._read(side) is not None

    def change(self, one: Side | None, other: Side | None, confidence: float) -> Change | None:
        """``one`` minus ``other``; None where they can't be compared."""
        if one is None or other is None or one.record is None or other.record is None:
            return None
        if not same_data(one.record, other.record):
            return None
        mine, theirs = self._read(one), self._read(other)
        if mine is None or theirs is None:
            return None
        key = (mine[0], theirs[0], confidence)
        if key not in self._known:
            try:
                self._known[key] = change_of_columns(
                    one.record, mine[1], other.record, theirs[1], confidence
                )
            except SpecError as error:
                self._tell(error)
                self._known[key] = None
        return self._known[key]

    def _read(self, side: Side) -> tuple[str, Columns] | None:
        assert side.record is not None
        assert side.record.accuracy is not None
        key = (str(side.run.path), side.record.accuracy.predictions)
        if key not in self._columns:
            try:
                columns = side.run.scored_columns(side.record)
                self._columns[key] = (_digest(columns), columns)
            except SpecError as error:
                self._tell(error)
                self._columns[key] = None
        return self._columns[key]

    def _tell(self, error: SpecError) -> None:
        if str(error) not in self.problems:
            self.problems.append(str(error))


def has_predictions(side: Side) -> bool:
    """Whether there is a file of what was predicted, whole or not."""
    assert side.record is not None
    assert side.record.accuracy is not None
    return (side.run.path / side.record.accuracy.predictions).is_file()


def _digest(columns: Columns) -> str:
    """Equal for equal predictions."""
    found = hashlib.sha256()
    for name in sorted(columns):
        array = np.ascontiguousarray(columns[name])
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes() if array.dtype != object else repr(array.tolist()).encode())
    return found.hexdigest()
