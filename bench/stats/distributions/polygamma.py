"""Derivatives of the logarithm of the gamma function, for arguments above 0.

Asymptotic series (DLMF 5.11.2, 5.15.8 and its derivative) at 10 and beyond, where they are right to
the last digit; the recurrences (DLMF 5.5.2, 5.15.5) lead there from any argument. All functions
take a number or an array.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

#: Arguments are shifted by so much, whatever they are: then all of an array are treated alike.
_SHIFT = 10
#: B_2, B_4, ... (DLMF 24.2(iv)): beyond 10 the first that is left out is below 1e-16.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_NUMBERED = tuple(enumerate(_BERNOULLI, 1))

T = TypeVar("T", float, NDArray[np.float64])


def digamma(x: T) -> T:
    """The first derivative, to 1e-15 of one or of itself, whichever is larger."""
    z = x + _SHIFT
    tail = _series(z, [b / (2 * k) for k, b in _NUMBERED])
    log: T = np.log(z)
    return log - 1 / (2 * z) - tail - sum(1 / (x + k) for k in range(_SHIFT))


def trigamma(x: T) -> T:
    """The second derivative."""
    z = x + _SHIFT
    tail = _series(z, [b for _, b in _NUMBERED])
    return (1 + 1 / (2 * z) + tail) / z + sum(1 / (x + k) ** 2 for k in range(_SHIFT))


def tetragamma(x: T) -> T:
    """The third derivative."""
    z = x + _SHIFT
    tail = _series(z, [(2 * k + 1) * b for k, b in _NUMBERED])
    return -(1 + 1 / z + tail) / z**2 - 2 * sum(1 / (x + k) ** 3 for k in range(_SHIFT))


def _series(z: T, coefficients: list[float]) -> T:
    """The first coefficient over z^2, the second over z^4, and so on."""
    square = 1 / z**2
    found = 0 * z
    for coefficient in reversed(coefficients):
        found = (found + coefficient) * square
    return found
