"""Distributions of latency, aggregated to curves before anything is drawn.

Ten million calls can't be drawn and need not be: a curve of so many quantiles is what a screen can
show of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.arrays import Array

#: Where a curve has its points: every hundredth, and finer towards both tails.
SHARES: Array = np.unique(
    np.round(
        np.concatenate([[0.001, 0.002, 0.005], np.arange(0.01, 1, 0.01), [0.995, 0.998, 0.999]]), 4
    )
)


@dataclass(frozen=True)
class Curve:
    """The quantiles of one invocation's calls in ns, at `SHARES`: float64 of shape (points,)."""

    invocation: int
    calls: int
    quantiles_ns: Array


def read_curves(run: Path, cell_ids: Sequence[str], most: int) -> dict[str, list[Curve]]:
    """The first ``most`` invocations of each cell as curves, from undisturbed blocks.

    Each file of samples is read once, and of it the named cells alone. Files that can't be read
    are left out, as `bench.store.samples.read_samples` leaves them out.
    """
    found: dict[str, list[Curve]] = {}
    wanted = list(dict.fromkeys(cell_ids))
    for file in sorted((run / "samples").glob("*.parquet")) if wanted else []:
        for cell_id, curve in _curves_of(file, wanted):
            if len(found.setdefault(cell_id, [])) < most:
                found[cell_id].append(curve)
        if all(len(found.get(cell, ())) >= most for cell in wanted):
            break
    return found


def _curves_of(file: Path, cell_ids: Sequence[str]) -> list[tuple[str, Curve]]:
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["cell_id", "invocation", "disturbed", "latency_ns"]
    try:
        table = pq.read_table(file, columns=columns, filters=[("cell_id", "in", cell_ids)])
    except (OSError, pa.ArrowException):
        return []
    if not len(table):
        return []
    # index_in works on the dictionary's values and gives each row its place among the cells.
    ids = table["cell_id"].cast(pa.string()).combine_chunks()
    place = pc.index_in(ids, value_set=pa.array(cell_ids)).to_numpy(zero_copy_only=False)
    invocation = table["invocation"].to_numpy()
    disturbed = table["disturbed"].to_numpy(zero_copy_only=False)
    latency_ns = table["latency_ns"].to_numpy()
    groups = place.astype(np.int64) << 32 | invocation.astype(np.int64)
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    return [
        (
            cell_ids[int(place[rows[0]])],
            _curve(int(invocation[rows[0]]), latency_ns[rows], disturbed[rows]),
        )
        for rows in np.split(order, cuts)
    ]


def _curve(invocation: int, latency_ns: Array, disturbed: Array) -> Curve:
    """From the undisturbed calls; from all, where every one was disturbed."""
    kept = latency_ns[~disturbed] if not disturbed.all() else latency_ns
    quantiles = np.quantile(kept, SHARES, method="inverted_cdf")
    return Curve(invocation, len(kept), quantiles.astype(np.float64))
