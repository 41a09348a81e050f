"""Confidence intervals for a typical value and for a ratio, from one value per invocation.

The unit of evidence is the *invocation*: one process that measured a cell. Each function takes
one summary per invocation (its median, its floor) and never the samples inside: samples of one
process share its memory layout, its page colouring and the machine's mood, so they are
correlated, and an interval that counts them as independent is too narrow by an order of
magnitude (Kalibera & Jones 2013, "Rigorous benchmarking in reasonable time", ISMM; Georges,
Buytaert & Eeckhout 2007, "Statistically rigorous Java performance evaluation", OOPSLA). The
variance between invocations already contains the variance within them: with k invocations of m
samples, Var(mean) = between/k + within/(k m), which is what the spread of the k summaries
estimates, whatever the correlation within.

Latencies are positive and their errors multiply, so all is done on logarithms: the estimate is a
geometric mean, and the interval of a ratio is the mirror image of the interval of its inverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.defaults import CONFIDENCE
from bench.numbers import wider_side
from bench.stats.distributions import student

Values = Sequence[float] | NDArray[Any]

FEWEST_INVOCATIONS = 2
#: Share of the values that a trimmed mean leaves out at either end: 0.2 is Wilcox's advice
#: (Wilcox 2017, "Introduction to robust estimation", section 3.3).
TRIM = 0.2


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval, all in the unit of the values it came from."""

    estimate: float
    low: float
    high: float
    confidence: float

    @property
    def half_width(self) -> float:
        """How far it reaches from the estimate, on its wider side."""
        return wider_side(self.estimate, self.low, self.high)

    @property
    def relative_half_width(self) -> float:
        """The same as a share of the estimate; infinite for an estimate of 0."""
        return math.inf if self.estimate == 0 else self.half_width / abs(self.estimate)

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies in the interval, ends included."""
        return self.low <= value <= self.high

    def within(self, low: float, high: float) -> Interval:
        """Cut to the scale that the value has: Student's t knows no bounds."""
        return replace(self, low=max(low, self.low), high=min(high, self.high))

    def inverse(self) -> Interval:
        """The interval of the inverse of a positive quantity: of a/b from that of b/a.

        A bound that left the range of floats, 0 or infinite, comes back at the other end.
        """
        if not self.low >= 0:
            raise ValueError(
                f"only a positive quantity has an inverse, and this interval begins at {self.low}"
            )
        estimate, low, high = map(_inverse, (self.estimate, self.high, self.low))
        return Interval(estimate, low, high, self.confidence)


def _inverse(x: float) -> float:
    return 1 / x if x > 0 else math.inf


def trimmed_mean_interval(values: Values, confidence: float = CONFIDENCE) -> Interval:
    """The *typical* invocation: the geometric mean without the `TRIM` share at either end.

    Student's t-interval of a trimmed mean on the logarithms, its standard error from the Winsorised
    variance and its degrees of freedom from the values kept (Tukey & McLaughlin 1963, Sankhya A
    25:331; Yuen 1974, Biometrika 61:165). One invocation in a few that a neighbour slowed by half
    neither moves the estimate nor widens the interval much, where an untrimmed one follows it.

    ``values`` has shape (k,), k >= 2, finite and positive, any unit; the result has the same unit.
    Below 1/`TRIM` values nothing is trimmed. Equal values give an interval of no width. Raises
    `ValueError` otherwise.
    """
    logs = np.sort(_logs(values, "values"))
    cut = int(TRIM * logs.size)
    kept = logs[cut : logs.size - cut]
    winsorised = np.clip(logs, kept[0], kept[-1])
    # Of equal values, rounding must not make a spread.
    spread = float(winsorised.std(ddof=1)) if kept[0] < kept[-1] else 0.0
    error = spread * math.sqrt((logs.size - 1) / (kept.size * (kept.size - 1)))
    return _exponential(float(kept.mean()), error, kept.size - 1, confidence)


def ratio_interval(a: Values, b: Values, confidence: float = CONFIDENCE) -> Interval:
    """The ratio b / a, from a and b measured *interleaved*: a[i] and b[i] in the same generation.

    ``a`` and ``b`` have shape (k,), k >= 2, finite and positive, in the same unit. The t-interval
    is on log(b[i] / a[i]): what disturbed both in generation i cancels. Of latencies, a ratio
    below 1 says that b is faster. Raises `ValueError` for other shapes and values.
    """
    logs_a, logs_b = _logs(a, "a"), _logs(b, "b")
    if logs_a.size != logs_b.size:
        raise ValueError(
            f"a paired ratio needs as many invocations of a ({logs_a.size}) as of b ({logs_b.size})"
        )
    log_ratios = logs_b - logs_a
    error = float(log_ratios.std(ddof=1)) / math.sqrt(log_ratios.size)
    return _exponential(float(log_ratios.mean()), error, log_ratios.size - 1, confidence)


def unpaired_ratio_interval(a: Values, b: Values, confidence: float = CONFIDENCE) -> Interval:
    """The ratio b / a of values from *different* runs, of unequal variance and number.

    ``a`` has shape (k,), ``b`` (m,), k and m >= 2, finite and positive. Welch's t-interval on the
    logarithms (Welch 1947, Biometrika 34:28), with his approximate degrees of freedom. It knows
    nothing of drift between the runs. Raises `ValueError` for other shapes and values.
    """
    logs_a, logs_b = _logs(a, "a"), _logs(b, "b")
    error, freedom = _welch(logs_a, logs_b)
    return _exponential(float(logs_b.mean() - logs_a.mean()), error, freedom, confidence)


def check_confidence(confidence: float) -> None:
    """Raise `ValueError` unless ``confidence`` lies strictly between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")


def _logs(values: Values, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < FEWEST_INVOCATIONS:
        raise ValueError(
            f"{name} needs one value for each of at least {FEWEST_INVOCATIONS} invocations, "
            f"not shape {array.shape}"
        )
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"{name} must be finite and positive")
    return np.log(array)


def _welch(logs_a: NDArray[np.float64], logs_b: NDArray[np.float64]) -> tuple[float, float]:
    """Standard error of the difference of means and Welch-Satterthwaite degrees of freedom."""
    variances = [float(x.var(ddof=1)) / x.size for x in (logs_a, logs_b)]
    total = sum(variances)
    if total == 0:
        return 0.0, float(logs_a.size + logs_b.size - 2)
    # Shares, not variances, are squared: a variance near the smallest float must not underflow.
    shares = [v / total for v in variances]
    freedom = 1 / sum(s**2 / (x.size - 1) for s, x in zip(shares, (logs_a, logs_b), strict=True))
    return math.sqrt(total), freedom


def _exponential(mean: float, error: float, freedom: float, confidence: float) -> Interval:
    """The t-interval of a mean of logarithms, taken back to the unit of the values."""
    check_confidence(confidence)
    reach = student.quantile(freedom, 0.5 + confidence / 2) * error
    return Interval(exp(mean), exp(mean - reach), exp(mean + reach), confidence)


def exp(x: float) -> float:
    """e to the x; infinite where that leaves the range of floats: with two values far apart, or a
    confidence near 1, a bound can."""
    return math.exp(x) if x < math.log(np.finfo(np.float64).max) else math.inf
