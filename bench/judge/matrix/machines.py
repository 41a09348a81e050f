"""What has to be known of each machine beside its figures: how fast its core is by itself, how
steady it was, and whether other programs ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.judge.disturbance import CHECKS as DISTURBANCE
from bench.judge.matrix.cells import Matrix, Price
from bench.record.result import Record
from bench.store.machines import Machine

#: A canary whose slowest processes take so much longer than its fastest has wandered: ratios
#: within the machine hold all the same, its absolute figures less. Our choice.
WANDERED = 1.10
#: Between which of the processes' canaries that is read. Our choice: a tenth may be odd.
_RANGE = (0.1, 0.9)


@dataclass(frozen=True)
class Beside:
    """``canary_ns`` is the median time of bench's own reference work, a fixed loop on one core,
    over the processes of the machine's cells; ``spread`` its slow over its fast processes."""

    machine: Machine
    canary_ns: float | None
    spread: float | None
    cells: int
    disturbed: int
    price: Price | None

    @property
    def wandered(self) -> bool:
        return self.spread is not None and self.spread > WANDERED


def beside(matrix: Matrix) -> list[Beside]:
    """One for each machine, in the order of the columns."""
    return [_of(machine, matrix) for machine in matrix.machines]


def _of(machine: Machine, matrix: Matrix) -> Beside:
    records = [e.record for e in matrix if e.column.machine == machine and not e.word]
    times = np.array(_canaries(records))
    low, high = np.quantile(times, _RANGE) if times.size else (0.0, 0.0)
    return Beside(
        machine,
        float(np.median(times)) if times.size else None,
        float(high / low) if low > 0 else None,
        len(records),
        sum(_is_disturbed(record) for record in records),
        matrix.asked.prices.get(machine.name),
    )


def _canaries(records: Sequence[Record]) -> list[float]:
    return [i.canary_ns for record in records for i in record.invocations if i.canary_ns]


def _is_disturbed(record: Record) -> bool:
    return any(not check.ok for check in record.checks if check.name in DISTURBANCE)
