"""Steps in a series: found where they are, and hardly ever where there are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats import steps as steps_module
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


@pytest.mark.parametrize(("error", "found"), [(0.0340, 1), (0.0353, 0)])
def test_a_step_has_to_exceed_what_a_z_test_of_the_runs_errors_allows(
    error: float, found: int
) -> None:
    """6 runs a side: 1.96 sqrt(2 error^2 / 6) is log(1.04) at an error of 0.0347."""
    values = [100.0] * 6 + [104.0] * 6
    assert len(find_steps(values, [error] * 12)) == found


@pytest.mark.parametrize(("error", "found"), [(0.0240, 1), (0.0250, 0)])
@pytest.mark.parametrize("unknown", [math.nan, 0.0])
def test_runs_without_a_known_error_do_not_make_the_others_surer(
    error: float, found: int, unknown: float
) -> None:
    """3 of 6 runs a side tell: 1.96 sqrt(2 error^2 / 3) is log(1.04) at an error of 0.0245."""
    errors = [error, unknown] * 6
    assert len(find_steps([100.0] * 6 + [104.0] * 6, errors)) == found


def test_runs_of_unequal_error_are_weighed_by_their_inverse_variance() -> None:
    """Of 0.01 and 0.05 in turn: a variance of 1 / (3 / 0.01^2 + 3 / 0.05^2) a side."""
    reach = 1.96 * math.sqrt(2 / (3 / 0.01**2 + 3 / 0.05**2))
    errors = [0.01, 0.05] * 6
    for factor, found in ((1.02, 1), (0.98, 0)):
        values = [100.0] * 6 + [100.0 * math.exp(factor * reach)] * 6
        assert len(find_steps(values, errors)) == found


@pytest.mark.parametrize(("runs", "choices"), [(8, 70), (9, 126), (10, 252)])
def test_p_is_the_share_of_orders_whose_best_split_is_as_large(runs: int, choices: int) -> None:
    """Of the clearest step those that put the same runs on one side, first or last: two of
    C(runs, runs // 2)."""
    values = [1.0] * (runs // 2) + [2.0] * (runs - runs // 2)
    (step,) = find_steps(values)
    share = 2 / choices
    deviation = math.sqrt(share * (1 - share) / 999)
    assert step.p == pytest.approx(share, abs=4 * deviation + 1 / 1000)


def cusum(logs: np.ndarray, weights: np.ndarray) -> float:
    """The largest weighted difference of means, by its definition: Page's statistic."""
    found = []
    for split in range(FEWEST_RUNS, len(logs) - FEWEST_RUNS + 1):
        left, right = weights[:split].sum(), weights[split:].sum()
        means = [
            np.average(x, weights=w)
            for x, w in ((logs[:split], weights[:split]), (logs[split:], weights[split:]))
        ]
        found.append(abs(means[1] - means[0]) * math.sqrt(left * right / (left + right)))
    return max(found)


def test_p_of_weighted_runs_is_that_of_a_permutation_test_written_out() -> None:
    rng = np.random.default_rng(30)
    errors = rng.choice([0.01, 0.03], 12)
    values = np.exp(rng.normal(0, 0.02, 12) + 0.055 * (np.arange(12) >= 5))
    usual = np.median(errors)
    weights = 2 * usual**2 / (errors**2 + usual**2)
    logs = np.log(values)
    orders = [rng.permutation(12) for _ in range(4000)]
    as_large = np.mean([cusum(logs[o], weights[o]) >= cusum(logs, weights) for o in orders])
    assert 0.001 < as_large < 0.04
    (step,) = find_steps(values, errors, seed=2)
    assert step.p == pytest.approx(as_large, abs=4 * math.sqrt(as_large * (1 / 999 + 1 / 4000)))


def test_a_step_is_the_difference_of_weighted_means() -> None:
    """A run of twice the usual error weighs 2 / (4 + 1) of what it otherwise would."""
    rng = np.random.default_rng(31)
    errors = np.array([0.01, 0.02, 0.01, 0.01] * 4)
    values = np.exp(rng.normal(0, 0.01, 16) + 0.3 * (np.arange(16) >= 8))
    (step,) = find_steps(values, errors)
    weights = np.where(errors == 0.02, 2 / 5, 1.0)
    before, after = (
        np.average(np.log(values[s]), weights=weights[s]) for s in (slice(8), slice(8, 16))
    )
    assert step.index == 8
    assert step.log_ratio == pytest.approx(after - before, rel=1e-9)


def test_a_run_without_a_known_error_weighs_as_the_usual_one() -> None:
    rng = np.random.default_rng(32)
    values = np.exp(rng.normal(0, 0.01, 16) + 0.3 * (np.arange(16) >= 8))
    known = np.array([0.01, 0.02, 0.01, 0.01] * 4)
    lacking = np.where(np.arange(16) % 4 == 0, math.nan, known)
    assert find_steps(values, lacking)[0].log_ratio == pytest.approx(
        find_steps(values, known)[0].log_ratio
    )


def test_between_steps_each_stretch_has_its_own_mean() -> None:
    values = [1.0] * 10 + [2.0] * 10 + [8.0] * 10
    first, second = find_steps(values)
    assert (first.index, second.index) == (10, 20)
    assert (first.log_ratio, second.log_ratio) == pytest.approx((math.log(2), math.log(4)))


def test_a_stricter_confidence_draws_as_many_orders_as_it_needs() -> None:
    """p can't be below 1 / (orders + 1): 50 / alpha orders, at least 999 and at most 19,999."""
    values = [1.0] * 20 + [2.0] * 20
    for confidence, least in ((0.5, 1e-3), (0.99, 1 / 5000), (0.999999, 1 / 20_000)):
        steps = find_steps(values, confidence=confidence)
        assert [step.p for step in steps] in ([pytest.approx(least)], [])
        assert bool(steps) == (least <= 1 - confidence)


def test_orders_drawn_in_parts_are_those_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.exp(np.random.default_rng(33).normal(0, 0.02, 12) + 0.04 * (np.arange(12) >= 5))
    whole = find_steps(values, confidence=0.8)
    assert whole
    for at_once in (1, 12 * 100, 12 * 600):
        monkeypatch.setattr(steps_module, "_AT_ONCE", at_once)
        assert find_steps(values, confidence=0.8) == whole


def test_the_margin_is_a_share_that_a_step_has_to_exceed() -> None:
    values = [100.0] * 6 + [104.0] * 6
    assert find_steps(values, margin=0.0399)
    assert not find_steps(values, margin=0.0401)
    falling = values[::-1]
    assert find_steps(falling, margin=0.0399)
    assert not find_steps(falling, margin=0.0401)


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


@pytest.mark.parametrize(
    ("confidence", "runs"),
    [(0.5, 4), (0.66, 4), (0.67, 5), (0.79, 5), (0.97, 8), (0.972, 9), (0.99, 10)],
)
def test_the_fewest_runs_are_those_of_which_two_choices_are_rare_enough(
    confidence: float, runs: int
) -> None:
    """Of 4 runs 2 of 6 choices, a third; of 5 a fifth; of 8 1/35, of 9 1/63, of 10 1/126."""
    assert fewest_runs(confidence) == runs


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
    assert log_error(2.0, 2.0, 0.95) == 0.0
    for low, high in ((None, 1.0), (1.0, None), (0.0, 1.0), (2.0, 1.0), (1.0, math.inf)):
        assert math.isnan(log_error(low, high, 0.95))


def test_errors_and_confidence_have_to_fit() -> None:
    with pytest.raises(ValueError, match="one error per value"):
        find_steps([1.0, 2.0], [0.1])
    for confidence in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            find_steps([1.0, 2.0], confidence=confidence)


def test_an_established_step_needs_two_runs_on_either_side() -> None:
    values = [1.0] * 30 + [2.0] * 2
    assert [step.index for step in find_steps(values)] == [30]
    assert [step.index for step in find_steps(values[::-1])] == [2]
