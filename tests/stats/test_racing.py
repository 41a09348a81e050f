"""Racing keeps what it promises of the best, whatever the landscape; checked by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.stats.racing import MOST_PRIOR, RacingRule, differences, moderated, ratios

RULE = RacingRule(12, 0.95, 0.02, 3, 20)


def costs(truth: dict[str, float], count: int, rng: np.random.Generator, spread: float = 0.02):  # type: ignore[no-untyped-def]
    drawn = {n: (c * np.exp(rng.normal(0, spread, count))).tolist() for n, c in truth.items()}
    return {name: dict(enumerate(values)) for name, values in drawn.items()}


def test_nobody_is_out_without_a_look() -> None:
    rng = np.random.default_rng(1)
    now = RULE.standing(costs({"a": 1.0, "b": 9.0}, 2, rng))
    assert (now.look, now.out, now.racing) == (0, {}, ("a", "b"))
    assert RULE.due(now, {"a": {0: 1, 1: 1}, "b": {0: 9, 1: 9}}) == ["a", "b"]


def test_only_planned_looks_count() -> None:
    """So what comes between two of them changes nothing."""
    rng = np.random.default_rng(2)
    found = costs({"a": 1.0, "b": 1.05, "c": 1.4}, 20, rng)
    for count in range(3, 20):
        last = max(look for look in RULE.looks() if look <= count)
        cut, shorter = (
            {name: {n: values[n] for n in range(k)} for name, values in found.items()}
            for k in (count, last)
        )
        assert RULE.standing(cut) == RULE.standing(shorter)


def test_what_is_worse_by_less_than_the_margin_stays() -> None:
    rng = np.random.default_rng(3)
    now = RULE.standing(costs({"a": 1.0, "b": 1.015}, 20, rng, spread=1e-4))
    assert now.out == {}
    assert (now.leader, now.pick) == ("a", "a")
    now = RULE.standing(costs({"b": 1.015, "a": 1.0}, 20, rng, spread=1e-4))
    assert (now.leader, now.pick) == ("a", "b"), "the simplest of those within the margin"


def test_what_is_worse_by_more_than_the_margin_falls_and_says_against_whom() -> None:
    rng = np.random.default_rng(4)
    now = RULE.standing(costs({"a": 1.0, "b": 1.06}, 20, rng, spread=1e-3))
    assert now.left == ("a",)
    out = now.out["b"]
    assert (out.against, out.look) == ("a", 3)
    assert out.ratio.low > 1.02
    assert out.ratio.contains(1.06)


def test_two_are_compared_by_the_rounds_of_which_both_have_a_value() -> None:
    """The machine grows half as slow again from round to round; of one the second value doesn't
    count, and what was measured in its place says less."""
    machine = {number: 1.5**number for number in range(9)}
    one = {number: 1.0 * machine[number] for number in (0, 2, 3, 4, 5, 6)}
    other = {number: 1.1 * machine[number] for number in (0, 1, 3, 4, 5, 6)}
    assert differences(other, one, 6) == pytest.approx([np.log(1.1)] * 5)
    # Too few of both: all as they come.
    early = [np.log(1.1), np.log(1.1 / 1.5), np.log(1.1)]
    assert differences(other, one, 3) == pytest.approx(early)
    apart = {number + 10: cost for number, cost in other.items()}
    assert len(differences(apart, one, 6)) == 6


def test_a_value_that_did_not_count_shifts_no_others() -> None:
    """What one is worse by shows, although the machine drifts by as much from round to round: one
    value of it didn't count, and it has another at the end."""
    cost = {"a": 1.0, "b": 1.06}
    every = {name: {n: cost[name] * 1.06**n for n in range(8)} for name in cost}
    every["b"][8] = cost["b"] * 1.06**7
    del every["b"][1]
    now = RacingRule(2, 0.95, 0.02, 8, 8).standing(every)
    assert now.out["b"].ratio.estimate == pytest.approx(1.06)


