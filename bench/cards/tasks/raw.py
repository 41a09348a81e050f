"""``raw``: a model without labels. Its outputs are compared with the reference's, not scored."""

from __future__ import annotations

from typing import ClassVar

from bench.arrays import Array
from bench.cards.card import Card
from bench.cards.datasets import Dataset
from bench.cards.tasks.base import Change, Columns, Score, Task
from bench.errors import AccuracyFailed


class Raw(Task):
    """Parity alone."""

    name: ClassVar[str] = "raw"
    scored: ClassVar[bool] = False

    def columns(self, outputs: Array, data: Dataset, card: Card) -> dict[str, Array]:
        raise AccuracyFailed(f"{card.name}: a model of the task `{self.name}` is not scored.")

    def scores(self, columns: Columns, confidence: float) -> list[Score]:
        return []

    def change(self, this: Columns, other: Columns, confidence: float) -> Change | None:
        return None
