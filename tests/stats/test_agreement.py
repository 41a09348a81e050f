"""Likeness of classifiers, against scikit-learn and by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from bench.stats.agreement import agreement, error_consistency, same_wrong_answers
from bench.stats.of_means import intervals, mean_of, two_sided_p

CLASSES = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=2, max_size=60)


@given(CLASSES)
def test_agreement_is_a_share_and_does_not_ask_who_is_first(rows):
    _, a, b = np.array(rows).T
    assert agreement(a, b).estimate() == np.mean(a == b)
    assert agreement(a, b).estimate() == agreement(b, a).estimate()


@given(CLASSES)
def test_error_consistency_is_cohens_kappa_of_being_right(rows):
    labels, a, b = np.array(rows).T
    mine = error_consistency(a == labels, b == labels).estimate()
    both_constant = len({*(a == labels), *(b == labels)}) == 1
    if both_constant:
        assert np.isnan(mine)
    else:
        assert mine == pytest.approx(cohen_kappa_score(a == labels, b == labels))


@given(CLASSES)
def test_same_wrong_answers_are_counted_among_those_that_both_get_wrong(rows):
    labels, a, b = np.array(rows).T
    both = [(x, y) for label, x, y in rows if x != label and y != label]
    found = same_wrong_answers(labels, a, b).estimate()
    if both:
        assert found == pytest.approx(np.mean([x == y for x, y in both]))
    else:
        assert np.isnan(found)


def test_a_model_is_wholly_like_itself():
    rng = np.random.default_rng(1)
    labels, a = rng.integers(0, 5, (2, 300))
    kappa, agree, wrong = intervals(
        [
            error_consistency(a == labels, a == labels),
            agreement(a, a),
            same_wrong_answers(labels, a, a),
        ]
    )
    for found in (kappa, agree, wrong):
        assert (found.estimate, found.low, found.high) == (1, 1, 1)


def test_what_does_not_exist_has_no_interval():
    right = np.ones(20, dtype=bool)
    assert intervals([error_consistency(right, right), mean_of(right)])[0] is None


def test_other_numbers_of_examples_are_refused():
    with pytest.raises(ValueError, match="share at least 2"):
        intervals([mean_of(np.ones(3)), mean_of(np.ones(4))])
    with pytest.raises(ValueError, match="share at least 2"):
        intervals([mean_of(np.ones(1))])
    assert intervals([]) == []


def test_intervals_of_a_mean_cover_as_often_as_they_say():
    rng = np.random.default_rng(7)
    trials = 300
    covered = sum(
        intervals([mean_of(rng.normal(2, 1, 80))], seed=i, resamples=400)[0].contains(2)
        for i in range(trials)
    )
    # 95% of 300 are 285; 3 standard deviations of a binomial are 11.
    assert 270 <= covered <= 298


def test_independent_models_are_alike_by_chance_only():
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(100):
        a, b = rng.random((2, 400)) < np.array([[0.9], [0.8]])
        covered += intervals([error_consistency(a, b)], seed=seed, resamples=400)[0].contains(0)
    assert covered >= 86  # 95 expected; 4 standard deviations are 9


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_a_difference_of_a_statistic_from_itself_is_nothing(seed):
    rng = np.random.default_rng(seed)
    values = mean_of(rng.normal(size=50))
    (found,) = intervals([values - values], seed=seed, resamples=50)
    assert (found.low, found.high) == (0, 0)
    assert two_sided_p(values - values, resamples=50) == 1


def test_p_is_small_where_0_is_far_and_never_0():
    rng = np.random.default_rng(1)
    p = two_sided_p(mean_of(rng.normal(3, 1, 100)), resamples=999)
    assert p == pytest.approx(2 / 1000)
