"""What a language model decides: which of several choices is likeliest, and what it answers.

Each question is right or wrong. Where questions are of one document each, they are independent, and
counted as a classifier's examples are; where documents have several, documents are resampled.
"""

from __future__ import annotations

import numpy as np

from bench.arrays import Array
from bench.cards.tasks.base import Columns, MetricRow, Score
from bench.stats.clusters import by_cluster, cluster_intervals
from bench.stats.interval import Interval
from bench.stats.of_means import OfMeans, mean_of
from bench.stats.proportion import (
    clopper_pearson,
)

#: The choice whose log-probability by UTF-8 byte is the largest. lm-evaluation-harness divides by
#: characters, which are bytes in ASCII (`lm_eval/api/task.py`, `process_results`).
NORMALISED = MetricRow("acc_norm", share=True)
#: The choice whose log-probability is the largest: lm-evaluation-harness's ``acc``.
LIKELIEST = MetricRow("acc", share=True)
EXACT = MetricRow("exact match", share=True)


def chosen(columns: Columns, *, by_bytes: bool) -> Array:
    """The number of the likeliest choice of each question, the first of those that tie."""
    value = columns["log_p"] / columns["bytes"] if by_bytes else columns["log_p"]
    order = np.lexsort((columns["choice"], -value, columns["question"]))
    first = np.unique(columns["question"][order], return_index=True)[1]
    return np.asarray(columns["choice"][order][first])


def right(columns: Columns, *, by_bytes: bool = True) -> Array:
    """For each question whether it is right, bool of shape (questions,)."""
    if "right" in columns:
        return np.asarray(columns["right"], bool)
    gold = columns["choice"][columns["gold"].astype(bool)]
    return np.asarray(chosen(columns, by_bytes=by_bytes) == gold)


def documents(columns: Columns) -> Array:
    """Of which document each question is; where that is one alone, each stands for itself."""
    found: Array = columns["document"]
    if "gold" in columns:
        found = found[columns["gold"].astype(bool)]
    return found if len(np.unique(found)) > 1 else np.arange(len(found))


def share(metric: MetricRow, hits: Array, clusters: Array, confidence: float) -> Score:
    """A share of questions with its interval: exact, or by resampling documents."""
    correct = int(hits.sum())
    exact = clopper_pearson(correct, len(hits), confidence)
    count = len(np.unique(clusters))
    if 1 < count < len(hits):
        (found,) = cluster_intervals([mean(hits, clusters)], confidence)
        if found is not None and found.low < found.high:
            exact = Interval(found.estimate, max(0.0, found.low), min(1.0, found.high), confidence)
    return Score(metric, exact, len(hits), correct)


def mean(values: Array, clusters: Array) -> OfMeans:
    """The mean of a question's value, as a function of sums by document."""
    return by_cluster(mean_of(values), clusters)


def guessing(columns: Columns) -> float:
    """The share that choosing blindly gets right."""
    return float(np.mean(1 / np.bincount(columns["question"])))
