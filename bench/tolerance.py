"""Whether outputs agree with what they ought to be, as far as values of their size and type can."""

from __future__ import annotations

import numpy as np

from bench.arrays import Array
from bench.variants import Tolerance

#: An absolute limit that was given for values near 1 is not scaled below this: terms near 1 that
#: cancel leave some units in float32's last place (2**-23) of 1, whatever is left of them.
_LEAST_SCALE = 0.01


def disagreements(tolerance: Tolerance, mine: Array, theirs: Array) -> Array:
    """Where ``mine`` isn't ``theirs``, value by value; the arrays are of one shape.

    The same infinity in both agrees, and NaN in both, as in ONNX's own runner
    (`onnx.backend.test.runner.Runner.assert_similar_outputs`, by `numpy.testing.assert_allclose`).
    """
    a, b = as_numbers(mine, theirs), as_numbers(theirs, mine)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.isfinite(b) & (np.abs(a - b) <= allowed(tolerance, theirs, b))
    found: Array = ~((a == b) | (np.isnan(a) & np.isnan(b)) | near)
    return found


def allowed(tolerance: Tolerance, theirs: Array, numbers: Array) -> Array:
    """How far each value may be off.

    What rounding leaves of a sum is a share of the terms' size, not of the sum's (Higham 2002,
    Accuracy and Stability of Numerical Algorithms, equation 3.5), and a value near 0 among outputs
    near 1000 is a sum of such terms. So the absolute limit, which is one for outputs near 1, is
    taken times their `scale`. Two neighbours in the outputs' own type are both right.
    """
    relative = tolerance.relative + 2 * spacing(theirs.dtype)
    limits: Array = tolerance.absolute * scale(numbers) + relative * np.abs(numbers)
    return limits


def scale(numbers: Array) -> float:
    """The size of outputs: the median of their magnitudes where it is above 1 (zeros, of a ReLU or
    of padding, aside, and unmoved by a few that are large), the largest where that is below 1."""
    sizes = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
    if not sizes.size:
        return 1.0
    return max(float(np.median(sizes)), min(1.0, max(float(sizes.max()), _LEAST_SCALE)))


def spacing(dtype: np.dtype[np.generic]) -> float:
    """From 1 to the next number of a type of less than 32 bits; 0 for all others."""
    if dtype.itemsize > 2 or dtype.kind in "iub":
        return 0.0
    one = np.ones(1, dtype)
    after = (one.view(f"u{dtype.itemsize}") + 1).astype(f"u{dtype.itemsize}").view(dtype)
    return float(after.astype(np.float64)[0]) - 1


def as_numbers(array: Array, other: Array) -> Array:
    """An array as float64. Bytes that stand for a float of one or two bytes, which runtimes without
    that type give, are read as that of ``other``."""
    raw = array.dtype.kind == "u" and array.dtype.itemsize == other.dtype.itemsize <= 2
    # numpy's own types are no floats of one byte, and "V" or a user's type are of ml_dtypes.
    if raw and other.dtype.isbuiltin != 1 and other.dtype.kind not in "iub":
        array = array.view(other.dtype)
    return np.asarray(array, dtype=np.float64)
