"""What `bench.judge.lineage` compares of two models: the classes that classifiers name, or the
tokens that language models put first; and in which words."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from bench.arrays import Array
from bench.cards.tasks import find_task
from bench.cards.tasks.base import Columns
from bench.cards.tasks.text_generation import clusters, is_right
from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.stats.agreement import agreement, error_consistency, same_wrong_answers
from bench.stats.clusters import by_cluster, cluster_intervals, sign_flip_p, sums
from bench.stats.interval import Interval
from bench.stats.multiple import holm_adjusted
from bench.stats.of_means import OfMeans, intervals, mean_of
from bench.stats.proportion import paired_difference_interval

#: Where a classifier is wrong less often, one shared mistake moves kappa by more than a twentieth.
FEWEST_ERRORS = 20
#: A control whose accuracy surely differs from B's by more is not of its kind: the better two
#: models are, the more they agree, and kappa corrects for chance alone.
ACCURACY_MARGIN = 0.02
#: Nor by more than this share of B's errors: among models that err in 2%, 2 points are a lot.
ERROR_SHARE = 0.25


class Compared(ABC):
    """One kind of what models say. ``measures`` are the ways to be alike, of which the finding is
    of the ``deciding`` one; a model's ``quality`` is how often it is right."""

    key: ClassVar[str]
    measures: ClassVar[Mapping[str, str]]
    deciding: ClassVar[str]
    quality_name: ClassVar[str]
    #: what models do alike, of A and B and beside what is expected of others
    does: ClassVar[str]
    figure: ClassVar[str]

    @abstractmethod
    def check(self, models: Mapping[str, Columns]) -> None:
        """Raise `SpecError` where not all models were asked the same."""

    @abstractmethod
    def right(self, model: Columns) -> OfMeans:
        """The quality of a model."""

    @abstractmethod
    def statistic(self, measure: str, one: Columns, other: Columns) -> OfMeans:
        """One of the ``measures`` of two models."""

    @abstractmethod
    def intervals(self, statistics: Sequence[OfMeans], confidence: float) -> list[Interval | None]:
        """An interval of each, all from the same resamples."""

    @abstractmethod
    def gap(self, control: Columns, b: Columns, confidence: float) -> Interval | None:
        """The control's quality minus B's."""

    @abstractmethod
    def too_little(self, models: Mapping[str, Columns], controls: int, confidence: float) -> str:
        """Why what ``models`` (A and B) said is too little for a verdict; empty where it isn't."""

    @abstractmethod
    def extent(self, model: Columns) -> str:
        """On how much the models are compared, in words."""

    def beyond(self, a: Columns, b: Columns, controls: Mapping[str, Columns]) -> dict[str, float]:
        """For each control the p-value, corrected for their number, of "A is no more like B than
        like this control", by what was asked alone; empty where a kind doesn't test that."""
        return {}


class Classes(Compared):
    """Classifiers: which class they name for labelled examples."""

    key = "classes"
    measures: ClassVar[Mapping[str, str]] = {
        "agreement": "same class (top-1 agreement)",
        "error_consistency": "wrong on the same examples (kappa)",
        "same_wrong": "same wrong class, where both err",
    }
    deciding = "error_consistency"
    quality_name = "accuracy"
    does = "makes its mistakes where {a} does"
    figure = "kappa"

    def check(self, models: Mapping[str, Columns]) -> None:
        first = next(iter(models))
        for name, columns in models.items():
            if not np.array_equal(models[first]["label"], columns["label"]):
                raise SpecError(
                    f"{name} was scored on other examples than {first}: use the same data."
                )

    def right(self, model: Columns) -> OfMeans:
        return mean_of(_hits(model))

    def statistic(self, measure: str, one: Columns, other: Columns) -> OfMeans:
        if measure == "agreement":
            return agreement(one["predicted"], other["predicted"])
        if measure == "error_consistency":
            return error_consistency(_hits(one), _hits(other))
        return same_wrong_answers(one["label"], one["predicted"], other["predicted"])

    def intervals(self, statistics: Sequence[OfMeans], confidence: float) -> list[Interval | None]:
        return intervals(statistics, confidence)

    def gap(self, control: Columns, b: Columns, confidence: float) -> Interval | None:
        theirs, mine = _hits(control), _hits(b)
        return paired_difference_interval(
            int((mine & ~theirs).sum()), int((theirs & ~mine).sum()), len(mine), confidence
        )

    def too_little(self, models: Mapping[str, Columns], controls: int, confidence: float) -> str:
        for name, model in models.items():
            errors = int((~_hits(model)).sum())
            if errors < FEWEST_ERRORS:
                return (
                    f"{name} is wrong on {errors} of the {len(model['label'])} examples, but at "
                    f"least {FEWEST_ERRORS} mistakes are needed to tell whether two models make "
                    "the same ones: use more examples"
                )
        return ""

    def extent(self, model: Columns) -> str:
        return f"{len(model['label'])} examples"


