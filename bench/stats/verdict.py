"""What a comparison may say: a verdict from intervals, never from a bare number.

A ratio here is **latency of b over latency of a**: a is the baseline, b the candidate. Below 1,
b is faster. (For throughputs pass the inverse.)
"""

from __future__ import annotations

from enum import StrEnum

from bench.stats.interval import Interval


class Verdict(StrEnum):
    """The candidate b, seen from the baseline a."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    CONTENTION_DEPENDENT = "contention-dependent"
    INCONCLUSIVE = "inconclusive"


def decide(p50_ratio: Interval, floor_ratio: Interval | None, margin: float) -> Verdict:
    """The verdict on b against a, from the ratios b / a of their medians and of their floors.

    ``margin`` is the difference that doesn't matter, as a share (0.01: one percent). The margin is
    the band from 1 / (1 + margin) to 1 + margin, so that exchanging a and b mirrors the verdict.
    The first that applies:

    1. ``contention-dependent``: the two intervals both exclude 1, on opposite sides, and not both
       lie in the margin. Which is faster depends on how busy the machine is.
    2. ``same``: the whole p50 interval lies in the margin. That is equivalence shown, not
       significance missed (two one-sided tests: Schuirmann 1987, Journal of Pharmacokinetics and
       Biopharmaceutics 15:657; with a 95% interval each at 2.5%).
    3. ``faster`` or ``slower``: the whole p50 interval lies below or above 1.
    4. ``inconclusive``.

    So a difference that is certain and *tiny* (1.002 to 1.006 at a margin of 1%) is ``same``: who
    set the margin said that it doesn't matter, and a rule that answered ``slower`` would turn
    every pair into a difference, given enough samples. The interval shown beside the verdict
    still says that it excludes 1, and a margin of 0 never says ``same``. A certain difference that
    reaches beyond the margin (1.005 to 1.02) is ``slower``, though it may be smaller than the
    margin. Medians that are equivalent are ``same`` whatever the floors say, unless the floors
    are certainly opposed: show the floor's ratio beside the verdict. Raises `ValueError` for a
    negative margin.
    """
    if not margin >= 0:
        raise ValueError(f"a margin can't be negative: {margin}")
    if floor_ratio is not None and _opposed(p50_ratio, floor_ratio):
        both_tiny = within_margin(p50_ratio, margin) and within_margin(floor_ratio, margin)
        return Verdict.SAME if both_tiny else Verdict.CONTENTION_DEPENDENT
    if within_margin(p50_ratio, margin):
        return Verdict.SAME
    return {-1: Verdict.FASTER, 1: Verdict.SLOWER, 0: Verdict.INCONCLUSIVE}[side(p50_ratio)]


def within_margin(ratio: Interval, margin: float) -> bool:
    """Whether the whole interval lies strictly inside 1 / (1 + margin) to 1 + margin."""
    return 1 / (1 + margin) < ratio.low and ratio.high < 1 + margin


def side(ratio: Interval) -> int:
    """-1 where the whole interval lies below 1, 1 where it lies above, else 0."""
    return int(ratio.low > 1) - int(ratio.high < 1)


def _opposed(p50_ratio: Interval, floor_ratio: Interval) -> bool:
    return side(p50_ratio) * side(floor_ratio) < 0
