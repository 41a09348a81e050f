"""The best renumbering of classes, against SciPy and against every permutation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from bench.cards.tasks.renumbering import best_renumbering


def fit(counts, columns):
    return int(counts[np.arange(len(counts)), columns].sum())


@st.composite
def tables(draw, most):
    classes = draw(st.integers(1, most))
    largest = draw(st.sampled_from([1, 3, 100, 10**9]))
    return draw(arrays(np.int64, (classes, classes), elements=st.integers(0, largest)))


@given(tables(most=25))
def test_the_fit_is_scipys(counts):
    found = best_renumbering(counts)
    assert sorted(found) == list(range(len(counts)))
    assert fit(counts, found) == fit(counts, linear_sum_assignment(counts, maximize=True)[1])


@given(tables(most=5))
def test_of_equal_fits_most_classes_stay(counts):
    every = [np.array(one) for one in permutations(range(len(counts)))]
    best = max((fit(counts, one), int((one == np.arange(len(one))).sum())) for one in every)
    found = best_renumbering(counts)
    assert (fit(counts, found), int((found == np.arange(len(found))).sum())) == best


@pytest.mark.parametrize("examples", [1, 3])
def test_hundreds_of_classes_are_renumbered(examples):
    rng = np.random.default_rng(examples)
    counts = np.zeros((300, 300), np.int64)
    drawn = 300 * examples
    np.add.at(counts, (np.arange(drawn) % 300, rng.integers(0, 300, drawn)), 1)
    found = best_renumbering(counts)
    assert fit(counts, found) == fit(counts, linear_sum_assignment(counts, maximize=True)[1])


def test_classes_without_examples_stay_where_they_are():
    counts = np.diag([5, 0, 5, 0])
    counts[[0, 2]] = counts[[2, 0]]
    assert best_renumbering(counts).tolist() == [2, 1, 0, 3]
