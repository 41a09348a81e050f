"""Intervals and tests of documents: their coverage, simulated, and what they are made of."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bench.stats.clusters import FEWEST_RESAMPLED, cluster_intervals, ratio, sign_flip_p, sums
from bench.stats.of_means import OfMeans


def documents(rng: np.random.Generator, count: int) -> np.ndarray:
    """Bits and bytes of documents of very different sizes, each with a rate of its own."""
    size = np.maximum(20, rng.lognormal(6.5, 0.6, count))
    rate = rng.gamma(25, 2.0 / 25, count)
    return np.stack([size * rate + rng.normal(0, 2, count) * np.sqrt(size), size], axis=1)


def of(features: np.ndarray) -> OfMeans:
    return ratio(features[:, 0], features[:, 1])


TRUTH = of(documents(np.random.default_rng(9), 1_000_000)).estimate()


def covered(count: int, tries: int) -> float:
    rng = np.random.default_rng(count)
    hits = 0
    for _ in range(tries):
        (found,) = cluster_intervals([of(documents(rng, count))], 0.95)
        assert found is not None
        hits += found.contains(TRUTH)
    return hits / tries


@pytest.mark.parametrize("count", [5, 12])
def test_an_interval_of_few_documents_covers_what_it_claims(count: int) -> None:
    assert count < FEWEST_RESAMPLED
    assert 0.92 <= covered(count, 1000) <= 0.98


def test_an_interval_of_resampled_documents_covers_what_it_claims() -> None:
    assert 0.90 <= covered(FEWEST_RESAMPLED, 100) <= 1


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 5, 8, 19, 20, 40, 80])
def test_coverage_at_every_number_of_documents(count: int) -> None:
    assert 0.925 <= covered(count, 2000) <= 0.98


def test_tokens_of_a_document_are_one_piece_of_evidence() -> None:
    """Each document said ten times over, the interval is what it was."""
    rng = np.random.default_rng(3)
    values, document = rng.normal(2, 1, 200), np.repeat(np.arange(25), 8)
    both = []
    for repeats in (1, 10):
        count = sums(np.ones(200 * repeats), np.tile(document, repeats), 25)
        total = sums(np.tile(values, repeats), np.tile(document, repeats), 25)
        both.append(cluster_intervals([ratio(total, count)], 0.95)[0])
    assert both[0] is not None
    assert both[1] is not None
    assert both[0].low == pytest.approx(both[1].low)
    assert both[0].high == pytest.approx(both[1].high)


def test_the_test_by_signs_is_the_share_of_all_signs() -> None:
    found = np.array([1.0, 2.0, -0.5, 3.0, 0.0])
    moved = found[found != 0]
    sums_of = [abs(np.dot(signs, moved)) for signs in product((1, -1), repeat=len(moved))]
    expected = np.mean([value >= abs(moved.sum()) - 1e-9 for value in sums_of])
    assert sign_flip_p(found) == pytest.approx(expected)
    assert sign_flip_p(-found) == pytest.approx(expected)
    assert sign_flip_p(np.zeros(4)) == 1
    # Five documents that all say the same are 2 of 32 signs, however large the differences.
    assert sign_flip_p(np.full(5, 100.0)) == pytest.approx(2 / 32)


@pytest.mark.parametrize("count", [6, 30])
def test_the_test_by_signs_is_wrong_as_often_as_its_level_says(count: int) -> None:
    rng = np.random.default_rng(1)
    tries = 400 if count == 6 else 150
    wrong = sum(sign_flip_p(rng.standard_t(3, count)) < 0.05 for _ in range(tries))
    assert wrong / tries <= 0.09
    assert sign_flip_p(rng.normal(1, 0.5, count)) < 0.05


def test_one_document_has_no_interval() -> None:
    with pytest.raises(ValueError, match="2 clusters"):
        cluster_intervals([ratio(np.ones(1), np.ones(1))], 0.95)
    assert cluster_intervals([], 0.95) == []
