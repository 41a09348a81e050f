"""The figures of a comparison, against the formulas that it promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from compared_runs import in_memory, measured
from fake_records import TEACHER, a_cell, a_failure, a_record, an_accuracy
from scipy import stats

from bench.judge.compare import AccuracyEffect, Comparison, Effect, compare
from bench.judge.matching import match_runs, match_targets
from bench.record.result import Record
from bench.spec import Suite
from bench.stats.spending import repeated_confidence
from bench.stats.verdict import Verdict

A = [1.00e5, 1.04e5, 0.97e5, 1.02e5, 1.01e5]
B = [1.11e5, 1.16e5, 1.05e5, 1.13e5, 1.10e5]
X, Y = a_cell(target="x:cpu"), a_cell(target="y:cpu")


def between_runs(a: Record, b: Record, **options: Any) -> Comparison:
    (found,) = compare(match_runs(in_memory([a]), in_memory([b], "b")), **options).comparisons
    return found


def effect_of(a: Record, b: Record, **options: Any) -> Effect:
    found = between_runs(a, b, **options).effect
    assert found is not None
    return found


def in_turn(a: Record, b: Record, **changes: Any) -> Effect:
    (found,) = compare(match_targets(in_memory([a, b], **changes))).effects
    return found


def ends(found: Any) -> tuple[float, float, float]:
    return found.low, found.estimate, found.high


def paired(a: list[float], b: list[float], confidence: float) -> Any:
    logs = np.log(np.array(b) / np.array(a))
    low, high = stats.t.interval(confidence, len(logs) - 1, logs.mean(), stats.sem(logs))
    return pytest.approx(tuple(np.exp([low, logs.mean(), high])))


def welch(a: list[float], b: list[float], confidence: float) -> Any:
    found = stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(confidence)
    return pytest.approx(
        tuple(np.exp([found.low, np.log(b).mean() - np.log(a).mean(), found.high]))
    )


# -- how sure an interval is ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stops", "spent"),
    [
        (("max-time", "max-time"), 0.95),
        (("precision", "max-time"), 0.975),
        (("max-time", "precision"), 0.975),
        (("ranked", "max-time"), 0.975),
        (("max-time", "max-invocations"), 0.95),
        (("first-look", "first-look"), 0.95),
        (("first-look", "precision"), 0.975),
    ],
)
def test_what_stopped_because_of_what_was_seen_spends_half_of_the_error(
    stops: tuple[str, str], spent: float
) -> None:
    a, b = (measured(t, X, stop=s) for t, s in zip((A, B), stops, strict=True))
    found = effect_of(a, b)
    assert ends(found.ratio) == welch(A, B, spent)
    assert found.ratio.confidence == 0.95
    assert not found.paired


def test_cells_measured_in_turn_are_compared_generation_by_generation() -> None:
    found = in_turn(measured(A, X, stop="max-time"), measured(B, Y, stop="max-time"))
    assert found.paired
    assert ends(found.ratio) == paired(A, B, 0.95)
    assert found.invocations == (5, 5)


def test_an_order_that_was_looked_at_is_compared_at_its_last_planned_look() -> None:
    """Looks are at 3, 4, 6, ...: of 5 generations the first 4 count, at the looks' confidence."""
    suite = Suite(models=("a",), goal="rank", min_invocations=5, max_invocations=30)
    found = in_turn(measured(A, X, stop="ranked"), measured(B, Y, stop="ranked"), suite=suite)
    each = repeated_confidence((3, 4, 6, 8, 12, 17, 24, 30), 0.95)
    assert ends(found.ratio) == paired(A[:4], B[:4], each)
    assert (found.ratio.confidence, found.invocations) == (0.95, (4, 4))


def test_fewer_generations_than_the_first_look_are_all_compared() -> None:
    suite = Suite(models=("a",), goal="rank", min_invocations=2, max_invocations=30)
    found = in_turn(measured(A[:2], X), measured(B[:2], Y), suite=suite)
    assert found.invocations == (2, 2)


