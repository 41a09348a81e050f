"""What is known of one cell while it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.arrays import Array
from bench.cell import Cell
from bench.errors import BenchError
from bench.measure.plan import PlannedCell
from bench.record.block import Block, trusted_gaps, trusted_samples, trusted_ttft
from bench.record.estimate import figures
from bench.record.facts import ToldPlacement
from bench.record.result import Invocation, StopReason


@dataclass
class CellState:
    """What is known of one cell so far."""

    planned: PlannedCell
    invocations: list[Invocation] = field(default_factory=list)
    samples: dict[int, Array] = field(default_factory=dict)
    ttft: dict[int, Array] = field(default_factory=dict)  #: of the same calls, if whole queries
    gaps: dict[int, Array] = field(default_factory=dict)  #: of these, from token to token
    placement: ToldPlacement | None = None
    profiles: bool = False  #: whether a session of its own could find out more of it
    outputs: list[Array] | None = None  #: of the most recent timed call
    spent_s: float = 0.0  #: in its workers, once they are ready
    starting_s: float = 0.0  #: until they were: its share where others started beside them
    ran: bool = False  #: its model made an inference in one of them
    asides_failed: bool = False  #: what is asked beside the figures once was an error
    overdrawn: bool = False  #: went on for its fewest invocations although its time was up
    failure: BenchError | None = None
    stop: StopReason | None = None
    group: str = ""  #: cells of one group share its generations

    @property
    def cell(self) -> Cell:
        return self.planned.cell

    def take(self, index: int, blocks: Sequence[Block]) -> None:
        """Keep the timed calls of one invocation."""
        self.samples[index] = trusted_samples(blocks)
        ttft_ns = trusted_ttft(blocks)
        if ttft_ns is not None:
            self.ttft[index] = ttft_ns
        gaps_ns = trusted_gaps(blocks)
        if gaps_ns is not None:
            self.gaps[index] = gaps_ns

    def figures(self) -> Array:
        """What the cell is measured for, one figure an invocation (see `estimate.figures`)."""
        return figures(self.cell, self.invocations)
