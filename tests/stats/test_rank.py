"""Rank correlation and recall, against scipy and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bench.stats.rank import recall_at, spearman, spearman_difference, spearman_interval

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=40)


@given(PAIRS)
def test_rho_is_scipys(pairs):
    gold, scores = np.array(pairs).T
    if len(set(gold)) == 1 or len(set(scores)) == 1:
        assert np.isnan(spearman(gold, scores))
    else:
        assert spearman(gold, scores) == pytest.approx(spearmanr(gold, scores).statistic)


def correlated(rng, n, rho):
    x, noise = rng.normal(size=(2, n))
    return x, rho * x + np.sqrt(1 - rho**2) * noise


def test_intervals_of_rho_cover_as_often_as_they_say():
    rng = np.random.default_rng(5)
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # of a bivariate normal distribution (Pearson 1907)
    covered = sum(
        spearman_interval(*correlated(rng, 150, 0.6), seed=i, resamples=300).contains(truth)
        for i in range(200)
    )
    assert 178 <= covered <= 199  # 190 expected; 4 standard deviations are 12


def test_a_better_model_is_told_from_a_worse_one_on_the_same_pairs():
    rng = np.random.default_rng(6)
    gold, good = correlated(rng, 400, 0.9)
    worse = good + rng.normal(0, 1, 400)
    difference, p = spearman_difference(gold, worse, good)
    assert difference.low > 0
    assert p < 0.01
    back, _ = spearman_difference(gold, good, worse)
    assert back.estimate == pytest.approx(-difference.estimate)
    same, p = spearman_difference(gold, good, good)
    assert (same.low, same.high, p) == (0, 0, 1)


def test_what_has_no_order_is_refused():
    with pytest.raises(ValueError, match="no order"):
        spearman_interval(np.arange(5), np.ones(5))
    with pytest.raises(ValueError, match="against"):
        spearman_interval(np.arange(5), np.arange(4))


def test_recall_counts_relevant_items_among_the_nearest():
    similarity = np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.3]])
    relevant = np.array([[True, False, True], [True, False, False]])
    assert recall_at(similarity, relevant, 1).tolist() == [0.5, 0]
    assert recall_at(similarity, relevant, 3).tolist() == [1, 1]


def test_equal_similarities_count_against_the_model():
    assert recall_at(np.zeros((1, 4)), np.array([[False, True, False, False]]), 3).tolist() == [0]
    with pytest.raises(ValueError, match="relevant"):
        recall_at(np.zeros((1, 2)), np.zeros((1, 2), dtype=bool), 1)
