"""Orders of targets in words: what is settled, and what is not."""

from __future__ import annotations

import re

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


def test_the_best_target_is_told_with_its_distance_to_each_other() -> None:
    (sentence,) = ranking_sentences(run_of({"slow:cpu": 3e5, "fast:cpu": 1e5, "mid:cpu": 2e5}))
    assert re.fullmatch(
        r"fashion-teacher single-stream: fast:cpu is (2\.0|1\.9)\dx \([\d.]+–[\d.]+\) as fast as "
        r"mid:cpu, (3\.0|2\.9)\dx \([\d.]+–[\d.]+\) as slow:cpu\.",
        sentence,
    )


def test_targets_that_cannot_be_told_apart_say_so() -> None:
    (ranking,) = rankings(run_of({"a:cpu": 1e5, "b:cpu": 1.01e5}, spread=0.05), 0.02, 0.95)
    assert ranking.steps[0].verdict is Verdict.INCONCLUSIVE
    assert " is not distinguishable from " in ranking.sentence()


def test_an_open_order_behind_the_best_is_said() -> None:
    found = run_of({"a:cpu": 1e5, "b:cpu": 2e5, "c:cpu": 2.01e5}, spread=0.03)
    (ranking,) = rankings(found, 0.02, 0.95)
    one, other = ranking.targets[1:]
    assert ranking.sentence().endswith(f"; {one} and {other} are not distinguishable.")


def test_a_distance_that_is_too_uncertain_for_a_number_is_told_by_its_bound() -> None:
    said = ranking_sentences(
        cut_short({"a:cpu": 1e5, "b:cpu": 2e6, "c:cpu": 2e6}, 3, "max-time", 0.3)
    )
    assert re.fullmatch(
        r"fashion-teacher single-stream: a:cpu is at least [\d.]+x as fast as [bc]:cpu, "
        r"at least [\d.]+x as [bc]:cpu; .*",
        said[0],
    )


def test_targets_within_the_margin_are_the_same() -> None:
    (ranking,) = rankings(run_of({"a:cpu": 1e5, "b:cpu": 1.0001e5}, spread=0.001), 0.02, 0.95)
    assert ranking.steps[0].verdict is Verdict.SAME
    first, second = ranking.targets
    assert f": {first} is as fast as {second} (1.00x, " in ranking.sentence()


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
    assert ranking.steps[0].ratio.estimate == pytest.approx(2, rel=0.05)
    assert re.search(
        r"fast:cpu is (2\.0|1\.9)\d*x \(.*\) as fast as slow:cpu\.", ranking.sentence()
    )


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


def test_an_order_names_the_variant_that_it_is_of() -> None:
    faster = {"fp32": ("x:cpu", "y:cpu"), "int8-static": ("y:cpu", "x:cpu")}
    rng = np.random.default_rng(4)
    records = [
        measured(noisy(rng, center, 8, 0.005), a_cell(target=target, variant=variant), group="g")
        for variant, targets in faster.items()
        for target, center in zip(targets, (1e5, 2e5), strict=True)
    ]
    said = ranking_sentences(in_memory(records, suite=RANK))
    assert [one.partition(" is ")[0] for one in said] == [
        "fashion-teacher single-stream: x:cpu",
        "fashion-teacher int8-static single-stream: y:cpu",
    ]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (("threads", 1, 4), (", 1 thread", ", 4 threads")),
        (("lane", "prepared", "api"), ("", ", user API")),
        (("allow_fallback", False, True), ("", ", fallback allowed")),
        (("latency_bound_ns", 1_000_000, 2_000_000), (", p99 ≤ 1.00 ms", ", p99 ≤ 2.00 ms")),
        (("shapes", {"a": (1, 8)}, {"a": (1, 16)}), (", a 8", ", a 16")),
        (("input_sha256", "1" * 64, "2" * 64), (", input 11111111", ", input 22222222")),
    ],
)
def test_cells_of_one_target_that_differ_in_a_setting_have_orders_of_their_own(
    setting: tuple[str, object, object], told: tuple[str, str]
) -> None:
    name, *values = setting
    rng = np.random.default_rng(4)
    records = [
        measured(noisy(rng, center, 8, 0.005), a_cell(target=target, **{name: value}), group="g")
        for value, targets in zip(values, (("x:cpu", "y:cpu"), ("y:cpu", "x:cpu")), strict=True)
        for target, center in zip(targets, (1e5, 2e5), strict=True)
    ]
    found = rankings(in_memory(records, suite=RANK), 0.02, 0.95)
    assert [(one.what, one.targets) for one in found] == [
        (f"fashion-teacher single-stream{told[0]}", ("x:cpu", "y:cpu")),
        (f"fashion-teacher single-stream{told[1]}", ("y:cpu", "x:cpu")),
    ]


