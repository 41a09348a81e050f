"""The binomial distribution: counts of successes in trials, from the beta distribution (DLMF
8.17.5). The chance of a success lies between 0 and 1."""

from __future__ import annotations

from bench.stats.distributions.beta import lower_tail


def at_most(successes: int, trials: int, chance: float) -> float:
    """The chance of so many ``successes`` or fewer."""
    if successes >= trials:
        return 1.0
    return lower_tail(trials - successes, successes + 1, 1 - chance, chance)


def at_least(successes: int, trials: int, chance: float) -> float:
    """The chance of so many ``successes`` or more."""
    if successes <= 0:
        return 1.0
    return lower_tail(successes, trials - successes + 1, chance, 1 - chance)