@pytest.mark.parametrize(("common", "pairs"), [(2, False), (4, False), (5, True), (8, True)])
def test_a_cell_that_was_set_apart_is_compared_by_what_it_shares_where_that_is_enough(
    common: int, pairs: bool
) -> None:
    """It ran out of memory beside the other after ``common`` of its eight processes. Without pairs
    the medians of all of them count, not what was made for pairs."""
    rng = np.random.default_rng(common)
    times, others = (list(1e5 * np.exp(rng.normal(0, 0.03, 8))) for _ in "ab")
    a, b = measured(times, X, stop="max-time"), measured(others, Y, stop="max-time")
    paced = (i.model_copy(update={"typical_block_ns": 5 * i.median_ns}) for i in b.invocations)
    apart = [i if i.index < common else i.model_copy(update={"index": i.index + 20}) for i in paced]
    found = in_turn(a, b.model_copy(update={"invocations": tuple(apart)}))
    assert found.paired == pairs
    if pairs:
        scaled = [5 * ns for ns in others[:common]]
        assert ends(found.ratio) == paired(times[:common], scaled, 0.95)
    else:
        assert ends(found.ratio) == welch(times, others, 0.95)
    assert found.invocations == ((common, common) if pairs else (8, 8))


def test_one_common_generation_is_too_few_for_a_pair() -> None:
    found = in_turn(measured(A, X, stop="max-time"), measured(B, Y, first_index=4, stop="max-time"))
    assert not found.paired
    assert found.invocations == (5, 5)
    assert ends(found.ratio) == welch(A, B, 0.95)


# -- what is shown --------------------------------------------------------------------------------


def test_a_latency_is_shown_as_the_geometric_mean_of_medians_in_ns() -> None:
    found = effect_of(measured(A, X), measured(B, X))
    assert (found.a, found.b) == pytest.approx((stats.gmean(A), stats.gmean(B)))
    assert found.floor is not None
    assert found.floor.estimate == pytest.approx(found.ratio.estimate)


def test_a_throughput_is_shown_as_samples_a_second_and_its_ratio_is_of_times() -> None:
    cell = a_cell(TEACHER, "x:cpu", "offline", 8)
    found = effect_of(measured(A, cell, stop="max-time"), measured(B, cell, stop="max-time"))
    assert (found.a, found.b) == pytest.approx((8e9 / stats.gmean(A), 8e9 / stats.gmean(B)))
    assert found.measure == "throughput"
    assert ends(found.ratio) == welch(A, B, 0.95)
    assert found.verdict == Verdict.SLOWER


def test_a_bound_beyond_all_numbers_is_one_without_end() -> None:
    cell = a_cell(TEACHER, "x:cpu", "offline", 8)
    near = measured([1.0, 1.0], cell)
    other = near.invocations[1].model_copy(update={"busy_ns": 10**203})
    far = near.model_copy(update={"invocations": (near.invocations[0], other)})
    found = effect_of(far, far)
    assert found.ratio.high == math.inf
    assert found.ratio.low == 0


# -- the machine ----------------------------------------------------------------------------------


def test_drift_is_welchs_interval_of_the_canaries_and_times_are_counted_in_them() -> None:
    calm = [5.00e4, 5.01e4, 4.99e4, 5.02e4, 5.00e4]
    hot = [1.3 * c for c in calm]
    found = effect_of(
        measured(A, X, canary_ns=calm, stop="max-time"),
        measured(B, X, canary_ns=hot, stop="max-time"),
    )
    assert found.drift is not None
    assert found.relative is not None
    assert ends(found.drift) == welch(calm, hot, 0.95)
    counted = [[t / c for t, c in zip(*both, strict=True)] for both in ((A, calm), (B, hot))]
    assert ends(found.relative) == welch(*counted, 0.95)
    assert (found.verdict, found.withheld) == (Verdict.INCONCLUSIVE, Verdict.SLOWER)


def test_a_verdict_of_the_same_is_withheld_where_the_canary_says_otherwise() -> None:
    """The cell took as long on a machine that had become slower: something made up for it."""
    steady = [1e5, 1.0001e5, 0.9999e5]
    canaries = [5e4, 5.001e4, 4.999e4]
    a = measured(steady, X, canary_ns=canaries)
    found = effect_of(a, measured(steady, X, canary_ns=[1.3 * c for c in canaries]))
    assert (found.verdict, found.withheld) == (Verdict.INCONCLUSIVE, Verdict.SAME)
    little = effect_of(a, measured(steady, X, canary_ns=[1.01 * c for c in canaries]))
    assert little.drift is not None
    assert (little.verdict, little.withheld) == (Verdict.SAME, None)


