"""One ratio from several machines: random effects on its logarithm.

Each machine has a ratio of its own with its interval. The machines are taken for a sample of
machines of their kind, whose true ratios differ with standard deviation ``tau`` (DerSimonian &
Laird 1986, Controlled Clinical Trials 7:177). ``tau`` is estimated by restricted maximum
likelihood (Viechtbauer 2005, Journal of Educational and Behavioral Statistics 30:261), and the
interval of the mean is that of Hartung & Knapp (2001, Statistics in Medicine 20:3875) and Sidik &
Jonkman (2002, Statistics in Medicine 21:3153): Student's t with one degree of freedom less than
there are machines, and a standard error from how far the ratios really lie apart.

That interval is right for few machines (IntHout, Ioannidis & Borm 2014, BMC Medical Research
Methodology 14:25), but too short where a machine that was measured much more precisely than the
others gets nearly all of the weight (Roever, Knapp & Friede 2015, BMC Medical Research
Methodology 15:99). So ``tau^2`` counts in the weights as no less than the largest variance within a
machine: no machine weighs more than twice another. `tests/proofs/pooled.py` shows the coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.defaults import CONFIDENCE
from bench.stats.distributions import normal, student
from bench.stats.interval import Interval, check_confidence, exp

Logs = NDArray[np.float64]

#: With fewer machines the spread between them says too little to foretell another one.
FEWEST_TO_PREDICT = 3
_STEPS = 200
_CLOSE = 1e-6


@dataclass(frozen=True)
class Pooled:
    """The mean ratio over machines (geometric), and how much machines differ.

    ``tau`` is the standard deviation of the logarithms of their true ratios, ``i_squared`` the
    share of what the ratios differ by that is no error of measuring (Higgins & Thompson 2002,
    Statistics in Medicine 21:1539). ``prediction`` holds the true ratio of one more such machine.
    Of one machine there is its own interval, and nothing on others.
    """

    ratio: Interval
    machines: int
    tau: float | None = None
    i_squared: float | None = None
    prediction: Interval | None = None


def pool(ratios: Sequence[Interval], confidence: float = CONFIDENCE) -> Pooled:
    """The ratio of a machine of this kind, from one interval a machine, all above 0.

    Each interval's width tells the variance within its machine. Two machines give an interval of
    12.7 standard errors to either side: a wide one, because two say little of others. Raises
    `ValueError` without a ratio, or for one that is not positive and finite.
    """
    check_confidence(confidence)
    if not ratios:
        raise ValueError("there are no ratios to pool")
    if any(not (0 < each.low <= each.estimate <= each.high < math.inf) for each in ratios):
        raise ValueError("only ratios with bounds above 0 and below infinity can be pooled")
    if len(ratios) == 1:
        return Pooled(ratios[0], 1)
    logs = np.log([each.estimate for each in ratios])
    variances = np.array([log_variance(each) for each in ratios])
    tau_squared = between_variance(logs, variances)
    mean, error = _mean(logs, max(tau_squared, float(variances.max())) + variances)
    return Pooled(
        ratio=_around(mean, error, len(logs), confidence),
        machines=len(logs),
        tau=math.sqrt(tau_squared),
        i_squared=_i_squared(logs, variances),
        prediction=_prediction(logs, mean, error, confidence),
    )


def between_variance(logs: Logs, variances: Logs) -> float:
    """``tau^2`` by restricted maximum likelihood, 0 or above (Fisher scoring; Viechtbauer 2005)."""
    found = max(0.0, float(logs.var(ddof=1) - variances.mean()))
    if not variances.any():
        return found
    for _ in range(_STEPS):
        totals = [float(variance) + found for variance in variances]
        if min(totals) <= 0:  # one that was measured without any spread, and no other spread
            return found
        next_one = _step(logs.tolist(), variances.tolist(), totals)
        if abs(next_one - found) <= _CLOSE * sum(totals) / len(totals):
            return next_one
        found = next_one
    return found


def _step(logs: Sequence[float], variances: Sequence[float], totals: Sequence[float]) -> float:
    """One step of Fisher scoring; plain floats, because machines are few."""
    weights = [1 / total for total in totals]
    mean = sum(w * y for w, y in zip(weights, logs, strict=True)) / sum(weights)
    step = sum(
        w * w * ((y - mean) ** 2 - v) for w, y, v in zip(weights, logs, variances, strict=True)
    )
    return max(0.0, step / sum(w * w for w in weights) + 1 / sum(weights))


def log_variance(ratio: Interval) -> float:
    """Of the logarithm, from the interval's width as if it were a normal one: Student's t of few
    invocations makes it larger, as it should."""
    width = math.log(ratio.high) - math.log(ratio.low)
    return (width / (2 * normal.quantile(0.5 + ratio.confidence / 2))) ** 2


def _mean(logs: Logs, variances: Logs) -> tuple[float, float]:
    """The weighted mean and its standard error by Hartung, Knapp, Sidik and Jonkman."""
    weights = 1 / variances if variances.all() else np.ones_like(logs)
    total = float(weights.sum())
    mean = float((weights * logs).sum()) / total
    spread = float((weights * (logs - mean) ** 2).sum()) / (len(logs) - 1)
    return mean, math.sqrt(spread / total)


def _around(mean: float, error: float, machines: int, confidence: float) -> Interval:
    reach = student.quantile(machines - 1, 0.5 + confidence / 2) * error
    return Interval(exp(mean), exp(mean - reach), exp(mean + reach), confidence)


def _i_squared(logs: Logs, variances: Logs) -> float | None:
    """``max(0, (Q - (k - 1)) / Q)`` with Cochran's Q; None where nothing varied within machines."""
    if not variances.all():
        return None
    weights = 1 / variances
    mean = float((weights * logs).sum() / weights.sum())
    cochran = float((weights * (logs - mean) ** 2).sum())
    return max(0.0, 1 - (len(logs) - 1) / cochran) if cochran > 0 else 0.0


def _prediction(logs: Logs, mean: float, error: float, confidence: float) -> Interval | None:
    """Where the true ratio of another machine lies: that of a normal sample, in which the ratios'
    own errors are left, so that it is never too short for having estimated ``tau`` as 0."""
    if len(logs) < FEWEST_TO_PREDICT:
        return None
    spread = math.sqrt(float(logs.var(ddof=1)) + error**2)
    return _around(mean, spread, len(logs), confidence)
