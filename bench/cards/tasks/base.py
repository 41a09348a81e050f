"""What a task is: from a model's outputs to scores with intervals, and to paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card
from bench.cards.datasets import Dataset
from bench.stats.interval import Interval

#: One row for each scored item (an example, a pair of texts, a query): what a run stores, and all
#: that any later comparison needs.
Columns = Mapping[str, Array]
#: The level of a test that stands alone.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Score:
    """A metric with its interval, over so many scored items; proportions and correlations are
    fractions of 1. ``correct`` is a count where the metric is a proportion."""

    metric: str
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

    metric: str
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


class Task(Protocol):
    """What right means for a kind of model. One instance serves all models; it keeps no state."""

    name: ClassVar[str]
    #: whether a model of this task is scored on a data set at all
    scored: ClassVar[bool]

    def columns(self, outputs: Array, data: Dataset, card: Card) -> dict[str, Array]:
        """What is kept of ``outputs``, of shape (examples, ...): one row for each scored item.

        Raises `AccuracyFailed` where outputs and data don't fit, or hold NaN.
        """
        ...

    def scores(self, columns: Columns, confidence: float) -> list[Score]:
        """The primary metric first, then what else is worth knowing (top-5, each class)."""
        ...

    def change(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        """The primary metric of two models on the same items; None where the items differ."""
        ...

    def doubts(self, columns: Columns, score: Score, card: Card) -> list[str]:
        """What makes the score look like a mistake: near what guessing gives, classes in another
        order. Each is one sentence that says what to look at."""
        ...


def finite(outputs: Array, name: str) -> None:
    """Raise `AccuracyFailed` where ``outputs`` hold NaN or Inf."""
    from bench.errors import AccuracyFailed

    if not np.isfinite(outputs).all():
        raise AccuracyFailed(
            f"{name}: its outputs for the labelled data contain NaN or Inf, so they are not scored."
        )
