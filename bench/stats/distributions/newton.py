"""Newton's method where it can't fail: on the logarithm of a distribution function, over that of
its argument, which is concave for each distribution here.

A tangent lies above a concave function, so wherever the search begins, its first step lands on that
side of the root from which all others approach it without passing it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: Steps shrink by squares: after one below this the next would be below rounding.
_CLOSE = 1e-9
#: Newton takes four to eight; a start that is far off costs some more.
_MOST_STEPS = 100
#: The largest step: a start where the function is all but flat must not leave the range of floats.
_LONGEST_STEP = 20.0

#: From an argument's logarithm to that of the function, and its slope.
LogFunction = Callable[[float], tuple[float, float]]


def log_solution(function: LogFunction, wanted: float, start: float) -> float:
    """The logarithm of the argument for which the function is ``wanted`` > 0."""
    target = math.log(wanted)
    at = start
    for _ in range(_MOST_STEPS):
        value, slope = function(at)
        step = (target - value) / slope
        at += max(-_LONGEST_STEP, min(_LONGEST_STEP, step))
        if abs(step) < _CLOSE:
            break
    return at
