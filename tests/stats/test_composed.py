"""bench/stats/composed.py: intervals of sums and quotients cover as often as their parts do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats.composed import product, quotient, weighted_sum
from bench.stats.interval import Interval, trimmed_mean_interval

TWO = Interval(2.0, 1.5, 3.0, 0.95)
FOUR = Interval(4.0, 3.0, 4.5, 0.95)


def test_a_single_part_keeps_its_own_interval() -> None:
    assert weighted_sum([(3.0, TWO)]) == Interval(6.0, 4.5, 9.0, 0.95)
    sure = Interval(1.0, 1.0, 1.0, 0.95)
    found = quotient(TWO, sure)
    assert (found.low, found.high) == (pytest.approx(1.5), pytest.approx(3.0))


def test_distances_are_added_in_quadrature_each_to_its_side() -> None:
    found = weighted_sum([(1.0, TWO), (2.0, FOUR)])
    assert found.estimate == 10
    assert found.low == pytest.approx(10 - math.hypot(0.5, 2.0))
    assert found.high == pytest.approx(10 + math.hypot(1.0, 1.0))
    ratio = quotient(FOUR, TWO)
    assert ratio.low == pytest.approx(2 * math.exp(-math.hypot(math.log(4 / 3), math.log(1.5))))
    assert product(TWO, FOUR).estimate == 8


def test_a_bound_of_0_leaves_the_other_side_alone() -> None:
    found = quotient(TWO, Interval(1.0, 0.0, 2.0, 0.95))
    assert found.high == math.inf
    assert found.low > 0


def test_two_that_know_nothing_have_a_quotient_that_knows_nothing() -> None:
    """Two bounds near the largest float: their distances together are beyond it."""
    wide = Interval(1.0, 1e-300, 1e300, 0.999)
    found = quotient(wide, wide)
    assert (found.low, found.estimate, found.high) == (pytest.approx(0.0), 1.0, math.inf)


def test_what_has_no_interval_is_refused() -> None:
    for terms in ([], [(-1.0, TWO)]):
        with pytest.raises(ValueError, match="sum"):
            weighted_sum(terms)
    with pytest.raises(ValueError, match="positive"):
        product(TWO, Interval(0.0, 0.0, 1.0, 0.95))


def test_the_speed_up_of_three_measured_times_is_covered() -> None:
    """20 t / (2 d + v) of three independent times, each by ten invocations: 95%, within what 400
    trials can tell."""
    rng = np.random.default_rng(5)
    truth, covered = (10.0, 1.0, 12.0), 0
    for _ in range(400):
        parts = [trimmed_mean_interval(t * np.exp(rng.normal(0, 0.05, 10))) for t in truth]
        found = quotient(parts[0], weighted_sum([(2.0, parts[1]), (1.0, parts[2])]))
        covered += found.contains(truth[0] / (2 * truth[1] + truth[2]))
    assert 0.92 <= covered / 400 <= 0.99