class NextTokens(Compared):
    """Language models of one tokenizer: which token they put first after the same text.

    After "Model provenance testing for large language models" (Nikolic, Baluta & Saxena 2025, arXiv
    2502.00706): a derived model agrees with its original on the next token more than unrelated
    models do, which is tested control by control, with Holm's correction. What they resample are
    single prompts; here it is documents, whose tokens are no independent evidence. And that the
    controls are a sample of models is taken in as for classifiers (`bench.stats.kinship`): a new
    model would agree more than some control, and less than another.
    """

    key = "next tokens"
    measures: ClassVar[Mapping[str, str]] = {
        "agreement": "same token first (top-1 agreement)",
        "error_consistency": "correct on the same tokens (kappa)",
        "same_wrong": "same wrong token, where both err",
    }
    deciding = "agreement"
    quality_name = "next-token top-1"
    does = "puts the same token first as {a}"
    figure = "agreement"

    def check(self, models: Mapping[str, Columns]) -> None:
        first, task = next(iter(models)), find_task("text-generation")
        one = models[first]
        if len(one["token"]) < 2:
            raise SpecError(f"{first} was scored on a single token: give it texts.")
        for name, other in models.items():
            if all(np.array_equal(one[key], other[key]) for key in ("token", "document")):
                continue
            if "bytes" in one and "bytes" in other and task.same(one, other):
                raise SpecError(
                    f"{name} and {first} have different tokenizers, so their tokens can't be "
                    "compared one by one. Lineage of language models needs models with the same "
                    "tokenizer."
                )
            raise SpecError(f"{name} was scored on other texts than {first}: use the same data.")

    def right(self, model: Columns) -> OfMeans:
        return by_cluster(mean_of(is_right(model)), _documents(model), model["predicted"] >= 0)

    def statistic(self, measure: str, one: Columns, other: Columns) -> OfMeans:
        if measure == "agreement":
            found = agreement(one["predicted"], other["predicted"])
        elif measure == "error_consistency":
            found = error_consistency(is_right(one), is_right(other))
        else:
            found = same_wrong_answers(one["token"], one["predicted"], other["predicted"])
        return by_cluster(found, _documents(one), _asked(one, other))

    def intervals(self, statistics: Sequence[OfMeans], confidence: float) -> list[Interval | None]:
        return cluster_intervals(statistics, confidence)

    def gap(self, control: Columns, b: Columns, confidence: float) -> Interval | None:
        (found,) = cluster_intervals([self.right(control) - self.right(b)], confidence)
        return found

    def too_little(self, models: Mapping[str, Columns], controls: int, confidence: float) -> str:
        count = self._count(next(iter(models.values())))
        # The fewest whose signs can all fall one way by chance rarely enough for every control:
        # 2 / 2^n of `sign_flip_p`, times the controls by Holm's correction.
        fewest = math.ceil(math.log2(2 * controls / (1 - confidence)))
        if count >= fewest:
            return ""
        return (
            f"the texts have {count} documents, but with {controls} controls at least {fewest} "
            "are needed to tell with which model another agrees: use more documents"
        )

    def extent(self, model: Columns) -> str:
        return f"{int((model['predicted'] >= 0).sum())} tokens of {self._count(model)} documents"

    def beyond(self, a: Columns, b: Columns, controls: Mapping[str, Columns]) -> dict[str, float]:
        tests = []
        for control in controls.values():
            where = _asked(a, b) & _asked(a, control)
            more = (a["predicted"] == b["predicted"]).astype(float)
            more -= a["predicted"] == control["predicted"]
            documents = _documents(a)
            moved = sums(more * where, documents, int(documents.max()) + 1)
            tests.append(sign_flip_p(moved) if moved.sum() > 0 else 1.0)
        return dict(zip(controls, holm_adjusted(tests).tolist(), strict=True))

    def _count(self, model: Columns) -> int:
        return int(_documents(model).max()) + 1


def _hits(model: Columns) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(model["label"] == model["predicted"])


def _documents(model: Columns) -> Array:
    """What each token is evidence of; a single document's stretches are of tokens where nobody says
    how many bytes each has."""
    sized = model if "bytes" in model else {**model, "bytes": np.ones(len(model["token"]), int)}
    return clusters(sized)


def _asked(one: Columns, other: Columns) -> Array:
    return np.asarray((one["predicted"] >= 0) & (other["predicted"] >= 0))


KINDS: tuple[Compared, ...] = (Classes(), NextTokens())


def kind_of(columns: Columns) -> Compared:
    """What was stored of a model tells what can be compared of it.

    Raises `SpecError` for questions and answers.
    """
    classes, tokens = KINDS
    if "label" in columns:
        return classes
    if "token" in columns:
        return tokens
    raise SpecError(
        "lineage of language models compares their most probable next tokens in texts, but these "
        "were scored on questions or answers: score them on texts."
    )


def quality_gap(
    kind: Compared, control: Columns, b: Columns, confidence: float = CONFIDENCE
) -> Interval | None:
    """The control's quality minus B's, where that is surely not 0 and too large for models of one
    kind; else None."""
    gap = kind.gap(control, b, confidence)
    margin = min(ACCURACY_MARGIN, ERROR_SHARE * (1 - kind.right(b).estimate()))
    if gap is None or gap.low <= 0 <= gap.high or abs(gap.estimate) <= margin:
        return None
    return gap
