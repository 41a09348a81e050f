"""Stopping rules: they stop early where the answer is clear, and are right as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.stopping import RankingRule, stated_interval

RULE = RankingRule(cells=2, confidence=0.95, margin=0.02, first=3, last=30)


def indexed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def stops_at(rule: RankingRule, a: np.ndarray, b: np.ndarray) -> tuple[int, bool] | None:
    """Invocations until the pair is settled, and whether it says that b is larger."""
    for count in rule.looks():
        if rule.settled(indexed(a[:count]), indexed(b[:count])):
            return count, bool(np.log(b[:count] / a[:count]).mean() > 0)
    return None


@pytest.mark.parametrize("spread", [0.01, 0.02, 0.03, 0.06])
def test_an_interval_that_stops_when_it_is_narrow_still_covers(spread: float) -> None:
    rng = np.random.default_rng(int(spread * 1000))
    covered = 0
    histories = 1500
    for _ in range(histories):
        values = np.exp(rng.normal(0, spread, size=30))
        for count in range(5, 31):
            interval = stated_interval(values[:count], 0.95)
            if interval.relative_half_width <= 0.02 or count == 30:
                covered += interval.contains(1.0)
                break
    # Three standard errors (0.0056 each) around 93 to 97%.
    assert 0.93 - 0.017 <= covered / histories <= 0.97 + 0.017


def test_a_wrong_order_is_as_rare_as_stated() -> None:
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(400):
        a, b = np.exp(rng.normal(0, 0.03, size=(2, 30)))
        b = b * 1.03
        found = stops_at(RULE, a, b)
        wrong += found is not None and not found[1]
    assert wrong / 400 <= 0.05


def test_a_large_gap_is_settled_at_the_first_looks() -> None:
    rng = np.random.default_rng(3)
    counts = []
    for _ in range(100):
        a, b = np.exp(rng.normal(0, 0.015, size=(2, 30)))
        found = stops_at(RULE, a, b * 1.3)
        assert found is not None
        assert found[1]
        counts.append(found[0])
    assert np.median(counts) <= 4


def test_only_cells_with_an_open_order_go_on() -> None:
    rng = np.random.default_rng(5)
    rule = RankingRule(cells=3, confidence=0.95, margin=0.001, first=3, last=30)
    near = np.exp(rng.normal(0, 0.02, size=(2, 10)))
    figures = {
        "near": indexed(near[0]),
        "nearer": indexed(near[1]),
        "far": indexed(np.exp(rng.normal(0, 0.02, size=10)) * 10),
    }
    assert rule.open_cells(figures) == {"near", "nearer"}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(1.0, 1e9), min_size=0, max_size=12),
    st.lists(st.floats(1.0, 1e9), min_size=0, max_size=12),
)
def test_any_figures_can_be_asked_about(a: list[float], b: list[float]) -> None:
    settled = RULE.settled(dict(enumerate(a)), dict(enumerate(b)))
    if min(len(a), len(b)) < 3:
        assert not settled