def test_a_faster_cell_on_a_faster_machine_is_withheld_and_one_on_a_slower_is_not() -> None:
    a = measured(B, X, canary_ns=[5e4, 5.01e4, 4.99e4, 5e4, 5e4])
    for factor, verdict in ((0.8, Verdict.INCONCLUSIVE), (1.2, Verdict.FASTER)):
        canary = [5e4 * factor * w for w in (1.0, 1.002, 0.998, 1.0, 1.0)]
        assert effect_of(a, measured([0.85 * t for t in B], X, canary_ns=canary)).verdict == verdict


def test_one_canary_says_nothing_of_drift() -> None:
    def with_canaries(count: int, ns: float) -> Record:
        record = measured(A, X)
        kept = tuple(
            i.model_copy(update={"canary_ns": ns if i.index < count else None})
            for i in record.invocations
        )
        return record.model_copy(update={"invocations": kept})

    assert effect_of(with_canaries(1, 5e4), with_canaries(5, 9e4)).drift is None
    assert effect_of(with_canaries(5, 5e4), with_canaries(1, 9e4)).drift is None
    assert effect_of(with_canaries(2, 5e4), with_canaries(2, 9e4)).drift is not None
    assert effect_of(with_canaries(5, 0.0), with_canaries(5, 9e4)).drift is None


# -- what can't be compared -----------------------------------------------------------------------


def test_why_there_is_no_effect_names_the_side_and_the_reason() -> None:
    ok = measured(A, X)
    without = ok.model_copy(update={"status": "failed"})
    cases = [
        (a_failure(X, "timeout", "no answer"), "{} failed (timeout): no answer"),
        (without, "{} failed"),
        (ok.model_copy(update={"simulated": True}), "{} is simulated: its latency is meaningless"),
        (measured(A[:1], X), "{} has 1 of at least 2 invocations"),
    ]
    for record, words in cases:
        assert between_runs(record, ok).missing == words.format("A")
        assert between_runs(ok, record).missing == words.format("B")
        assert between_runs(ok, record).effect is None
    assert between_runs(ok, measured(A[:2], X)).missing == ""


@pytest.mark.parametrize("field", ["calls", "busy_ns", "median_ns", "floor_ns"])
def test_an_invocation_that_measured_nothing_does_not_count(field: str) -> None:
    record = measured(A[:2], X)
    one, other = record.invocations
    empty = record.model_copy(update={"invocations": (one, other.model_copy(update={field: 0}))})
    assert between_runs(empty, measured(B, X)).missing == "A has 1 of at least 2 invocations"
    least = record.model_copy(update={"invocations": (one, other.model_copy(update={field: 1}))})
    assert between_runs(least, measured(B, X)).effect is not None


def test_cells_that_have_no_effect_do_not_widen_the_others() -> None:
    ours = [measured(A, X), measured(A, Y)]
    theirs = [measured(B, X), a_failure(Y)]
    report = compare(match_runs(in_memory(ours), in_memory(theirs, "b")))
    assert [e.ratio.confidence for e in report.effects] == [0.95]


def test_a_failure_is_told_in_at_most_200_characters() -> None:
    found = between_runs(a_failure(X, "crashed", "x" * 1000), measured(A, X)).missing
    assert len(found) == len("A failed (crashed): ") + 200


# -- accuracy -------------------------------------------------------------------------------------


def test_an_accuracy_differs_where_its_adjusted_p_is_within_the_error() -> None:
    match = match_runs(in_memory([measured(A, X)]), in_memory([measured(B, X)], "b")).matches[0]
    for p, established in ((0.05, True), (0.0501, False)):
        effect = AccuracyEffect(match, "d", None, p)  # type: ignore[arg-type]
        assert effect.established(0.95) is established


def test_accuracies_of_another_metric_or_data_are_not_compared() -> None:
    accuracy = an_accuracy(0.9)
    ours = a_record(X).model_copy(update={"accuracy": accuracy})
    for other in ({"metric": "f1"}, {"dataset_sha256": "0" * 64}):
        theirs = ours.model_copy(update={"accuracy": accuracy.model_copy(update=other)})
        report = compare(match_runs(in_memory([ours]), in_memory([theirs], "b")))
        assert (report.accuracies, report.warnings) == ((), ())
