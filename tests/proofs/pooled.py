"""How often the pooled ratio of several machines holds the mean ratio, and its prediction the ratio
of another machine."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from engine import Finding, report
from scipy.special import stdtrit

from bench.stats.interval import Interval, ratio_interval
from bench.stats.pooled import between_variance, log_variance, pool

MACHINES = (2, 3, 4, 5, 7, 10)
#: Standard deviations of machines' true log ratios: none, up to factors of 1.6.
TAUS = (0.0, 0.02, 0.1, 0.2, 0.5)
#: Of a pair of invocations on a machine: quiet, usual on a shared one, and disturbed.
NOISES = (0.005, 0.02, 0.06)
#: Pairs of invocations a machine.
FEWEST, MOST = 3, 12
STATED = 0.95


def machines_of(rng: np.random.Generator, count: int, tau: float) -> list[Interval]:
    """The ratio of each of so many machines around 1, as a run states it."""
    found = []
    for _ in range(count):
        pairs, noise = int(rng.integers(FEWEST, MOST + 1)), float(rng.choice(NOISES))
        logs = rng.normal(rng.normal(0, tau), noise, pairs)
        found.append(ratio_interval(np.ones(pairs), np.exp(logs), STATED))
    return found


def unbounded(ratios: list[Interval]) -> Interval:
    """The same without the bound on weights: what textbooks have."""
    logs = np.log([each.estimate for each in ratios])
    variances = np.array([log_variance(each) for each in ratios])
    weights = 1 / (variances + between_variance(logs, variances))
    mean = float((weights * logs).sum() / weights.sum())
    spread = float((weights * (logs - mean) ** 2).sum()) / (len(logs) - 1)
    reach = float(stdtrit(len(logs) - 1, 0.5 + STATED / 2)) * math.sqrt(spread / weights.sum())
    return Interval(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), STATED)


def coverage(count: int, tau: float, trials: int) -> tuple[float, float, float]:
    """Shares: of the interval, of the prediction (NaN for two machines), without the bound."""
    rng = np.random.default_rng([count, round(1000 * tau)])
    held = foretold = plain = 0
    for _ in range(trials):
        ratios = machines_of(rng, count, tau)
        found = pool(ratios, STATED)
        held += found.ratio.contains(1.0)
        plain += unbounded(ratios).contains(1.0)
        another = math.exp(rng.normal(0, tau))
        foretold += found.prediction is not None and found.prediction.contains(another)
    return held / trials, foretold / trials if count > 2 else math.nan, plain / trials


def prove(quick: bool) -> None:
    """Simulate machines that differ by nothing up to much."""
    trials = 100 if quick else 2000
    shares = {count: {tau: coverage(count, tau, trials) for tau in TAUS} for count in MACHINES}
    analyse(shares, trials)


def analyse(shares: dict[int, dict[float, tuple[float, float, float]]], trials: int) -> None:
    """The lowest and the highest over all taus, for each number of machines."""
    # Three standard errors of the simulation.
    least = STATED - 3 * math.sqrt(STATED * (1 - STATED) / trials)
    report("pooled", list(_findings(shares, least)), {"trials": trials, "shares": shares})


def _findings(
    shares: dict[int, dict[float, tuple[float, float, float]]], least: float
) -> Iterator[Finding]:
    goal = f"at least 95%, in the simulation {least:.1%}"
    kinds = ("95% interval of a ratio over", "95% prediction of another machine's ratio from")
    for place, claim in enumerate(kinds):
        for count, by_tau in shares.items():
            found = [values[place] for values in by_tau.values()]
            if not math.isnan(found[0]):
                figure = f"{min(found):.1%} to {max(found):.1%} covered over tau 0 to {TAUS[-1]}"
                yield Finding(f"{claim} {count} machines", figure, goal, min(found) >= least)
    lowest, count, tau = min(
        (v[2], n, t) for n, by_tau in shares.items() for t, v in by_tau.items()
    )
    yield Finding(
        "the same without the bound on weights, lowest of all",
        f"{lowest:.1%}, {count} machines, tau {tau}",
        "-",
        None,
    )
