"""One record from all that was measured and told of a cell: each figure by hand, each check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_records import a_cell, an_invocation

from bench.record.assemble import (
    OTHER_SHAPES,
    Evidence,
    assemble,
    canary_median,
    device_of,
    invocation,
)
from bench.record.block import Block
from bench.record.facts import CellFacts, Reading, Scored, ToldPlacement, Trial, WorkerFacts
from bench.record.parity import Reference
from bench.record.result import Failure, Invocation, Record
from bench.stats.interval import trimmed_mean_interval

CELL = a_cell(target="x:npu:0")


def told(**changes: Any) -> WorkerFacts:
    values: dict[str, Any] = {
        "cell_id": "c",
        "index": 3,
        "load_ns": 500,
        "bind_ns": 70,
        "first_inference_ns": 40,
        "warmup_calls": 11,
        "settled": True,
        "discard": 5,
    }
    return WorkerFacts(**(values | changes))


def block(*latency_ns: int, disturbed: bool = False, number: int = 0) -> Block:
    return Block("c", 3, number, 0, np.array(latency_ns, np.int64), disturbed)


# -- an invocation --------------------------------------------------------------------------------


def test_an_invocation_sums_up_its_undisturbed_calls() -> None:
    blocks = [block(10, 30), block(900, disturbed=True, number=1), block(20, 50, number=2)]
    found = invocation(told(), blocks, 7.5)
    assert found.calls == 4
    assert (found.blocks, found.disturbed_blocks) == (3, 1)
    assert found.busy_ns == 110
    assert found.median_ns == 30
    assert found.floor_ns == 10
    assert found.discarded_calls == 15, "the first five of each block, the disturbed one's too"
    assert found.canary_ns == 7.5
    assert found.query_ns == 110 / 4


def test_where_every_block_was_disturbed_all_of_them_count() -> None:
    found = invocation(told(), [block(10, disturbed=True), block(30, disturbed=True)], None)
    assert (found.calls, found.busy_ns, found.disturbed_blocks) == (2, 40, 2)


def test_loading_is_compiling_and_binding() -> None:
    assert invocation(told(), [block(1)], None).load_ns == 570


def test_a_copy_takes_the_median_of_its_repeats_and_never_no_time() -> None:
    found = invocation(told(h2d_ns=(9, 1, 4), d2h_ns=(0, 0)), [block(1)], None)
    assert (found.h2d_ns, found.d2h_ns) == (4, 1)
    without = invocation(told(), [block(1)], None)
    assert (without.h2d_ns, without.d2h_ns) == (None, None)


def test_a_servers_capacity_is_the_last_rate_that_held() -> None:
    trials = [(50.0, True, 3.0), (100.0, False, 4.0), (75.0, True, 5.0), (80.0, False, 6.0)]
    made = tuple(Trial(rate_per_s=r, held=held, late_ns=late) for r, held, late in trials)
    found = invocation(told(trials=made), [block(1)], None)
    assert (found.capacity_per_s, found.generator_late_ns) == (75.0, 5.0)
    assert found.query_ns == pytest.approx(1e9 / 75)


def test_readings_of_the_device_are_summed_up() -> None:
    readings = tuple(Reading(power_w=w, memory_bytes=int(w)) for w in (90.0, 110.0, 95.0))
    found = invocation(told(readings=readings), [block(1)], None)
    assert (found.device_readings, found.power_w, found.device_memory_bytes) == (3, 95.0, 110)


def test_the_canarys_median_is_over_all_of_its_calls() -> None:
    assert canary_median([block(1, 2, 3), block(100)]) == 2.5
    assert canary_median([]) is None


# -- a record -------------------------------------------------------------------------------------


def record(
    facts: dict[str, Any] | None = None, taken: list[Invocation] | None = None, **rest: Any
) -> Record:
    known = CellFacts(cell_id=CELL.id, **({"stop": "precision"} | (facts or {})))
    evidence = Evidence(CELL, known, taken if taken is not None else three(), **rest)
    return assemble(evidence, 0.9)


def three(**changes: Any) -> list[Invocation]:
    return [an_invocation(n, 100.0, CELL).model_copy(update=changes) for n in range(3)]


def outcome(made: Record, name: str) -> list[tuple[bool, str]]:
    return [(check.ok, check.detail) for check in made.checks if check.name == name]


def test_copies_and_the_canary_are_estimated_where_they_were_timed() -> None:
    made = record(taken=three(h2d_ns=50.0, canary_ns=7.0))
    assert made.h2d_ns is not None
    assert (made.h2d_ns.value, made.h2d_ns.confidence) == (pytest.approx(50), 0.9)
    assert made.canary_ns is not None
    assert made.canary_ns.value == pytest.approx(7)
    assert made.d2h_ns is None


@pytest.mark.parametrize(
    ("stop", "level"), [("precision", 0.95), ("max-time", 0.95), ("first-look", 0.9)]
)
def test_figures_of_what_no_luck_ended_spend_their_whole_error(stop: str, level: float) -> None:
    """Every figure over processes, at the 90% that is stated."""
    values = [100.0, 101.0, 103.0]
    taken = [
        one.model_copy(update={"load_ns": value, "floor_ns": value, "median_ns": value})
        for one, value in zip(three(), values, strict=True)
    ]
    samples = {n: np.full(9, 100) for n in range(3)}
    made = record({"stop": stop}, taken, samples=samples)
    expected = trimmed_mean_interval(values, level)
    assert made.latency is not None
    for found in (made.latency.median_ns, made.latency.floor_ns, made.load_ns):
        assert found is not None
        ends = (found.low, found.high, found.confidence)
        assert ends == pytest.approx((expected.low, expected.high, 0.9))


def test_what_a_session_of_its_own_found_out_adds_to_what_the_timed_one_told() -> None:
    made = record(
        {
            "placement": ToldPlacement(nodes={"npu:0": 3, "cpu": 1}, source="a", off_device=("n",)),
            "profiled": ToldPlacement(
                nodes={"cpu": 9}, source="b", precision="fp16", time_share={"npu:0": 0.5}
            ),
        }
    )
    placed = made.placement
    assert placed is not None
    assert placed.nodes == {"npu:0": 3, "cpu": 1}, "of the session that was timed"
    assert (placed.source, placed.precision, placed.off_device) == ("b", "fp16", ("n",))
    assert (placed.on_device_share, placed.on_device_time_share) == (0.75, 0.5)
    assert outcome(made, "placement")[0][0] is False
    assert outcome(made, "precision") == [(False, "fp32 was requested, but it computes in fp16")]


def test_what_a_simulator_spends_on_a_node_says_nothing_of_the_device() -> None:
    told_of = ToldPlacement(nodes={"npu:0": 2}, source="a", time_share={"npu:0": 0.4, "cpu": 0.6})
    for facts in ({"placement": told_of}, {"placement": told_of, "profiled": told_of}):
        placed = record({**facts, "simulated": True}).placement
        assert placed is not None
        assert (placed.time_share, placed.on_device_time_share) == (None, None)
        real = record(facts).placement
        assert real is not None
        assert real.on_device_time_share == 0.4


@pytest.mark.parametrize(
    ("target", "device"),
    [("a:cpu", "cpu"), ("a:cuda:0?x=1:2", "cuda:0"), ("a@env:npu:1", "npu:1"), ("a:cpu?y", "cpu")],
)
def test_the_device_is_read_off_the_target(target: str, device: str) -> None:
    assert device_of(target) == device


REFERENCE = Reference("torch 2", (np.array([[1.0, 2.0]]),))


def test_outputs_are_compared_with_the_reference() -> None:
    same = record(outputs=[np.array([[1.0, 2.0]])], reference=REFERENCE)
    assert same.parity is not None
    assert same.parity.ok
    other = record(outputs=[np.array([[3.0, 2.0]])], reference=REFERENCE)
    ((ok, words),) = outcome(other, "parity")
    assert not ok
    assert words.startswith("largest difference from torch 2: 2.0e+00, 1 of 1 top-1; rtol")


def test_outputs_that_cannot_be_compared_say_why() -> None:
    shapes = record(outputs=[np.zeros(3)], reference=REFERENCE)
    assert outcome(shapes, "parity") == [(False, f"not compared: {OTHER_SHAPES}")]
    missing = record(
        {"not_compared": "no torch"},
        outputs=[np.zeros(3)],
        reference=Reference("", None, "no torch"),
    )
    assert outcome(missing, "parity") == [(False, "not compared: no torch")]
    assert outcome(record(), "parity") == [], "no outputs were taken"


def test_parity_of_outputs_too_large_to_be_kept_is_what_the_run_computed() -> None:
    kept = record(outputs=[np.array([[1.0, 2.0]])], reference=REFERENCE).parity
    again = record({"parity": kept})
    assert again.parity == kept
    assert outcome(again, "parity")[0][0]


def test_a_score_is_what_the_task_says_and_a_doubt_is_a_check() -> None:
    from bench.cards.tasks.base import MetricRow, Score
    from bench.stats.interval import Interval

    scored = Scored(dataset="d", dataset_sha256="s", predictions="predictions/p.parquet")
    scores = [
        Score(MetricRow("top-1"), Interval(0.5, 0.4, 0.6, 0.9), 10, 5),
        Score(MetricRow("top-5"), Interval(0.9, 0.8, 1.0, 0.9), 10, 9),
    ]
    made = record({"scored": scored}, scores=scores, doubts=["odd"])
    assert made.accuracy is not None
    assert (made.accuracy.metric, made.accuracy.correct, made.accuracy.value.low) == (
        "top-1",
        5,
        0.4,
    )
    assert [metric.name for metric in made.accuracy.further] == ["top-5"]
    assert outcome(made, "sanity") == [(False, "odd")]
    assert outcome(record({"not_scored": "no labels"}), "accuracy") == [(False, "no labels")]


def test_a_failed_cell_keeps_what_was_measured_before() -> None:
    failure = Failure(kind="crashed", message="it died")
    made = record({"failure": failure, "stop": "failed"})
    assert (made.status, made.failure, made.stop) == ("failed", failure, "failed")
    assert made.load_ns is not None
    assert len(made.invocations) == 3


def test_a_cell_without_any_invocation_has_no_figures_and_no_checks() -> None:
    made = record(taken=[])
    assert (made.latency, made.throughput, made.memory, made.checks) == (None, None, None, ())
