"""One ratio from several machines: what the interval promises, by simulation and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from bench.stats.interval import Interval, ratio_interval
from bench.stats.pooled import Pooled, between_variance, pool

Z = 1.959963984540054


def of(ratio: float, error: float, confidence: float = 0.95) -> Interval:
    """A machine's ratio whose logarithm has this standard error."""
    return Interval(ratio, ratio * math.exp(-Z * error), ratio * math.exp(Z * error), confidence)


def simulated(rng: np.random.Generator, machines: int, tau: float) -> list[Interval]:
    """Ratios of machines around 1, each from 3 to 12 pairs of invocations, of unequal noise."""
    found = []
    for _ in range(machines):
        count, noise = int(rng.integers(3, 13)), float(rng.choice([0.005, 0.02, 0.06]))
        logs = rng.normal(rng.normal(0, tau), noise, count)
        found.append(ratio_interval(np.ones(count), np.exp(logs)))
    return found


@pytest.mark.parametrize("machines", [2, 3, 8])
@pytest.mark.parametrize("tau", [0.0, 0.02, 0.3])
def test_the_interval_holds_the_mean_as_often_as_stated(machines: int, tau: float) -> None:
    rng = np.random.default_rng(17)
    trials = 100
    held = sum(pool(simulated(rng, machines, tau)).ratio.contains(1.0) for _ in range(trials))
    # 95% less three standard errors of so many trials
    assert held / trials >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)


def test_it_is_no_wider_than_it_has_to_be_where_machines_differ() -> None:
    rng = np.random.default_rng(18)
    held = [pool(simulated(rng, 5, 0.3)).ratio.contains(1.0) for _ in range(100)]
    assert np.mean(held) <= 0.99


def test_another_machine_lies_in_the_prediction() -> None:
    rng = np.random.default_rng(19)
    trials = 60
    for tau in (0.02, 0.3):
        held = 0
        for _ in range(trials):
            found = pool(simulated(rng, 4, tau)).prediction
            assert found is not None
            held += found.contains(math.exp(rng.normal(0, tau)))
        assert held / trials >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)


def test_of_one_machine_its_own_interval_is_all_that_is_known() -> None:
    alone = of(4.0, 0.01)
    assert pool([alone]) == Pooled(alone, 1)


def test_two_machines_say_little_of_others() -> None:
    """Equal weights: the mean of the logarithms, and 12.7 times half of their distance."""
    found = pool([of(2.0, 0.01), of(8.0, 0.01)])
    assert found.ratio.estimate == pytest.approx(4.0)
    reach = float(stdtrit(1, 0.975)) * math.log(2)
    assert found.ratio.high == pytest.approx(4 * math.exp(reach))
    assert found.ratio.low == pytest.approx(4 * math.exp(-reach))
    assert found.prediction is None
    assert found.tau == pytest.approx(math.sqrt(2 * math.log(2) ** 2 - 0.01**2))
    assert found.i_squared == pytest.approx(1, abs=1e-3)


def test_equal_machines_differ_by_nothing() -> None:
    found = pool([of(3.0, 0.02)] * 4)
    assert found.tau == pytest.approx(0, abs=1e-3)
    assert found.i_squared == 0
    assert found.ratio.estimate == pytest.approx(3.0)


def test_no_machine_weighs_more_than_twice_another() -> None:
    """One that is known a thousand times better, where machines don't seem to differ."""
    found = pool([of(1.0, 0.0001), of(1.1, 0.1), of(1.1, 0.1)])
    assert found.tau == pytest.approx(0, abs=1e-3)
    heavy, light = 1 / (0.1**2 + 0.0001**2), 1 / (2 * 0.1**2)
    share = 2 * light / (2 * light + heavy)
    assert math.log(found.ratio.estimate) == pytest.approx(share * math.log(1.1), rel=1e-6)


def test_the_variance_between_machines_is_that_of_restricted_likelihood() -> None:
    """The maximum is found by search: no other value near it is more likely."""
    logs, variances = np.array([0.1, 0.4, 0.9, 0.3]), np.array([0.01, 0.09, 0.04, 0.0025])

    def likelihood(tau_squared: float) -> float:
        weights = 1 / (variances + tau_squared)
        mean = (weights * logs).sum() / weights.sum()
        return float(
            np.log(weights).sum() - math.log(weights.sum()) - (weights * (logs - mean) ** 2).sum()
        )

    found = between_variance(logs, variances)
    candidates = np.linspace(0, 0.5, 5001)
    best = candidates[np.argmax([likelihood(c) for c in candidates])]
    assert found == pytest.approx(best, abs=2e-4)


def test_ratios_that_were_measured_without_any_spread_are_pooled_too() -> None:
    exact = [Interval(x, x, x, 0.95) for x in (2.0, 2.0, 8.0)]
    found = pool(exact)
    assert found.ratio.estimate == pytest.approx(2 ** (5 / 3))
    assert found.i_squared is None
    assert pool([exact[0], exact[0]]).ratio.low == pytest.approx(2.0)


def test_the_interval_of_the_inverse_is_the_inverse_of_the_interval() -> None:
    some = [of(2.0, 0.02), of(3.0, 0.1), of(2.5, 0.05)]
    there, back = pool(some).ratio, pool([each.inverse() for each in some]).ratio
    assert back.inverse().low == pytest.approx(there.low)
    assert back.inverse().high == pytest.approx(there.high)


@pytest.mark.parametrize("bad", [[], [Interval(1, 0, 2, 0.95)], [Interval(1, 1, math.inf, 0.95)]])
def test_what_is_no_ratio_is_refused(bad: list[Interval]) -> None:
    with pytest.raises(ValueError, match="ratio"):
        pool(bad)
