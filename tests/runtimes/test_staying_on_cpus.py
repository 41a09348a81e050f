"""While a model is timed, the thread that computes is on its cell's CPUs, with each runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.measure.listener import QuietProgress
from bench.measure.member import bound_worker
from bench.measure.prepare import prepare
from bench.spec import make_suite

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs that a process can be kept on",
)


class Two(dict[int, tuple[int, ...]]):
    """One of all CPUs for the cell."""

    def around(self, cpus: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(os.sched_getaffinity(0)))


def test_the_calling_thread_stays_where_its_cell_is_measured(tmp_path: Path) -> None:
    suite = make_suite(
        {
            "name": "t",
            "models": ["fashion-student"],
            "targets": ["*"],
            "scenarios": ["single-stream"],
            "threads": 1,
        },
        "the test",
    )
    cpu = max(os.sched_getaffinity(0))
    found: dict[str, tuple[set[int], bool]] = {}
    with prepare(suite, QuietProgress(), tmp_path) as prepared:
        context: Any = SimpleNamespace(launcher=prepared.launcher, cpus=Two({1: (cpu,)}))
        for planned in prepared.plan.cells:
            if planned.refused is not None:
                continue
            state: Any = SimpleNamespace(planned=planned, cell=planned.cell)
            worker, _, _ = bound_worker(state, context)
            worker.warm_up(0.2)
            worker.timed_block(calls=20, discard=5)
            moves = planned.choice.runtime is not None and planned.choice.runtime.moves
            found[planned.cell.target] = os.sched_getaffinity(worker.pid), moves
            worker.end()
    assert {target: where for target, (where, _) in found.items() if where != {cpu}} == {}
    assert any(moves for _, moves in found.values())
    assert not all(moves for _, moves in found.values())
