"""What a task is: from a model's outputs to scores with intervals, and to paired comparisons."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card
from bench.cards.datasets import Dataset
from bench.errors import AccuracyFailed
from bench.numbers import FRACTION, Scale
from bench.stats.interval import Interval
from bench.stats.of_means import OfMeans, intervals

#: One row for each scored item (an example, a pair of texts, a query): what a run stores, and all
#: that any later comparison needs.
Columns = Mapping[str, Array]
#: The level of a test that stands alone.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class MetricRow:
    """What everybody asks about a metric: which way is better, and how it is written.

    ``negligible`` is a difference that doesn't matter unless somebody says otherwise, as stored.
    """

    name: str
    better: Literal["higher", "lower"] = "higher"
    scale: Scale = FRACTION
    #: MLPerf Inference's rules ask for 99% of the fp32 model's accuracy; half a point is stricter
    #: for every model that is right more often than half.
    negligible: float = 0.005
    #: whether it is a share of right answers, which people call accuracy
    share: bool = False

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.better == "higher" else -1

    def gain(self, difference: Interval) -> Interval:
        """A difference turned so that above 0 is better."""
        if self.better == "higher":
            return difference
        return replace(
            difference,
            estimate=-difference.estimate,
            low=-difference.high,
            high=-difference.low,
        )

    def words(self) -> str:
        """What a column called accuracy shows of it; empty for a share of right answers."""
        if self.share:
            return ""
        if self.scale.is_fraction:
            return f"{self.name} x 100"
        return f"{self.name}, {self.better} is better"


@dataclass(frozen=True)
class Score:
    """A metric with its interval, over so many scored items, as the metric's scale stores it.
    ``correct`` is a count where the metric is a proportion."""

    metric: MetricRow
    value: Interval
    examples: int
    correct: int | None = None


@dataclass(frozen=True)
class Change:
    """A metric of one model minus that of another, on the same items.

    ``p`` is that of the named ``test`` of "they are equal". Where the metric is a proportion,
    ``only_this_right`` and ``only_other_right`` count the items that decide, and ``retained`` is
    the ratio of the two.
    """

    metric: MetricRow
    this: float
    other: float
    difference: Interval
    p: float
    test: str
    examples: int
    retained: Interval | None = None
    only_this_right: int | None = None
    only_other_right: int | None = None

    @property
    def significant(self) -> bool:
        """Whether the two differ at the 5% level, this comparison taken alone."""
        return self.p < SIGNIFICANT

    @property
    def gain(self) -> Interval:
        """The difference, turned so that above 0 this one is better."""
        return self.metric.gain(self.difference)


@dataclass(frozen=True)
class LikenessRow:
    """One way in which a model may be like its original, and how it is read.

    ``better`` is the end of the scale that is likeness (of a calibration error: calibration);
    ``respect`` ends the sentence "more like the original in ...", empty for no likeness; ``says``
    tells the value in words, where the measure is the first to be told.
    """

    key: str
    name: str
    better: Literal["high", "low"]
    respect: str = ""
    says: str = ""


#: By model (``student``, ``control``, ``original``, or ``effect``: the student's value minus the
#: control's) and the key of a `LikenessRow`.
Likenesses = dict[tuple[str, str], Interval | None]


class Task(ABC):
    """What right means for a kind of model, and all that others ask about that. One instance
    serves all models; it keeps no state."""

    name: ClassVar[str]
    #: whether a model of this task is scored on a data set at all
    scored: ClassVar[bool] = True
    #: the primary metrics that it may have first, then further ones whose names are known
    metrics: ClassVar[tuple[MetricRow, ...]] = ()
    #: columns that no metric is made of, as large as all else together
    bulky: ClassVar[tuple[str, ...]] = ()
    #: columns of which those that are there have to be equal for items to be the same
    same_items: ClassVar[tuple[str, ...]] = ()
    #: whether an item has one right class: the columns `label` and `predicted`
    one_class: ClassVar[bool] = False
    #: whether texts are foretold token by token: the columns `document`, `token` and `predicted`
    foretells: ClassVar[bool] = False
    #: whether the likeness of a precision form to the model itself is told
    tells_variants: ClassVar[bool] = False
    #: how likeness to an original is measured; none where it isn't
    likenesses: ClassVar[tuple[LikenessRow, ...]] = ()

    @abstractmethod
    def columns(self, outputs: Array, data: Dataset, card: Card) -> dict[str, Array]:
        """What is kept of ``outputs``, of shape (examples, ...): one row for each scored item.

        Raises `AccuracyFailed` where outputs and data don't fit, or hold NaN.
        """

    @abstractmethod
    def scores(self, columns: Columns, confidence: float) -> list[Score]:
        """The primary metric first, then what else is worth knowing (top-5, each class)."""

    @abstractmethod
    def change(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        """The primary metric of two models on the same items; None where the items differ."""

    def doubts(self, columns: Columns, score: Score) -> list[str]:
        """What makes the score look like a mistake: near what guessing gives, classes in another
        order. Each is one sentence that says what to look at."""
        return []

    def likeness(
        self,
        models: Mapping[str, Columns],
        original: Columns,
        temperature: float,
        confidence: float,
    ) -> Likenesses:
        """How like ``original`` the ``models`` are (``student``, and ``control`` where there is
        one), of the same items, by the keys of `likenesses`."""
        return {}

    def metric(self, name: str) -> MetricRow:
        """How a metric of this task is read, by its stored name."""
        for row in self.metrics:
            if row.name == name:
                return row
        return replace(self.metrics[0], name=name) if self.metrics else MetricRow(name)

    def same(self, one: Columns, other: Columns) -> bool:
        """Whether what was stored of two models is of the same items."""
        told = [name for name in self.same_items if name in one or name in other]
        return bool(told) and all(
            name in one and name in other and np.array_equal(one[name], other[name])
            for name in told
        )

    def unlike(self, one: Columns, other: Columns) -> str:
        """Why the distributions of two models can't be compared although they saw the same items;
        empty where they can."""
        return ""


def from_means(
    each: Mapping[str, Mapping[str, OfMeans]],
    confidence: float,
    intervals_of: Callable[[Sequence[OfMeans], float], list[Interval | None]] = intervals,
) -> Likenesses:
    """Likenesses that are functions of means, of student, control and their difference, all from
    the same resamples."""
    flat = {(who, key): s for who, found in each.items() for key, s in found.items()}
    for key, control in each.get("control", {}).items():
        if key in each["student"]:
            flat["effect", key] = each["student"][key] - control
    return dict(zip(flat, intervals_of(list(flat.values()), confidence), strict=True))


@dataclass(frozen=True)
class Judged:
    """What a task says of predictions: its metrics, the primary one first, and its doubts."""

    scores: tuple[Score, ...]
    doubts: tuple[str, ...]


def judged(task: Task, columns: Columns, confidence: float) -> Judged:
    """All that follows from predictions, in a run and when it is derived again."""
    scores = task.scores(columns, confidence)
    return Judged(tuple(scores), tuple(task.doubts(columns, scores[0])))


def finite(outputs: Array, name: str) -> None:
    """Raise `AccuracyFailed` where ``outputs`` hold NaN or Inf."""
    if not np.isfinite(outputs).all():
        raise AccuracyFailed(
            f"{name}: its outputs for the labelled data contain NaN or Inf, so they are not scored."
        )
