"""Predictions on disk: columns with one row an example."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError
from bench.store import columnar
from bench.store.columnar import Column, Lists, Names, Unreadable


def read_predictions(path: Path, without: Collection[str] = ()) -> dict[str, Array]:
    """The columns of a file of predictions. Raises `SpecError` when it is lost or broken."""
    try:
        names = [name for name in columnar.column_names(path) if name not in without]
        return {name: _array(column) for name, column in columnar.read(path, names).items()}
    except Unreadable as error:
        raise SpecError(f"{path}: the predictions can't be read: {error}.") from error


def _array(column: Column) -> Array:
    """One value a row, or an array of shape (rows, n); numbers with gaps as fractions and NaN."""
    if isinstance(column, Names):
        return column.texts()
    if isinstance(column, Lists):
        return column.rows()
    if np.ma.isMaskedArray(column):
        return np.ma.filled(column.astype(np.float64), np.nan)
    return column.astype(np.int64) if column.dtype.kind in "iu" else column
