"""Energy from what a meter said: a counter that is read often, or readings of power.

Pure arithmetic on arrays. Times are in s on one clock, energies in J, powers in W. What can't be
told of a window is a sentence instead of a number, and is never filled in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.stats.distributions import student
from bench.stats.interval import Interval, Values, check_confidence

#: Updates of a counter that a window needs, so that where its edges lie is a small part of it.
FEWEST_UPDATES = 10
#: Readings of power that a window needs.
FEWEST_READINGS = 5
#: What InferenceX allows between two readings of power (its ``power_valid``).
LONGEST_GAP_S = 3.0
#: A counter that went back wrapped where that means no more than so many times the highest power
#: beside it; else it was reset. Our choice: readings that came late make a step of one and a half.
WRAP_POWER = 2.0
#: A stretch without an update is one in which the counter stood still where its power is below this
#: share of what is usual. Our choice: a counter that was read late has caught up.
STILL_POWER = 0.5


@dataclass(frozen=True)
class Metered:
    """Energy of a part of a window: of ``seconds`` between two updates of a counter, or of the
    whole window. ``resolution`` is the share by which it may be off for want of finer times."""

    joules: float
    seconds: float
    resolution: float = 0.0

    @property
    def watts(self) -> float:
        """The mean power."""
        return self.joules / self.seconds


def unwrapped(
    at_s: NDArray[np.float64], joules: NDArray[np.float64], wraps_at: float | None
) -> tuple[NDArray[np.float64], int]:
    """A counter's values as if it never wrapped, and how often it did.

    Raises `ValueError` where it went back although it has no end, from beyond its end, or by what
    is no wrap.
    """
    back = np.flatnonzero(np.diff(joules) < 0)
    if not len(back):
        return joules, 0
    if wraps_at and joules.max() > wraps_at:
        raise ValueError(f"the counter was beyond its own end of {wraps_at:g} J")
    turns = np.zeros(len(joules))
    turns[back + 1] = wraps_at or 0.0
    found = joules + np.cumsum(turns)
    if not wraps_at or not _are_wraps(at_s, found, back + 1):
        raise ValueError("the counter went back, as after a reset of the driver")
    return found, len(back)


def _are_wraps(
    at_s: NDArray[np.float64], joules: NDArray[np.float64], back: NDArray[np.int64]
) -> bool:
    """Whether a counter that went back at these readings then used no more power than its other
    updates show, all taken for wraps: what was used in a long gap between two readings may be
    much."""
    fresh = np.flatnonzero(np.diff(joules) > 0) + 1
    if len(fresh) < 2:
        return False
    since = np.diff(at_s[fresh])
    # When the update before the first one came isn't known, but how far apart others are.
    since = np.concatenate([[at_s[fresh[0]] - at_s[0] + since.max()], since])
    powers = (joules[fresh] - joules[fresh - 1]) / since
    wrapped = np.isin(fresh, back)
    others = powers[1:][~wrapped[1:]]
    # From its very end to 0 it used nothing.
    used = powers[wrapped].max(initial=0.0)
    return len(others) > 0 and bool(used <= WRAP_POWER * others.max())


def by_counter(
    at_s: Values, joules: Values, begin_s: float, end_s: float, wraps_at: float | None = None
) -> Metered | str:
    """Energy between the first and the last update that came between ``begin_s`` and ``end_s``.

    A counter stands still between updates, so what it shows at any other moment is of an earlier
    one. When an update came is known within the time between two readings.
    """
    at = np.asarray(at_s, np.float64)
    if len(at) < 2:
        return f"{len(at)} readings of the counter"
    try:
        values, wraps = unwrapped(at, np.asarray(joules, np.float64), wraps_at)
    except ValueError as error:
        return str(error)
    if wraps > 1:
        return f"the counter wrapped {wraps} times, so the exact count is uncertain"
    gaps = np.diff(at)
    fresh = np.flatnonzero(np.diff(values) > 0) + 1
    inside = fresh[(at[fresh] >= begin_s) & (at[fresh] <= end_s)]
    if not len(inside):
        return "the counter did not move"
    if len(inside) < FEWEST_UPDATES:
        return (
            f"{len(inside)} updates of the counter in {end_s - begin_s:.2g} s, but "
            f"{FEWEST_UPDATES} are needed: give a longer --energy-window"
        )
    first, last = inside[0], inside[-1]
    seconds = float(at[last] - at[first])
    if float(gaps[first - 1 : last].max()) > LONGEST_GAP_S:
        return f"the counter was not read for {gaps[first - 1 : last].max():.2g} s"
    if why := _still(at[inside], values[inside], begin_s, end_s):
        return why
    unsure = float(gaps[first - 1] + gaps[last - 1])
    return Metered(float(values[last] - values[first]), seconds, unsure / seconds)


def _still(
    at_s: NDArray[np.float64], joules: NDArray[np.float64], begin_s: float, end_s: float
) -> str:
    """Whether a counter stood still in a part of a window, by its updates there: the power between
    them would be taken for that of the whole window."""
    apart = np.diff(at_s)
    # An even counter of the fewest updates has them as far apart as that.
    longest_s = max(2 * float(np.median(apart)), (end_s - begin_s) / FEWEST_UPDATES)
    if max(at_s[0] - begin_s, end_s - at_s[-1]) > longest_s:
        return "the counter's updates don't cover it from beginning to end"
    powers = np.diff(joules) / apart
    if (powers[apart > longest_s] < STILL_POWER * np.median(powers)).any():
        return "the counter stood still for a part of it"
    return ""


def by_power(at_s: Values, watts: Values, begin_s: float, end_s: float) -> Metered | str:
    """Energy of a whole window by the trapezoidal rule, power at its edges interpolated."""
    at, power = np.asarray(at_s, np.float64), np.asarray(watts, np.float64)
    if not len(at) or at[0] > begin_s or at[-1] < end_s:
        return "the power readings don't cover it from beginning to end"
    inside = (at > begin_s) & (at < end_s)
    first, last = np.searchsorted(at, begin_s, "right") - 1, np.searchsorted(at, end_s, "left")
    if int(inside.sum()) < FEWEST_READINGS:
        return (
            f"{int(inside.sum())} power readings in {end_s - begin_s:.2g} s, but "
            f"{FEWEST_READINGS} are needed: give a longer --energy-window"
        )
    gap = float(np.diff(at[first : last + 1]).max())
    if gap > LONGEST_GAP_S:
        return f"a gap of {gap:.2g} s between power readings"
    if not power[first : last + 1].any():  # what is on draws some
        return "the power readings are all 0 W"
    marks = np.concatenate([[begin_s], at[inside], [end_s]])
    levels = np.interp(marks, at, power)
    return Metered(float(np.trapezoid(levels, marks)), end_s - begin_s)


def between(moment: float, before: tuple[float, float], after: tuple[float, float]) -> float:
    """What something that drifts steadily is at a moment, from two (moment, value) around it."""
    (t0, v0), (t1, v1) = before, after
    return v0 if t1 == t0 else v0 + (v1 - v0) * (moment - t0) / (t1 - t0)


def mean_interval(values: Sequence[float], confidence: float) -> Interval:
    """Student's interval of a plain mean: energies above idle may be below nothing, and have no
    logarithm. Raises `ValueError` for fewer than 2 values, or for what is no number."""
    check_confidence(confidence)
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or found.size < 2 or not np.isfinite(found).all():
        raise ValueError(f"an interval needs two values that are numbers, not {values}")
    error = float(found.std(ddof=1)) / math.sqrt(found.size)
    reach = student.quantile(found.size - 1, 0.5 + confidence / 2) * error
    mean = float(found.mean())
    return Interval(mean, mean - reach, mean + reach, confidence)
