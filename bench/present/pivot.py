"""Records joined to the lines that people read: the latency of a model on a target beside its
throughput."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.record.result import Record
from bench.scenarios import find_scenario


@dataclass(frozen=True)
class Batch:
    """What one line shows: a latency record, a throughput record, or both."""

    latency: Record | None = None
    offline: Record | None = None

    @property
    def records(self) -> list[Record]:
        return [record for record in (self.latency, self.offline) if record is not None]


def batches_of(records: Sequence[Record]) -> tuple[Batch, ...]:
    """One line for each batch; a latency at batch 1 alone shares the line of the first batch."""
    latency = {r.cell.batch: r for r in records if find_scenario(r.cell.scenario).shows_latency}
    offline = {r.cell.batch: r for r in records if r.cell.is_rate}
    if set(latency) == {1} and offline and 1 not in offline:
        first, *rest = sorted(offline)
        joined = Batch(latency[1], offline[first])
        return (joined, *(Batch(None, offline[batch]) for batch in rest))
    return tuple(
        Batch(latency.get(batch), offline.get(batch)) for batch in sorted({*latency, *offline})
    )
