"""How far a language model's own greedy answers go along with the reference's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.arrays import Array
from bench.record.certificate import FreeRunning
from bench.record.estimate import as_estimate
from bench.stats.proportion import clopper_pearson

#: Two log-probabilities nearer than this are a tie, which rounding splits: what parity in float32
#: allows logits to differ by (`bench.variants.FP32`).
TIE = 1e-4


def running_of(
    rows: Mapping[str, Array], again: Sequence[Mapping[str, Array]], confidence: float
) -> FreeRunning:
    """From one row a prompt: ``tokens`` that the reference answered, ``first`` (the place of the
    first other token, -1 where there is none), ``gap`` (the difference of the reference's two
    largest log-probabilities there, in nats; NaN where they agree). ``again`` are the same of the
    reference's further answers, of which the least like is told."""
    same = rows["first"] < 0
    other = rows["first"][~same]
    found = clopper_pearson(int(same.sum()), len(same), confidence)
    return FreeRunning(
        prompts=len(same),
        tokens=int(rows["tokens"].sum()),
        same=as_estimate(found),
        first=_quantiles(other),
        ties=int((rows["gap"][~same] <= TIE).sum()),
        same_again=min((float(np.mean(each["first"] < 0)) for each in again), default=None),
    )


def _quantiles(places: Array) -> dict[str, float]:
    if not len(places):
        return {}
    return {
        name: float(np.quantile(places, point))
        for name, point in {"least": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75}.items()
    }
