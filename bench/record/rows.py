"""Two parties' outputs compared row by row: what a certificate's statistics are made of.

A row is a sample of a classifier, or a token of a text. Columns:

- ``difference``: the largest difference of a value, ``excess`` the same over what is allowed for
  it (`bench.tolerance.allowed`), ``roundings`` the same in units in the last place of float32 for
  values of the outputs' size; all 0 where both are the same, equal infinities and NaN too;
- ``nonfinite``: 1 where NaN or Inf is in the candidate alone, 2 in the reference alone;
- of rows that are scores of classes: ``divergence`` (nats, from the reference's distribution to the
  candidate's), ``acceptance`` (sum of min(p, q)), ``p_reference`` and ``p_candidate`` (of what is
  right; NaN where nobody says what is), ``same_first``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.arrays import Array
from bench.errors import Unsupported
from bench.stats.calibration import log_probabilities
from bench.stats.divergence import acceptances, divergences
from bench.tolerance import allowed, as_numbers, scale
from bench.variants import Tolerance

_UNIT = 2.0**-23  #: from 1 to the next float32
NEITHER, CANDIDATE, REFERENCE = 0, 1, 2


def output_rows(
    mine: Sequence[Array], theirs: Sequence[Array], tolerance: Tolerance
) -> dict[str, Array]:
    """The numeric columns of all outputs together; each output is (rows, ...).

    Raises `Unsupported` where the two differ in number or shape.
    """
    if [a.shape for a in mine] != [b.shape for b in theirs]:
        raise Unsupported(
            f"its outputs are {_shapes(mine)}, but the reference's are {_shapes(theirs)}, so they "
            "can't be compared. Certify a model with the same outputs."
        )
    parts = [_rows(a, b, tolerance) for a, b in zip(mine, theirs, strict=True)]
    return {
        name: np.max([part[name] for part in parts], axis=0)
        for name in ("difference", "excess", "roundings", "nonfinite")
    }


def _rows(mine: Array, theirs: Array, tolerance: Tolerance) -> dict[str, Array]:
    a, b = as_numbers(mine, theirs), as_numbers(theirs, mine)
    rows = len(a)
    a, b = a.reshape(rows, -1), b.reshape(rows, -1)
    finite_a, finite_b = np.isfinite(a), np.isfinite(b)
    with np.errstate(invalid="ignore", over="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        off = np.where(same | ~finite_a | ~finite_b, 0.0, np.abs(a - b))
        size = scale(b)
        over = off / (allowed(tolerance, theirs, np.where(finite_b, b, 0.0)) + np.finfo(float).tiny)
    alone_a = (~same & ~finite_a & finite_b) | (~same & ~finite_a & ~finite_b)
    return {
        "difference": off.max(axis=1, initial=0.0),
        "excess": over.max(axis=1, initial=0.0),
        "roundings": off.max(axis=1, initial=0.0) / (_UNIT * size),
        "nonfinite": np.where(
            alone_a.any(axis=1),
            CANDIDATE,
            np.where((~same & finite_a & ~finite_b).any(axis=1), REFERENCE, NEITHER),
        ),
    }


def distribution_rows(mine: Array, theirs: Array, right: Array | None) -> dict[str, Array]:
    """The columns of rows that are scores (or probabilities) of classes, both (rows, classes).

    ``right`` is the right class of each row, or None. Rows that aren't numbers have no distribution
    (NaN).
    """
    whole = _distributed(mine) & _distributed(theirs)
    count = len(mine)
    found = {
        name: np.full(count, np.nan)
        for name in ("divergence", "acceptance", "p_reference", "p_candidate", "same_first")
    }
    if not whole.any():
        return found
    p, q = (log_probabilities(np.asarray(a[whole], np.float64)) for a in (theirs, mine))
    found["divergence"][whole] = divergences(p, q)
    found["acceptance"][whole] = acceptances(p, q)
    found["same_first"][whole] = p.argmax(axis=1) == q.argmax(axis=1)
    if right is not None:
        at = np.arange(len(p)), np.asarray(right)[whole]
        found["p_reference"][whole], found["p_candidate"][whole] = np.exp(p[at]), np.exp(q[at])
    return found


def _distributed(scores: Array) -> Array:
    """Rows with a distribution: numbers, or -inf for a class that can't be, but not for all."""
    good = np.isfinite(scores) | np.isneginf(scores)
    return np.asarray(good.all(axis=1) & np.isfinite(scores).any(axis=1))


def _shapes(outputs: Sequence[Array]) -> str:
    return ", ".join("x".join(map(str, array.shape[1:])) or "one number" for array in outputs)
