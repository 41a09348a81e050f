"""Which one-to-one renumbering of the classes fits the labels best: an assignment problem.

Solved by shortest augmenting paths (Jonker & Volgenant 1987, Computing 38:325; the form is that of
Crouse 2016, IEEE Transactions on Aerospace and Electronic Systems 52:1679).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.arrays import Array

#: Further than any column.
_FAR = np.iinfo(np.int64).max


def best_renumbering(counts: Array) -> NDArray[np.int64]:
    """For each row the column that it is given, so that the counts there have the largest sum.

    ``counts`` are whole numbers of shape (classes, classes), each at least 0. Of renumberings that
    fit equally well, one that leaves most classes as they are.
    """
    classes = len(counts)
    # One example counts more than all classes that stay together.
    gains = counts.astype(np.int64) * (classes + 1) + np.eye(classes, dtype=np.int64)
    return _Assignment(gains.max() - gains).columns()


class _Assignment:
    """The columns of the rows for the least sum of ``costs``, and the prices that prove it: no cost
    is below the sum of its row's and its column's price, and an assigned one equals it."""

    def __init__(self, costs: NDArray[np.int64]) -> None:
        self._costs = costs
        self._of_column = costs.min(axis=0)
        left = costs - self._of_column
        self._of_row = left.min(axis=1)
        self._column = np.full(len(costs), -1)
        self._row = np.full(len(costs), -1)
        for row, columns in enumerate(left == self._of_row[:, np.newaxis]):
            free = np.flatnonzero(columns & (self._row < 0))
            if free.size:
                self._assign(row, int(free[0]))

    def columns(self) -> NDArray[np.int64]:
        for row in np.flatnonzero(self._column < 0).tolist():
            self._augment(row)
        return self._column

    def _augment(self, start: int) -> None:
        """Assign one more row, along the path to a free column that costs least (Dijkstra)."""
        classes = len(self._costs)
        distance = np.full(classes, _FAR)
        before = np.full(classes, -1)
        outside = np.ones(classes, dtype=bool)
        row, here = start, 0
        while True:
            through = self._costs[row] - self._of_row[row] - self._of_column + here
            closer = outside & (through < distance)
            distance[closer] = through[closer]
            before[closer] = row
            column = self._nearest(np.where(outside, distance, _FAR))
            here = int(distance[column])
            if self._row[column] < 0:
                break
            outside[column] = False
            row = int(self._row[column])
        nearer = np.flatnonzero(~outside)
        self._of_row[start] += here
        self._of_row[self._row[nearer]] += here - distance[nearer]
        self._of_column[nearer] -= here - distance[nearer]
        while column >= 0:  # the start had none
            row = int(before[column])
            column, left = int(self._column[row]), column
            self._assign(row, left)

    def _nearest(self, distance: NDArray[np.int64]) -> int:
        """The column at the least distance, one that is free if there is one."""
        nearest = np.flatnonzero(distance == distance.min())
        free = nearest[self._row[nearest] < 0]
        return int(free[0] if free.size else nearest[0])

    def _assign(self, row: int, column: int) -> None:
        self._column[row] = column
        self._row[column] = row
