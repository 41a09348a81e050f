"""Timed calls on disk: what a file of samples holds, and reading it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array

#: The column of times to first tokens, in files that have any.
TTFT = "ttft_ns"


def sample_schema() -> Any:
    """What the columns hold, those included that not every file has."""
    import pyarrow as pa  # pyarrow: start-up

    whole = ("invocation", "round", "position")
    times = ("latency_ns", TTFT)
    return pa.schema(
        [
            ("cell_id", pa.dictionary(pa.int32(), pa.string())),
            *((name, pa.int32()) for name in whole),
            ("disturbed", pa.bool_()),
            *((name, pa.int64()) for name in times),
        ]
    )


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
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.parquet as pq  # pyarrow: start-up

    found: dict[str, dict[int, Array]] = {}
    columns = ["cell_id", "invocation", "disturbed", name]
    for file in sample_files(path):
        try:
            table = pq.read_table(file, columns=columns, read_dictionary=["cell_id"])
        except (OSError, pa.ArrowException):
            continue
        for (cell_id, index), values in _by_invocation(table, name):
            found.setdefault(cell_id, {})[index] = values
    return found


def _by_invocation(table: Any, name: str) -> Iterator[tuple[tuple[str, int], Array]]:
    """Split a table of samples without looking at any row twice; what has no values is left out."""
    cells = table["cell_id"].combine_chunks()
    if not len(cells):
        return
    names = cells.dictionary.to_pylist()
    codes = cells.indices.to_numpy(zero_copy_only=False)
    invocations = table["invocation"].to_numpy()
    values = table[name].fill_null(-1).to_numpy()
    trusted = ~table["disturbed"].to_numpy(zero_copy_only=False)
    order = np.lexsort((invocations, codes))  # stable: the order of measuring stays
    codes, invocations = codes[order], invocations[order]
    values, trusted = values[order], trusted[order]
    ends = np.flatnonzero((np.diff(codes) != 0) | (np.diff(invocations) != 0)) + 1
    starts = np.concatenate([[0], ends])
    for start, end in zip(starts, [*ends, len(order)], strict=True):
        mine, kept = values[start:end], trusted[start:end]
        if (mine < 0).any():
            continue
        yield (
            (names[codes[start]], int(invocations[start])),
            mine[kept] if kept.any() else mine,
        )
