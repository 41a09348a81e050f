"""How many calls a cell makes in each block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.measure.opening import opening_calls

#: Of blocks of 0.6 to 160 ms, 10 ms gave the smallest standard error of a ratio for the same
#: measuring time on a noisy two-core machine (docs/method.md).
BLOCK_NS = 10_000_000
#: The first calls after another worker's turn find cold caches and are 11 to 34% slow. What is
#: discarded where a block has too few calls to tell (`bench.measure.opening`), and of the canary.
DISCARDED_CALLS = 5
#: A long call warms its own caches; past this time discarding more of them buys nothing.
DISCARD_NS = 2_000_000
#: Cells nearer than this factor to each other get the same number of calls a block: unequal
#: numbers made two identical cells differ by 4.7%.
EQUAL_CALLS_FACTOR = 2.0
MAX_CALLS = 20_000
#: An opening is at most one call in so many of a block, or what is discarded where nothing can be
#: told. Our choice: more would be no opening but the cell's own wandering.
MOST_OPENING = 5


@dataclass(frozen=True)
class Beat:
    """How many calls a cell makes in each block, and how many it discards before."""

    calls: int
    discard: int
    #: How the number to discard was come by; empty until it was looked for.
    why: str = ""
    lengthened: bool = False

    @property
    def most_opening(self) -> int:
        """How many calls of a block may at most be found to be its opening."""
        return max(self.discard, self.calls // (MOST_OPENING - 1))

    def sought(self, blocks: Sequence[NDArray[np.int64]]) -> Beat:
        """The same once the opening was looked for in its first blocks, their first calls
        included."""
        found = opening_calls(blocks, self.most_opening)
        if found is None:
            return replace(
                self, why=f"assumed: too few calls to measure, so the usual {self.discard}"
            )
        why = f"MSER: the standard error over {len(blocks)} blocks is smallest without {found}"
        return replace(self, discard=found, why=why)


def equal_beats(latency_ns: Mapping[str, float]) -> dict[str, Beat]:
    """Calls a block for each cell: about `BLOCK_NS`, equal among cells of similar latency.

    Cells are chained in order of latency; a gap of `EQUAL_CALLS_FACTOR` or more starts a new chain,
    whose calls follow from its geometric mean.
    """
    beats: dict[str, Beat] = {}
    chain: list[str] = []

    def settle() -> None:
        if chain:
            mean = math.exp(sum(math.log(latency_ns[name]) for name in chain) / len(chain))
            beat = beat_for(mean)
            beats.update((name, beat) for name in chain)

    for name in sorted(latency_ns, key=lambda name: latency_ns[name]):
        if chain and latency_ns[name] >= latency_ns[chain[-1]] * EQUAL_CALLS_FACTOR:
            settle()
            chain.clear()
        chain.append(name)
    settle()
    return beats


def beat_for(latency_ns: float) -> Beat:
    """Calls that fill a block, and calls to discard before it."""
    calls = min(MAX_CALLS, max(1, round(BLOCK_NS / max(latency_ns, 1.0))))
    discard = min(DISCARDED_CALLS, max(1, math.ceil(DISCARD_NS / max(latency_ns, 1.0))))
    return Beat(calls, discard)


def lengthened(beats: Mapping[str, Beat], factors: Mapping[str, int]) -> dict[str, Beat]:
    """Blocks longer by a factor where all cells with that many calls want it; once each."""
    found = dict(beats)
    for calls in {beats[name].calls for name in factors}:
        alike = [name for name in factors if beats[name].calls == calls]
        factor = min(factors[name] for name in alike)
        if factor > 1 and not any(beats[name].lengthened for name in alike):
            longer = min(MAX_CALLS, calls * factor)
            found |= {n: replace(beats[n], calls=longer, lengthened=True) for n in alike}
    return found
