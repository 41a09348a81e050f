"""Rank correlation and recall, against scipy and by brute force."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr

from bench.stats import rank
from bench.stats.rank import recall_at, spearman, spearman_difference, spearman_interval

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=40)


@given(PAIRS)
def test_rho_is_scipys(pairs):
    gold, scores = np.array(pairs).T
    if len(set(gold)) == 1 or len(set(scores)) == 1:
        assert np.isnan(spearman(gold, scores))
    else:
        assert spearman(gold, scores) == pytest.approx(spearmanr(gold, scores).statistic)


def test_what_is_no_number_has_no_rank():
    assert np.isnan(spearman(np.arange(4), np.array([0.1, np.nan, 0.3, 0.2])))
    rows = np.array([[3.0, 1.0, np.nan], [np.inf, -np.inf, 0.0], [2.0, 2.0, 2.0]])
    assert np.array_equal(rank._ranks(rows), rankdata(rows, axis=1), equal_nan=True)


@given(arrays(np.float64, (4, 30), elements=st.integers(-5, 5).map(float)))
def test_ranks_of_rows_with_ties_are_scipys(rows):
    assert np.array_equal(rank._ranks(rows), rankdata(rows, axis=1))


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


def rhos(gold, scores, seed, resamples):
    """scipy's rho of pairs drawn again and again, one resample after the other."""
    drawn = np.random.default_rng(seed).integers(0, len(gold), (resamples, len(gold)))
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NaN where a resample has one value only
        return np.array([spearmanr(gold[row], scores[row]).statistic for row in drawn])


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_an_interval_of_rho_is_the_percentiles_of_resampled_pairs(confidence):
    gold, scores = correlated(np.random.default_rng(8), 25, 0.7)
    found = spearman_interval(gold, scores, confidence, seed=3, resamples=80)
    tail = (1 - confidence) / 2
    expected = np.quantile(rhos(gold, scores, 3, 80), [tail, 1 - tail])
    assert found.estimate == pytest.approx(spearmanr(gold, scores).statistic)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.confidence == confidence


def test_a_difference_of_rhos_is_of_the_same_resampled_pairs():
    gold, first = correlated(np.random.default_rng(8), 25, 0.7)
    second = first + np.random.default_rng(9).normal(0, 0.7, 25)
    found, p = spearman_difference(gold, first, second, 0.9, seed=3, resamples=80)
    differences = rhos(gold, second, 3, 80) - rhos(gold, first, 3, 80)
    smaller = min((differences <= 0).sum(), (differences >= 0).sum())
    assert 0 < smaller < 40
    assert p == pytest.approx(2 * (smaller + 1) / 81)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.05, 0.95])))
    assert found.confidence == 0.9


def test_resamples_without_an_order_do_not_count():
    gold, first, second = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 1]), np.array([1, 0, 0, 0])
    differences = rhos(gold, second, 0, 40) - rhos(gold, first, 0, 40)
    existing = differences[np.isfinite(differences)]
    assert 0 < len(existing) < 40
    found, p = spearman_difference(gold, first, second, resamples=40)
    smaller = min((existing <= 0).sum(), (existing >= 0).sum())
    assert p == pytest.approx(min(1, 2 * (smaller + 1) / (len(existing) + 1)))
    assert found.low == pytest.approx(np.quantile(existing, 0.025))


@pytest.mark.parametrize("ranks", [1, 25 * 10])
def test_resamples_ranked_in_parts_are_those_ranked_at_once(monkeypatch, ranks):
    gold, scores = correlated(np.random.default_rng(8), 25, 0.7)
    whole = spearman_interval(gold, scores, resamples=33)
    monkeypatch.setattr(rank, "_RANKS_AT_A_TIME", ranks)
    assert spearman_interval(gold, scores, resamples=33) == whole


def test_three_pairs_are_the_fewest():
    assert spearman_interval(np.arange(3), np.arange(3), resamples=50).estimate == 1
    with pytest.raises(ValueError, match="against"):
        spearman_interval(np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="between 0 and 1"):
        spearman_interval(np.arange(3), np.arange(3), confidence=1.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        spearman_difference(np.arange(3), np.arange(3), np.arange(3), confidence=1.0)


def test_an_estimate_beyond_all_resamples_is_still_in_its_interval():
    gold, scores = np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4])
    found = spearman_interval(gold, scores, resamples=50)
    assert (found.low, found.estimate, found.high) == (1, 1, 1)


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
    similarity, relevant = np.zeros((2, 3)), np.ones((2, 3), dtype=bool)
    one_without = relevant & [[True], [False]]
    for wrong in (
        (similarity, relevant[:1], 1),
        (similarity, relevant, 0),
        (similarity, one_without, 1),
    ):
        with pytest.raises(ValueError, match="relevant"):
            recall_at(*wrong)
