"""Energy of a window: what follows from readings, and what can't be said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats.metered import (
    FEWEST_READINGS,
    FEWEST_UPDATES,
    Metered,
    between,
    by_counter,
    by_power,
    mean_interval,
)


def counted(
    watts: float = 100.0, seconds: float = 4.0, update_s: float = 0.1, poll_s: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Readings of a counter under constant power that stands still between its updates."""
    at = np.arange(0.0, seconds, poll_s)
    return at, watts * update_s * np.floor(at / update_s + 1e-9)


def test_a_coarse_counter_gives_the_power_between_its_own_updates() -> None:
    at, joules = counted()
    found = by_counter(at, joules, 0.55, 3.55)
    assert isinstance(found, Metered)
    assert found.watts == pytest.approx(100.0)
    assert found.seconds == pytest.approx(2.9)
    # An update is known to have come within one time between readings, at either end.
    assert found.resolution == pytest.approx(0.04 / 2.9)


@given(
    st.lists(st.floats(25.0, 50.0), min_size=3 * FEWEST_UPDATES + 1, max_size=80),
    st.floats(0.0, 1.0),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_any_partition_at_updates_adds_up_with_or_without_a_wrap(
    steps: list[float], where: float, seed: int
) -> None:
    at = np.arange(len(steps) + 1) * 0.1
    true = np.concatenate([[0.0], np.cumsum(steps)])
    end = float(true[-1]) + 1.0
    shown = np.mod(true + where * end, end)
    cut = FEWEST_UPDATES + np.random.default_rng(seed).integers(0, len(steps) - 2 * FEWEST_UPDATES)
    whole = by_counter(at, shown, at[1], at[-1], end)
    parts = [
        by_counter(at, shown, at[1], at[cut], end),
        by_counter(at, shown, at[cut], at[-1], end),
    ]
    assert isinstance(whole, Metered)
    assert whole.joules == pytest.approx(true[-1] - true[1], abs=1e-6)
    assert all(isinstance(part, Metered) for part in parts)
    assert sum(part.joules for part in parts) == pytest.approx(whole.joules, abs=1e-6)  # type: ignore[union-attr]


@given(
    st.lists(st.floats(0.001, 1000.0), min_size=40, max_size=60),
    st.floats(0.05, 0.35),
    st.floats(0.4, 0.6),
)
@settings(max_examples=60, deadline=None)
def test_any_partition_of_power_adds_up(watts: list[float], begin: float, cut: float) -> None:
    at = np.linspace(0.0, 8.0, len(watts))
    a, b, c = 8 * begin, 8 * cut, 7.9
    whole, first, second = (by_power(at, watts, x, y) for x, y in ((a, c), (a, b), (b, c)))
    if isinstance(first, Metered):
        assert isinstance(whole, Metered)
        assert isinstance(second, Metered)
        assert first.joules + second.joules == pytest.approx(whole.joules, rel=1e-9, abs=1e-9)


def test_power_at_the_edges_is_interpolated() -> None:
    at = np.arange(0.0, 10.1, 1.0)
    found = by_power(at, 10 * at, 1.5, 8.5)
    assert found == Metered(pytest.approx(10 * (8.5**2 - 1.5**2) / 2), 7.0)


def test_one_wrap_is_undone_and_more_are_in_doubt() -> None:
    at, joules = counted(watts=100.0)
    once = by_counter(at, np.mod(joules + 150, 200.0), 0.0, 3.9, 200.0)
    assert isinstance(once, str)  # 390 J through a range of 200: twice
    assert "wrapped 2 times" in once
    once = by_counter(at, np.mod(joules + 150, 500.0), 0.0, 3.9, 500.0)
    assert isinstance(once, Metered)
    assert once.watts == pytest.approx(100.0)


RANGE_J = 262_143.0  # of a Xeon


def polled(after: float = 3.5, poll_s: float = 0.02) -> np.ndarray:
    """When a counter is read, from half a second before a window on."""
    return np.arange(-0.5, after, poll_s)


@pytest.mark.parametrize("began_j", [0.1, 5_000.0, 200_000.0, RANGE_J - 500])
@pytest.mark.parametrize("update_s", [0.001, 0.1])
def test_a_counter_that_was_reset_did_not_wrap(began_j: float, update_s: float) -> None:
    at = polled()
    used = 100 * update_s * np.floor(at / update_s + 1e-9)
    joules = np.where(at < 1.5, began_j + 50 + used, used - 150)
    found = by_counter(at, joules, 0.0, 3.0, RANGE_J)
    assert found == "the counter went back, as after a reset of the driver"


@pytest.mark.parametrize("wrap_s", [-0.49, 0.0, 0.1, 1.234, 2.99])
@pytest.mark.parametrize("update_s", [0.001, 0.1])
@pytest.mark.parametrize("asleep", [(9.0, 9.0), (1.0, 2.5), (1.2, 1.3)])
def test_a_counter_that_wrapped_tells_the_same_as_one_that_did_not(
    wrap_s: float, update_s: float, asleep: tuple[float, float]
) -> None:
    """Also where nobody read it for a while, in which it used much and may have wrapped."""
    at = polled()
    at = at[(at < asleep[0]) | (at > asleep[1])]
    joules = 100 * update_s * np.floor(at / update_s + 1e-9)
    plain = by_counter(at, joules + 1000, 0.0, 3.0, RANGE_J)
    wrapped = by_counter(at, np.mod(joules - 100 * wrap_s, RANGE_J), 0.0, 3.0, RANGE_J)
    assert isinstance(plain, Metered)
    assert isinstance(wrapped, Metered)
    assert wrapped.joules == pytest.approx(plain.joules)
    assert plain.watts == pytest.approx(100.0, rel=0.04)


def test_a_counter_that_was_read_at_its_very_end_and_at_0_wrapped() -> None:
    at, joules = counted()
    end = float(joules[len(joules) // 2])
    first = int(np.argmax(joules == end))
    shown = np.where(joules > end, joules - end, joules)
    shown[first + 1 : first + 5] = 0.0
    plain, wrapped = by_counter(at, joules, 0.0, 4.0), by_counter(at, shown, 0.0, 4.0, end)
    assert isinstance(plain, Metered)
    assert isinstance(wrapped, Metered), wrapped
    assert wrapped.joules == pytest.approx(plain.joules)


def test_a_reset_while_nobody_read_is_no_wrap() -> None:
    at = polled()
    at = at[(at < 1.0) | (at > 2.5)]
    found = by_counter(at, np.where(at < 2, 5000 + 100 * at, 100 * (at - 2)), 0.0, 3.0, RANGE_J)
    assert found == "the counter went back, as after a reset of the driver"


def test_a_counter_that_only_ever_went_back_is_no_wrap() -> None:
    assert by_counter([0.0, 1.0, 2.0], [9.0, 1.0, 1.0], 0.0, 2.0, 10.0) == (
        "the counter went back, as after a reset of the driver"
    )


COVER = "the counter's updates don't cover it from beginning to end"
STOOD = "the counter stood still for a part of it"


@pytest.mark.parametrize(
    ("moves", "why"),
    [
        (lambda at: np.minimum(at, 1.3), COVER),
        (lambda at: np.minimum(at, 2.6), COVER),
        (lambda at: np.maximum(at, 0.5), COVER),
        (lambda at: np.where(at < 2, np.minimum(at, 1.3), at - 0.7), STOOD),
        (lambda at: np.minimum(at, 2.85), ""),
        (lambda at: np.where(at < 2, np.minimum(at, 1.3), at), ""),  # it catches up
    ],
)
@pytest.mark.parametrize("update_s", [0.001, 0.1])
def test_a_counter_that_stands_still_in_a_window_is_not_extrapolated(
    moves: Callable[[np.ndarray], np.ndarray], why: str, update_s: float
) -> None:
    at = polled()
    joules = 100 * update_s * np.floor(moves(at) / update_s + 1e-9) + 5000
    found = by_counter(at, joules, 0.0, 3.0)
    if why:
        assert found == why
    else:
        assert isinstance(found, Metered)
        assert found.watts == pytest.approx(100.0, rel=0.03)


def test_a_counter_that_was_no_longer_read_is_not_extrapolated() -> None:
    at = polled(after=1.5)
    assert by_counter(at, 100 * at, 0.0, 3.0) == COVER


@pytest.mark.parametrize(
    ("why", "joules", "wraps_at"),
    [
        ("did not move", np.full(200, 5.0), None),
        ("went back", np.concatenate([np.arange(100.0), np.arange(100.0)]), None),
        ("beyond its own end", np.concatenate([np.arange(100.0), np.arange(100.0)]), 50.0),
        ("9 updates of the counter", np.repeat(np.arange(10.0), 20), None),
    ],
)
def test_a_counter_that_tells_nothing_says_why(
    why: str, joules: np.ndarray, wraps_at: float | None
) -> None:
    found = by_counter(np.arange(len(joules)) * 0.02, joules, 0.0, 4.0, wraps_at)
    assert isinstance(found, str)
    assert why in found


def test_a_counter_that_nobody_read_for_long_says_so() -> None:
    at = np.concatenate([np.arange(0, 2, 0.1), np.arange(6, 8, 0.1)])
    found = by_counter(at, 100 * at, 0.0, 8.0)
    assert found == "the counter was not read for 4.1 s"
    assert by_counter([0.0], [1.0], 0.0, 1.0) == "1 readings of the counter"


@pytest.mark.parametrize(
    ("why", "at"),
    [
        ("from beginning to end", np.arange(1.0, 11.0)),
        ("from beginning to end", np.arange(-1.0, 8.0)),
        ("from beginning to end", np.array([])),
        ("4 power readings", np.array([-1.0, 2.0, 4.0, 6.0, 8.0, 10.0])),
        ("a gap of 4 s", np.array([0.0, 0.6, 0.7, 1.0, 2.0, 6.0, 8.0, 10.0])),
    ],
)
def test_power_with_gaps_is_never_filled_in(why: str, at: np.ndarray) -> None:
    found = by_power(at, np.ones(len(at)), 0.5, 9.5)
    assert isinstance(found, str)
    assert why in found


def test_a_meter_that_shows_no_power_at_all_tells_nothing() -> None:
    at = np.arange(0.0, 10.0)
    found = by_power(at, np.zeros(10), 0.5, 8.5)
    assert found == "the power readings are all 0 W"
    assert isinstance(by_power(at, np.eye(10)[4], 0.5, 8.5), Metered), "one is not"
    assert by_power(at, np.eye(10)[0], 1.5, 8.5) == found, "outside of the window"


def test_a_gap_of_three_seconds_is_bridged() -> None:
    at = np.array([0.0, 1.0, 1.2, 1.4, 1.6, 1.8, 4.8, 5.0])
    assert by_power(at, np.full(8, 7.0), 0.5, 4.9) == Metered(pytest.approx(7 * 4.4), 4.4)
    assert len(at) - 2 >= FEWEST_READINGS


def test_what_drifts_is_read_off_at_the_moment() -> None:
    assert between(3.0, (1.0, 10.0), (5.0, 20.0)) == 15.0
    assert between(1.0, (1.0, 10.0), (1.0, 20.0)) == 10.0


def test_the_interval_of_a_mean_is_students() -> None:
    values = [-1.0, 0.5, 2.0, 1.0]
    found = mean_interval(values, 0.9)
    expected = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.estimate == pytest.approx(0.625)
    for bad in ([1.0], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="two values"):
            mean_interval(bad, 0.95)
