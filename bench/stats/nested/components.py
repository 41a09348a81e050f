"""How the variance of a cell's latency splits between processes, blocks and calls.

The model is nested and random (Searle, Casella & McCulloch 1992, "Variance components", chapter
3): the logarithm of the median of block j in process i is ``mean + process_i + block_ij + what the
block's calls leave``, all independent. Variances are those of logarithms, so 0.0004 is a standard
deviation of 2%. They say what more of is worth measuring (`bench.stats.nested.allocation`); no
interval is made of them: those come from one figure a process, as always.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.stats.nested.pairing import Logs, Rounds, pseudo_values

#: Processes weigh as much as so many degrees of freedom of their own cell's when cells are pooled:
#: a variance of one degree is off by a factor of 4 in half of the cases. Our choice.
POOLED_FREEDOM = 2.0
#: Standard deviation of identical pinned processes where it was measured (docs/method.md). It is
#: all that is known while there is one process, which says nothing of the next, and counts
#: as much as two further ones then: of three processes the spread is mostly luck.
TYPICAL_PROCESS_SPREAD = 0.02
ASSUMED_FREEDOM = 2.0
#: A normal variable's standard deviation over its median absolute deviation (Hampel 1974, JASA
#: 69:383).
_NORMAL_OVER_MEDIAN_DEVIATION = 1.4826


@dataclass(frozen=True)
class Components:
    """Variances of log latency."""

    processes: float
    blocks: float  #: between the medians of one process's blocks, their calls' part included
    calls: float  #: the part of ``blocks`` that fewer or more calls a block would change
    freedom: int  #: degrees of freedom of ``processes``; 0 where it is only assumed


def calls_variance(blocks: Sequence[NDArray[np.int64]]) -> float:
    """The variance of the log of a block's median that is due to its calls alone.

    From the medians of the two halves of each block: their difference has twice the variance of a
    half's median, which is twice that of the whole. No distribution is assumed; a latency drifting
    within its blocks is taken for noise of calls. 0 where no block has 4 calls.
    """
    squares = [_half_difference(block) ** 2 for block in blocks if len(block) >= 4]
    return float(np.mean(squares)) / 4 if squares else 0.0


def _half_difference(block: NDArray[np.int64]) -> float:
    middle = len(block) // 2
    halves = np.median(block[:middle]), np.median(block[-middle:])
    return math.log(max(halves[0], 1.0) / max(halves[1], 1.0))


def estimate(
    medians: Sequence[Logs], calls: float = 0.0, intraclass: float | None = None
) -> Components:
    """Components from the log medians of each process's blocks, by the method of moments.

    With unequal numbers of blocks n_i, N together, of a processes, ``MSA`` between and ``MSE``
    within them, the variance between processes is ``(MSA - MSE) / n0`` with
    ``n0 = (N - sum(n_i^2) / N) / (a - 1)`` (Searle, Casella & McCulloch 1992, section 3.6; the
    ANOVA estimators), truncated at 0. Before that it is drawn towards what is typical, and towards
    what `intraclass_of` found for all cells, with the weights of a few degrees of freedom.
    """
    within, within_freedom = _within(medians)
    blocks = within / within_freedom if within_freedom else 0.0
    freedom = len(medians) - 1
    weighed = [(ASSUMED_FREEDOM, TYPICAL_PROCESS_SPREAD**2)]
    if freedom > 0:
        weighed.append((float(freedom), _between(medians, blocks)))
    if intraclass is not None:
        weighed.append((POOLED_FREEDOM, intraclass * blocks))
    weights = sum(weight for weight, _ in weighed)
    processes = sum(weight * variance for weight, variance in weighed) / weights
    return Components(max(0.0, processes), blocks, min(calls, blocks), freedom)


def intraclass_of(cells: Sequence[Sequence[Logs]]) -> float | None:
    """The variance between processes over that between blocks, pooled over cells; None where no
    cell has two processes.

    Cells of one machine differ in how much they wander, so ratios are pooled and not variances,
    each with the degrees of freedom of its processes. Truncated at 0 at the end alone: truncating
    each cell's would make the pool too large.
    """
    total = weights = 0.0
    for medians in cells:
        within, within_freedom = _within(medians)
        freedom = len(medians) - 1
        if freedom < 1 or within <= 0:
            continue
        blocks = within / within_freedom
        total += freedom * _between(medians, blocks) / blocks
        weights += freedom
    return max(0.0, total / weights) if weights else None


def error_by_blocks(medians: Sequence[Logs]) -> float:
    """Standard error that a process's figure has if nothing but its blocks varies; 0 where no
    process has two blocks.

    The spread of blocks is that of their median absolute deviation from their own process's median:
    a few that were hit hard move it as little as they move a figure. Of few blocks it is too small
    (by a quarter for four), so that what is made of it is a lower bound.
    """
    several = [blocks for blocks in medians if len(blocks) > 1]
    if not several:
        return 0.0
    deviations = np.concatenate([np.abs(blocks - np.median(blocks)) for blocks in several])
    spread = _NORMAL_OVER_MEDIAN_DEVIATION * float(np.median(deviations))
    return spread * math.sqrt(float(np.mean([1 / len(blocks) for blocks in several])))


def against_others(cells: Sequence[Mapping[int, Rounds]]) -> list[list[Logs]]:
    """For each cell its blocks less the mean of the others' in the same round: what is left in
    ratios once that which hit all alike has cancelled, and the ends are left out as
    `bench.stats.nested.pairing` does. ``cells`` are by invocation; only invocations and rounds that
    all have, and of these only invocations with two rounds or more."""
    found: list[list[Logs]] = [[] for _ in cells]
    shared = set(cells[0]).intersection(*cells[1:]) if len(cells) > 1 else ()
    for invocation in sorted(shared):
        process = [cell[invocation] for cell in cells]
        common = sorted(set(process[0]).intersection(*process[1:]))
        if len(common) < 2:
            continue
        logs = np.array([[rounds[number] for number in common] for rounds in process])
        others = (logs.sum(axis=0) - logs) / (len(cells) - 1)
        for mine, differences in zip(found, logs - others, strict=True):
            mine.append(pseudo_values(differences))
    return found


def _within(medians: Sequence[Logs]) -> tuple[float, int]:
    """Sum of squares within processes, and its degrees of freedom."""
    several = [blocks for blocks in medians if len(blocks) > 1]
    squares = sum(float(((blocks - blocks.mean()) ** 2).sum()) for blocks in several)
    return squares, sum(len(blocks) - 1 for blocks in several)


def _between(medians: Sequence[Logs], blocks: float) -> float:
    """The variance between processes, not truncated."""
    sizes = np.array([len(each) for each in medians], dtype=float)
    means = np.array([each.mean() for each in medians])
    total, freedom = sizes.sum(), len(medians) - 1
    grand = float((sizes * means).sum() / total)
    mean_square = float((sizes * (means - grand) ** 2).sum()) / freedom
    even = (total - (sizes**2).sum() / total) / freedom
    return (mean_square - blocks) / float(even)
