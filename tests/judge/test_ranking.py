"""Orders of targets in words: what is settled, and what is not."""

from __future__ import annotations

import numpy as np
from compared_runs import in_memory, measured, noisy
from fake_records import a_cell

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
    assert "not told apart" not in sentence


def test_targets_that_cannot_be_told_apart_say_so() -> None:
    (ranking,) = rankings(run_of({"a:cpu": 1e5, "b:cpu": 1.01e5}, spread=0.05), 0.02, 0.95)
    assert ranking.steps[0].verdict is Verdict.INCONCLUSIVE
    assert ranking.sentence().endswith("not told apart.")


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


def test_there_is_no_order_of_one_target_or_of_another_goal() -> None:
    assert ranking_sentences(run_of({"a:cpu": 1e5})) == []
    assert ranking_sentences(run_of({"a:cpu": 1e5, "b:cpu": 2e5}, Suite(models=("a",)))) == []
