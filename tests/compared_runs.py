"""Runs as `bench run` would store them, for tests of what is compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fake_records import a_cell, a_record, an_invocation

from bench.cell import Cell
from bench.record.header import RunHeader
from bench.record.result import Record
from bench.spec import Suite
from bench.store.run import StoredRun, read_run
from bench.store.write import RunStore

MACHINE = {"machine_id": "0123456789ab", "cpu_model": "AMD EPYC", "kernel": "6.1"}


def a_header(
    cells: Sequence[Cell], facts: dict[str, Any] | None = None, **changes: Any
) -> RunHeader:
    values: dict[str, Any] = {
        "bench_version": "0",
        "created_at": "2026-01-01T00:00:00+00:00",
        "command": "bench run",
        "suite": Suite(models=("a",)),
        "targets": (),
        "models": ("a",),
        "facts": MACHINE if facts is None else facts,
        "cells": tuple(cells),
    }
    return RunHeader(**(values | changes))


def in_memory(records: Sequence[Record], name: str = "a", **changes: Any) -> StoredRun:
    """A run that was read, without its files."""
    header = a_header(**{"cells": [r.cell for r in records], **changes})
    return StoredRun(Path("runs") / name, header, list(records), [], [])


def on_disk(folder: Path, records: Sequence[Record], **changes: Any) -> StoredRun:
    """A run directory below ``folder``; predictions are written by `with_predictions`."""
    store = RunStore.create(folder, a_header([r.cell for r in records], **changes))
    for record in records:
        store.append_record(record)
    store.close()
    return read_run(store.path)


def with_predictions(run: StoredRun, right: dict[str, np.ndarray]) -> None:
    """Write a prediction for each example: right where the array of that file says so."""
    store = RunStore(run.path)
    for name, is_right in right.items():
        labels = np.arange(len(is_right)) % 10
        predicted = np.where(is_right, labels, labels + 1)
        store.write_predictions(name, {"label": labels, "predicted": predicted})
    store.close()


def measured(
    times_ns: Sequence[float],
    cell: Cell | None = None,
    floors_ns: Sequence[float] | None = None,
    canary_ns: Sequence[float] | None = None,
    first_index: int = 0,
    **changes: Any,
) -> Record:
    """A record whose invocations have these medians (and floors, and canaries)."""
    cell = cell or a_cell()
    invocations = []
    for position, time_ns in enumerate(times_ns):
        update: dict[str, Any] = {}
        if floors_ns is not None:
            update["floor_ns"] = floors_ns[position]
        if canary_ns is not None:
            update["canary_ns"] = canary_ns[position]
        found = an_invocation(first_index + position, time_ns, cell)
        invocations.append(found.model_copy(update=update))
    return a_record(cell, invocations=tuple(invocations), **changes)


def noisy(
    rng: np.random.Generator, center_ns: float, count: int = 6, sd: float = 0.02
) -> list[float]:
    """Log-normal times, with the spread between processes that is usual on a shared machine."""
    return [float(x) for x in center_ns * np.exp(rng.normal(0, sd, count))]
