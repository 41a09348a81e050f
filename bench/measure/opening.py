"""How many calls at the beginning of a block are still under the spell of what ran before it.

MSER (White 1997, "An effective truncation heuristic for bias reduction in simulation output",
Simulation 69:323): of a series, leave out the first d values such that the standard error of the
mean of what is left is least. Here the series is the *typical block* of a cell, call by call, after
averaging over its first blocks (as Welch 1983 averages over replications): of a single block it
would follow noise, and a number of its own for each block could favour fast ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: With fewer blocks, or calls that would be left of one, nothing can be told.
FEWEST_BLOCKS = 4
FEWEST_LEFT = 8


def typical_block(blocks: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """The log latency of each call against its block's median: the median over the blocks, which
    are equally long."""
    logs = np.log(np.maximum(np.array(blocks, dtype=np.float64), 1.0))
    steady = logs[:, logs.shape[1] // 2 :]  # the opening is within the first half
    found: NDArray[np.float64] = np.median(logs - np.median(steady, axis=1, keepdims=True), axis=0)
    return found


def opening_calls(blocks: Sequence[NDArray[np.int64]], most: int) -> int | None:
    """How many calls of each block to leave out, at most ``most``; None where that can't be told.

    ``blocks`` hold all calls, the first included, and are equally long.
    """
    if len(blocks) < FEWEST_BLOCKS or len(blocks[0]) - most < FEWEST_LEFT:
        return None
    series = typical_block(blocks)
    errors = [_squared_error(series[left_out:]) for left_out in range(most + 1)]
    return int(np.argmin(errors))


def _squared_error(rest: NDArray[np.float64]) -> float:
    """That of the mean of what is left: MSER's statistic."""
    return float(rest.var()) / len(rest)
