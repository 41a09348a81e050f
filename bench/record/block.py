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
    """Consecutive timed calls of one worker: ``latency_ns`` is int64 of shape (calls,), and so is
    ``ttft_ns``, the time to the first token, where a call is a language model's whole query; of
    such a call ``gaps_ns``, (calls, tokens), are the times from each token to the next."""

    cell_id: str
    invocation: int
    round: int
    position: int  #: its turn within the round
    latency_ns: Array
    disturbed: bool = False
    ttft_ns: Array | None = None
    gaps_ns: Array | None = None


def trusted_samples(blocks: Sequence[Block]) -> Array:
    """The latencies of one invocation that its figures come from, in the order of measuring.

    Those of undisturbed blocks; of all blocks where every one was disturbed.
    """
    return np.concatenate([block.latency_ns for block in _trusted(blocks)])


def trusted_ttft(blocks: Sequence[Block]) -> Array | None:
    """Of the same calls the times to the first token; None where there are none."""
    found = [block.ttft_ns for block in _trusted(blocks) if block.ttft_ns is not None]
    return np.concatenate(found) if found else None


def trusted_gaps(blocks: Sequence[Block]) -> Array | None:
    """Of the same calls the times from each token to the next; None where there are none."""
    found = [block.gaps_ns for block in _trusted(blocks) if block.gaps_ns is not None]
    return np.concatenate(found) if found else None


def _trusted(blocks: Sequence[Block]) -> Sequence[Block]:
    return [block for block in blocks if not block.disturbed] or blocks
