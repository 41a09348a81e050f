"""Scores of embeddings: rank correlation with gold similarities, and recall of what is relevant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.arrays import Array
from bench.defaults import CONFIDENCE
from bench.stats.interval import Interval, check_confidence
from bench.stats.of_means import RESAMPLES

#: Ranks computed at a time: bounds the memory to about 30 MB an array.
_RANKS_AT_A_TIME = 2_000_000


def spearman(gold: Array, scores: Array) -> float:
    """Spearman's rho: Pearson's correlation of the ranks, ties sharing their mean rank.

    Spearman 1904. Both have shape (n,), n >= 2; NaN where one of them is constant.
    """
    return float(_rhos(np.asarray(gold)[np.newaxis], np.asarray(scores)[np.newaxis])[0])


def spearman_interval(
    gold: Array,
    scores: Array,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Spearman's rho with a percentile bootstrap interval over the n >= 3 pairs.

    Raises `ValueError` for fewer, or where one of the two is constant.
    """
    check_confidence(confidence)
    estimate = _existing(gold, scores)
    replicas = _resampled(gold, [scores], seed, resamples)[0]
    return _percentiles(estimate, replicas, confidence)


def spearman_difference(
    gold: Array,
    first: Array,
    second: Array,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[Interval, float]:
    """rho of ``second`` minus rho of ``first`` against the same gold scores, and its p-value.

    Both rhos of a resample are of the same pairs, so what makes a pair hard for both cancels
    (paired bootstrap: Efron & Tibshirani 1993, chapter 13). p is two-sided, of "they are equal":
    (count + 1) / (resamples + 1), doubled (Davison & Hinkley 1997, section 4.2).
    """
    check_confidence(confidence)
    estimate = _existing(gold, second) - _existing(gold, first)
    before, after = _resampled(gold, [first, second], seed, resamples)
    differences = after - before
    differences = differences[np.isfinite(differences)]
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (fewer + 1) / (differences.size + 1))
    return _percentiles(estimate, differences, confidence), p


def recall_at(similarity: Array, relevant: Array, k: int) -> NDArray[np.float64]:
    """Recall@k of each query: the share of its relevant items among the k most similar ones.

    ``similarity`` is float of shape (queries, items), ``relevant`` bool of the same shape with at
    least one true value a row (Manning, Raghavan & Schuetze 2008, "Introduction to Information
    Retrieval", section 8.4). Equal similarities are counted against the model.
    """
    if similarity.shape != relevant.shape or k < 1 or not relevant.any(axis=1).all():
        raise ValueError("each query needs a similarity for each item and at least one relevant")
    # Irrelevant items first among equals.
    order = np.lexsort((relevant, -similarity), axis=1)[:, :k]
    found = np.take_along_axis(relevant, order, axis=1).sum(axis=1)
    return np.asarray(found / relevant.sum(axis=1))


def _existing(gold: Array, scores: Array) -> float:
    if np.shape(gold) != np.shape(scores) or np.size(gold) < 3:
        raise ValueError(f"{np.shape(gold)} gold scores against {np.shape(scores)} of the model")
    value = spearman(gold, scores)
    if not np.isfinite(value):
        raise ValueError("all scores are equal, so they have no order")
    return value


def _resampled(
    gold: Array, scores: list[Array], seed: int, resamples: int
) -> list[NDArray[np.float64]]:
    """rho of each of ``scores`` against ``gold`` in the same resamples."""
    gold = np.asarray(gold)
    rng = np.random.default_rng(seed)
    rows = max(1, _RANKS_AT_A_TIME // gold.size)
    found: list[list[Array]] = [[] for _ in scores]
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, gold.size, (min(rows, resamples - start), gold.size))
        for kept, values in zip(found, scores, strict=True):
            kept.append(_rhos(gold[drawn], np.asarray(values)[drawn]))
    return [np.concatenate(kept) for kept in found]


def _rhos(gold: Array, scores: Array) -> NDArray[np.float64]:
    """rho of each row, shape (rows,)."""
    x, y = _ranks(gold), _ranks(scores)
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
        return np.asarray((x * y).sum(axis=1) / scale)


def _ranks(values: Array) -> NDArray[np.float64]:
    """The rank of each value in its row, from 1 on; ties share their mean rank. NaN throughout a
    row that has one."""
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.broadcast_to(np.arange(1, values.shape[1] + 1), values.shape)
    steps = ordered[:, 1:] != ordered[:, :-1]
    edge = np.ones((len(values), 1), dtype=bool)
    # The first and the last place of the ties that a place belongs to.
    first = np.maximum.accumulate(np.where(np.hstack([edge, steps]), places, 0), axis=1)
    from_end = np.where(np.hstack([steps, edge]), places, values.shape[1])[:, ::-1]
    last = np.minimum.accumulate(from_end, axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=1)
    ranks[np.isnan(ordered[:, -1])] = np.nan
    return ranks


def _percentiles(estimate: float, replicas: Array, confidence: float) -> Interval:
    replicas = replicas[np.isfinite(replicas)]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = (float(q) for q in np.quantile(replicas, tails))
    return Interval(estimate, min(low, estimate), max(high, estimate), confidence)
