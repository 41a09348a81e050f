"""The divergence of two distributions of which only the likeliest outcomes are known.

Of each distribution the ``top`` most probable outcomes are kept and one tail for all others. What
both list (and the outcome that came, whose probability is always kept) are outcomes of a coarser
distribution, and everything else together is one more. No coarsening raises a divergence (the
data-processing inequality; Cover and Thomas 2006, section 2.8: the chain rule gives
``KL(p, q) = KL(coarse) + P_rest KL(p | rest, q | rest)``), so what is found is a lower bound. What
it leaves out is the probability of the rest times the divergence inside it, which nothing bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.arrays import Array

#: The least that a rest is taken for: sums of float32 probabilities are off by as much.
_LEAST_REST = 1e-7
#: What a sum of probabilities from float32 logarithms is off by at most: each p by 2^-24 p |ln p|,
#: together 2^-24 times the entropy, which is below 16 nats for nine million outcomes.
_SUM_ERROR = 1e-6
_ROWS_AT_ONCE = 65_536


def divergences(original: Array, candidate: Array) -> NDArray[np.float64]:
    """For each row KL(original, candidate) in nats, infinite where the candidate gives 0 to what
    the original gives more; both are natural logarithms of probabilities, shape (rows, outcomes).

    Kullback & Leibler 1951, Annals of Mathematical Statistics 22:79: the sum of p ln(p / q), where
    p = 0 adds nothing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(np.isneginf(original), 0.0, np.exp(original) * (original - candidate))
    found: NDArray[np.float64] = np.maximum(terms.sum(axis=1), 0.0)
    return found


def acceptances(original: Array, candidate: Array) -> NDArray[np.float64]:
    """For each row the sum of min(p, q), which is 1 - their total variation distance: how often a
    token drawn from ``candidate`` is accepted for ``original`` in speculative decoding (Leviathan,
    Kalman & Matias 2023, arXiv 2211.17192, theorem 3.5). Shapes as of `divergences`."""
    found: NDArray[np.float64] = np.minimum(
        np.exp(np.minimum(original, candidate)).sum(axis=1), 1.0
    )
    return found


@dataclass(frozen=True)
class Tail:
    """What is known of all outcomes that aren't listed, row by row, as natural logarithms: the
    probability of all together, of the likeliest and of the least likely. -inf, of all three, where
    every outcome is listed."""

    together: Array
    most: Array
    least: Array


def partial_divergences(
    original: Array, candidate: Array, beyond: Tail, candidate_beyond: Tail
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each row the least that KL(original, candidate) can be, nats, and how much more it can be
    at most, where the probabilities of the same outcomes are known of both and a tail of the rest.

    With p and q the two, P and Q their tails' probabilities, and sums over the tail:

    - sum p ln(p / q) >= P ln(P / Q), the log-sum inequality (Cover & Thomas 2006, theorem 2.7.1),
      so the listed outcomes' terms and this one are the least;
    - with m the largest p and l the least q in the tail, ln p <= ln m and ln q >= ln l, so
      sum p ln(p / q) <= P (ln m - ln l);
    - so the rest is between 0 and P (ln m - ln l - ln P + ln Q): infinite where the candidate gives
      0 to something in the tail and the original gives the tail more, and 0 where all are listed.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(np.isneginf(original), 0.0, np.exp(original) * (original - candidate))
        p, q = np.asarray(beyond.together, np.float64), candidate_beyond.together
        tail = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - q))
        room = np.where(
            np.isneginf(p), 0.0, np.exp(p) * (beyond.most - candidate_beyond.least - p + q)
        )
    # A candidate whose whole tail is 0 makes the least infinite already: nothing can be added.
    room = np.where(np.isposinf(tail), 0.0, room)
    return np.maximum(terms.sum(axis=1) + tail, 0.0), np.maximum(room, 0.0)


def partial_acceptances(
    original: Array, candidate: Array, beyond: Tail, candidate_beyond: Tail
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each row the least that the sum of min(p, q) can be, and how much more at most: of the
    tail it is between 0 and the smaller of the two tails (min is at most either, term by term)."""
    least = np.minimum(np.exp(np.minimum(original, candidate)).sum(axis=1), 1.0)
    more = np.exp(np.minimum(beyond.together, candidate_beyond.together))
    return least, np.minimum(more, 1.0 - least)


def coarse_divergence(
    original: Mapping[str, Array], candidate: Mapping[str, Array], where: Array
) -> tuple[Array, Array]:
    """For each row the divergence (nats) from ``original`` to ``candidate``, and the probability
    that the original gives to the rest; 0 where ``where`` is False.

    Both have the columns ``top_ids`` and ``top_log_p``, shape (rows, top), and ``token`` and
    ``log_p`` of what came, shape (rows,).
    """
    return by_rows(_coarse, original, candidate, where)


_USED = ("top_ids", "top_log_p", "token", "log_p")


#: Two figures for each row of two models' kept outcomes.
OfRows = Callable[[Mapping[str, Array], Mapping[str, Array]], tuple[Array, Array]]


def by_rows(
    figures: OfRows, original: Mapping[str, Array], candidate: Mapping[str, Array], where: Array
) -> tuple[Array, Array]:
    """``figures`` of the rows ``where`` it is True, some at a time, and 0 of all others."""
    first, second = np.zeros(len(where)), np.zeros(len(where))
    places = np.flatnonzero(where)
    for start in range(0, len(places), _ROWS_AT_ONCE):
        some = places[start : start + _ROWS_AT_ONCE]
        first[some], second[some] = figures(
            *({name: columns[name][some] for name in _USED} for columns in (original, candidate))
        )
    return first, second


def _coarse(original: Mapping[str, Array], candidate: Mapping[str, Array]) -> tuple[Array, Array]:
    same = original["top_ids"][:, :, np.newaxis] == candidate["top_ids"][:, np.newaxis, :]
    both = same.any(axis=2)
    place = same.argmax(axis=2)
    p = np.where(both, np.exp(original["top_log_p"].astype(np.float64)), 0.0)
    q = np.take_along_axis(np.exp(candidate["top_log_p"].astype(np.float64)), place, axis=1)
    q = np.where(both, q, 0.0)
    # What came is known of both, and counted once.
    came = ~(both & (original["top_ids"] == original["token"][:, np.newaxis])).any(axis=1)
    p = _with(p, np.where(came, np.exp(original["log_p"].astype(np.float64)), 0.0))
    q = _with(q, np.where(came, np.exp(candidate["log_p"].astype(np.float64)), 0.0))
    rest = np.maximum(1 - p.sum(axis=1), _LEAST_REST)
    # A candidate's rest that is less is taken for nearer than it may be: what is found stays a
    # lower bound.
    left = np.maximum(1 - q.sum(axis=1), _LEAST_REST)
    p, q = _with(p, rest), _with(q, np.maximum(left, np.minimum(left + _SUM_ERROR, rest)))
    # Two distributions that each sum to 1 have no divergence below 0.
    p /= p.sum(axis=1, keepdims=True)
    q /= q.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0)
    return np.maximum(terms.sum(axis=1), 0.0), rest


def _with(probabilities: Array, more: Array) -> Array:
    return np.concatenate([probabilities, more[:, np.newaxis]], axis=1)
