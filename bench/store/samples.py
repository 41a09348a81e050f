"""Timed calls on disk: what a file of samples holds, and reading it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.store import columnar
from bench.store.columnar import Names, Unreadable

#: The column of times to first tokens, in files that have any.
TTFT = "ttft_ns"
_ROW: dict[str, type] = {"cell_id": Names, "invocation": np.ndarray, "disturbed": np.ndarray}


def sample_files(path: Path) -> list[Path]:
    """The files of samples of a run directory, in the order of measuring."""
    return sorted((path / "samples").glob("*.parquet"))


def read_samples(path: Path) -> dict[str, dict[int, Array]]:
    """The trusted latencies in ns of all cells of a run, by invocation (see `trusted_samples`).

    Each file is read once; one that can't be read is left out. int64, in the order of measuring.
    """
    return _read_column(path, "latency_ns")


def read_ttft(path: Path) -> dict[str, dict[int, Array]]:
    """Of the same calls the times to the first token, of the cells that have them."""
    return _read_column(path, TTFT)


def _read_column(path: Path, name: str) -> dict[str, dict[int, Array]]:
    found: dict[str, dict[int, Array]] = {}
    for file in sample_files(path):
        try:
            table = read_rows(file, **{name: np.ndarray})
        except Unreadable:
            continue
        values = np.ma.filled(table[name], -1)
        for key, rows in by_invocation(table):
            if (values[rows] >= 0).all():
                found.setdefault(key[0], {})[key[1]] = values[trusted_rows(table, rows)]
    return found


def read_rows(file: Path, **others: type) -> dict[str, Any]:
    """What tells rows of samples apart, and other columns, each with what it has to be. Raises
    `Unreadable`."""
    table: dict[str, Any] = columnar.read(file, [*_ROW, *others])
    for name, kind in (_ROW | others).items():
        if not isinstance(table[name], kind):
            raise Unreadable(f"its column {name} is not one of samples")
    cells, invocations, disturbed = (table[name] for name in _ROW)
    if (cells.codes < 0).any() or np.ma.is_masked(invocations) or np.ma.is_masked(disturbed):
        raise Unreadable("some of its rows don't say what they belong to")
    return table | {"invocation": invocations.astype(np.int64), "disturbed": disturbed.astype(bool)}


def by_invocation(table: dict[str, Any]) -> Iterator[tuple[tuple[str, int], Array]]:
    """The rows of each invocation of each cell, in the order of measuring, without looking at any
    row twice."""
    cells, invocations = table["cell_id"], table["invocation"]
    if not len(cells):
        return
    order = np.lexsort((invocations, cells.codes))  # stable: the order of measuring stays
    changes = (np.diff(cells.codes[order]) != 0) | (np.diff(invocations[order]) != 0)
    for rows in np.split(order, np.flatnonzero(changes) + 1):
        yield (cells.names[cells.codes[rows[0]]], int(invocations[rows[0]])), rows


def trusted_rows(table: dict[str, Any], rows: Array) -> Array:
    """Those of the undisturbed blocks; all, where every one was disturbed."""
    kept = rows[~table["disturbed"][rows]]
    return kept if len(kept) else rows
