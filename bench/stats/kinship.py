"""Is a pair of models more alike than a pair of independent ones would be? Given controls.

A likeness of two models (agreement, Cohen's kappa of being right) varies between pairs of
independently trained models by more than the choice of examples explains: models differ in how
alike they are to any other. So what a suspect's likeness to an original is to be compared with is
not the likeness of the original and some control, but that of the original and a *new* independent
model, of which the controls are a sample.

Model. Likenesses of independent models are those of a diallel cross (Griffing 1956, Australian
Journal of Biological Sciences 9:463): ``l_ij = mean + g_i + g_j + s_ij``, where ``g`` is a model's
general likeness to all others and ``s`` is what is specific to a pair. Write A for the original, B
for the suspect, C_1 ... C_k for the controls, and

- ``a`` for the mean of l(A, C_i), ``b`` for that of l(B, C_i), ``c`` for that of l(C_i, C_j);
- ``s^2`` for the variance of a model's likeness to several controls, which is Var(g) + Var(s).

If B is independent of A and drawn like the controls, l(A, B) is one more draw from the population
that the l(A, C_i) are a sample of. Where that population is normal,

    (l(A, B) - a) / (s sqrt(1 + 1/k))  has Student's t distribution with k - 1 degrees of freedom

(the prediction interval of one future value: Hahn & Meeker 1991, "Statistical Intervals", section
4.7). Three things are added, each of which can only make the interval wider or the excess smaller:

1. *Whoever names the controls can pick them.* Five that happen to be equally unlike A make s small.
   So s^2 is the larger of the variance of the l(A, C_i) and the mean of the same variance seen from
   B and from each control, which that choice leaves as it was.
2. *B may not be drawn like the controls* (better trained, another architecture), or the controls
   may be kin of each other. Then ``b`` differs from ``c``. Whatever they differ by is allowed for:
   the excess is ``l(A, B) - a - |b - c|``. Two models of a kind that no control is of have
   l(A, B) = c and a = b, so an excess of 0.
3. *The examples are a sample too.* Their part of the variance of the excess is that of its
   bootstrap replicas (the same resamples for all pairs); it is added to s^2 (1 + 1/k), although the
   spread between controls has a share of it already.

What this can't see: A and B of one kind, and every control of another kind of its own. That the
controls are of B's kind has to be known from elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.defaults import CONFIDENCE
from bench.stats.distributions import student
from bench.stats.interval import Interval, check_confidence

#: Two give a variance; how many a verdict needs is for the caller to say.
FEWEST_CONTROLS = 2


@dataclass(frozen=True)
class Kinship:
    """``expected`` is the likeness to A of a new independent model, on the examples at hand, with
    its prediction interval; ``excess`` is what A and B have beyond it, for any examples."""

    expected: Interval
    excess: Interval


def kinship(likeness: Array, replicas: Array, confidence: float = CONFIDENCE) -> Kinship | None:
    """The excess likeness of the first two of m models; the others are the controls.

    ``likeness`` has shape (m, m), symmetric, its diagonal unused; ``replicas`` (resamples, m, m)
    the same of resampled examples. None where a likeness of a pair does not exist (NaN), or with
    fewer than `FEWEST_CONTROLS` controls. Replicas in which one does not exist are left out.
    """
    check_confidence(confidence)
    likeness, replicas = np.asarray(likeness, float), np.asarray(replicas, float)
    count = len(likeness) - 2
    pairs = np.triu_indices(count + 2, 1)
    if count < FEWEST_CONTROLS or not np.isfinite(likeness[pairs]).all():
        return None
    known = replicas[np.isfinite(replicas[:, pairs[0], pairs[1]]).all(axis=1)]
    if len(known) < 2:
        return None
    above = _general(likeness[np.newaxis])[0] >= 0
    expected = _expected(likeness[np.newaxis], above)[0]
    excess = float(likeness[0, 1] - expected)
    between = spread(likeness) * (1 + 1 / count)
    sampling = float(np.var(known[:, 0, 1] - _expected(known, above), ddof=1))
    quantile = student.quantile(count - 1, (1 + confidence) / 2)
    return Kinship(
        _around(float(expected), quantile * math.sqrt(between), confidence),
        _around(excess, quantile * math.sqrt(between + sampling), confidence),
    )


def spread(likeness: Array) -> float:
    """Variance of a model's likeness to the controls: the larger of A's and the others' mean."""
    count = len(likeness) - 2
    of_a = float(np.var(likeness[0, 2:], ddof=1))
    others = [np.var(likeness[1, 2:], ddof=1)]
    if count > 2:  # a control needs two others for a variance
        others += [
            np.var(np.delete(likeness[place, 2:], place - 2), ddof=1)
            for place in range(2, count + 2)
        ]
    return max(of_a, float(np.mean(others)))


def _general(likeness: Array) -> Array:
    """``b - c``, shape (resamples,): how much more like the controls B is than they are each
    other."""
    controls = likeness[:, 2:, 2:]
    one, other = np.triu_indices(controls.shape[1], 1)
    return np.asarray(likeness[:, 1, 2:].mean(axis=1) - controls[:, one, other].mean(axis=1))


def _expected(likeness: Array, above: bool) -> Array:
    """``a + |b - c|``, shape (resamples,), with the sign of ``b - c`` given."""
    general = _general(likeness)
    return np.asarray(likeness[:, 0, 2:].mean(axis=1) + (general if above else -general))


def _around(estimate: float, side: float, confidence: float) -> Interval:
    return Interval(estimate, estimate - side, estimate + side, confidence)
