"""The figures of a stored run derived again from what was measured: samples and predictions.

What follows from them is computed by the same functions that computed it in the run: of an
invocation its calls, blocks, median, floor, sum and the canary's median; of a record its latency,
throughput, start-up, memory and accuracy. What was measured once and left no samples (loading,
memory, the outputs' difference from the reference, placement) is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.tasks import find_task
from bench.errors import SpecError
from bench.record import estimate
from bench.record.result import Accuracy, Invocation, Latency, Metric, Record
from bench.stats.percentile import floor, median
from bench.store.run import StoredRun
from bench.store.samples import CANARY, Block, trusted_samples

#: By cell and invocation.
Measured = dict[tuple[str, int], list[Block]]


def derived(run: StoredRun) -> tuple[StoredRun, list[str]]:
    """The same run with every figure derived again, and what could not be.

    Raises `SpecError` where the samples can't be read.
    """
    measured, canaries = read_blocks(run.path)
    problems: list[str] = []
    records = [_record(run, record, measured, canaries, problems) for record in run.records]
    lines = [_invocation(i, measured, canaries, problems) for i in run.invocations]
    return replace(run, records=records, invocations=lines), list(dict.fromkeys(problems))


def read_blocks(path: Path) -> tuple[Measured, dict[tuple[str, int], float]]:
    """All blocks of a run, and for each invocation the canary's median in its generation, which is
    a file. Raises `SpecError` where a file is broken."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    measured: Measured = {}
    canaries: dict[tuple[str, int], float] = {}
    for file in sorted((path / "samples").glob("*.parquet")):
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise SpecError(f"{file}: the samples can't be read: {error}.") from error
        found: Measured = {}
        for block in _blocks(table):
            found.setdefault((block.cell_id, block.invocation), []).append(block)
        beats = [b.latency_ns for (cell, _), bs in found.items() if cell == CANARY for b in bs]
        for key, blocks in found.items():
            if key[0] == CANARY:
                continue
            measured[key] = blocks
            if beats:
                canaries[key] = float(np.median(np.concatenate(beats)))
    return measured, canaries


def _blocks(table: Any) -> Iterator[Block]:
    """Consecutive rows of one cell, invocation, round and position are a block."""
    cells = np.array(table["cell_id"].to_pylist(), dtype=object)
    if not len(cells):
        return
    names, codes = np.unique(cells.astype(str), return_inverse=True)
    columns = {
        name: table[name].to_numpy(zero_copy_only=False)
        if name == "disturbed"
        else table[name].to_numpy()
        for name in ("invocation", "round", "position", "disturbed", "latency_ns")
    }
    keys = (codes, columns["invocation"], columns["round"], columns["position"])
    changes = np.zeros(len(cells) - 1, dtype=bool)
    for key in keys:
        changes |= np.diff(key) != 0
    ends = [*(np.flatnonzero(changes) + 1), len(cells)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield Block(
            cell_id=str(names[codes[start]]),
            invocation=int(columns["invocation"][start]),
            round=int(columns["round"][start]),
            position=int(columns["position"][start]),
            latency_ns=columns["latency_ns"][start:end],
            disturbed=bool(columns["disturbed"][start]),
        )


def _invocation(
    one: Invocation,
    measured: Measured,
    canaries: Mapping[tuple[str, int], float],
    problems: list[str],
) -> Invocation:
    key = one.cell_id, one.index
    blocks = measured.get(key)
    if not blocks:
        problems.append(f"cell {one.cell_id}: invocation {one.index} has no samples")
        return one
    latency_ns = trusted_samples(blocks)
    return one.model_copy(
        update={
            "calls": len(latency_ns),
            "blocks": len(blocks),
            "disturbed_blocks": sum(block.disturbed for block in blocks),
            "median_ns": median(latency_ns),
            "floor_ns": floor(latency_ns),
            "busy_ns": int(latency_ns.sum()),
            "canary_ns": canaries.get(key),
        }
    )


def _record(
    run: StoredRun,
    record: Record,
    measured: Measured,
    canaries: Mapping[tuple[str, int], float],
    problems: list[str],
) -> Record:
    confidence = run.header.suite.confidence
    taken = [_invocation(i, measured, canaries, problems) for i in record.invocations]
    samples = {
        i.index: trusted_samples(measured[i.cell_id, i.index])
        for i in taken
        if measured.get((i.cell_id, i.index))
    }
    rates = estimate.figures(record.cell, taken) if record.cell.is_rate and taken else np.empty(0)
    canary_ns = [i.canary_ns for i in taken if i.canary_ns is not None]
    return record.model_copy(
        update={
            "invocations": tuple(taken),
            "latency": _latency(taken, samples, confidence),
            "throughput": estimate.estimate(rates, confidence),
            "load_ns": estimate.estimate([i.load_ns for i in taken], confidence),
            "first_inference_ns": estimate.estimate(
                [i.first_inference_ns for i in taken], confidence
            ),
            "memory": estimate.memory(taken) if taken else None,
            "canary_ns": estimate.estimate(canary_ns, confidence),
            "accuracy": _accuracy(run, record, problems),
        }
    )


def _latency(
    taken: list[Invocation], samples: Mapping[int, Array], confidence: float
) -> Latency | None:
    return estimate.latency(taken, samples, confidence) if taken else None


def _accuracy(run: StoredRun, record: Record, problems: list[str]) -> Accuracy | None:
    """The scores again, from the predictions."""
    stored = record.accuracy
    if stored is None:
        return None
    try:
        columns = run.scored_columns(record)
        scores = find_task(record.cell.model.task).scores(columns, run.header.suite.confidence)
    except SpecError as error:
        problems.append(str(error))
        return stored
    primary, *further = scores
    return stored.model_copy(
        update={
            "metric": primary.metric.name,
            "value": estimate.as_estimate(primary.value),
            "correct": primary.correct,
            "examples": primary.examples,
            "further": tuple(
                Metric(name=s.metric.name, value=estimate.as_estimate(s.value), examples=s.examples)
                for s in further
            ),
        }
    )
