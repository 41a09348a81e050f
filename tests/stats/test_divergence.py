"""The divergence of distributions of which the beginning is kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from bench.stats.divergence import coarse_divergence
from bench.worker.likelihoods import likelihoods


def kept(logits: np.ndarray, came: np.ndarray, top: int) -> dict[str, np.ndarray]:
    found = likelihoods(logits[np.newaxis], came[np.newaxis], top)
    return {
        "top_ids": found.ids.astype(np.int64),
        "top_log_p": found.best,
        "token": came,
        "log_p": found.right,
    }


def exact(original: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    p, q = log_softmax(original, axis=1), log_softmax(candidate, axis=1)
    return np.asarray((np.exp(p) * (p - q)).sum(axis=1))


RNG = np.random.default_rng(5)
ORIGINAL = RNG.normal(0, 2, (300, 40)).astype(np.float32)
CANDIDATE = (ORIGINAL + RNG.normal(0, 0.7, (300, 40))).astype(np.float32)
CAME = RNG.integers(0, 40, 300)
EVERY = np.ones(300, bool)


def test_what_is_found_is_never_above_the_true_divergence_and_grows_with_what_is_kept() -> None:
    truth = exact(ORIGINAL, CANDIDATE)
    means = []
    for top in (2, 8, 20):
        found, _ = coarse_divergence(kept(ORIGINAL, CAME, top), kept(CANDIDATE, CAME, top), EVERY)
        assert (found >= 0).all()
        assert (found <= truth + 1e-5).all()
        means.append(found.mean())
    assert means[0] < means[1] < means[2] < truth.mean()


def test_with_the_whole_vocabulary_it_is_the_divergence() -> None:
    found, rest = coarse_divergence(kept(ORIGINAL, CAME, 40), kept(CANDIDATE, CAME, 40), EVERY)
    np.testing.assert_allclose(found, exact(ORIGINAL, CANDIDATE), rtol=1e-4, atol=2e-6)
    assert rest.max() < 1e-5


def test_a_model_does_not_diverge_from_itself_and_no_rounding_makes_it_less_than_nothing() -> None:
    mine = kept(ORIGINAL, CAME, 8)
    found, _ = coarse_divergence(mine, mine, EVERY)
    assert (found == 0).all()
    moved = ORIGINAL + RNG.normal(0, 1e-6, ORIGINAL.shape).astype(np.float32)
    found, _ = coarse_divergence(mine, kept(moved, CAME, 8), EVERY)
    assert (found >= 0).all()
    assert found.max() < 1e-9


def test_the_rest_is_what_the_original_gives_to_all_that_not_both_list() -> None:
    mine, theirs = kept(ORIGINAL, CAME, 8), kept(CANDIDATE, CAME, 8)
    _, rest = coarse_divergence(mine, theirs, EVERY)
    p = np.exp(log_softmax(ORIGINAL.astype(np.float64), axis=1))
    for row in range(300):
        listed = {*mine["top_ids"][row]} & {*theirs["top_ids"][row]} | {CAME[row]}
        assert rest[row] == pytest.approx(1 - p[row][list(listed)].sum(), abs=1e-5)


def test_rows_that_are_left_out_have_none() -> None:
    some = np.arange(300) % 3 == 0
    found, rest = coarse_divergence(kept(ORIGINAL, CAME, 8), kept(CANDIDATE, CAME, 8), some)
    assert (found[~some] == 0).all()
    assert (rest[~some] == 0).all()
    assert (found[some] > 0).all()
