"""A scenario, a variant and a task of another distribution; `tests/e2e/test_additions.py`
installs them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
from onnx import numpy_helper

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
from bench.cards.variants import Calibration, Recipe
from bench.measure.group import Group
from bench.measure.member import Member
from bench.numbers import PLAIN
from bench.record.block import Block
from bench.scenarios import Scenario
from bench.stats.of_means import OfMeans, intervals, mean_of, two_sided_p
from bench.variants import Tolerance, Variant

# -- a scenario ---------------------------------------------------------------------------------

REST_S = 0.005


class RestedGroup(Group):
    """Each block comes after the machine has rested."""

    def block(self, member: Member, number: int, position: int) -> Block:
        time.sleep(REST_S)
        return super().block(member, number, position)


RESTED = Scenario(
    "rested", "latency", one_sample=True, weighs="latency", group="additions:RestedGroup"
)

# -- a variant ----------------------------------------------------------------------------------


def rounded(source: Path, data: Calibration | None) -> Recipe:
    """Weights at a coarse grid, still as float32."""

    def write(source: Path, target: Path) -> None:
        model = onnx.load(str(source))
        for weight in model.graph.initializer:
            values = np.round(numpy_helper.to_array(weight) * 2) / 2
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), weight.name))
        onnx.save(model, str(target))

    return Recipe("weights rounded to halves", write)


ROUNDED = Variant(
    "rounded", Tolerance("cosine >= 0.5", cosine=0.5), maker="additions:rounded", like="fp32"
)

# -- a task whose metric is better lower ---------------------------------------------------------


class Perplexity(Task):
    """The exponential of the mean surprise at the right class."""

    name: ClassVar[str] = "perplexity"
    metrics: ClassVar[tuple[MetricRow, ...]] = (
        MetricRow("perplexity", better="lower", scale=PLAIN, negligible=0.05),
    )
    same_items: ClassVar[tuple[str, ...]] = ("label",)
    likenesses: ClassVar[tuple[LikenessRow, ...]] = (
        LikenessRow(
            "surprise",
            "difference of surprise, nats",
            "low",
            "what surprises it",
            "is as surprised as {original} to within {value:.2f} nats",
        ),
    )

    def columns(self, outputs: Array, data: Dataset, card: Card) -> dict[str, Array]:
        finite(outputs, card.name)
        assert data.labels is not None
        logits = outputs.astype(np.float64)
        right = logits[np.arange(len(logits)), data.labels]
        surprise = np.log(np.exp(logits).sum(axis=1)) - right
        return {"label": data.labels, "surprise": surprise}

    def scores(self, columns: Columns, confidence: float) -> list[Score]:
        (value,) = intervals([_perplexity(columns)], confidence)
        assert value is not None
        return [Score(self.metrics[0], value, len(columns["label"]))]

    def change(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        if not self.same(this, other):
            return None
        mine, theirs = _perplexity(this), _perplexity(other)
        (difference,) = intervals([mine - theirs], confidence)
        assert difference is not None
        return Change(
            metric=self.metrics[0],
            this=mine.estimate(),
            other=theirs.estimate(),
            difference=difference,
            p=two_sided_p(mine - theirs),
            test="bootstrap",
            examples=len(this["label"]),
        )

    def likeness(
        self,
        models: Mapping[str, Columns],
        original: Columns,
        temperature: float,
        confidence: float,
    ) -> Likenesses:
        each = {
            who: {"surprise": mean_of(np.abs(model["surprise"] - original["surprise"]))}
            for who, model in models.items()
        }
        return from_means(each, confidence)


def _perplexity(columns: Columns) -> OfMeans:
    values = np.asarray(columns["surprise"])[:, np.newaxis]
    return OfMeans(values, lambda means: np.exp(means[..., 0]))
