"""``classification``: one right class for each example. Top-1 and top-5, whole and by class."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card
from bench.cards.datasets import Dataset
from bench.cards.tasks.base import Change, Columns, Score, finite
from bench.errors import AccuracyFailed
from bench.stats.proportion import (
    clopper_pearson,
    mcnemar_exact,
    paired_difference_interval,
    retention_interval,
)

#: Outputs beyond this are not stored with the predictions; fidelity then knows the classes alone.
STORED_BYTES = 64 << 20
#: An order of classes that explains the labels is only looked for with so many examples of each.
_EXAMPLES_A_CLASS = 10
#: Another order of classes has to explain so many more examples before it is worth a word.
_BETTER_ORDER = 0.1


class Classification:
    """Top-1 accuracy (Clopper and Pearson's exact interval), compared by McNemar's exact test."""

    name: ClassVar[str] = "classification"
    scored: ClassVar[bool] = True

    def columns(self, outputs: Array, data: Dataset, card: Card) -> dict[str, Array]:
        labels = _labels(data, card)
        if outputs.ndim != 2 or len(outputs) != len(labels):
            raise AccuracyFailed(
                f"{card.name}: a classifier's output is (examples, classes), this one is "
                f"{outputs.shape} for {len(labels)} labels. Set the card's task to `raw`, or "
                "name the output in `dataset.output`."
            )
        _fits(outputs.shape[1], labels, card)
        finite(outputs, card.name)
        predicted = outputs.argmax(axis=1).astype(np.int64)
        columns = {"label": labels, "predicted": predicted}
        if outputs.shape[1] > 5:
            best = np.argpartition(outputs, -5, axis=1)[:, -5:]
            columns["in_top5"] = (best == labels[:, None]).any(axis=1)
        if outputs.size * 4 <= STORED_BYTES:
            columns["logits"] = outputs.astype(np.float32)
        return columns

    def scores(self, columns: Columns, confidence: float) -> list[Score]:
        labels, right = columns["label"], right_of(columns)
        scores = [_proportion("top-1", right, confidence)]
        if "in_top5" in columns:
            scores.append(_proportion("top-5", columns["in_top5"], confidence))
        for label in np.unique(labels):
            scores.append(_proportion(f"class {label}", right[labels == label], confidence))
        return scores

    def change(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        if len(this["label"]) == 0 or not np.array_equal(this["label"], other["label"]):
            return None
        mine, theirs = right_of(this), right_of(other)
        both = int(np.sum(mine & theirs))
        lost, gained = int(np.sum(theirs & ~mine)), int(np.sum(mine & ~theirs))
        kept = retention_interval(both, lost, gained, confidence) if both + lost else None
        return Change(
            metric="top-1",
            this=float(np.mean(mine)),
            other=float(np.mean(theirs)),
            difference=paired_difference_interval(lost, gained, len(mine), confidence),
            p=mcnemar_exact(lost, gained),
            test="McNemar",
            examples=len(mine),
            retained=kept,
            only_this_right=gained,
            only_other_right=lost,
        )

    def doubts(self, columns: Columns, score: Score, card: Card) -> list[str]:
        labels = columns["label"]
        doubts = []
        chance = np.bincount(labels).max() / len(labels)
        if score.value.low <= chance:
            doubts.append(
                f"top-1 of {score.value.estimate:.1%} is not surely above the {chance:.1%} that "
                "naming the commonest class gives: check the preprocessing, the order of the "
                "classes and the weights"
            )
        better = _another_order(columns)
        if better:
            doubts.append(better)
        return doubts


def right_of(columns: Columns) -> Array:
    """For each example whether the predicted class is the label, bool of shape (examples,)."""
    return np.asarray(columns["label"] == columns["predicted"])


def _labels(data: Dataset, card: Card) -> Array:
    if data.labels is None or len(data.labels) == 0:
        raise AccuracyFailed(
            f"{card.name}: the data set {data.name} has no labels, which classification needs."
        )
    return data.labels


def _fits(width: int, labels: Array, card: Card) -> None:
    """As many outputs as classes."""
    named = len(card.dataset.classes) if card.dataset else 0
    if named and named != width:
        raise AccuracyFailed(
            f"{card.name}: its output has {width} classes, the card names {named}. Correct "
            "`dataset.classes`, or take the model that was trained on these classes."
        )
    if labels.max() >= width:
        raise AccuracyFailed(
            f"{card.name}: its output has {width} classes, but the labels go up to {labels.max()}. "
            "Take the data that the model was trained for, or number the classes from 0."
        )


def _proportion(metric: str, right: Array, confidence: float) -> Score:
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
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    rows, best = linear_sum_assignment(counts, maximize=True)
    gain = (counts[rows, best].sum() - np.trace(counts)) / len(labels)
    if gain < _BETTER_ORDER:
        return ""
    moved = [
        f"{label} as {named}" for label, named in zip(rows, best, strict=True) if label != named
    ]
    return (
        f"{counts[rows, best].sum() / len(labels):.1%} would be right, were the classes numbered "
        f"otherwise ({', '.join(moved[:4])}{', ...' if len(moved) > 4 else ''}): the order of the "
        "classes differs between the model and the data"
    )
