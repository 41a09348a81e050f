"""Timed calls in the order of measuring: what every latency figure follows from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.arrays import Array

#: The cell of the canary's blocks.
CANARY = "canary"
#: Share of an invocation's blocks that its typical block leaves out at either end: a block that was
#: hit can take twentyfold. More would make the mean a median again. Our choice.
TRIMMED_BLOCKS = 0.1


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

    def without_opening(self, calls: int) -> Block:
        """The same block without its first calls."""
        return replace(
            self,
            latency_ns=self.latency_ns[calls:],
            ttft_ns=None if self.ttft_ns is None else self.ttft_ns[calls:],
            gaps_ns=None if self.gaps_ns is None else self.gaps_ns[calls:],
        )


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


def representative(blocks: Sequence[Block]) -> Sequence[Block]:
    """The blocks that tell of an invocation's typical one: the undisturbed where they are at least
    half, else all. The median over a few that were left alone by luck is noisier than over all."""
    undisturbed = [block for block in blocks if not block.disturbed]
    return undisturbed if 2 * len(undisturbed) >= len(blocks) else blocks


def block_medians(blocks: Sequence[Block]) -> Array:
    """The median latency in ns of each of the representative blocks, in the order of measuring."""
    medians = [np.median(block.latency_ns) for block in representative(blocks)]
    return np.maximum(np.array(medians, dtype=np.float64), 1.0)


def round_medians(blocks: Sequence[Block]) -> dict[int, float]:
    """The same by the round that each block was measured in."""
    rounds = (block.round for block in representative(blocks))
    return dict(zip(rounds, block_medians(blocks).tolist(), strict=True))


def typical_block_ns(blocks: Sequence[Block]) -> float:
    """The typical block's median in ns: the geometric mean of the blocks' medians, without the
    tenth at either end.

    Where a neighbour works and rests in turns, a median over all calls jumps between two states as
    their shares cross a half; a mean over blocks follows the shares, and these hit cells that are
    measured in turn alike.
    """
    logs = np.sort(np.log(block_medians(blocks)))
    cut = int(TRIMMED_BLOCKS * logs.size)
    return float(np.exp(logs[cut : logs.size - cut].mean()))
