"""Whole queries of a language model as a record has them, made of equal times."""

from __future__ import annotations

import numpy as np
from fake_records import a_cell

from bench.record.assemble import invocation
from bench.record.block import Block
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.queries import of_queries
from bench.record.result import Queries
from bench.stats.stopping import Stated


def queries(
    scenario: str, ttft_ns: int, rest_ns: int, batch: int = 1, count: int = 700, **bounds: int
) -> Queries | None:
    """Three invocations of equal queries."""
    cell = a_cell(scenario=scenario, batch=batch, **bounds)
    ttft = np.full(count, ttft_ns, np.int64)
    taken, samples, first = [], {}, {}
    for index in range(3):
        block = Block(cell.id, index, 0, 0, ttft + rest_ns, ttft_ns=ttft)
        told = WorkerFacts(
            cell_id=cell.id,
            index=index,
            load_ns=1,
            bind_ns=1,
            first_inference_ns=1,
            warmup_calls=1,
            settled=True,
            discard=0,
        )
        taken.append(invocation(told, [block], None))
        samples[index], first[index] = block.latency_ns, ttft
    facts = CellFacts(cell_id=cell.id, stop="precision")
    return of_queries(cell, taken, samples, first, {}, facts, Stated(0.95))
