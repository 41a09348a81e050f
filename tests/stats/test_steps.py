"""Steps in a series: found where they are, and hardly ever where there are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.steps import FEWEST_RUNS, fewest_runs, find_steps, log_error

RUNS = (8, 12, 25, 60)


def series(rng: np.random.Generator, runs: int, noise: str = "normal") -> np.ndarray:
    """Results of runs that differ by about 2%, with now and then one that is far off."""
    if noise == "heavy":
        return np.exp(0.01 * rng.standard_t(2, runs))
    if noise == "skewed":
        return np.exp(0.02 * rng.exponential(1, runs))
    return np.exp(0.02 * rng.normal(size=runs))


@pytest.mark.parametrize("noise", ["normal", "heavy", "skewed"])
def test_false_alarms_are_as_rare_as_promised(noise: str) -> None:
    """At 95% no more than 5% of the series without a step may show one; 600 series are within
    three standard deviations of that (0.05 + 3 x 0.009)."""
    rng = np.random.default_rng(20)
    alarms = 0
    for number in range(600):
        values = series(rng, RUNS[number % len(RUNS)], noise)
        alarms += bool(find_steps(values, seed=number))
    assert alarms / 600 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_false_alarms_stay_rare_where_some_runs_are_much_less_sure() -> None:
    rng = np.random.default_rng(21)
    alarms = 0
    for number in range(600):
        runs = RUNS[number % len(RUNS)]
        errors = rng.choice([0.005, 0.05], runs)
        values = np.exp(0.01 * rng.normal(size=runs) + errors * rng.normal(size=runs))
        alarms += bool(find_steps(values, errors, seed=number))
    assert alarms / 600 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize(("size", "after"), [(1.10, 10), (1.10, 3), (0.9, 10), (1.2, 2)])
def test_a_step_is_found_where_it_is(size: float, after: int) -> None:
    rng = np.random.default_rng(22)
    found = 0
    for number in range(60):
        values = series(rng, 25)
        values[-after:] *= size
        steps = find_steps(values, seed=number)
        near = [s for s in steps if abs(s.index - (25 - after)) <= 1]
        found += bool(near) and (near[0].log_ratio > 0) == (size > 1)
    assert found >= 50


def test_there_and_back_again_is_two_steps() -> None:
    rng = np.random.default_rng(23)
    values = series(rng, 40)
    values[15:28] *= 1.3
    steps = find_steps(values)
    assert [step.index for step in steps] == [15, 28]
    assert steps[0].log_ratio == pytest.approx(math.log(1.3), abs=0.03)
    assert steps[1].log_ratio == pytest.approx(-math.log(1.3), abs=0.03)


def test_one_run_that_is_far_off_is_no_step() -> None:
    rng = np.random.default_rng(24)
    for place in (0, 7, 14):
        values = series(rng, 15)
        values[place] *= 3
        assert find_steps(values) == []


def test_a_step_that_the_intervals_explain_is_not_established() -> None:
    values = [100.0] * 6 + [104.0] * 6
    assert [s.index for s in find_steps(values, [0.002] * 12)] == [6]
    assert find_steps(values, [0.05] * 12) == []


def test_a_step_within_the_margin_is_not_told() -> None:
    values = [100.0] * 6 + [101.0] * 6
    assert len(find_steps(values)) == 1
    assert find_steps(values, margin=0.02) == []


def test_too_few_runs_establish_nothing_and_the_fewest_do() -> None:
    fewest = fewest_runs(0.95)
    assert fewest == 8
    for runs, found in ((fewest - 1, 0), (fewest, 1)):
        values = [1.0] * (runs // 2) + [2.0] * (runs - runs // 2)
        assert len(find_steps(values)) == found


def test_a_stricter_confidence_needs_more_runs() -> None:
    values = [1.0] * 4 + [2.0] * 4
    assert find_steps(values, confidence=0.95)
    assert not find_steps(values, confidence=0.99)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(1e-3, 1e12), max_size=40),
    confidence=st.sampled_from([0.5, 0.95, 0.999]),
)
def test_any_series_has_an_answer_that_does_not_depend_on_the_unit(
    values: list[float], confidence: float
) -> None:
    steps = find_steps(values, confidence=confidence)
    assert all(FEWEST_RUNS <= s.index <= len(values) - FEWEST_RUNS for s in steps)
    assert all(s.p <= 1 - confidence + 1e-12 for s in steps)
    scaled = find_steps([4 * value for value in values], confidence=confidence)
    assert [s.index for s in scaled] == [s.index for s in steps]


def test_equal_values_never_step() -> None:
    assert find_steps([5.0] * 30, [0.0] * 30) == []


@pytest.mark.parametrize("values", [[1, 0], [1, -1], [1, math.nan], [[1]]])
def test_what_is_no_series_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        find_steps(values)


def test_an_interval_is_turned_into_the_error_it_stands_for() -> None:
    assert log_error(math.exp(-0.196), math.exp(0.196), 0.95) == pytest.approx(0.1, rel=1e-3)
    assert math.isnan(log_error(None, 1.0, 0.95))
    assert math.isnan(log_error(0.0, 1.0, 0.95))
