"""``embedding``: texts (or anything) to vectors, scored by what their cosine similarities are for.

Two kinds of labelled data: pairs with a gold similarity (STS: Spearman's rho, as in SemEval and
MTEB), and queries with relevant items (retrieval: recall@k).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

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
from bench.errors import AccuracyFailed
from bench.stats.of_means import OfMeans, intervals, mean_of, two_sided_p
from bench.stats.rank import recall_at, spearman, spearman_difference, spearman_interval

RHO = MetricRow("Spearman's rho")
PEARSON = MetricRow("Pearson's r")
#: Retrieval is scored at the last of these, which is what MTEB's and BEIR's tables name first.
RECALL_AT = (1, 10)
RECALLS = {k: MetricRow(f"recall@{k}") for k in RECALL_AT}
_MASK = "attention_mask"


class Embedding(Task):
    """Spearman's rho or recall@k, compared by the paired bootstrap over pairs or queries."""

    name: ClassVar[str] = "embedding"
    metrics: ClassVar[tuple[MetricRow, ...]] = (RHO, *RECALLS.values(), PEARSON)
    same_items: ClassVar[tuple[str, ...]] = ("gold", "query")
    likenesses: ClassVar[tuple[LikenessRow, ...]] = (
        LikenessRow(
            "rank_agreement",
            "orders the pairs alike (Spearman's rho)",
            "high",
            "how it orders",
            "orders the pairs like {original} (Spearman's rho {value:.2f} between the two)",
        ),
        LikenessRow("similarity_error", "mean difference of similarity", "low", "its similarities"),
        LikenessRow(
            "recall_agreement",
            "same share of relevant items found",
            "high",
            "which items it finds",
            "finds the same share of relevant items as {original} in {value:.1%} of queries",
        ),
    )

    def columns(self, outputs: Array, data: Dataset, card: Card) -> dict[str, Array]:
        finite(outputs, card.name)
        vectors = _unit(_pooled(outputs, data, card), card)
        if data.pairs is not None and data.scores is not None:
            one, other = vectors[data.pairs[:, 0]], vectors[data.pairs[:, 1]]
            return {"gold": data.scores, "similarity": (one * other).sum(axis=1)}
        if data.queries is None or data.items is None or data.relevant is None:
            raise AccuracyFailed(
                f"{card.name}: the data set {data.name} has neither pairs with scores nor queries "
                "with relevant items; scoring an embedding needs one of the two."
            )
        similarity = vectors[data.queries] @ vectors[data.items].T
        recalls = {f"recall_at_{k}": recall_at(similarity, data.relevant, k) for k in RECALL_AT}
        return {"query": data.queries, **recalls}

    def scores(self, columns: Columns, confidence: float) -> list[Score]:
        if "similarity" in columns:
            gold, similarity = columns["gold"], columns["similarity"]
            rho = Score(RHO, spearman_interval(gold, similarity, confidence), len(gold))
            (pearson,) = intervals([_pearson(gold, similarity)], confidence)
            return [rho, *([Score(PEARSON, pearson, len(gold))] if pearson else [])]
        recalls = [(k, columns[f"recall_at_{k}"]) for k in reversed(RECALL_AT)]
        found = intervals([mean_of(recall) for _, recall in recalls], confidence)
        return [
            Score(RECALLS[k], interval, len(recall))
            for (k, recall), interval in zip(recalls, found, strict=True)
            if interval is not None
        ]

    def change(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        if "similarity" in this:
            return _changed_rho(this, other, confidence)
        return _changed_recall(this, other, confidence)

    def likeness(
        self,
        models: Mapping[str, Columns],
        original: Columns,
        temperature: float,
        confidence: float,
    ) -> Likenesses:
        each = {who: _alike(model, original) for who, model in models.items()}
        found = from_means(each, confidence)
        if "similarity" in original:
            found |= _rank_agreements(models, original["similarity"], confidence)
        return found

    def doubts(self, columns: Columns, score: Score) -> list[str]:
        if score.metric != RHO or score.value.low > 0:
            return []
        return [
            f"{RHO.name} of {score.value.estimate:.2f} is not reliably above 0, the value for "
            "unrelated vectors: check the tokenizer, the pooling and which output is scored"
        ]


def _pooled(outputs: Array, data: Dataset, card: Card) -> Array:
    """One vector for each example: outputs for each token are averaged, or the first is taken."""
    if outputs.ndim == 2:
        return outputs
    how = card.dataset.pooling if card.dataset else ""
    if outputs.ndim != 3 or not how:
        raise AccuracyFailed(
            f"{card.name}: an embedding is (examples, width), this output is {outputs.shape}. Name "
            'another in `dataset.output`, or set how tokens are pooled: `dataset.pooling = "mean"` '
            'or "cls".'
        )
    if how == "cls":
        return np.asarray(outputs[:, 0])
    mask = data.inputs.get(_MASK)
    if mask is None or mask.shape != outputs.shape[:2]:
        return np.asarray(outputs.mean(axis=1))
    weights = mask[:, :, np.newaxis].astype(np.float64)
    return np.asarray((outputs * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1))


def _unit(vectors: Array, card: Card) -> Array:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (norms > 0).all():
        raise AccuracyFailed(f"{card.name}: an embedding is all zero, so it has no direction.")
    return np.asarray(vectors / norms)


def _pearson(gold: Array, scores: Array) -> OfMeans:
    """Pearson's r as a function of means, about the middle of the data for accuracy."""
    x, y = gold - np.mean(gold), scores - np.mean(scores)

    def r(means: Any) -> Any:
        xy, mx, my, xx, yy = (means[..., i] for i in range(5))
        return (xy - mx * my) / np.sqrt((xx - mx**2) * (yy - my**2))

    return OfMeans(np.stack([x * y, x, y, x * x, y * y], axis=1), r)


def _changed_rho(this: Columns, other: Columns, confidence: float) -> Change | None:
    gold = this["gold"]
    if "gold" not in other or not np.array_equal(gold, other["gold"]):
        return None
    mine, theirs = this["similarity"], other["similarity"]
    difference, p = spearman_difference(gold, theirs, mine, confidence)
    return Change(
        metric=RHO,
        this=spearman(gold, mine),
        other=spearman(gold, theirs),
        difference=difference,
        p=p,
        test="bootstrap",
        examples=len(gold),
    )


def _changed_recall(this: Columns, other: Columns, confidence: float) -> Change | None:
    k = RECALL_AT[-1]
    if "query" not in other or not np.array_equal(this["query"], other["query"]):
        return None
    mine, theirs = mean_of(this[f"recall_at_{k}"]), mean_of(other[f"recall_at_{k}"])
    (difference,) = intervals([mine - theirs], confidence)
    assert difference is not None
    return Change(
        metric=RECALLS[k],
        this=mine.estimate(),
        other=theirs.estimate(),
        difference=difference,
        p=two_sided_p(mine - theirs),
        test="bootstrap",
        examples=len(this["query"]),
    )


def _alike(model: Columns, original: Columns) -> dict[str, OfMeans]:
    if "similarity" in original:
        return {"similarity_error": mean_of(np.abs(model["similarity"] - original["similarity"]))}
    recall = f"recall_at_{RECALL_AT[-1]}"
    return {"recall_agreement": mean_of(model[recall] == original[recall])}


def _rank_agreements(models: Mapping[str, Columns], theirs: Array, confidence: float) -> Likenesses:
    """Spearman's rho between a model's similarities and the original's."""
    try:
        found: Likenesses = {
            (who, "rank_agreement"): spearman_interval(theirs, model["similarity"], confidence)
            for who, model in models.items()
        }
        if "control" in models:
            control, student = (models[who]["similarity"] for who in ("control", "student"))
            effect, _ = spearman_difference(theirs, control, student, confidence)
            found["effect", "rank_agreement"] = effect
    except ValueError:  # all similarities of a model are equal: there is no order
        return {}
    return found
