"""Embedding: pooling, similarity and retrieval, against scipy and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from bench.cards.card import Card
from bench.cards.datasets import Dataset
from bench.cards.tasks.embedding import RHO, Embedding
from bench.errors import AccuracyFailed

TASK = Embedding()
RNG = np.random.default_rng(1)


def a_card(pooling: str = "") -> Card:
    return Card.model_validate(
        {
            "name": "m",
            "task": "embedding",
            "source": {"onnx": "m.onnx"},
            "inputs": [{"name": "input_ids", "dtype": "int64", "shape": ["batch", "seq"]}],
            "dataset": {"name": "d", "path": "d.npz", "pooling": pooling},
            "path": Path("m.toml"),
        }
    )


def of_pairs(mask: np.ndarray | None = None, texts: int = 20) -> Dataset:
    rng = np.random.default_rng(2)
    inputs = {"input_ids": np.ones((texts, 3), np.int64)}
    if mask is not None:
        inputs["attention_mask"] = mask
    pairs = rng.integers(0, texts, (60, 2))
    return Dataset("d", "test", inputs, None, "e" * 64, pairs=pairs, scores=rng.normal(size=60))


def cosines(vectors: np.ndarray, pairs: np.ndarray) -> list[float]:
    return [
        float(vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b]))
        for a, b in pairs
    ]


def test_similarity_is_scored_as_scipy_does() -> None:
    data, vectors = of_pairs(), RNG.normal(size=(20, 8)).astype(np.float32)
    columns = TASK.columns(vectors, data, a_card())
    assert data.pairs is not None
    np.testing.assert_allclose(columns["similarity"], cosines(vectors, data.pairs), atol=1e-6)
    rho, r = TASK.scores(columns, 0.95)
    assert rho.metric == RHO
    expected = spearmanr(data.scores, columns["similarity"]).statistic
    assert rho.value.estimate == pytest.approx(expected)
    assert rho.value.low <= expected <= rho.value.high
    assert r.value.estimate == pytest.approx(pearsonr(data.scores, columns["similarity"])[0])


def test_tokens_are_averaged_without_padding() -> None:
    tokens = RNG.normal(size=(20, 3, 8))
    mask = np.ones((20, 3), np.int64)
    mask[::2, 2] = 0
    data = of_pairs(mask)
    assert data.pairs is not None
    mean = np.array([t[m.astype(bool)].mean(axis=0) for t, m in zip(tokens, mask, strict=True)])
    found = TASK.columns(tokens, data, a_card("mean"))["similarity"]
    np.testing.assert_allclose(found, cosines(mean, data.pairs), atol=1e-12)
    first = TASK.columns(tokens, data, a_card("cls"))["similarity"]
    np.testing.assert_allclose(first, cosines(tokens[:, 0], data.pairs), atol=1e-12)


def test_tokens_without_pooling_are_refused_with_what_to_write() -> None:
    with pytest.raises(AccuracyFailed, match=r'dataset.pooling = "mean"'):
        TASK.columns(np.ones((20, 3, 8)), of_pairs(), a_card())
    with pytest.raises(AccuracyFailed, match="all zero"):
        TASK.columns(np.zeros((20, 8)), of_pairs(), a_card())


def test_retrieval_counts_what_is_found() -> None:
    vectors = np.eye(24)[:, :24] + 0.01 * RNG.normal(size=(24, 24))
    vectors[1] = vectors[10]  # query 1 is nearest to item 10, which is relevant to it
    queries, items = np.array([0, 1]), np.arange(2, 24)
    relevant = np.zeros((2, 22), dtype=bool)
    relevant[0, 3] = relevant[1, 8] = True
    data = Dataset(
        "d", "t", {"input_ids": np.ones((24, 3))}, None, "e", None, None, queries, items, relevant
    )
    columns = TASK.columns(vectors, data, a_card())
    assert columns["recall_at_1"][1] == 1
    at_10, at_1 = TASK.scores(columns, 0.95)
    assert (at_10.metric.name, at_1.metric.name) == ("recall@10", "recall@1")
    assert at_1.value.estimate == columns["recall_at_1"].mean()


def test_data_without_pairs_or_queries_is_refused() -> None:
    bare = Dataset("d", "t", {"input_ids": np.ones((4, 3))}, None, "e")
    with pytest.raises(AccuracyFailed, match="neither pairs with scores nor queries"):
        TASK.columns(np.ones((4, 8)), bare, a_card())


def test_a_change_is_paired_and_tested() -> None:
    gold = RNG.normal(size=300)
    good = {"gold": gold, "similarity": gold + RNG.normal(0, 0.3, 300)}
    bad = {"gold": gold, "similarity": gold + RNG.normal(0, 2, 300)}
    change = TASK.change(bad, good, 0.95)
    assert change is not None
    assert (change.metric, change.test) == (RHO, "bootstrap")
    assert change.difference.high < 0
    assert change.significant
    assert change.difference.estimate == pytest.approx(change.this - change.other)
    assert TASK.change(bad, {**good, "gold": gold + 1}, 0.95) is None


def test_changed_recall_is_of_the_same_queries() -> None:
    queries = np.arange(80)
    one = {"query": queries, "recall_at_1": np.ones(80), "recall_at_10": np.ones(80)}
    other = {**one, "recall_at_10": (queries % 2).astype(float)}
    change = TASK.change(one, other, 0.95)
    assert change is not None
    assert change.difference.estimate == 0.5
    assert change.significant
    assert TASK.change(one, {**other, "query": queries + 1}, 0.95) is None


def test_vectors_that_mean_nothing_are_doubted() -> None:
    columns = {"gold": RNG.normal(size=200), "similarity": RNG.normal(size=200)}
    score = TASK.scores(columns, 0.95)[0]
    (doubt,) = TASK.doubts(columns, score)
    assert "the tokenizer, the pooling" in doubt
