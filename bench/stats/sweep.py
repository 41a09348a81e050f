"""Throughput over batches: whether it still rises, and from which batch on more buys nothing.

Batches are measured one after the other, not in the same generations, so ratios are unpaired
(Welch). Values are one rate an invocation, larger being better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.interval import Interval, unpaired_ratio_interval
from bench.stats.multiple import simultaneous_confidence

Rates = Mapping[int, Sequence[float]]  #: batch -> one rate an invocation
#: Doublings in a row that bring no sure rise: one may be hidden by noise, or by an awkward size.
PATIENCE = 2


@dataclass(frozen=True)
class Knee:
    """The smallest batch that isn't surely worse than the best by more than the margin."""

    batch: int
    best: int
    ratio: Interval  #: the throughput at the knee over the best


def has_levelled_off(rates: Rates, margin: float, confidence: float) -> bool:
    """Whether going on with larger batches is futile, by intervals and not by points.

    Each batch is held against the best of the smaller ones. It has, where the largest surely
    brings no more than the margin (or surely less), or where `PATIENCE` in a row bring no sure
    rise.
    """
    batches = sorted(rates)
    gains = [
        _ratio(rates[_best(rates, batches[:place])], rates[batches[place]], confidence)
        for place in range(1, len(batches))
    ]
    if not gains:
        return False
    if gains[-1].high < 1 + margin:
        return True
    last = gains[-PATIENCE:]
    return len(last) == PATIENCE and all(gain.low <= 1 for gain in last)


def find_knee(rates: Rates, margin: float, confidence: float) -> Knee:
    """Of one batch or more, each of two invocations or more. The intervals hold together at
    ``confidence``, whichever of the batches came out best."""
    batches = sorted(rates)
    best = _best(rates, batches)
    each = simultaneous_confidence(max(1, len(batches) - 1), confidence)
    for batch in batches:
        ratio = _ratio(rates[best], rates[batch], each)
        if batch == best or ratio.high >= 1 / (1 + margin):
            found = Interval(ratio.estimate, ratio.low, ratio.high, confidence)
            return Knee(batch, best, found)
    raise AssertionError("the best is among them")


def _ratio(one: Sequence[float], other: Sequence[float], confidence: float) -> Interval:
    return unpaired_ratio_interval(np.asarray(one), np.asarray(other), confidence)


def _best(rates: Rates, batches: Sequence[int]) -> int:
    """That with the largest geometric mean."""
    return max(batches, key=lambda batch: float(np.log(rates[batch]).mean()))
