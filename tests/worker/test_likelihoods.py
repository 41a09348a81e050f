"""From logits to what is kept of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from bench.errors import AccuracyFailed
from bench.worker import likelihoods as module
from bench.worker.likelihoods import likelihoods

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (2, 5, 30)).astype(np.float32)
TARGETS = RNG.integers(0, 30, (2, 5))
TARGETS[0, :2] = TARGETS[1, 4] = -1


@pytest.mark.parametrize("at_once", [2_000_000, 60])
def test_they_are_the_logarithms_of_the_softmax_whatever_is_worked_on_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    found = likelihoods(LOGITS, TARGETS, 4)
    rows = log_softmax(LOGITS.astype(np.float64), axis=2)[TARGETS >= 0]
    right = rows[np.arange(7), TARGETS[TARGETS >= 0]]
    np.testing.assert_allclose(found.right, right, rtol=1e-6)
    order = np.argsort(-rows, axis=1)[:, :4]
    np.testing.assert_array_equal(found.ids, order)
    np.testing.assert_allclose(found.best, np.take_along_axis(rows, order, axis=1), rtol=1e-6)
    tail = 1 - np.exp(np.take_along_axis(rows, order, axis=1)).sum(axis=1)
    np.testing.assert_allclose(np.exp(found.tail), tail, atol=1e-6)
    assert {a.dtype.name for a in (found.right, found.best, found.tail)} == {"float32"}


def test_of_ids_that_tie_the_lowest_comes_first() -> None:
    found = likelihoods(np.zeros((1, 1, 6), np.float32), np.array([[5]]), 6)
    assert found.ids.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert found.tail.tolist() == [-1000]


def test_a_masked_id_has_no_probability_and_harms_no_other() -> None:
    logits = np.array([[[0.0, -np.inf, 0.0]]], np.float32)
    found = likelihoods(logits, np.array([[0]]), 8)
    assert found.right[0] == pytest.approx(np.log(0.5))
    assert found.best[0, 2] == -1000


@pytest.mark.parametrize(
    ("logits", "targets", "words"),
    [
        (np.full((1, 1, 3), np.nan), [[0]], "NaN or Inf"),
        (np.full((1, 1, 3), np.inf), [[0]], "NaN or Inf"),
        (np.zeros((1, 3)), [[0]], r"\[1, 3\] for \[1, 1\] tokens"),
        (np.zeros((1, 1, 3)), [[0, 1]], r"\[1, 1, 3\] for \[1, 2\] tokens"),
        (np.zeros((1, 1, 3)), [[3]], "has the id 3, but the logits cover 3 ids"),
    ],
)
def test_what_is_no_distribution_is_refused(
    logits: np.ndarray, targets: list[list[int]], words: str
) -> None:
    with pytest.raises(AccuracyFailed, match=words):
        likelihoods(logits, np.array(targets), 2)


def test_no_target_gives_no_row() -> None:
    found = likelihoods(LOGITS, np.full((2, 5), -1), 4)
    assert (found.right.shape, found.ids.shape, found.tail.shape) == ((0,), (0, 4), (0,))
