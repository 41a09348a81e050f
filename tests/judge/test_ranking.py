"""Orders of targets in words: what is settled, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from compared_runs import in_memory, measured, noisy
from fake_records import STUDENT, TEACHER, a_cell

from bench.judge.ranking import ranking_sentences, rankings
from bench.spec import Suite
from bench.stats.verdict import Verdict
from bench.store.run import StoredRun

RANK = Suite(models=("a",), goal="rank")


def run_of(latencies_ns: dict[str, float], suite: Suite = RANK, spread: float = 0.005) -> StoredRun:
    rng = np.random.default_rng(4)
    records = [
        measured(noisy(rng, center, 8, spread), a_cell(target=target), group="g")
        for target, center in latencies_ns.items()
    ]
    return in_memory(records, suite=suite)


def test_targets_are_named_from_the_fastest_on_with_their_distance() -> None:
    (sentence,) = ranking_sentences(run_of({"slow:cpu": 3e5, "fast:cpu": 1e5, "mid:cpu": 2e5}))
    assert sentence.startswith("fashion-teacher single-stream, best first: fast:cpu; mid:cpu, ")
    assert sentence.index("mid:cpu") < sentence.index("slow:cpu")
    assert "not distinguishable" not in sentence


def test_targets_that_cannot_be_told_apart_say_so() -> None:
    (ranking,) = rankings(run_of({"a:cpu": 1e5, "b:cpu": 1.01e5}, spread=0.05), 0.02, 0.95)
    assert ranking.steps[0].verdict is Verdict.INCONCLUSIVE
    assert ranking.sentence().endswith("not distinguishable.")


def test_targets_within_the_margin_are_the_same() -> None:
    (ranking,) = rankings(run_of({"a:cpu": 1e5, "b:cpu": 1.0001e5}, spread=0.001), 0.02, 0.95)
    assert ranking.steps[0].verdict is Verdict.SAME
    assert ranking.sentence().endswith(": the same.")


def test_a_step_reads_the_same_whichever_target_was_planned_first() -> None:
    (one,) = rankings(run_of({"a:cpu": 1e5, "b:cpu": 2e5}), 0.02, 0.95)
    (other,) = rankings(run_of({"b:cpu": 2e5, "a:cpu": 1e5}), 0.02, 0.95)
    assert one.targets == other.targets == ("a:cpu", "b:cpu")
    assert one.steps[0].verdict is other.steps[0].verdict is Verdict.SLOWER
    assert 1.9 < other.steps[0].ratio.estimate < 2.1
    for ranking in (one, other):
        (step,) = ranking.steps
        assert step.a < step.b
        assert step.floor is not None
        assert step.floor.estimate == pytest.approx(step.ratio.estimate)


def test_throughputs_are_ranked_from_the_largest_on() -> None:
    rng = np.random.default_rng(4)
    cells = [a_cell(target=t, scenario="offline", batch=8) for t in ("slow:cpu", "fast:cpu")]
    records = [
        measured(noisy(rng, center, 8, 0.005), cell, group="g")
        for cell, center in zip(cells, (2e5, 1e5), strict=True)
    ]
    (ranking,) = rankings(in_memory(records, suite=RANK), 0.02, 0.95)
    assert ranking.what == "fashion-teacher offline batch 8"
    assert ranking.targets == ("fast:cpu", "slow:cpu")
    assert ranking.steps[0].verdict is Verdict.SLOWER
    assert ranking.steps[0].a > ranking.steps[0].b
    assert ranking.steps[0].ratio.estimate == pytest.approx(0.5, rel=0.05)


def test_each_model_variant_and_load_is_ranked_on_its_own() -> None:
    rng = np.random.default_rng(4)
    cells = [
        a_cell(model, target, scenario)
        for model in (TEACHER, STUDENT)
        for scenario in ("single-stream", "offline")
        for target in ("x:cpu", "y:cpu")
    ]
    records = [measured(noisy(rng, 1e5, 8, 0.005), cell, group="g") for cell in cells]
    found = rankings(in_memory(records, suite=RANK), 0.02, 0.95)
    assert [one.what for one in found] == [
        "fashion-teacher single-stream",
        "fashion-teacher offline",
        "fashion-student single-stream",
        "fashion-student offline",
    ]


def test_there_is_no_order_of_one_target_or_of_another_goal() -> None:
    assert ranking_sentences(run_of({"a:cpu": 1e5})) == []
    assert ranking_sentences(run_of({"a:cpu": 1e5, "b:cpu": 2e5}, Suite(models=("a",)))) == []
