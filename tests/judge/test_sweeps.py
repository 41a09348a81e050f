"""What a run says of its sweeps over the batch."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from compared_runs import a_header
from fake_records import TEACHER, a_cell, a_record, an_invocation, estimate

from bench.judge.sweeps import sweep_sentences
from bench.record.result import Failure, Record, SweepEnd
from bench.record.sweeps import swept
from bench.spec import Suite
from bench.stats.sweep import find_knee
from bench.store.run import StoredRun

SPREAD = (0.998, 1.0, 1.002, 0.999, 1.001)


def a_batch(batch: int, rate: float, target: str = "x:cuda:0") -> Record:
    cell = a_cell(TEACHER, target, "offline", batch)
    call_ns = batch / rate * 1e9
    taken = tuple(an_invocation(n, call_ns * factor, cell) for n, factor in enumerate(SPREAD))
    return a_record(cell, call_ns, invocations=taken, throughput=estimate(rate))


def a_run(records: list[Record], batch: str | tuple[int, ...] = "auto") -> StoredRun:
    suite = Suite(models=("fashion-teacher",), scenarios=("offline",), batch=batch)
    header = a_header([record.cell for record in records], {}, suite=suite)
    return StoredRun(Path("x"), header, records, [], [])


def test_a_sweep_is_one_whether_or_not_the_axes_of_its_batch_were_kept() -> None:
    records = [a_batch(n, n * 1e3) for n in (1, 2, 4)]
    cell = records[0].cell.model_copy(update={"batch_axes": {"image": 0}})
    records[0] = records[0].model_copy(update={"cell": cell})
    (sweep,) = swept(records).values()
    assert sorted(sweep.batches) == [1, 2, 4]


def test_the_knee_of_each_sweep_is_said_with_what_more_would_bring() -> None:
    rising = [a_batch(n, r) for n, r in ((1, 1e3), (8, 5e3), (16, 9.95e3), (32, 1e4), (64, 9e3))]
    (said,) = sweep_sentences(a_run(rising))
    assert said.startswith(
        "fashion-teacher on x:cuda:0, offline: the knee is at batch 16, 9.95 k/s; the best, "
        "10.0 k/s at batch 32, is not distinguishable from it within the margin ("
    )
    assert said.endswith("% more) (measured: 1, 8, 16, 32, 64).")


@pytest.mark.parametrize("invocations", [2, 3])
def test_rates_that_differ_too_much_between_processes_have_no_knee(invocations: int) -> None:
    """Nothing is surely worse than the best then: the smallest batch would be the knee."""
    rates = {8: (240.0, 500.0, 300.0), 16: (180.0, 900.0, 400.0)}
    records = []
    for batch, found in rates.items():
        cell = a_cell(TEACHER, "x:cuda:0", "offline", batch)
        taken = [batch / rate * 1e9 for rate in found[:invocations]]
        made = tuple(an_invocation(n, call_ns, cell) for n, call_ns in enumerate(taken))
        mean = estimate(float(np.mean(found[:invocations])))
        records.append(a_record(cell, taken[0], invocations=made, throughput=mean))
    (said,) = sweep_sentences(a_run(records))
    assert "no knee is established: the best, " in said
    assert "is unstable; measure longer" in said
    assert "the knee is at" not in said


def test_what_the_best_batch_may_bring_more_is_counted_from_the_knee() -> None:
    """Half the rate at the knee is 100% more at the best batch, not 50%."""
    cells = {batch: a_cell(TEACHER, "x:cuda:0", "offline", batch) for batch in (8, 16)}
    rates = {8: (99.0, 101.0, 100.0), 16: (120.0, 165.0, 200.0)}
    records = []
    for batch, cell in cells.items():
        taken = [batch / rate * 1e9 for rate in rates[batch]]
        invocations = tuple(an_invocation(n, call_ns, cell) for n, call_ns in enumerate(taken))
        mean = estimate(float(np.mean(rates[batch])))
        records.append(a_record(cell, taken[0], invocations=invocations, throughput=mean))
    (said,) = sweep_sentences(a_run(records))
    found = re.search(r"the knee is at batch 8, .* \(([\d.]+) to ([\d.]+)% more\)", said)
    assert found is not None
    of_best_over_knee = find_knee(rates, 0.02, 0.95).ratio.inverse()
    assert found[1] == "0.0"
    assert float(found[2]) == pytest.approx(100 * (of_best_over_knee.high - 1), abs=0.1)
    assert float(found[2]) > 100


def test_a_knee_that_is_the_best_batch_says_so() -> None:
    three = [
        a_batch(n, r, t) for t in ("x:cpu", "y:cpu") for n, r in ((1, 1e3), (2, 2e3), (4, 1e3))
    ]
    said = sweep_sentences(a_run(three))
    assert len(said) == 2
    assert "on y:cpu, offline: the knee is at batch 2, 2.00 k/s: no smaller batch" in said[1]


@pytest.mark.parametrize("failed", [False, True])
def test_throughput_that_still_rises_at_the_largest_batch_has_no_knee(failed: bool) -> None:
    """A larger one that failed, didn't fit or wasn't measured may be better."""
    rising = [a_batch(n, r) for n, r in ((1, 1e3), (2, 2e3))]
    if failed:
        larger = a_batch(4, 3e3)
        rising.append(larger.model_copy(update={"status": "failed", "invocations": ()}))
    assert sweep_sentences(a_run(rising)) == [
        "fashion-teacher on x:cuda:0, offline: no knee was reached: throughput still rises at "
        "batch 2, the largest measured, to 2.00 k/s (measured: 1, 2)."
    ]


def test_batches_that_were_named_are_no_sweep_nor_is_a_single_one() -> None:
    records = [a_batch(1, 1e3), a_batch(2, 2e3)]
    assert sweep_sentences(a_run(records, (1, 2))) == []
    assert sweep_sentences(a_run(records[:1])) == []


def test_a_sweep_that_memory_ended_says_at_which_batch() -> None:
    rising = [a_batch(n, r) for n, r in ((1, 1e3), (2, 2e3))]
    failure = Failure(kind="out-of-memory", message="no room")
    rising[-1] = rising[-1].model_copy(update={"sweep_end": SweepEnd(batch=4, failure=failure)})
    (said,) = sweep_sentences(a_run(rising))
    assert said.endswith("(measured: 1, 2); the sweep ends at 4: out of memory.")
    (alone,) = sweep_sentences(a_run(rising[1:]))
    assert alone == "fashion-teacher on x:cuda:0, offline: the sweep ends at 4: out of memory."
