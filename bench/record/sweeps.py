"""Sweeps over the batch (``--batch auto``): which records belong to one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cell import Cell
from bench.record.estimate import figures
from bench.record.result import Record, SweepEnd
from bench.scenarios import find_scenario


@dataclass(frozen=True)
class Swept:
    """The records of one sweep, by batch."""

    batches: Mapping[int, Record]

    @property
    def failed(self) -> bool:
        """Whether a batch failed, and so is the last of them."""
        return any(record.status == "failed" for record in self.batches.values())

    @property
    def end(self) -> SweepEnd | None:
        """How memory ended it, if it did."""
        return self.largest.sweep_end

    @property
    def largest(self) -> Record:
        """The record of the largest batch that was measured."""
        return self.batches[max(self.batches)]

    @staticmethod
    def key_of(cell: Cell) -> tuple[object, ...]:
        """Everything that defines a cell but its batch and what that changes."""
        rest = cell.defining("batch", "shapes", "input_sha256", "model")
        return cell.model.name, cell.model.sha256, json.dumps(rest)


def swept(records: Sequence[Record]) -> dict[tuple[object, ...], Swept]:
    """The records whose queries may hold any number of samples and whose figure is a rate."""
    found: dict[tuple[object, ...], dict[int, Record]] = {}
    for record in records:
        cell = record.cell
        if cell.is_rate and not find_scenario(cell.scenario).one_sample and record.foreign is None:
            found.setdefault(Swept.key_of(cell), {})[cell.batch] = record
    return {key: Swept(batches) for key, batches in found.items()}


def rates_of(sweep: Swept) -> dict[int, list[float]]:
    """Samples a second of each invocation, by batch; those that went well, of two processes."""
    return {
        batch: figures(record.cell, record.invocations).tolist()
        for batch, record in sweep.batches.items()
        if record.standing in ("ok", "wrong")
        and not record.simulated
        and len(record.invocations) > 1
    }
