"""How much ratios of processes that were measured in turn vary, by what is made of their rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from engine import HERE, Finding, report

from bench.record.block import Block, round_medians, typical_block_ns
from bench.stats.nested.pairing import FEWEST_COMMON, Turns, log_ratio
from bench.store.derive import read_blocks
from bench.store.run import read_run

Process = Sequence[Block]
#: With fewer processes a spread is mostly luck.
FEWEST_PROCESSES = 4


def alone(blocks: Process) -> Turns:
    """Each process speaks for itself."""
    return Turns(typical_block_ns(blocks))


def by_rounds(blocks: Process) -> Turns:
    """As `bench.stats.nested.pairing` has it."""
    return replace(alone(blocks), rounds=round_medians(blocks))


def groups(path: Path) -> list[list[dict[int, Process]]]:
    """The processes of each cell by generation, cells that were measured in turn together."""
    found: dict[str, list[dict[int, Process]]] = {}
    measured, _ = read_blocks(path)
    for record in read_run(path).records:
        if record.latency is None or record.cell.is_rate or not record.group:
            continue
        mine = {
            index: blocks for (cell, index), blocks in measured.items() if cell == record.cell_id
        }
        found.setdefault(record.group, []).append(mine)
    return list(found.values())


def spreads(
    a: dict[int, Process], b: dict[int, Process], ways: Sequence[Callable[[Process], Turns]]
) -> list[float] | None:
    """The standard deviation of the logarithm of a ratio, by each way; None for too few."""
    common = [
        index
        for index in sorted(a.keys() & b.keys())
        if len(round_medians(a[index]).keys() & round_medians(b[index]).keys()) >= FEWEST_COMMON
    ]
    if len(common) < FEWEST_PROCESSES:
        return None
    found = [[log_ratio(way(a[i]), way(b[i])) for i in common] for way in ways]
    return [float(np.std(each, ddof=1)) for each in found]


def prove(quick: bool) -> None:
    """Over all pairs of cells of the runs in results/ that were measured in turn."""
    runs = sorted((HERE.parents[1] / "results").glob("*/runs/*"))
    found: dict[str, list[float]] = {}
    for path in runs[:1] if quick else runs:
        logs = found.setdefault(path.parents[1].name, [])
        for cells in groups(path):
            for a, b in combinations(cells, 2):
                both = spreads(a, b, (alone, by_rounds))
                if both is not None and min(both) > 0:
                    logs.append(math.log(both[1] / both[0]))
    pairs = [log for logs in found.values() for log in logs]
    share = math.exp(float(np.mean(pairs)))
    report(
        "pairs",
        [
            Finding(
                "standard deviation of a ratio between processes, by rounds over that of the "
                "processes' typical blocks",
                f"{share:.2f} (geometric mean of {len(pairs)} pairs of cells)",
                "below 1",
                share < 1,
            )
        ],
        {name: math.exp(float(np.mean(logs))) for name, logs in found.items() if logs},
    )
