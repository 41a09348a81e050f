"""Runs of anything that the schema allows: real records with leaves exchanged for odd values."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compared_runs import a_header
from fake_records import CONTROL, STUDENT, TEACHER, a_cell, a_failed_check, a_failure, a_record
from pydantic import ValidationError

from bench.record.result import Foreign, Invocation, Record
from bench.store.run import StoredRun, read_run
from bench.store.write import RunStore

#: What is put in the place of a value, by its type in JSON.
NUMBERS: tuple[Any, ...] = (0, -1, 1, 0.0, -0.0, 1e-300, 5e-324, 1e300, -1e300, 0.5, 2**53, 2**63)
TEXTS = ("", " ", "x", "\x1b[2J", "a|b", "<b>", "nan", "../x", "ü" * 300, "=1+1", "\u202e")


def base_records() -> list[Record]:
    """One of each kind."""
    cells = [
        a_cell(model, target)
        for model in (TEACHER, STUDENT, CONTROL)
        for target in ("x:cpu", "y:gpu:0")
    ]
    rates = [a_cell(model, "x:cpu", "offline", 8) for model in (TEACHER, STUDENT)]
    slow = a_cell(STUDENT, "z:npu")
    foreign = Foreign(tool="t", source="t.json", name="n", median_ns=1000.0, samples=3)
    return [
        *(a_record(cell, 1e5 * (n + 1)) for n, cell in enumerate([*cells, *rates])),
        a_record(slow, 1e6, None, samples=50, simulated=True),
        a_record(a_cell(TEACHER, "w:cpu"), 1e5, checks=(a_failed_check("parity", "far off"),)),
        a_failure(a_cell(TEACHER, "v:cpu")),
        Record(
            cell_id="f", cell=a_cell(TEACHER, "t:u"), status="ok", stop="foreign", foreign=foreign
        ),
    ]


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of plain JSON: its parent and its key there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield value, key
        if isinstance(inner, dict | list):
            yield from leaves(inner)


def another(value: Any, rng: random.Random) -> Any:
    """Something else that may stand there."""
    if rng.random() < 0.15:
        return None
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice(NUMBERS)
    if isinstance(value, str):
        return rng.choice(TEXTS)
    if isinstance(value, list):
        return rng.choice([[], value[:1], value * 2])
    if isinstance(value, dict):
        return {}
    return rng.choice([*NUMBERS, *TEXTS])


def odd(record: Record, rng: random.Random) -> Record:
    """The record with some leaves exchanged, as far as the schema allows each."""
    for _ in range(rng.choice((0, 1, 3, 10))):
        data = json.loads(record.model_dump_json())
        parent, key = rng.choice(list(leaves(data)))
        parent[key] = another(parent[key], rng)
        try:
            record = Record.model_validate_json(json.dumps(data))
        except ValidationError:
            continue
    return record


def odd_run(folder: Path, seed: int) -> StoredRun:
    """A run of some odd records, written without being looked at and read back."""
    rng = random.Random(seed)
    base = base_records()
    chosen = [odd(record, rng) for record in rng.sample(base, rng.randint(1, len(base)))]
    confidence = rng.choice((0.5, 0.95, 0.999))
    suite = {"models": ["a"], "confidence": confidence}
    header = a_header([r.cell for r in chosen], suite=suite)
    store = RunStore.create(folder, header)
    invocations: list[Invocation] = [i for r in chosen for i in r.invocations]
    for name, lines in (("records.jsonl", chosen), ("invocations.jsonl", invocations)):
        text = "".join(one.model_dump_json() + "\n" for one in lines)
        (store.path / name).write_text(text, encoding="utf-8")
    store.close()
    stored = read_run(store.path)
    assert stored.skipped == []
    return stored