def test_the_better_looking_half_goes_on_and_the_rest_is_parked_not_out() -> None:
    rng = np.random.default_rng(5)
    found = costs({str(i): 1 + i / 500 for i in range(12)}, 3, rng)
    now = RULE.standing(found, always={"11"})
    assert now.out == {}
    assert 6 <= len(now.racing) <= 8
    assert set(now.parked) | set(now.racing) == set(found)
    assert "11" in now.racing
    assert now.leader in now.racing


def test_the_time_of_a_race_is_bounded_where_all_are_equal() -> None:
    rng = np.random.default_rng(6)
    rule = RacingRule(40, 0.95, 0.02, 3, 20)
    found: dict[str, dict[int, float]] = {str(i): {} for i in range(40)}
    while due := rule.due(rule.standing(found), found):
        for name in due:
            found[name][len(found[name])] = float(np.exp(rng.normal(0, 0.02)))
    assert sum(map(len, found.values())) < 40 * 20 / 3


def test_the_best_is_hardly_ever_lost_where_spreads_differ() -> None:
    """Its own spread is three times that of the others, which moderation could mistake."""
    rng = np.random.default_rng(7)
    lost = 0
    for _ in range(100):
        found = costs({str(i): 1.0 for i in range(1, 12)}, 20, rng, spread=0.01)
        found = {**costs({"0": 1.0}, 20, rng, spread=0.03), **found}
        lost += "0" in RULE.standing(found).out
    assert lost <= 0.05 * 100


def test_variances_that_are_alike_borrow_from_each_other_up_to_a_limit() -> None:
    rng = np.random.default_rng(8)
    measured = rng.chisquare(2, 60) / 2
    found, freedom = moderated(measured, np.full(60, 2.0))
    assert freedom == pytest.approx(2 + MOST_PRIOR)
    assert found.std() < measured.std() / 3
    assert found.mean() == pytest.approx(1.0, rel=0.3)


def test_variances_that_differ_by_far_borrow_little() -> None:
    rng = np.random.default_rng(9)
    true = np.exp(rng.normal(0, 3, 60))
    measured = true * rng.chisquare(9, 60) / 9
    _, freedom = moderated(measured, np.full(60, 9.0))
    assert (freedom < 9 + 2).all()


def test_moderated_variances_are_those_of_limma() -> None:
    """The prior's two parameters against Smyth's equations, solved here by a general method."""
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    rng = np.random.default_rng(10)
    prior, usual = 4.0, 2.5
    true = prior * usual / rng.chisquare(prior, 3000)
    measured = true * rng.chisquare(5, 3000) / 5
    found, freedom = moderated(measured, np.full(3000, 5.0))
    logs = np.log(measured) - digamma(2.5) + np.log(2.5)
    excess = logs.var(ddof=1) - polygamma(1, 2.5)
    d0 = brentq(lambda d: float(polygamma(1, d / 2)) - excess, 0.1, 100)
    s0 = np.exp(logs.mean() + digamma(d0 / 2) - np.log(d0 / 2))
    assert d0 == pytest.approx(prior, rel=0.2)
    np.testing.assert_allclose(freedom, 5 + d0, rtol=1e-6)
    np.testing.assert_allclose(found, (d0 * s0 + 5 * measured) / (d0 + 5), rtol=1e-6)


def test_few_variances_are_left_as_they_are() -> None:
    """So that two configurations are compared as `ratio_interval` does."""
    from bench.stats.interval import ratio_interval

    rng = np.random.default_rng(11)
    a, b = np.exp(rng.normal(0, 0.02, (2, 6)))
    mine = ratios({"b": np.log(b) - np.log(a)}, 0.95)["b"]
    theirs = ratio_interval(a, b, 0.95)
    np.testing.assert_allclose(
        (mine.estimate, mine.low, mine.high), (theirs.estimate, theirs.low, theirs.high)
    )


def test_comparisons_with_the_best_and_looks_are_paid_for() -> None:
    one_look = RacingRule(2, 0.95, 0.02, 3, 3)
    assert one_look.per_look() == 0.95
    assert RULE.per_look() > 1 - 0.05 / 11
    t = stats.t.ppf(0.5 + RULE.per_look() / 2, 2)
    assert t > stats.t.ppf(0.975, 2)
