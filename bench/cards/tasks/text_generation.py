"""``text-generation``: a language model, scored on texts, questions with choices, or answers.

Evidence is by document: what a model makes of one token says little new about the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card
from bench.cards.datasets import Dataset
from bench.cards.tasks import decisions
from bench.cards.tasks.base import (
    Change,
    Columns,
    Likenesses,
    LikenessRow,
    MetricRow,
    Score,
    Task,
    from_means,
)
from bench.cards.tasks.paired import paired_change
from bench.errors import AccuracyFailed
from bench.numbers import PLAIN
from bench.stats.acceptance import coarse_acceptance
from bench.stats.agreement import (
    agreement,
    error_consistency,
    flips,
    log_perplexity_ratio,
    probability_change,
)
from bench.stats.clusters import by_cluster, cluster_intervals, ratio, sign_flip_p, sums
from bench.stats.divergence import coarse_divergence
from bench.stats.interval import Interval
from bench.stats.of_means import OfMeans
from bench.stats.proportion import clopper_pearson

#: A hundredth of a bit a byte is about 1% of what good models need on English: our choice.
BITS = MetricRow("bits per byte", better="lower", scale=PLAIN, negligible=0.01)
PERPLEXITY = MetricRow("perplexity", better="lower", scale=PLAIN, negligible=0.1)
NEXT = MetricRow("next-token top-1", share=True)
#: A single document is cut into stretches of so many bytes or more, which are resampled.
_STRETCH_BYTES = 256
_MOST_STRETCHES = 40


class TextGeneration(Task):
    """Bits per byte, compared document by document; or how many questions are right.

    Texts are stored token by token: ``document``, ``bytes`` that the token is of, ``token``,
    ``vocabulary``, ``log_p`` (natural logarithm) and ``predicted``, the most probable id, or -1
    where nothing came before. ``top_ids`` and ``top_log_p`` are the beginning of the distribution
    and ``tail_log_p`` all the rest of it; ids are -1 where it isn't kept. Questions are stored
    choice by choice, with ``question``, ``choice``, ``gold``, ``log_p`` and ``bytes``; answers one
    a row, with ``right`` and ``answer``.
    """

    name: ClassVar[str] = "text-generation"
    metrics: ClassVar[tuple[MetricRow, ...]] = (
        *(BITS, decisions.NORMALISED, decisions.EXACT),
        *(PERPLEXITY, NEXT, decisions.LIKELIEST),
    )
    bulky: ClassVar[tuple[str, ...]] = ("top_ids", "top_log_p", "tail_log_p")
    tells_variants: ClassVar[bool] = True
    foretells: ClassVar[bool] = True
    likenesses: ClassVar[tuple[LikenessRow, ...]] = (
        LikenessRow(
            "same_token",
            "same token first",
            "high",
            "what it says next",
            "puts the same token first as {original} for {value:.1%} of the tokens",
        ),
        LikenessRow(
            "same_choice",
            "same choice",
            "high",
            "what it chooses",
            "chooses like {original} in {value:.1%} of the questions",
        ),
        LikenessRow(
            "same_answer",
            "same answer, word for word",
            "high",
            "what it answers",
            "answers like {original} in {value:.1%} of the prompts",
        ),
        LikenessRow(
            "bits",
            "bits per byte above the original's",
            "low",
            "how well it predicts the text",
            "needs {value:+.3f} bits per byte more than {original}",
        ),
        LikenessRow(
            "divergence", "KL divergence, nats per token (at least)", "low", "its distributions"
        ),
        LikenessRow("tail", "probability outside what both list", "low"),
        LikenessRow("acceptance", "expected acceptance of a draft (at least)", "high"),
        LikenessRow("acceptance_most", "the same, at most", "high"),
        LikenessRow("probability_change", "change of the correct token's probability (RMS)", "low"),
        LikenessRow("perplexity_ratio", "ln of perplexity over the original's", "low"),
        LikenessRow("error_consistency", "correct on the same (kappa)", "high"),
        LikenessRow(
            "flips",
            "flips: correct to incorrect, or incorrect to correct",
            "low",
            "where it makes mistakes",
        ),
    )

    def columns(self, outputs: Array, data: Dataset, card: Card) -> dict[str, Array]:
        raise AccuracyFailed(f"{card.name}: it has no token cache, so it is not scored on text.")

    def scores(self, columns: Columns, confidence: float) -> list[Score]:
        if "token" not in columns:
            return _decided(columns, confidence)
        texts = _Texts(columns)
        told = [(BITS, texts.bits), (PERPLEXITY, texts.perplexity), (NEXT, texts.right)]
        found = cluster_intervals([statistic for _, statistic in told], confidence)
        return [
            Score(metric, _inside(metric, interval), texts.documents)
            for (metric, _), interval in zip(told, found, strict=True)
            if interval is not None
        ]

    def change(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        if not self.same(this, other):
            return None
        if "token" not in this:
            metric = decisions.EXACT if "right" in this else decisions.NORMALISED
            mine, theirs = decisions.right(this), decisions.right(other)
            return paired_change(metric, mine, theirs, confidence)
        return self._changed_bits(this, other, confidence)

    def _changed_bits(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        mine, theirs = _Texts(this), _Texts(other)
        (difference,) = cluster_intervals([mine.bits - theirs.bits], confidence)
        if difference is None:
            return None
        return Change(
            metric=BITS,
            this=mine.bits.estimate(),
            other=theirs.bits.estimate(),
            difference=difference,
            p=sign_flip_p(mine.bits.features[:, 0] - theirs.bits.features[:, 0]),
            test="sign flips",
            examples=mine.documents,
        )

    def doubts(self, columns: Columns, score: Score) -> list[str]:
        if "choice" in columns:
            return _no_better_than_guessing(score, decisions.guessing(columns))
        if score.metric != BITS:
            return []
        uniform = len(columns["token"]) * math.log2(columns["vocabulary"][0])
        guessed = uniform / columns["bytes"].sum()
        if score.value.high < guessed:
            return []
        return [
            f"{score.value.estimate:.2f} bits per byte are not reliably below the {guessed:.2f} "
            "of blind guessing: check the tokenizer and the weights"
        ]

    def same(self, one: Columns, other: Columns) -> bool:
        kinds = [set(columns) - set(self.bulky) for columns in (one, other)]
        if kinds[0] != kinds[1]:
            return False
        if "token" in one:
            return _same_texts(one, other)
        told = ("question", "choice", "gold", "bytes", "document")
        return len(one["document"]) == len(other["document"]) and all(
            np.array_equal(one[name], other[name]) for name in told if name in one
        )

    def unlike(self, one: Columns, other: Columns) -> str:
        if "token" not in one:
            return ""
        same = all(np.array_equal(one[name], other[name]) for name in ("token", "document"))
        if not same:
            return (
                "their tokenizers split the texts into other tokens, so their distributions can't "
                "be compared; bits per byte can"
            )
        sizes = one["vocabulary"][0], other["vocabulary"][0]
        if sizes[0] != sizes[1]:
            return (
                f"their vocabularies have {sizes[0]} and {sizes[1]} tokens, so their "
                "distributions can't be compared; bits per byte can"
            )
        return ""

    def likeness(
        self,
        models: Mapping[str, Columns],
        original: Columns,
        temperature: float,
        confidence: float,
    ) -> Likenesses:
        if "token" not in original:
            return _decides_alike(models, original, confidence)
        apart = any(self.unlike(original, model) for model in models.values())
        alike = _bits_apart if apart else _foretells_alike
        each = {who: alike(model, original) for who, model in models.items()}
        found = from_means(each, confidence, cluster_intervals)
        return {place: _on_its_scale(*place, interval) for place, interval in found.items()}


def _decided(columns: Columns, confidence: float) -> list[Score]:
    documents = decisions.documents(columns)
    if "right" in columns:
        return [decisions.share(decisions.EXACT, decisions.right(columns), documents, confidence)]
    return [
        decisions.share(metric, decisions.right(columns, by_bytes=by_bytes), documents, confidence)
        for metric, by_bytes in ((decisions.NORMALISED, True), (decisions.LIKELIEST, False))
    ]


def _no_better_than_guessing(score: Score, guessed: float) -> list[str]:
    if score.value.low > guessed:
        return []
    return [
        f"{score.metric.name} of {score.value.estimate:.1%} is not reliably above the "
        f"{guessed:.1%} of choosing blindly: check the form of the questions, the tokenizer and "
        "the "
        "weights"
    ]


class _Texts:
    """Sums by document, and what is made of them."""

    def __init__(self, columns: Columns) -> None:
        self.clusters = clusters(columns)
        self.documents = int(self.clusters.max()) + 1
        self._columns = columns
        self.predicted = columns["predicted"] >= 0
        self._nats = self.sums(-columns["log_p"] * self.predicted)
        self._tokens = self.sums(self.predicted)

    def sums(self, values: Array) -> Array:
        return sums(values, self.clusters, self.documents)

    @property
    def bits(self) -> OfMeans:
        """Of all tokens, the first that nothing predicts too, over bytes."""
        bits = self.sums(-self._columns["log_p"]) / math.log(2)
        return ratio(bits, self.sums(self._columns["bytes"]))

    @property
    def perplexity(self) -> OfMeans:
        mean = ratio(self._nats, self._tokens)
        return OfMeans(mean.features, lambda means: np.exp(mean.value(means)))

    @property
    def right(self) -> OfMeans:
        return ratio(self.sums(is_right(self._columns) & self.predicted), self._tokens)


def is_right(columns: Columns) -> Array:
    """For each token whether it was the most probable."""
    return np.asarray(columns["predicted"] == columns["token"])


def clusters(columns: Columns) -> Array:
    """What each token is evidence of, from 0: its document; where there is one alone, a stretch of
    it, by bytes, so that two models' are the same whatever their tokenizers."""
    documents: Array = columns["document"]
    if documents[0] != documents[-1] or len(np.unique(documents)) > 1:
        return np.unique(documents, return_inverse=True)[1].reshape(-1)
    ends = np.cumsum(columns["bytes"])
    count = int(np.clip(ends[-1] // _STRETCH_BYTES, 2, _MOST_STRETCHES))
    places: Array = np.minimum((ends - 1).clip(0) * count // max(1, ends[-1]), count - 1)
    return places


def _same_texts(one: Columns, other: Columns) -> bool:
    """Whether both are of the same documents, in whatever tokens."""
    if len(one["token"]) == 0 or len(other["token"]) == 0:
        return False
    mine, theirs = (np.bincount(each["document"], each["bytes"]) for each in (one, other))
    return np.array_equal(mine, theirs)


def _foretells_alike(model: Columns, original: Columns) -> dict[str, OfMeans]:
    """The measures of two models with one vocabulary, of the tokens that both were asked for."""
    texts = _Texts(original)
    told = texts.predicted & (model["predicted"] >= 0)
    right = is_right(model), is_right(original)
    likelihoods = model["log_p"], original["log_p"]
    found = {
        "same_token": agreement(model["predicted"], original["predicted"]),
        "probability_change": probability_change(*likelihoods),
        "perplexity_ratio": log_perplexity_ratio(*likelihoods),
        "error_consistency": error_consistency(*right),
        "flips": flips(*right),
    }
    clustered = {key: by_cluster(each, texts.clusters, told) for key, each in found.items()}
    return clustered | _distributed_alike(model, original, told, texts)


def _distributed_alike(
    model: Columns, original: Columns, told: Array, texts: _Texts
) -> dict[str, OfMeans]:
    """What the stored beginnings of the distributions tell; nothing where none are stored."""
    if "top_ids" not in model or "top_ids" not in original:
        return {}
    kept = told & (original["top_ids"][:, 0] >= 0) & (model["top_ids"][:, 0] >= 0)
    values = dict(
        zip(("divergence", "tail"), coarse_divergence(original, model, kept), strict=True)
    )
    bounds = coarse_acceptance(original, model, kept)
    values |= dict(zip(("acceptance", "acceptance_most"), bounds, strict=True))
    tokens = texts.sums(kept)
    return {key: ratio(texts.sums(value), tokens) for key, value in values.items()}


def _bits_apart(model: Columns, original: Columns) -> dict[str, OfMeans]:
    """Of models that don't share a vocabulary: what the same bytes cost each."""
    return {"bits": _Texts(model).bits - _Texts(original).bits}


def _decides_alike(
    models: Mapping[str, Columns], original: Columns, confidence: float
) -> Likenesses:
    """Of questions and answers, whatever the vocabularies: what both say is text."""
    documents = decisions.documents(original)
    if len(documents) < 2:
        return {}
    each = {
        who: {
            key: by_cluster(statistic, documents)
            for key, statistic in _decided_alike(model, original).items()
        }
        for who, model in models.items()
    }
    found = from_means(each, confidence, cluster_intervals)
    return {
        (who, key): _widened(_on_its_scale(who, key, interval), len(documents), who, key)
        for (who, key), interval in found.items()
    }


def _decided_alike(model: Columns, original: Columns) -> dict[str, OfMeans]:
    if "right" in original:
        key, said = "same_answer", [each["answer"] for each in (model, original)]
    else:
        key = "same_choice"
        said = [decisions.chosen(each, by_bytes=True) for each in (model, original)]
    right = [decisions.right(each) for each in (model, original)]
    return {
        key: agreement(*said),
        "error_consistency": error_consistency(*right),
        "flips": flips(*right),
    }


#: The ends of the scales that are no shares.
_SCALES = {
    "divergence": (0.0, math.inf),
    "perplexity_ratio": (-math.inf, math.inf),
    "bits": (-math.inf, math.inf),
    "error_consistency": (-1.0, 1.0),
}


def _on_its_scale(who: str, key: str, found: Interval | None) -> Interval | None:
    if found is None or who == "effect":
        return found
    return found.within(*_SCALES.get(key, (0.0, 1.0)))


def _widened(found: Interval | None, questions: int, who: str, key: str) -> Interval | None:
    """The exact interval of a share where all questions are alike, which no resample changes."""
    if found is None or who == "effect" or key in _SCALES:
        return found
    if found.low < found.high or found.estimate not in (0.0, 1.0):
        return found
    return clopper_pearson(round(found.estimate * questions), questions, found.confidence)


def _inside(metric: MetricRow, interval: Interval) -> Interval:
    return interval.within(0.0, 1.0 if metric.share else math.inf)
