"""Times from token to token of whole queries, in the files of samples: a list for each query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.record.block import Block
from bench.store.samples import sample_files

#: Their column, in files that have any.
GAPS = "gaps_ns"


def gaps_column(blocks: Sequence[Block]) -> Any:
    """Those of all queries of the blocks; nulls where a block has none."""
    import pyarrow as pa  # pyarrow: start-up

    rows: list[list[int] | None] = []
    for block in blocks:
        none = [None] * len(block.latency_ns)
        rows += none if block.gaps_ns is None else block.gaps_ns.tolist()
    return pa.array(rows, pa.list_(pa.int64()))


def read_gaps(path: Path) -> dict[str, dict[int, Array]]:
    """Those of a run's trusted queries by cell and invocation, (queries, tokens), in the order of
    measuring. What can't be read is left out."""
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.parquet as pq  # pyarrow: start-up

    found: dict[str, dict[int, Array]] = {}
    columns = ["cell_id", "invocation", "disturbed", GAPS]
    for file in sample_files(path):
        try:
            if GAPS not in pq.read_schema(file).names:
                continue
            table = pq.read_table(file, columns=columns)
        except (OSError, pa.ArrowException):
            continue
        for (cell_id, index), gaps_ns in _by_invocation(table):
            found.setdefault(cell_id, {})[index] = gaps_ns
    return found


def _by_invocation(table: Any) -> Iterator[tuple[tuple[str, int], Array]]:
    rows: dict[tuple[str, int], list[tuple[bool, list[int]]]] = {}
    columns = (table[name].to_pylist() for name in ("cell_id", "invocation", "disturbed", GAPS))
    for cell_id, index, disturbed, gaps_ns in zip(*columns, strict=True):
        if gaps_ns is not None:
            rows.setdefault((cell_id, index), []).append((disturbed, gaps_ns))
    for key, mine in rows.items():
        kept = [gaps for disturbed, gaps in mine if not disturbed] or [gaps for _, gaps in mine]
        if len({len(gaps) for gaps in kept}) == 1:
            yield key, np.array(kept, np.int64)
