"""What a gate finds and advises, against the formulas that it promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from compared_runs import in_memory, measured
from fake_records import STUDENT, TEACHER, a_cell, a_failed_check, a_failure, a_record, an_accuracy
from scipy import stats

from bench.judge.compare import compare
from bench.judge.finding import Decision, Finding, Limits, Outcome
from bench.judge.gate import Judgement, judge
from bench.judge.matching import match_runs
from bench.record.result import Accuracy, Estimate, Record

X, Y = a_cell(target="x:cpu"), a_cell(target="y:cpu")
#: Ten values around 1, without a trend.
WOBBLE = [0.97, 1.02, 1.0, 1.03, 0.98, 1.01, 0.99, 1.0, 1.02, 0.98]


def times(center: float, count: int = 10, spread: float = 1.0) -> list[float]:
    return [center * w**spread for w in WOBBLE[:count]]


def gate(before: list[Record], now: list[Record], limits: Limits) -> Judgement:
    matched = match_runs(in_memory(before), in_memory(now, "b"))
    return judge(matched.matches[0].b.run, limits, compare(matched))


def speed(a: list[float], b: list[float], allowed: float) -> Finding:
    (found,) = gate(
        [measured(a, X, stop="max-time")],
        [measured(b, X, stop="max-time")],
        Limits(max_slowdown=allowed),
    ).findings
    return found


def welch(a: list[float], b: list[float], confidence: float = 0.95) -> tuple[float, float]:
    found = stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(confidence)
    return float(np.exp(found.low)), float(np.exp(found.high))


# -- speed ----------------------------------------------------------------------------------------


def test_a_slowdown_fails_passes_or_stays_open_by_both_ends_of_its_interval() -> None:
    a, b = times(1e5), times(1.1e5)
    low, high = welch(a, b)
    for limit, expected in (
        (low - 1e-6, Outcome.FAIL),
        (low + 1e-6, Outcome.INCONCLUSIVE),
        (high - 1e-6, Outcome.INCONCLUSIVE),
        (high + 1e-6, Outcome.PASS),
    ):
        found = speed(a, b, limit - 1)
        assert found.outcome is expected
        assert found.limit == pytest.approx(limit)
        assert found.found is not None
        assert (found.found.low, found.found.high) == pytest.approx((low, high))
        assert (found.before, found.now) == pytest.approx((stats.gmean(a), stats.gmean(b)))


def needed(a: list[float], b: list[float], limit: float) -> int:
    """The fewest of both runs whose t-interval, with the spread seen, ends at the limit."""
    estimate = math.log(stats.gmean(b) / stats.gmean(a))
    low, high = (math.log(x) for x in welch(a, b))
    have = min(len(a), len(b))
    end = high if estimate < math.log(limit) else low

    def reach(n: int) -> float:
        return float(stats.t.ppf(0.975, 2 * n - 2)) / math.sqrt(n)

    spread = abs(end - estimate) / reach(have)
    return next(
        n for n in range(have + 1, 10_000) if spread * reach(n) <= abs(math.log(limit) - estimate)
    )


@pytest.mark.parametrize("limit", [1.095, 1.105, 1.09])
def test_the_advice_is_the_fewest_invocations_that_bring_the_nearer_end_to_the_limit(
    limit: float,
) -> None:
    a, b = times(1e5, 6), times(1.1e5, 8)
    found = speed(a, b, limit - 1)
    assert found.outcome is Outcome.INCONCLUSIVE
    count = needed(a, b, limit)
    assert found.advice.startswith(
        f"About {count} invocations on both sides would decide (now 6 and 8): "
        f"--min-invocations {count}"
    )


def test_more_than_500_invocations_are_no_advice() -> None:
    a, b = times(1e5, 6), times(1.1e5, 8)
    center = stats.gmean(b) / stats.gmean(a)
    for step in (1e-3, 1e-5):
        found = speed(a, b, center * (1 + step) - 1)
        expected = needed(a, b, center * (1 + step)) if step == 1e-3 else 10_000
        assert ("more than 500" in found.advice) == (expected > 500)


# -- what ran -------------------------------------------------------------------------------------


def test_what_can_not_be_timed_is_open_and_a_simulation_is_skipped() -> None:
    (found,) = gate(
        [measured(times(1e5), X)], [measured([1e5], X)], Limits(max_slowdown=0.1)
    ).findings
    assert (found.outcome, found.words) == (
        Outcome.INCONCLUSIVE,
        "the run has 1 of at least 2 invocations.",
    )
    simulated = measured(times(1e5), X, simulated=True)
    (found,) = gate([simulated], [simulated], Limits(max_slowdown=0.1)).findings
    assert (found.kind, found.outcome) == ("latency", Outcome.SKIPPED)
    assert found.words == "the baseline is simulated: its latency is meaningless."


def test_without_a_limit_on_time_no_time_is_judged() -> None:
    judgement = gate([measured(times(1e5), X)], [measured(times(9e5), X)], Limits(0.1))
    assert judgement.decision is Decision.FAIL
    none = gate([measured(times(1e5), X)], [measured(times(9e5), X)], Limits(None, {"": 0.5}))
    assert [f.kind for f in none.findings] == ["accuracy"]


def test_without_a_baseline_whatever_failed_is_an_error_and_an_absent_device_is_not() -> None:
    run = in_memory([measured(times(1e5), X), a_failure(Y, "crashed", "SIGSEGV")])
    found = judge(run, Limits(min_accuracy={"": 0.5}))
    (error,) = found.of(Outcome.ERROR)
    assert (error.cell, error.words) == (Y, "crashed: SIGSEGV")
    absent = in_memory([measured(times(1e5), X), a_failure(Y, "unavailable", "no device")])
    found = judge(absent, Limits(min_accuracy={"": 0.5}))
    assert [f.cell for f in found.of(Outcome.SKIPPED)] == [Y]
    assert found.decision is Decision.PASS
    assert found.baseline is None


def test_a_new_cell_that_fails_is_told_with_its_failure_and_decides_nothing() -> None:
    judgement = gate(
        [measured(times(1e5), X)],
        [measured(times(1e5), X), a_failure(Y, "crashed", "SIGSEGV")],
        Limits(max_slowdown=0.5),
    )
    (found,) = judgement.of(Outcome.NEW)
    assert (found.cell, found.words) == (Y, "crashed: SIGSEGV")
    assert judgement.decision is Decision.PASS


def test_a_message_is_cut_at_300_characters() -> None:
    judgement = gate(
        [measured(times(1e5), X)], [a_failure(X, "crashed", "x" * 999)], Limits(max_slowdown=0.5)
    )
    assert judgement.of(Outcome.ERROR)[0].words == "crashed: " + "x" * 299 + "…"


# -- memory ---------------------------------------------------------------------------------------


def with_peaks(cell: Any, center: float, count: int = 10) -> Record:
    record = measured(times(1e5, count), cell)
    grown = tuple(
        i.model_copy(update={"peak_rss_bytes": round(center * WOBBLE[i.index])})
        for i in record.invocations
    )
    return record.model_copy(update={"invocations": grown})


def peaks(record: Record) -> list[float]:
    return [float(i.peak_rss_bytes or 0) for i in record.invocations]


def test_memory_is_held_against_welchs_interval_of_the_peaks() -> None:
    before, now = with_peaks(X, 1e8), with_peaks(X, 1.1e8)
    low, high = welch(peaks(before), peaks(now))
    for limit, expected in (
        (low - 1e-6, Outcome.FAIL),
        (low + 1e-6, Outcome.INCONCLUSIVE),
        (high + 1e-6, Outcome.PASS),
    ):
        (found,) = gate([before], [now], Limits(max_memory_growth=limit - 1)).findings
        assert (found.kind, found.outcome) == ("memory", expected)
        assert (found.before, found.now) == (max(peaks(before)), max(peaks(now)))
        assert bool(found.advice) == (expected is Outcome.INCONCLUSIVE)


def test_memories_of_several_cells_hold_together() -> None:
    before, now = ([with_peaks(c, m) for c in (X, Y)] for m in (1e8, 1.1e8))
    found = gate(before, now, Limits(max_memory_growth=0.5)).findings
    low, high = welch(peaks(before[0]), peaks(now[0]), 0.975)
    for one in found:
        assert one.found is not None
        assert (one.found.low, one.found.high) == pytest.approx((low, high))


# -- accuracy -------------------------------------------------------------------------------------


def accuracy(value: float, low: float, high: float, examples: int = 1000) -> Accuracy:
    stated = Estimate(value=value, low=low, high=high, confidence=0.95)
    return an_accuracy(value, examples).model_copy(update={"value": stated})


def scored(found: Accuracy, cell: Any = X) -> Record:
    return a_record(cell).model_copy(update={"accuracy": found})


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (0.88, Outcome.PASS),
        (0.8801, Outcome.INCONCLUSIVE),
        (0.92, Outcome.INCONCLUSIVE),
        (0.9201, Outcome.FAIL),
    ],
)
def test_an_accuracy_is_held_against_both_ends_of_its_interval(
    least: float, expected: Outcome
) -> None:
    (found,) = judge(
        in_memory([scored(accuracy(0.90, 0.88, 0.92))]), Limits(min_accuracy={"": least})
    ).findings
    assert (found.kind, found.outcome, found.limit, found.now) == ("accuracy", expected, least, 0.9)


@pytest.mark.parametrize(("least", "count"), [(0.89, "4000"), (0.905, "16000"), (0.894, "11000")])
def test_examples_that_would_decide_grow_with_the_square_of_what_is_lacking(
    least: float, count: str
) -> None:
    """A reach of 2 points at 1,000 examples: 1 point takes 4 times as many."""
    record = scored(accuracy(0.90, 0.885, 0.92))
    (found,) = judge(in_memory([record]), Limits(min_accuracy={"": least})).findings
    assert found.advice.replace(",", "").replace("\u00a0", "").startswith(f"About {count}")
    assert "(now 1000)" in found.advice


@pytest.mark.parametrize("least", [0.90, 0.8985])
def test_an_accuracy_that_lies_too_near_its_limit_is_no_matter_of_examples(least: float) -> None:
    record = scored(accuracy(0.90, 0.88, 0.92))
    (found,) = judge(in_memory([record]), Limits(min_accuracy={"": least})).findings
    assert found.advice == "It is too near the limit to decide; choose another limit."


def test_each_model_is_scored_once_whatever_its_loads() -> None:
    offline = a_cell(TEACHER, "x:cpu", "offline", 8)
    run = in_memory([scored(accuracy(0.9, 0.88, 0.92)), scored(accuracy(0.5, 0.4, 0.6), offline)])
    assert judge(run, Limits(min_accuracy={"": 0.8})).decision is Decision.PASS
    student = scored(accuracy(0.5, 0.4, 0.6), a_cell(STUDENT, "x:cpu"))
    run = in_memory([scored(accuracy(0.9, 0.88, 0.92)), student])
    assert len(judge(run, Limits(min_accuracy={"": 0.8})).findings) == 2


def loss(before: Accuracy, now: Accuracy, allowed: float) -> Finding:
    limits = Limits(max_accuracy_loss=allowed)
    (found,) = gate([scored(before)], [scored(now)], limits).findings
    return found


def test_without_predictions_a_loss_has_newcombes_interval_of_the_two() -> None:
    """Method 10: each end of the difference from the ends that work against each other."""
    before, now = accuracy(0.90, 0.88, 0.91), accuracy(0.86, 0.85, 0.89)
    low = -0.04 - math.hypot(0.86 - 0.85, 0.91 - 0.90)
    high = -0.04 + math.hypot(0.89 - 0.86, 0.90 - 0.88)
    for allowed, expected in (
        (-high - 1e-6, Outcome.FAIL),
        (-high + 1e-6, Outcome.INCONCLUSIVE),
        (-low - 1e-6, Outcome.INCONCLUSIVE),
        (-low + 1e-6, Outcome.PASS),
    ):
        found = loss(before, now, allowed)
        assert found.found is not None
        assert (found.found.low, found.found.high) == pytest.approx((low, high))
        assert found.found.confidence == 0.95
        assert (found.kind, found.outcome, found.limit) == ("accuracy loss", expected, -allowed)
        assert (found.before, found.now) == pytest.approx((0.90, 0.86))


def test_a_loss_on_other_data_or_by_another_metric_is_open() -> None:
    before = accuracy(0.90, 0.88, 0.91)
    for other in ({"metric": "f1"}, {"dataset_sha256": "0" * 64}):
        found = loss(before, before.model_copy(update=other), 0.5)
        assert found.outcome is Outcome.INCONCLUSIVE
        assert found.advice == "Write a new baseline from a run on the same data."


# -- checks ---------------------------------------------------------------------------------------


def test_only_a_check_of_correctness_that_newly_fails_is_told() -> None:
    def with_checks(*names: str) -> Record:
        return measured(times(1e5), X, checks=tuple(a_failed_check(n, "why") for n in names))

    judgement = gate(
        [with_checks("parity")],
        [with_checks("parity", "placement", "steady-state")],
        Limits(max_slowdown=0.5),
    )
    (found,) = judgement.of(Outcome.FAIL)
    assert (found.kind, found.words) == ("check", "placement: why")
