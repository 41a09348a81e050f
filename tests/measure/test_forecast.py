"""How long a run will take is told when it starts, and better as it goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_records import TEACHER, a_cell

from bench.measure.pace.account import Account
from bench.measure.pace.forecast import INVOCATION_S, SCORE_S, Forecaster
from bench.spec import Suite


def a_state(figures: list[float], stop: str | None = None) -> Any:
    """A cell with one figure an invocation, each of which took a tenth of a second."""
    return SimpleNamespace(
        cell=a_cell(TEACHER),
        invocations=figures,
        figures=lambda: np.array(figures),
        spent_s=0.1 * len(figures),
        stop=stop,
    )


def a_forecaster(groups: list[int], scores: int = 0, **suite: Any) -> Forecaster:
    now = [0.0]
    return Forecaster(Suite(**suite), Account(lambda: now[0]), groups, scores)


def test_the_first_forecast_follows_from_the_plan() -> None:
    expected = a_forecaster([3, 2], scores=4, min_invocations=5).expected()
    assert expected.remaining_s == pytest.approx(5 * 5 * INVOCATION_S + 4 * SCORE_S)
    assert expected.total_s == expected.spent_s + expected.remaining_s


def test_what_an_invocation_was_seen_to_take_replaces_the_guess() -> None:
    forecaster = a_forecaster([1, 4], min_invocations=5)
    forecaster.began()
    state = a_state([100.0])
    forecaster.measured([state], 2.0)
    assert forecaster.expected([state]).remaining_s == pytest.approx((4 + 4 * 5) * 2.0)


def test_a_wide_interval_takes_more_invocations_and_a_stopped_cell_none() -> None:
    forecaster = a_forecaster([1], max_invocations=30)
    forecaster.began()
    narrow, wide = a_state([100.0, 100.1, 99.9, 100.0]), a_state([100.0, 130.0, 80.0, 101.0])
    left = []
    for state in (narrow, wide, a_state([100.0, 100.1, 99.9, 100.0], stop="precision")):
        forecaster.measured([state], 1.0)
        left.append(forecaster.expected([] if state.stop else [state]).remaining_s)
    assert left == [1.0, 26.0, 0.0]


def test_a_budget_bounds_the_forecast_but_not_below_the_fewest_invocations() -> None:
    wide = [100.0, 130.0, 80.0, 101.0]
    for budget_s, left_s in ((12.0, 12.0), (1.0, 6.0)):
        forecaster = a_forecaster([1, 2], min_invocations=3, budget_s=budget_s)
        forecaster.began()
        state = a_state(wide)
        forecaster.measured([state], 1.0)
        assert forecaster.expected([state]).remaining_s == pytest.approx(left_s)


def test_cells_that_wait_are_expected_to_need_what_others_did() -> None:
    forecaster = a_forecaster([1, 2], max_invocations=30)
    forecaster.began()
    forecaster.measured([a_state([1.0] * 12, stop="max-time")], 1.0)
    assert forecaster.expected().remaining_s == pytest.approx(2 * 12 * 1.0)


def test_processes_far_apart_at_a_high_confidence_need_as_many_as_are_allowed() -> None:
    """Their interval, or its square, is beyond all floats."""
    for figures in ([1.0, 3.0], [1.0, 1.75]):
        forecaster = a_forecaster([1], confidence=0.999, max_invocations=12)
        forecaster.began()
        state = a_state(figures)
        forecaster.measured([state], 1.0)
        assert forecaster.expected([state]).remaining_s == 10.0
