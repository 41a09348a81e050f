"""``classification``: one right class for each example. Top-1 and top-5, whole and by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card
from bench.cards.datasets import Dataset
from bench.cards.tasks.base import (
    Change,
    Columns,
    Likenesses,
    LikenessRow,
    MetricRow,
    Score,
    Task,
    finite,
    from_means,
)
from bench.cards.tasks.paired import paired_change
from bench.cards.tasks.renumbering import best_renumbering
from bench.errors import AccuracyFailed
from bench.stats.agreement import agreement, error_consistency, same_wrong_answers
from bench.stats.calibration import (
    calibration_interval,
    difference_of_calibrations,
    divergence,
)
from bench.stats.of_means import OfMeans
from bench.stats.proportion import (
    clopper_pearson,
)

#: Outputs beyond this are not stored with the predictions; fidelity then knows the classes alone.
STORED_BYTES = 64 << 20
#: An order of classes that explains the labels is only looked for with so many examples of each.
_EXAMPLES_A_CLASS = 10
#: Another order of classes has to explain so many more examples before it is worth a word.
_BETTER_ORDER = 0.1


TOP1 = MetricRow("top-1", share=True)
TOP5 = MetricRow("top-5", share=True)


class Classification(Task):
    """Top-1 accuracy (Clopper and Pearson's exact interval), compared by McNemar's exact test."""

    name: ClassVar[str] = "classification"
    metrics: ClassVar[tuple[MetricRow, ...]] = (TOP1, TOP5)
    bulky: ClassVar[tuple[str, ...]] = ("logits",)
    same_items: ClassVar[tuple[str, ...]] = ("label",)
    one_class: ClassVar[bool] = True
    likenesses: ClassVar[tuple[LikenessRow, ...]] = (
        LikenessRow(
            "agreement",
            "same class (top-1 agreement)",
            "high",
            "what it answers",
            "answers like {original} on {value:.1%} of the examples",
        ),
        LikenessRow(
            "error_consistency",
            "wrong on the same examples (kappa)",
            "high",
            "where it makes mistakes",
        ),
        LikenessRow(
            "same_wrong",
            "same wrong class, where both err",
            "high",
            "which mistakes it makes",
        ),
        LikenessRow(
            "divergence", "KL divergence, nats, T = {temperature:g}", "low", "its distributions"
        ),
        LikenessRow("calibration_error", "calibration error (ECE)", "low"),
    )

    def columns(self, outputs: Array, data: Dataset, card: Card) -> dict[str, Array]:
        labels = _labels(data, card)
        if outputs.shape in ((len(labels),), (len(labels), 1)) and _are_two_classes(labels, card):
            finite(outputs, card.name)
            return {"label": labels, "predicted": _of_one_output(outputs.reshape(-1), card)}
        if outputs.ndim != 2 or len(outputs) != len(labels):
            raise AccuracyFailed(
                f"{card.name}: a classifier's output must be (examples, classes), but this one is "
                f"{outputs.shape} for {len(labels)} labels. Set the card's task to `raw`, or "
                "name the output in `dataset.output`."
            )
        _fits(outputs.shape[1], labels, card)
        # A class that is masked out has -inf, which is less than any other; one is left at least.
        masked = np.isneginf(outputs)
        finite(np.where(masked & ~masked.all(axis=1, keepdims=True), 0, outputs), card.name)
        predicted = outputs.argmax(axis=1).astype(np.int64)
        columns = {"label": labels, "predicted": predicted}
        if outputs.shape[1] > 5:
            best = np.argpartition(outputs, -5, axis=1)[:, -5:]
            columns["in_top5"] = (best == labels[:, None]).any(axis=1)
        # The divergence of two distributions needs logits that are numbers.
        if outputs.size * 4 <= STORED_BYTES and not masked.any():
            columns["logits"] = outputs.astype(np.float32)
        return columns

    def scores(self, columns: Columns, confidence: float) -> list[Score]:
        labels, right = columns["label"], right_of(columns)
        scores = [_proportion(TOP1, right, confidence)]
        if "in_top5" in columns:
            scores.append(_proportion(TOP5, columns["in_top5"], confidence))
        for label in np.unique(labels):
            scores.append(
                _proportion(self.metric(f"class {label}"), right[labels == label], confidence)
            )
        return scores

    def change(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        if len(this["label"]) == 0 or not self.same(this, other):
            return None
        return paired_change(TOP1, right_of(this), right_of(other), confidence)

    def doubts(self, columns: Columns, score: Score) -> list[str]:
        labels = columns["label"]
        doubts = []
        chance = np.bincount(labels).max() / len(labels)
        if score.value.low <= chance:
            doubts.append(
                f"top-1 of {score.value.estimate:.1%} is not reliably above the {chance:.1%} of "
                "always naming the most common class: check the preprocessing, the order of the "
                "classes and the weights"
            )
        better = _another_order(columns)
        if better:
            doubts.append(better)
        return doubts

    def likeness(
        self,
        models: Mapping[str, Columns],
        original: Columns,
        temperature: float,
        confidence: float,
    ) -> Likenesses:
        each = {who: _alike(model, original, temperature) for who, model in models.items()}
        return from_means(each, confidence) | _calibrations(models, original, confidence)


def _alike(model: Columns, original: Columns, temperature: float) -> dict[str, OfMeans]:
    labels, mine, theirs = model["label"], model["predicted"], original["predicted"]
    found = {
        "agreement": agreement(mine, theirs),
        "error_consistency": error_consistency(mine == labels, theirs == labels),
        "same_wrong": same_wrong_answers(labels, mine, theirs),
    }
    both = "logits" in model and "logits" in original
    if both and model["logits"].shape == original["logits"].shape:
        found["divergence"] = divergence(original["logits"], model["logits"], temperature)
    return found


def _calibrations(
    models: Mapping[str, Columns], original: Columns, confidence: float
) -> Likenesses:
    every = {**models, "original": original}
    known = {who: (m["label"], m["logits"]) for who, m in every.items() if "logits" in m}
    found: Likenesses = {
        (who, "calibration_error"): calibration_interval(*model, confidence)
        for who, model in known.items()
    }
    if {"student", "control"} <= set(known):
        found["effect", "calibration_error"] = difference_of_calibrations(
            known["student"], known["control"], confidence
        )
    return found


def right_of(columns: Columns) -> Array:
    """For each example whether the predicted class is the label, bool of shape (examples,)."""
    return np.asarray(columns["label"] == columns["predicted"])


def _labels(data: Dataset, card: Card) -> Array:
    if data.labels is None or len(data.labels) == 0:
        raise AccuracyFailed(
            f"{card.name}: the data set {data.name} has no labels, needed for classification."
        )
    return data.labels


def _are_two_classes(labels: Array, card: Card) -> bool:
    named = len(card.dataset.classes) if card.dataset else 0
    return named in (0, 2) and int(labels.max()) <= 1


def _of_one_output(outputs: Array, card: Card) -> Array:
    """The predicted class of each example: class 1 where the output is above the threshold.

    A probability's is 0.5. Whether other values are logits can't be seen in them, so the card has
    to say.
    """
    assert card.dataset is not None
    threshold = card.dataset.threshold
    if threshold is None:
        low, high = float(outputs.min()), float(outputs.max())
        if low < 0 or high > 1:
            raise AccuracyFailed(
                f"{card.name}: its one output runs from {low:.3g} to {high:.3g}, so it is not a "
                "probability of class 1; set `dataset.threshold` (0 for logits)."
            )
        threshold = 0.5
    return (outputs > threshold).astype(np.int64)


def _fits(width: int, labels: Array, card: Card) -> None:
    """As many outputs as classes."""
    named = len(card.dataset.classes) if card.dataset else 0
    if named and named != width:
        raise AccuracyFailed(
            f"{card.name}: its output has {width} classes, the card names {named}. Correct "
            "`dataset.classes`, or use the model that was trained on these classes."
        )
    if labels.max() >= width:
        raise AccuracyFailed(
            f"{card.name}: its output has {width} classes, but the labels go up to {labels.max()}. "
            "Use the data that the model was trained for, or number the classes from 0."
        )


def _proportion(metric: MetricRow, right: Array, confidence: float) -> Score:
    correct = int(right.sum())
    return Score(metric, clopper_pearson(correct, len(right), confidence), len(right), correct)


def _another_order(columns: Columns) -> str:
    """Whether the predictions would fit much better, were the classes numbered otherwise.

    The best one-to-one renumbering is an assignment problem on the table of counts.
    """
    labels, predicted = columns["label"], columns["predicted"]
    classes = int(max(labels.max(), predicted.max())) + 1
    if classes > 1000 or len(labels) < _EXAMPLES_A_CLASS * classes:
        return ""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    correct = np.trace(counts)
    # No numbering fits better than the best for each class alone.
    if (counts.max(axis=1).sum() - correct) / len(labels) < _BETTER_ORDER:
        return ""
    rows, best = np.arange(classes), best_renumbering(counts)
    if (counts[rows, best].sum() - correct) / len(labels) < _BETTER_ORDER:
        return ""
    moved = [
        f"{label} as {named}" for label, named in zip(rows, best, strict=True) if label != named
    ]
    return (
        f"{counts[rows, best].sum() / len(labels):.1%} would be correct with another numbering of "
        f"the classes ({', '.join(moved[:4])}{', ...' if len(moved) > 4 else ''}): the order of "
        "the "
        "classes differs between the model and the data"
    )
