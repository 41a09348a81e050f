"""How many calls a cell makes in each block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

#: Of blocks of 0.6 to 160 ms, 10 ms gave the smallest standard error of a ratio for the same
#: measuring time on a noisy two-core machine (docs/method.md).
BLOCK_NS = 10_000_000
#: The first calls after another worker's turn find cold caches and are 11 to 34% slow.
DISCARDED_CALLS = 5
#: A long call warms its own caches; past this time discarding more of them buys nothing.
DISCARD_NS = 2_000_000
#: Cells nearer than this factor to each other get the same number of calls a block: unequal
#: numbers made two identical cells differ by 4.7%.
EQUAL_CALLS_FACTOR = 2.0
MAX_CALLS = 20_000


@dataclass(frozen=True)
class Beat:
    """How many calls a cell makes in each block, and how many it discards before."""

    calls: int
    discard: int


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
