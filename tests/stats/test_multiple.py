"""Many comparisons: Holm's procedure and intervals that hold together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.multiple import holm_adjusted, pairwise_comparisons, simultaneous_confidence

p_values = st.lists(st.floats(0, 1), max_size=20)


def test_holm_on_an_example_worked_by_hand():
    np.testing.assert_allclose(
        holm_adjusted([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], rtol=1e-12
    )


@given(p_values)
def test_holm_lies_between_the_raw_values_and_bonferroni(p):
    adjusted = holm_adjusted(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-15).all()


@given(p_values, st.randoms())
def test_the_order_of_the_tests_does_not_matter(p, random):
    order = list(range(len(p)))
    random.shuffle(order)
    shuffled = holm_adjusted([p[i] for i in order])
    np.testing.assert_array_equal(shuffled, holm_adjusted(p)[order])


def test_holm_bounds_the_chance_of_any_false_alarm():
    p = np.random.default_rng(10).uniform(size=(4000, 12))
    alarms = np.mean([(holm_adjusted(row) <= 0.05).any() for row in p])
    assert alarms <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_simultaneous_intervals_share_the_error():
    assert simultaneous_confidence(1, 0.95) == 0.95
    assert 1 - simultaneous_confidence(10, 0.95) == pytest.approx(0.005)
    assert pairwise_comparisons(5) == 10
    with pytest.raises(ValueError, match="at least one"):
        simultaneous_confidence(0)


@pytest.mark.parametrize("p", [[1.1], [-0.1], [np.nan]])
def test_what_is_no_p_value_is_refused(p):
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm_adjusted(p)


def test_confidence_is_a_share():
    for confidence in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            simultaneous_confidence(3, confidence)
