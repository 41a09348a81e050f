"""What examining a model means, whatever its answers are: one implementation for samples, one for
texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.arrays import Array
from bench.measure.plan import PlannedCell
from bench.record.certificate import Condition, Examined
from bench.record.facts import ToldPlacement


@dataclass(frozen=True)
class Answer:
    """What a party answered: each output as (rows, ...), in the order of the rows whatever order
    they were asked in."""

    outputs: Sequence[Array]
    placement: ToldPlacement | None = None
    #: columns of the model's task, where it is scored and all rows were asked
    predictions: dict[str, Array] = field(default_factory=dict)


class Examiner(Protocol):
    """Asks parties, and compares what they answer."""

    examined: Examined

    def conditions(self, planned: PlannedCell) -> dict[Condition, str]:
        """Other ways to ask the reference, each in words; ``plain`` is not one of them."""

    def answer(self, planned: PlannedCell, condition: Condition) -> Answer:
        """Ask once, in a process of its own. Raises `BenchError` where that fails."""

    def rows(self, mine: Answer, theirs: Answer) -> dict[str, Array]:
        """The columns of `bench.record.rows`, of the rows that both have.

        Raises `Unsupported` where they can't be compared."""
