"""Classification: scores against scikit-learn, and mistakes of data and model that are noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from bench.cards.card import Card
from bench.cards.datasets import Dataset
from bench.cards.tasks.classification import Classification
from bench.errors import AccuracyFailed

TASK = Classification()


def a_card(classes: int = 0, **data: object) -> Card:
    named = [f"c{i}" for i in range(classes)]
    return Card.model_validate(
        {
            "name": "m",
            "task": "classification",
            "source": {"onnx": "m.onnx"},
            "inputs": [{"name": "x", "shape": ["batch", 4]}],
            "dataset": {"name": "d", "path": "d.npz", "classes": named, **data},
            "path": Path("m.toml"),
        }
    )


def a_dataset(labels: np.ndarray | None) -> Dataset:
    count = 4 if labels is None else len(labels)
    return Dataset("d", "test", {"x": np.zeros((count, 4), np.float32)}, labels, "e" * 64)


def outputs(labels: np.ndarray, classes: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    found = np.eye(classes)[labels] + rng.normal(0, noise, (len(labels), classes))
    return found.astype(np.float32)


def test_scores_are_those_of_scikit_learn() -> None:
    labels = np.random.default_rng(0).integers(0, 8, 400)
    logits = outputs(labels, 8, 0.8)
    columns = TASK.columns(logits, a_dataset(labels), a_card(8))
    scores = {s.metric.name: s for s in TASK.scores(columns, 0.95)}
    assert scores["top-1"].value.estimate == accuracy_score(labels, logits.argmax(axis=1))
    assert scores["top-5"].value.estimate == top_k_accuracy_score(labels, logits, k=5)
    for label in range(8):
        of_class = labels == label
        right = accuracy_score(labels[of_class], logits.argmax(axis=1)[of_class])
        assert scores[f"class {label}"].value.estimate == pytest.approx(right)
        assert scores[f"class {label}"].examples == of_class.sum()
    np.testing.assert_array_equal(columns["logits"], logits)


def test_large_outputs_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cards.tasks.classification.STORED_BYTES", 100)
    labels = np.arange(40) % 4
    assert "logits" not in TASK.columns(outputs(labels, 4, 0.1), a_dataset(labels), a_card())


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize(
    ("values", "threshold"),
    [([0.1, 0.9, 0.5, 0.51], None), ([-3, 2, -0.1, 0.1], 0.0), ([0.2, 0.9, 0.8, 0.85], 0.8)],
)
def test_a_single_output_means_class_1_above_its_threshold(
    shape: tuple[int, ...], values: list[float], threshold: float | None
) -> None:
    found = np.array(values, np.float32).reshape(shape)
    columns = TASK.columns(found, a_dataset(np.array([0, 1, 1, 1])), a_card(2, threshold=threshold))
    assert columns["predicted"].tolist() == [0, 1, 0, 1]
    assert TASK.scores(columns, 0.95)[0].value.estimate == 0.75


def test_a_single_output_that_is_no_probability_needs_a_threshold() -> None:
    logits = np.array([[-3.0], [2.0], [0.1], [0.2]], np.float32)
    with pytest.raises(AccuracyFailed, match=r"from -3 to 2, .*set `dataset\.threshold`"):
        TASK.columns(logits, a_dataset(np.array([0, 1, 1, 1])), a_card(2))


@pytest.mark.parametrize(
    ("labels", "shape", "classes", "words"),
    [
        (np.array([0, 1, 2, 3]), (4, 3), 0, "3 classes, but the labels go up to 3"),
        (np.array([0, 1, 2, 0]), (4, 3), 4, "3 classes, the card names 4"),
        (np.array([0, 1, 2, 0]), (4, 1), 0, "1 classes, but the labels go up to 2"),
        (np.array([0, 1, 2, 0]), (4,), 3, r"must be \(examples, classes\)"),
        (np.array([0, 1, 2, 0]), (5, 3), 3, "for 4 labels"),
        (None, (4, 3), 3, "has no labels"),
    ],
)
def test_outputs_and_labels_that_do_not_fit_are_one_sentence(
    labels: np.ndarray | None, shape: tuple[int, ...], classes: int, words: str
) -> None:
    with pytest.raises(AccuracyFailed, match=words) as caught:
        TASK.columns(np.ones(shape, np.float32), a_dataset(labels), a_card(classes))
    assert "\n" not in str(caught.value)


def test_nan_is_not_scored() -> None:
    logits = np.ones((4, 3), np.float32)
    logits[2, 1] = np.nan
    with pytest.raises(AccuracyFailed, match="NaN or Inf"):
        TASK.columns(logits, a_dataset(np.array([0, 1, 2, 0])), a_card(3))


def doubts(labels: np.ndarray, logits: np.ndarray) -> list[str]:
    card = a_card(logits.shape[1])
    columns = TASK.columns(logits, a_dataset(labels), card)
    return TASK.doubts(columns, TASK.scores(columns, 0.95)[0])


def test_a_good_model_gives_no_doubt() -> None:
    labels = np.arange(600) % 6
    assert doubts(labels, outputs(labels, 6, 0.3)) == []


def test_guessing_is_doubted() -> None:
    labels = np.random.default_rng(2).integers(0, 6, 600)
    (doubt,) = doubts(labels, outputs(np.zeros(600, np.int64), 6, 0.1))
    assert "not reliably above" in doubt
    assert "preprocessing" in doubt


def test_always_naming_the_commonest_class_is_doubted_though_it_is_often_right() -> None:
    labels = np.array([0] * 540 + [1] * 60)
    (doubt,) = doubts(labels, outputs(np.zeros(600, np.int64), 2, 0.01))
    assert "90.0%" in doubt


def test_classes_in_another_order_are_noticed() -> None:
    labels = np.arange(600) % 6
    swapped = np.array([1, 0, 2, 3, 4, 5])[labels]
    (doubt,) = doubts(labels, outputs(swapped, 6, 0.1))
    assert "0 as 1, 1 as 0" in doubt
    assert "order of the classes" in doubt
