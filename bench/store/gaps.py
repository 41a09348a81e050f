"""Times from token to token of whole queries, in the files of samples: a list for each query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.record.block import Block
from bench.store.columnar import Lists, Unreadable
from bench.store.samples import by_invocation, read_rows, sample_files, trusted_rows

#: Their column, in files that have any.
GAPS = "gaps_ns"


def gaps_column(blocks: Sequence[Block]) -> Lists:
    """Those of all queries of the blocks; none where a block has none."""
    rows: list[Array] = []
    lengths: list[Array] = []
    for block in blocks:
        gaps_ns = block.gaps_ns
        width = -1 if gaps_ns is None else gaps_ns.shape[1]
        lengths.append(np.full(len(block.latency_ns), width))
        if gaps_ns is not None:
            rows.append(gaps_ns.ravel())
    return Lists(np.concatenate([np.empty(0, np.int64), *rows]), np.concatenate(lengths))


def read_gaps(path: Path) -> dict[str, dict[int, Array]]:
    """Those of a run's trusted queries by cell and invocation, (queries, tokens), in the order of
    measuring. What can't be read is left out."""
    found: dict[str, dict[int, Array]] = {}
    for file in sample_files(path):
        try:
            table = read_rows(file, **{GAPS: Lists})
        except Unreadable:
            continue
        gaps: Lists = table[GAPS]
        for (cell_id, index), rows in by_invocation(table):
            there = rows[gaps.lengths[rows] >= 0]
            kept = gaps.of(trusted_rows(table, there)) if len(there) else gaps.of(there)
            if len(there) and (kept.lengths == kept.lengths[0]).all():
                found.setdefault(cell_id, {})[index] = kept.rows()
    return found
