"""The acceptance of drafts, where the beginning of each distribution is kept: it lies in bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, rel_entr

from bench.stats.acceptance import coarse_acceptance
from bench.stats.divergence import coarse_divergence
from bench.worker.likelihoods import likelihoods

ROWS, OUTCOMES = 5, 12
LOGITS = arrays(np.float32, (ROWS, OUTCOMES), elements=st.floats(-9, 9, width=32))
CAME = arrays(np.int64, ROWS, elements=st.integers(0, OUTCOMES - 1))
EVERY = np.ones(ROWS, bool)


def kept(logits: np.ndarray, came: np.ndarray, top: int) -> dict[str, np.ndarray]:
    found = likelihoods(logits[np.newaxis], came[np.newaxis], top)
    columns = {"top_ids": found.ids.astype(np.int64), "top_log_p": found.best}
    return columns | {"token": came, "log_p": found.right}


def distributions(*logits: np.ndarray) -> list[np.ndarray]:
    return [np.exp(log_softmax(each.astype(np.float64), axis=1)) for each in logits]


@given(LOGITS, LOGITS, CAME, st.integers(1, OUTCOMES))
def test_whole_distributions_have_an_acceptance_within_and_a_divergence_above_what_is_told(
    one: np.ndarray, other: np.ndarray, came: np.ndarray, top: int
) -> None:
    p, q = distributions(one, other)
    truth = 1 - 0.5 * np.abs(p - q).sum(axis=1)
    least, most = coarse_acceptance(kept(one, came, top), kept(other, came, top), EVERY)
    assert (least <= truth + 1e-6).all()
    assert (most >= truth - 1e-6).all()
    assert (least <= most).all()
    assert ((least >= 0) & (most <= 1)).all()
    nats, _ = coarse_divergence(kept(one, came, top), kept(other, came, top), EVERY)
    assert (nats <= rel_entr(p, q).sum(axis=1) + 2e-5).all()


def test_a_rest_that_float32_knows_to_few_digits_is_never_taken_for_too_little() -> None:
    """11 outcomes as likely, and one that the candidate gives 1e-4: its rest is 1 - 0.9999."""
    one = np.zeros((1, OUTCOMES), np.float32)
    other = one.copy()
    for least in np.linspace(-4, -16, 200, dtype=np.float32):
        other[0, 1] = least
        p, q = distributions(one, other)
        came = np.zeros(1, np.int64)
        nats, _ = coarse_divergence(kept(one, came, 10), kept(other, came, 10), np.ones(1, bool))
        assert nats[0] <= rel_entr(p, q).sum() + 2e-6


@given(LOGITS, LOGITS, CAME)
def test_with_the_whole_vocabulary_nothing_is_open(
    one: np.ndarray, other: np.ndarray, came: np.ndarray
) -> None:
    p, q = distributions(one, other)
    bounds = coarse_acceptance(kept(one, came, OUTCOMES), kept(other, came, OUTCOMES), EVERY)
    for found in bounds:
        np.testing.assert_allclose(found, np.minimum(p, q).sum(axis=1), atol=2e-6)


def test_what_is_open_is_no_more_than_the_smaller_rest_and_shrinks_with_what_is_kept() -> None:
    rng = np.random.default_rng(1)
    one = rng.normal(0, 2, (400, 60)).astype(np.float32)
    other = (one + rng.normal(0, 1, one.shape)).astype(np.float32)
    came, every = rng.integers(0, 60, 400), np.ones(400, bool)
    open_: list[float] = []
    for top in (2, 8, 20):
        mine, theirs = kept(one, came, top), kept(other, came, top)
        least, most = coarse_acceptance(mine, theirs, every)
        rests = [coarse_divergence(*pair, every)[1] for pair in ((mine, theirs), (theirs, mine))]
        assert (most - least <= np.minimum(*rests) + 1e-6).all()
        open_.append(float((most - least).mean()))
    assert open_[0] > 2 * open_[1] > 4 * open_[2]


def test_an_outcome_that_one_alone_lists_adds_no_more_than_the_least_that_the_other_lists() -> None:
    """p lists a at 0.9; q lists b at 0.3, so it gives a no more, though its rest is 0.7."""
    p, q = np.log([[0.9, 0.05, 0.05]]), np.log([[0.1, 0.3, 0.6]])
    original = {"top_ids": np.array([[0]]), "top_log_p": p[:, :1], "token": np.array([1])}
    candidate = {"top_ids": np.array([[1]]), "top_log_p": q[:, 1:2], "token": np.array([1])}
    least, most = coarse_acceptance(
        original | {"log_p": p[:, 1]}, candidate | {"log_p": q[:, 1]}, np.ones(1, bool)
    )
    assert least == pytest.approx([0.05])
    assert most == pytest.approx([0.05 + 0.3 + 0.05])


def test_rows_that_are_left_out_have_none() -> None:
    logits, came = np.random.default_rng(0).normal(0, 1, (ROWS, OUTCOMES)), np.arange(ROWS)
    some = np.arange(ROWS) % 2 == 0
    mine = kept(logits.astype(np.float32), came, 4)
    least, most = coarse_acceptance(mine, mine, some)
    assert (least[~some] == 0).all()
    assert (most[~some] == 0).all()
    np.testing.assert_allclose(most[some], 1, atol=1e-6)
