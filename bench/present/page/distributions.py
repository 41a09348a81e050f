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
from bench.store.columnar import Unreadable
from bench.store.samples import by_invocation, read_rows, sample_files, trusted_rows

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
    for file in sample_files(run) if wanted else []:
        for cell_id, curve in _curves_of(file, wanted):
            if len(found.setdefault(cell_id, [])) < most:
                found[cell_id].append(curve)
        if all(len(found.get(cell, ())) >= most for cell in wanted):
            break
    return found


def _curves_of(file: Path, cell_ids: Sequence[str]) -> list[tuple[str, Curve]]:
    try:
        table = read_rows(file, latency_ns=np.ndarray)
    except Unreadable:
        return []
    place = {cell_id: number for number, cell_id in enumerate(cell_ids)}
    mine = [(key, rows) for key, rows in by_invocation(table) if key[0] in place]
    mine.sort(key=lambda found: (place[found[0][0]], found[0][1]))
    latency_ns = table["latency_ns"]
    return [
        (cell_id, _curve(invocation, latency_ns[trusted_rows(table, rows)]))
        for (cell_id, invocation), rows in mine
    ]


def _curve(invocation: int, latency_ns: Array) -> Curve:
    quantiles = np.quantile(latency_ns, SHARES, method="inverted_cdf")
    return Curve(invocation, len(latency_ns), quantiles.astype(np.float64))
