"""The divergence of distributions of which the beginning is kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from bench.stats.divergence import (
    Tail,
    acceptances,
    coarse_divergence,
    divergences,
    partial_acceptances,
    partial_divergences,
)
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


# -- where the same outcomes are known of both, and a tail of the rest ----------------------------


def parted(log_p: np.ndarray, listed: np.ndarray) -> tuple[np.ndarray, Tail]:
    """One row: the outcomes of ``listed``, and what is known of the rest."""
    rest = np.delete(log_p, listed)
    if not len(rest):
        nothing = np.array([-np.inf])
        return log_p[listed][np.newaxis], Tail(nothing, nothing, nothing)
    with np.errstate(divide="ignore"):
        together = np.log(np.exp(rest).sum())
    return log_p[listed][np.newaxis], Tail(
        np.array([together]), np.array([rest.max()]), np.array([rest.min()])
    )


LOGITS = st.integers(2, 12).flatmap(
    lambda size: st.tuples(
        *(arrays(np.float64, size, elements=st.floats(-30, 30)) for _ in range(2)),
        st.sets(st.integers(0, size - 1), min_size=1, max_size=size),
        st.booleans(),
    )
)


@given(LOGITS)
def test_the_whole_divergence_and_acceptance_lie_between_the_bounds(
    drawn: tuple[np.ndarray, np.ndarray, set[int], bool],
) -> None:
    *logits, chosen, masked = drawn
    if masked:  # an outcome that can't be, to the candidate alone
        logits[1][-1] = -np.inf
    listed = np.array(sorted(chosen))
    p, q = (log_softmax(each) for each in logits)
    (some_p, tail_p), (some_q, tail_q) = parted(p, listed), parted(q, listed)
    for whole, partial in (
        (divergences, partial_divergences),
        (acceptances, partial_acceptances),
    ):
        (truth,) = whole(p[np.newaxis], q[np.newaxis])
        (least,), (more,) = partial(some_p, some_q, tail_p, tail_q)
        assert least >= 0
        assert more >= 0
        assert least <= truth + 1e-9
        assert truth <= least + more + 1e-9
        if len(listed) == len(p):
            assert more == pytest.approx(0, abs=1e-12)
            assert least == pytest.approx(truth, abs=1e-12)


def test_the_bounds_meet_where_the_tails_are_flat() -> None:
    """One likeliest outcome, and a tail without a likeliest or least one: nothing is unknown."""
    p, q = (np.log(np.array([first, *([(1 - first) / 9] * 9)])) for first in (0.9, 0.7))
    listed = np.array([0])
    (some_p, tail_p), (some_q, tail_q) = parted(p, listed), parted(q, listed)
    (least,), (more,) = partial_divergences(some_p, some_q, tail_p, tail_q)
    assert more == pytest.approx(0, abs=1e-12)
    assert least == pytest.approx(0.9 * np.log(0.9 / 0.7) + 0.1 * np.log(0.1 / 0.3))


def test_what_the_candidate_gives_no_probability_in_the_tail_bounds_nothing() -> None:
    p, q = np.log([0.5, 0.3, 0.2]), np.array([np.log(0.5), np.log(0.5), -np.inf])
    (some_p, tail_p), (some_q, tail_q) = parted(p, np.array([0])), parted(q, np.array([0]))
    (least,), (more,) = partial_divergences(some_p, some_q, tail_p, tail_q)
    assert np.isfinite(least)
    assert more == np.inf
