"""How far outputs are apart, and whether rounding or the reference's own wandering explains it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from bench.arrays import Array
from bench.record.certificate import Numbers
from bench.record.rows import CANDIDATE, REFERENCE
from bench.stats.distributions import hypergeometric

#: The reference differs from itself in a few passes over some rows; a difference up to so many
#: times the largest of these is its own wandering as well. Our choice.
FLOORS = 2.0
#: The level at which more rows beyond the limit than the reference has itself are too many.
_LEVEL = 0.01


def numbers_of(rows: Mapping[str, Array], floor: float = 0.0) -> Numbers:
    """What the columns of `bench.record.rows` say; ``floor`` is the reference's largest difference
    from itself."""
    difference = rows["difference"]
    largest = float(difference.max(initial=0.0))
    return Numbers(
        rows=len(difference),
        beyond=int((rows["excess"] > 1).sum()),
        nonfinite=int((rows["nonfinite"] == CANDIDATE).sum()),
        nonfinite_reference=int((rows["nonfinite"] == REFERENCE).sum()),
        largest=largest,
        median=float(np.median(difference)) if len(difference) else 0.0,
        p99=float(np.quantile(difference, 0.99)) if len(difference) else 0.0,
        roundings=float(rows["roundings"].max(initial=0.0)),
        floors=largest / floor if floor > 0 else None,
    )


def floor_of(passes: Iterable[Numbers]) -> float:
    """The largest difference of a party from itself."""
    return max((each.largest for each in passes), default=0.0)


def explained(found: Numbers, floor: Iterable[Numbers]) -> bool:
    """Whether rounding, or the reference's own wandering, explains all of a difference.

    Where the reference stays within the limit of itself, nothing may lie beyond it. Where it
    doesn't (ties, an operator that isn't deterministic), no difference may be larger than `FLOORS`
    of its own, nor surely more rows beyond the limit than it has (Fisher's exact test, one-sided).
    """
    passes = list(floor)
    if found.nonfinite or found.nonfinite_reference:
        return False
    if not found.beyond:
        return True
    beyond, rows = sum(each.beyond for each in passes), sum(each.rows for each in passes)
    if not beyond or found.largest > FLOORS * floor_of(passes):
        return False
    p = hypergeometric.at_least(
        found.beyond, drawn=found.rows, marked=found.beyond + beyond, total=found.rows + rows
    )
    return p > _LEVEL
