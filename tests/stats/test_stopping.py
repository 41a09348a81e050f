"""Stopping rules: they stop early where the answer is clear, and are right as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.interval import ratio_interval, trimmed_mean_interval
from bench.stats.nested.allocation import half_width
from bench.stats.nested.components import error_by_blocks
from bench.stats.nested.pairing import Turns
from bench.stats.spending import repeated_confidence
from bench.stats.stopping import (
    FEWEST_TO_RANK,
    Ended,
    RankingRule,
    Stated,
    clearly_narrow,
    stopping_confidence,
)

RULE = RankingRule(cells=2, confidence=0.95, margin=0.02, first=3, last=30)


def indexed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


def alone(values: np.ndarray) -> dict[int, Turns]:
    """Of processes of which no rounds are known."""
    return {index: Turns(value) for index, value in enumerate(values.tolist())}


def stops_at(rule: RankingRule, a: np.ndarray, b: np.ndarray) -> tuple[int, bool] | None:
    """Invocations until the pair is settled, and whether it says that b is larger."""
    for count in rule.looks():
        if rule.settled(indexed(a[:count]), indexed(b[:count])):
            return count, bool(np.log(b[:count] / a[:count]).mean() > 0)
    return None


def coverage(spread: float, first: int, last: int) -> float:
    """Share of histories whose interval of 2% covers, processes differing by ``spread``."""
    rng = np.random.default_rng(int(spread * 1000))
    covered = 0
    for _ in range(HISTORIES):
        values = np.exp(rng.normal(0, spread, size=last))
        for count in range(first, last + 1):
            clear = count == first and clearly_narrow(values[:count], 0.95, 0.02)
            interval = Stated(0.95, chosen=not clear).interval(values[:count])
            if interval.relative_half_width <= 0.02 or count == last:
                covered += interval.contains(1.0)
                break
    return covered / HISTORIES


HISTORIES = 1500


@pytest.mark.parametrize("spread", [0.01, 0.02, 0.03, 0.06])
def test_an_interval_that_stops_when_it_is_narrow_still_covers(spread: float) -> None:
    # Three standard errors (0.0056 each) around 93 to 97%.
    assert 0.93 - 0.017 <= coverage(spread, 5, 30) <= 0.97 + 0.017


@pytest.mark.parametrize(("first", "last", "said"), [(3, 100, 0.92), (10, 100, 0.945)])
def test_where_processes_alone_differ_luck_costs_as_much_as_is_said(
    first: int, last: int, said: float
) -> None:
    """At twice the precision, the worst case (docs/method.md); three standard errors."""
    assert coverage(0.04, first, last) == pytest.approx(said, abs=0.021)


@pytest.mark.parametrize("first", [3, 5])
@pytest.mark.parametrize("spread", [0.001, 0.004, 0.008, 0.012])
def test_an_interval_that_luck_did_not_choose_is_no_wider_than_it_says(
    spread: float, first: int
) -> None:
    """From three on, one that paid for luck would cover in 96 to 98%; three standard errors."""
    assert 0.937 - 0.017 <= coverage(spread, first, 30) <= 0.96 + 0.015


def test_a_third_of_the_precision_is_no_luck() -> None:
    values = np.array([1.0, 1.001, 0.999])
    width = Stated(0.95, chosen=False).interval(values).relative_half_width
    assert clearly_narrow(values, 0.95, 3.01 * width)
    assert not clearly_narrow(values, 0.95, 2.99 * width)


def missed(looks_at_blocks: bool) -> float:
    """Share of histories that an interval of 5% doesn't cover, from 3 processes on, where processes
    differ by 7% and the 8 blocks of one by 15%, as beside a neighbour."""
    rng = np.random.default_rng(20)
    confidence, covered = stopping_confidence(0.95), 0
    for _ in range(HISTORIES):
        blocks = rng.normal(0, 0.072, (100, 1)) + rng.normal(0, 0.151, (100, 8))
        figures = np.exp(blocks.mean(axis=1))
        for count in range(3, 101):
            interval = Stated(0.95).interval(figures[:count])
            if interval.relative_half_width > 0.05 and count < 100:
                continue
            error = error_by_blocks(list(blocks[:count]))
            if looks_at_blocks and half_width(error**2, count, confidence) > np.log(1.05):
                continue
            covered += interval.contains(1.0)
            break
    return 1 - covered / HISTORIES


def test_who_does_not_stop_at_processes_that_agree_by_luck_covers_as_often_as_is_said() -> None:
    # Three standard errors (0.6 points each) around 3 to 7%; without a look at blocks it is 8.9%.
    found, lucky = missed(looks_at_blocks=True), missed(looks_at_blocks=False)
    assert 0.03 - 0.018 <= found <= 0.07
    assert found + 0.018 < lucky


def test_an_interval_that_decides_when_it_is_shown_spends_half_of_its_error() -> None:
    """At 95% stated it is as wide as one at 97.5%."""
    assert stopping_confidence(0.95) == pytest.approx(0.975)
    assert stopping_confidence(0.8) == pytest.approx(0.9)
    values = np.exp(np.random.default_rng(1).normal(0, 0.05, 8))
    stated, wider = Stated(0.95).interval(values), trimmed_mean_interval(values, 0.975)
    assert (stated.estimate, stated.low, stated.high) == (wider.estimate, wider.low, wider.high)
    assert stated.confidence == 0.95
    plain = Stated(0.95, chosen=False).interval(values)
    assert plain == trimmed_mean_interval(values, 0.95), "nothing was chosen, nothing is spent"


def test_a_pair_at_a_look_has_its_share_of_the_error() -> None:
    """Of 5%, split over 6 pairs of 4 cells (Bonferroni) and over the looks."""
    rule = RankingRule(cells=4, confidence=0.95, margin=0.02, first=3, last=30)
    assert rule.looks() == (3, 4, 6, 8, 12, 17, 24, 30)
    expected = repeated_confidence((3, 4, 6, 8, 12, 17, 24, 30), 1 - 0.05 / 6)
    assert rule.per_look() == expected
    alone = RankingRule(cells=1, confidence=0.95, margin=0.02, first=3, last=30)
    assert alone.per_look() == RULE.per_look() == repeated_confidence(rule.looks(), 0.95)


def settled(a: list[float], b: list[float], rule: RankingRule = RULE) -> bool:
    return rule.settled(dict(enumerate(a)), dict(enumerate(b)))


def test_a_pair_is_settled_when_its_interval_at_that_confidence_excludes_1() -> None:
    a = np.exp(np.random.default_rng(2).normal(0, 0.02, 6))
    half_width = np.sqrt(
        ratio_interval(a, np.ones(6), RULE.per_look()).high
        / ratio_interval(a, np.ones(6), RULE.per_look()).low
    )
    centre = ratio_interval(a, np.ones(6)).estimate
    for factor, expected in ((1.001, True), (0.999, False)):
        b = np.full(6, half_width / centre * factor)
        assert settled(a.tolist(), b.tolist()) is expected
        assert settled(b.tolist(), a.tolist()) is expected


def test_a_pair_that_surely_differs_by_less_than_the_margin_is_settled() -> None:
    one = [1.0, 1.00001, 0.99999]
    assert settled(one, [x * 1.001 for x in one])
    strict = RankingRule(cells=2, confidence=0.95, margin=0.0, first=3, last=30)
    assert not settled(one, one[1:] + one[:1], strict)


def test_three_invocations_tell_apart_what_differs_by_tens_of_percent() -> None:
    rule = RankingRule(2, 0.95, 0.02, FEWEST_TO_RANK, 30)
    assert rule.looks()[0] == 3
    assert settled([1.0, 1.01, 0.99], [1.4, 1.4, 1.41], rule)


def test_what_came_after_the_last_planned_look_waits_for_the_next() -> None:
    """Looks are at 3, 4, 6, ...: of 5 values the last is not looked at."""
    clear, opposed = [1.0, 1.01, 0.99, 1.0], [2.0, 2.01, 1.99, 2.0]
    assert settled(clear, opposed)
    assert settled([*clear, 5.0], [*opposed, 0.1])
    assert not settled([*clear, 5.0, 5.0], [*opposed, 0.1, 0.1])


def test_only_generations_that_measured_both_are_compared() -> None:
    a = {0: 1.0, 1: 1.01, 2: 0.99, 7: 50.0}
    b = {0: 2.0, 1: 2.01, 2: 1.99, 9: 0.01}
    assert RULE.settled(a, b)
    assert not RULE.settled(a, {**b, 2: 2.0, 7: 0.1, 8: 1.0})
    assert not RULE.settled(a, {8: 2.0, 1: 2.01, 2: 1.99, 9: 2.0})


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
        "near": alone(near[0]),
        "nearer": alone(near[1]),
        "far": alone(np.exp(rng.normal(0, 0.02, size=10)) * 10),
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
        assert settled is False


# -- what holds once the measuring has ended ------------------------------------------------------


def test_looks_that_were_not_made_cost_nothing_where_time_ended_the_measuring() -> None:
    each = 1 - 0.05 / 6
    rule = RankingRule(cells=4, confidence=0.95, margin=0.02, first=3, last=30)
    assert rule.concluded(3, "time") == (3, each), "the first look is the last: all is spent on it"
    assert rule.concluded(5, "time") == (5, repeated_confidence((3, 4, 6), each))
    assert repeated_confidence((3, 4, 5), each) < repeated_confidence((3, 4, 6), each)
    assert rule.concluded(30, "time") == (30, rule.per_look())
    assert rule.concluded(2, "time") == (2, each), "two invocations, and nobody looked"


def test_what_a_settled_order_ended_is_held_to_the_whole_plan() -> None:
    assert RULE.concluded(3, "order") == (3, RULE.per_look())
    assert RULE.concluded(5, "order") == (4, RULE.per_look()), "the last planned look"
    assert RULE.concluded(2, "order") == (2, RULE.per_look())


def test_what_a_narrow_interval_ended_pays_for_that_too() -> None:
    assert RULE.concluded(3, "width") == (3, stopping_confidence(0.95))
    expected = repeated_confidence((3, 4), stopping_confidence(0.95))
    assert RULE.concluded(4, "width") == (4, expected)


@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_a_verdict_at_the_end_of_the_time_is_wrong_as_rarely_as_stated(gap: float) -> None:
    """Three cells are looked at as planned; whoever is in order stops, and at a time that has
    nothing to do with them all do. The first differs from the others by ``gap``."""
    rng = np.random.default_rng(23)
    rule = RankingRule(cells=3, confidence=0.95, margin=0.02, first=3, last=30)
    truth = np.array([1.0, 1.0 + gap, 1.0 + gap])
    histories = 1500
    wrong = 0
    for _ in range(histories):
        values = truth[:, np.newaxis] * np.exp(rng.normal(0, 0.04, size=(3, 30)))
        ended = int(rng.integers(3, 13))
        counts, by_order = _measured(rule, values, ended)
        wrong += any(
            _contradicts(rule, values, (one, other), counts, by_order, truth)
            for one, other in ((0, 1), (0, 2), (1, 2))
        )
    # Three standard errors (0.0056 each) above the stated 5%.
    assert wrong / histories <= 0.05 + 0.017


def _measured(rule: RankingRule, values: np.ndarray, ended: int) -> tuple[list[int], list[bool]]:
    """How many invocations each cell gets, and which of them a settled order stopped."""
    counts, stopped = [0, 0, 0], [False] * 3
    for taken in range(1, ended + 1):
        counts = [count if done else taken for count, done in zip(counts, stopped, strict=True)]
        if taken >= rule.first:
            figures = {
                str(cell): alone(values[cell, : counts[cell]]) for cell in range(len(counts))
            }
            open_cells = rule.open_cells(figures)
            stopped = [done or str(c) not in open_cells for c, done in enumerate(stopped)]
    return counts, stopped


def _contradicts(
    rule: RankingRule,
    values: np.ndarray,
    pair: tuple[int, int],
    counts: list[int],
    by_order: list[bool],
    truth: np.ndarray,
) -> bool:
    """Whether the interval of a pair at the end leaves out the true ratio."""
    one, other = pair
    ended: Ended = "order" if by_order[one] or by_order[other] else "time"
    used, confidence = rule.concluded(min(counts[one], counts[other]), ended)
    found = ratio_interval(values[one, :used], values[other, :used], confidence)
    return not found.contains(truth[other] / truth[one])
