"""Two models that are each right or wrong on the same examples."""

from __future__ import annotations

import numpy as np

from bench.arrays import Array
from bench.cards.tasks.base import Change, MetricRow
from bench.stats.proportion import (
    mcnemar_exact,
    paired_difference_interval,
    retention_interval,
)


def paired_change(metric: MetricRow, mine: Array, theirs: Array, confidence: float) -> Change:
    """How the share of right examples differs, by McNemar's exact test."""
    both = int(np.sum(mine & theirs))
    lost, gained = int(np.sum(theirs & ~mine)), int(np.sum(mine & ~theirs))
    return Change(
        metric=metric,
        this=float(np.mean(mine)),
        other=float(np.mean(theirs)),
        difference=paired_difference_interval(lost, gained, len(mine), confidence),
        p=mcnemar_exact(lost, gained),
        test="McNemar",
        examples=len(mine),
        retained=retention_interval(both, lost, gained, confidence) if both + lost else None,
        only_this_right=gained,
        only_other_right=lost,
    )
