"""How far a language model's own greedy answers go along with the reference's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.arrays import Array
from bench.record.certificate import FreeRunning
from bench.record.result import Estimate
from bench.stats.proportion import clopper_pearson

#: Two logits nearer than this share of the largest are a tie, which rounding splits: what float32
#: leaves of a sum of a thousand terms. Our choice.
TIE = 1e-4


def running_of(
    rows: Mapping[str, Array], again: Mapping[str, Array] | None, confidence: float
) -> FreeRunning:
    """From one row a prompt: ``tokens`` that the reference answered, ``first`` (the place of the
    first other token, -1 where there is none), ``gap`` (the difference of the reference's two
    largest log-probabilities there, in nats; NaN where they agree)."""
    same = rows["first"] < 0
    other = rows["first"][~same]
    found = clopper_pearson(int(same.sum()), len(same), confidence)
    return FreeRunning(
        prompts=len(same),
        tokens=int(rows["tokens"].sum()),
        same=Estimate(
            value=found.estimate, low=found.low, high=found.high, confidence=found.confidence
        ),
        first=_quantiles(other),
        ties=int((rows["gap"][~same] <= TIE).sum()),
        same_again=None if again is None else float(np.mean(again["first"] < 0)),
    )


def _quantiles(places: Array) -> dict[str, float]:
    if not len(places):
        return {}
    return {
        name: float(np.quantile(places, point))
        for name, point in {"least": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75}.items()
    }
