"""What drafting is worth: a small model proposes tokens, a large one checks them all in one step.

Leviathan, Kalman & Matias 2023 ("Fast inference from transformers via speculative decoding", arXiv
2211.17192): of drafts of g tokens, each accepted with probability a whatever came before, an
iteration gives (1 - a^(g + 1)) / (1 - a) tokens (their equation 1). With c, a draft's step over one
of the original's, it takes g c + v such steps, v being what checking takes. They assume v = 1, that
g + 1 tokens at once take as long as one (theorem 3.8); here v is measured.

A token that is accepted says something of the next: text that one model foresees the other does
too, for a while. So iterations are also *walked* along what the two models really put first, which
assumes nothing, and it is documents that are drawn again, not tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.arrays import Array

Counts = NDArray[np.int64]


def tokens_per_iteration(acceptance: float, length: int) -> float:
    """Expected tokens of an iteration whose ``length`` drafted tokens are accepted independently
    of each other, each with probability ``acceptance``."""
    _check(acceptance, length)
    return float(sum(acceptance**accepted for accepted in range(length + 1)))


def improvement(acceptance: float, length: int, draft: float, check: float) -> float:
    """How many times as fast, under the same assumption.

    ``draft`` is a step of the draft and ``check`` a step of the original on ``length + 1`` tokens,
    both in steps of the original on one token.
    """
    if draft < 0 or check <= 0:
        raise ValueError(f"steps take time: {draft} and {check}")
    return tokens_per_iteration(acceptance, length) / (length * draft + check)


def _check(acceptance: float, length: int) -> None:
    if not 0 <= acceptance <= 1 or length < 1:
        raise ValueError(f"no acceptance and length of a draft: {acceptance}, {length}")


@dataclass(frozen=True)
class Walk:
    """Iterations along a text: how many tokens each one's draft had, and how many were accepted."""

    drafted: Counts
    accepted: Counts

    @property
    def tokens(self) -> int:
        """Those that came out: each iteration adds one of the original's own."""
        return int(self.accepted.sum()) + len(self.accepted)


def walk(agreed: Array, length: int) -> Walk:
    """Greedy iterations with drafts of up to ``length`` tokens, from the first token to the last.

    ``agreed``, bool of shape (tokens,), says of each token whether the draft would have put the
    same one there first. The last draft has as many tokens as are still wanted, but one.
    """
    _check(0.0, length)
    agreed = np.asarray(agreed, bool)
    count = len(agreed)
    # Where, from each token on, the first one lies that is not agreed on.
    misses = np.append(np.flatnonzero(~agreed), count)
    first_miss = misses[np.searchsorted(misses, np.arange(count))]
    drafted, accepted, place = [], [], 0
    while place < count:
        drafted.append(min(length, count - place - 1))
        accepted.append(min(drafted[-1], int(first_miss[place]) - place))
        place += accepted[-1] + 1
    return Walk(np.array(drafted, np.int64), np.array(accepted, np.int64))


def checks(walked: Walk, length: int, *, cuts: bool) -> Counts:
    """The tokens of each step that the original makes on a walk (`bench.worker.speculation`).

    ``cuts`` says whether the state that it keeps can be cut to the tokens that were accepted. If
    not, it is put back to before the check, and the next step takes those tokens again; where they
    are more than ``length``, a step of their own does.
    """
    sizes: list[int] = []
    waiting, again = 1, 0  # tokens that the state hasn't taken up, and those of a step of their own
    for drafted, accepted in zip(walked.drafted.tolist(), walked.accepted.tolist(), strict=True):
        if again:
            sizes.append(again)
        sizes.append(waiting + drafted)
        known, again = waiting + accepted, 0
        if accepted == drafted or cuts:
            waiting = 1
        elif known > length:
            waiting, again = 1, known
        else:
            waiting = known + 1
    return np.array(sizes, np.int64)


def shares(sizes: Array, known: Sequence[int]) -> NDArray[np.float64] | None:
    """How often steps of each ``known`` number of tokens would have to be made to take what steps
    of ``sizes`` do: between two known ones the time of a step is taken for a line.

    ``known`` rises. None where a size lies beyond it.
    """
    sizes = np.asarray(sizes)
    if not len(known) or sizes.min(initial=known[0]) < known[0] or sizes.max(initial=0) > known[-1]:
        return None
    places = np.arange(len(known), dtype=np.float64)
    place = np.interp(sizes, known, places)
    parts = np.maximum(0.0, 1.0 - np.abs(place[:, np.newaxis] - places))
    return np.asarray(parts.sum(axis=0), np.float64)
