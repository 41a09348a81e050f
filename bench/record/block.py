"""Timed calls in the order of measuring: what every latency figure follows from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array

#: The cell of the canary's blocks.
CANARY = "canary"


@dataclass(frozen=True)
class Block:
    """Consecutive timed calls of one worker: ``latency_ns`` is int64 of shape (calls,)."""

    cell_id: str
    invocation: int
    round: int
    position: int  #: its turn within the round
    latency_ns: Array
    disturbed: bool = False


def trusted_samples(blocks: Sequence[Block]) -> Array:
    """The latencies of one invocation that its figures come from, in the order of measuring.

    Those of undisturbed blocks; of all blocks where every one was disturbed.
    """
    kept = [b.latency_ns for b in blocks if not b.disturbed] or [b.latency_ns for b in blocks]
    return np.concatenate(kept)