def test_targets_that_each_have_one_cell_are_ranked_whatever_their_threads() -> None:
    rng = np.random.default_rng(4)
    cells = [a_cell(target=target, threads=n) for target, n in (("x:cpu", 4), ("y:cuda:0", 0))]
    records = [measured(noisy(rng, 1e5, 8, 0.005), cell, group="g") for cell in cells]
    (found,) = rankings(in_memory(records, suite=RANK), 0.02, 0.95)
    assert found.what == "fashion-teacher single-stream"


def test_there_is_no_order_of_one_target() -> None:
    assert ranking_sentences(run_of({"a:cpu": 1e5})) == []


def test_orders_that_were_not_asked_for_are_told_of_small_runs_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    targets = {"a:cpu": 1e5, "b:cpu": 2e5}
    unasked = run_of(targets, Suite(models=("a",)))
    assert len(ranking_sentences(unasked)) == 1
    monkeypatch.setattr("bench.judge.ranking.MOST_CELLS", 1)
    assert ranking_sentences(unasked) == []
    assert len(ranking_sentences(run_of(targets))) == 1


# -- an order that too few invocations leave open -------------------------------------------------


def cut_short(latencies_ns: dict[str, float], count: int, stop: str, spread: float) -> StoredRun:
    rng = np.random.default_rng(4)
    records = [
        measured(noisy(rng, center, count, spread), a_cell(target=target), group="g", stop=stop)
        for target, center in latencies_ns.items()
    ]
    return in_memory(records, suite=Suite(models=("a",), goal="overview"))


def test_an_order_that_too_few_invocations_leave_open_says_so() -> None:
    (said,) = ranking_sentences(cut_short({"a:cpu": 1e5, "b:cpu": 1.5e5}, 3, "max-time", 0.3))
    assert "a:cpu is not distinguishable from b:cpu (" in said
    assert said.endswith(", unstable); 3 invocations are too few to tell: --thorough takes more.")
    (said,) = ranking_sentences(cut_short({"a:cpu": 1e5, "b:cpu": 1.01e5}, 8, "max-time", 0.03))
    assert "is not distinguishable from" in said
    assert "too few" not in said
    (said,) = ranking_sentences(cut_short({"a:cpu": 1e5, "b:cpu": 1.5e5}, 3, "max-time", 0.01))
    assert "too few" not in said, "they are enough for this order"


def test_an_overview_that_time_ended_spends_nothing_on_looks_that_were_not_made() -> None:
    """The same invocations decide at the end of the time what they didn't as one of many looks."""
    both = {"a:cpu": 1e5, "b:cpu": 1.3e5}
    verdicts = {}
    for stop in ("max-time", "precision", "ranked"):
        (ranking,) = rankings(cut_short(both, 3, stop, 0.012), 0.02, 0.95)
        verdicts[stop] = ranking.steps[0].ratio
    widths = [np.log(found.high / found.low) for found in verdicts.values()]
    assert widths == sorted(widths)
    assert len(set(widths)) == 3
    assert {found.confidence for found in verdicts.values()} == {0.95}
