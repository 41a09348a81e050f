"""Two one-sided tests: their errors, and the number of examples that decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.equivalence import (
    MOST_TIMES,
    needed_of_means,
    needed_of_proportions,
    standing,
    two_one_sided,
)
from bench.stats.interval import Interval
from bench.stats.proportion import paired_difference_interval

CONFIDENCE = 0.95
MARGIN = 0.02
TRIALS = 1000


def gain(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 0.9)


def shares(difference: float, flips: float, n: int, seed: int) -> dict[str, float]:
    """How often each standing comes out where a share ``flips`` of the examples is discordant and
    the true difference is ``difference``."""
    rng = np.random.default_rng(seed)
    lost, gained = (flips - difference) / 2, (flips + difference) / 2
    found = {"equivalent": 0, "worse": 0, "better": 0, "undecided": 0}
    for b, c, _ in rng.multinomial(n, [lost, gained, 1 - flips], TRIALS):
        interval = paired_difference_interval(int(b), int(c), n, two_one_sided(CONFIDENCE))
        found[standing(interval, MARGIN)] += 1
    return {name: count / TRIALS for name, count in found.items()}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.01, 0.01, "equivalent"),
        (-0.02, 0.01, "undecided"),  # the margin itself is not inside it
        (-0.05, -0.02, "worse"),
        (-0.05, -0.019, "undecided"),
        (0.02, 0.05, "better"),
        (-0.03, 0.03, "undecided"),
        (0.001, 0.002, "equivalent"),  # certain, and too small to matter
    ],
)
def test_what_an_interval_says_of_a_margin(low: float, high: float, said: str) -> None:
    assert standing(gain(low, high), MARGIN) == said


def test_a_margin_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        standing(gain(0.0, 0.0), 0.0)


@pytest.mark.parametrize("difference", [-MARGIN, MARGIN])
@pytest.mark.parametrize("n", [400, 1600])
def test_at_the_margin_equivalence_is_said_falsely_in_no_more_than_the_level(
    difference: float, n: int
) -> None:
    found = shares(difference, 0.06, n, seed=n)

    # 5% and three standard errors of 1000 trials
    assert found["equivalent"] <= 0.071
    assert found["worse"] + found["better"] <= 0.071


def test_two_that_are_alike_are_found_equivalent_once_there_are_enough_examples() -> None:
    few, many = (shares(0.0, 0.04, n, seed=5)["equivalent"] for n in (200, 2000))

    assert few < 0.5
    assert many > 0.95


def test_a_loss_beyond_the_margin_is_found() -> None:
    assert shares(-2 * MARGIN, 0.08, 2000, seed=6)["worse"] > 0.9


@given(
    lost=st.integers(0, 30),
    gained=st.integers(0, 30),
    rest=st.integers(1, 300),
    margin=st.sampled_from([0.005, 0.02, 0.1]),
)
def test_the_number_of_examples_that_decides_decides(
    lost: int, gained: int, rest: int, margin: float
) -> None:
    n = lost + gained + rest
    needed = needed_of_proportions(lost, gained, n, margin, CONFIDENCE)

    if needed is not None:
        share = needed / n
        interval = paired_difference_interval(
            round(lost * share), round(gained * share), needed, two_one_sided(CONFIDENCE)
        )
        assert standing(interval, margin) != "undecided"
    else:  # too near the margin
        assert abs(abs(gained - lost) / n - margin) < 0.5 * margin


def test_without_any_difference_the_fewest_examples_are_those_of_the_interval_of_none() -> None:
    """With none of n discordant the score interval ends at z^2 / (n + z^2): 541 at half a point."""
    needed = needed_of_proportions(0, 0, 20, 0.005, CONFIDENCE)

    assert needed == pytest.approx(1.645**2 / 0.005, rel=0.02)


def test_a_mean_needs_the_square_of_what_its_interval_is_too_wide_by() -> None:
    assert needed_of_means(Interval(0.0, -0.04, 0.04, 0.9), 10, 0.02) == 40
    assert needed_of_means(Interval(0.01, -0.01, 0.03, 0.9), 10, 0.02) == 40
    assert needed_of_means(Interval(0.02, 0.0, 0.04, 0.9), 10, 0.02) is None
    assert needed_of_means(Interval(0.0, 0.0, 0.0, 0.9), 10, 0.02) == 10
    reach = 0.02 * MOST_TIMES
    assert needed_of_means(Interval(0.0, -reach, reach, 0.9), 10, 0.02) is None
