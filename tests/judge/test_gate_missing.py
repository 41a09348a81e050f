"""`bench gate` passes nothing that is gone, that nobody scored, or that a busy machine blurred."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from compared_runs import in_memory, measured
from fake_records import STUDENT, TEACHER, a_cell, a_failed_check, a_failure, an_accuracy

from bench.commands.run import command as bench_run
from bench.judge.compare import compare
from bench.judge.finding import Decision, Finding, Limits, Outcome
from bench.judge.gate import Judgement, judge
from bench.judge.matching import match_runs
from bench.present.ci.base import Subject
from bench.present.ci.junit import junit_text
from bench.present.ci.markdown import markdown_text
from bench.present.gate import gate_json, gate_text, summary
from bench.record.result import Failure, Record, SweepEnd
from bench.spec import QUICK, Suite, with_flags
from bench.stats.verdict import Verdict

X, Y = a_cell(target="x:cpu"), a_cell(target="y:cpu")
FIVE_PERCENT = Limits(max_slowdown=0.05)
BUSY = (a_failed_check("undisturbed", "9 of 10 blocks were disturbed by other load"),)


def steady(cell: Any = X, time_ns: float = 1e5, **changes: Any) -> Record:
    changes = {"accuracy": None, **changes}
    return measured([f * time_ns for f in (1, 1.001, 0.999, 1.0005)], cell, **changes)


def gate(
    before: Sequence[Record], now: Sequence[Record], limits: Limits = FIVE_PERCENT, **header: Any
) -> Judgement:
    matched = match_runs(in_memory(before), in_memory(now, "b", **header))
    return judge(matched.matches[0].b.run, limits, compare(matched))


def only(judgement: Judgement, outcome: Outcome) -> Finding:
    (finding,) = judgement.of(outcome)
    return finding


# -- what is gone ---------------------------------------------------------------------------------

RENAMED = a_cell(STUDENT.model_copy(update={"name": "student-2"}), "x:cpu")
GONE = {
    "a target that a wildcard no longer found": ([steady(X)], Y),
    "a device that is absent now": ([steady(X), a_failure(Y, "unavailable", "no driver")], Y),
    "a device that is a simulation now": ([steady(X), steady(Y, simulated=True)], Y),
    "a model that was renamed": ([steady(X), steady(RENAMED)], a_cell(STUDENT, "x:cpu")),
}


@pytest.mark.parametrize("what", GONE)
def test_what_the_baseline_has_and_the_run_lost_fails_unless_it_may(what: str) -> None:
    now, lost = GONE[what]
    judgement = gate([steady(X), steady(lost)], now)
    assert judgement.decision is Decision.FAIL
    found = only(judgement, Outcome.MISSING)
    assert found.cell == lost
    assert "--allow-missing" in found.advice
    assert "1 missing" in summary(judgement)
    allowed = gate([steady(X), steady(lost)], now, replace(FIVE_PERCENT, allow_missing=True))
    assert allowed.decision is Decision.PASS


def test_a_renamed_model_is_told_by_its_new_name() -> None:
    now, lost = GONE["a model that was renamed"]
    assert "student-2" in only(gate([steady(X), steady(lost)], now), Outcome.MISSING).words


@pytest.mark.parametrize(
    "changed", [{"scenario": "offline", "batch": 8}, {"target": "z:cpu"}, {"variant": "int8"}]
)
@pytest.mark.parametrize("name", [STUDENT.name, "student-2"])
def test_a_cell_that_changed_otherwise_was_not_renamed(changed: dict[str, Any], name: str) -> None:
    before = {"target": "x:cpu", "scenario": "offline", "batch": 32}
    lost, other = a_cell(STUDENT, **before), STUDENT.model_copy(update={"name": name})
    instead = steady(a_cell(other, **{**before, **changed}))
    found = only(gate([steady(X), steady(lost)], [steady(X), instead]), Outcome.MISSING)
    assert found.words == "missing from this run."
    assert "renamed" not in found.advice


def test_a_length_that_is_gone_is_missing_and_a_new_one_is_new() -> None:
    """Neither is the other that changed, nor the same model by another name."""
    cells = {n: a_cell(target="x:cpu", shapes={"ids": (1, n)}) for n in (128, 512, 1024)}
    before, now = ([steady(cells[n]) for n in some] for some in ((128, 512), (512, 1024)))
    judgement = gate(before, now)
    missing, new = only(judgement, Outcome.MISSING), only(judgement, Outcome.NEW)
    assert (missing.cell, missing.words) == (cells[128], "missing from this run.")
    assert new.cell == cells[1024]
    assert [finding.cell for finding in judgement.of(Outcome.PASS)] == [cells[512]]
    assert missing.label.endswith(", ids 128: ran")


def test_a_renamed_model_with_other_settings_was_not_renamed() -> None:
    lost, other = a_cell(STUDENT, "x:cpu"), STUDENT.model_copy(update={"name": "student-2"})
    instead = steady(a_cell(other, "x:cpu", threads=4))
    found = only(gate([steady(X), steady(lost)], [steady(X), instead]), Outcome.MISSING)
    assert found.words == "missing from this run."


def swept(*batches: int, **last: Any) -> list[Record]:
    """A batch of each size, with changes to the last."""
    cells = [a_cell(TEACHER, "x:cpu", "offline", batch) for batch in batches]
    records = [steady(cell, 1e5 * cell.batch) for cell in cells]
    return [*records[:-1], records[-1].model_copy(update=last)]


AUTO_BATCH = Suite(models=(TEACHER.name,), scenarios=("offline",), batch="auto")


def test_a_sweep_that_ends_earlier_has_lost_nothing() -> None:
    """Noise moves its end: it would fail a run at random."""
    judgement = gate(swept(1, 2, 4, 8, 16), swept(1, 2, 4), suite=AUTO_BATCH)
    assert judgement.decision is Decision.PASS
    assert [f.cell.batch for f in judgement.of(Outcome.SKIPPED)] == [8, 16]
    words = "not measured: this run's sweep over the batch ended at 4."
    assert {finding.words for finding in judgement.of(Outcome.SKIPPED)} == {words}


def test_a_sweep_that_memory_ends_earlier_has_lost_what_no_longer_fits() -> None:
    failure = Failure(kind="out-of-memory", message="no room")
    end = SweepEnd(batch=8, failure=failure)
    found = gate(swept(1, 2, 4, 8), swept(1, 2, 4, sweep_end=end), suite=AUTO_BATCH)
    missing = only(found, Outcome.MISSING)
    assert missing.words == (
        "missing from this run, whose sweep over the batch ends at 8: out of memory."
    )


def test_a_batch_within_a_sweep_and_one_that_was_named_are_missed() -> None:
    for now, suite in ((swept(1, 4), AUTO_BATCH), (swept(1), Suite(batch=(1,)))):
        judgement = gate(swept(1, 2, 4), now, suite=suite)
        assert 2 in [finding.cell.batch for finding in judgement.of(Outcome.MISSING)]


def test_what_the_baseline_has_no_figures_of_can_not_be_lost() -> None:
    judgement = gate([steady(X), a_failure(Y)], [steady(X)])
    assert judgement.decision is Decision.PASS
    assert only(judgement, Outcome.SKIPPED).cell == Y


# -- what was not finished ------------------------------------------------------------------------

UNMEASURED = a_cell(STUDENT, "x:cpu")
UNFINISHED: dict[str, tuple[list[Record], str]] = {
    "not measured": ([], "not measured."),
    "stopped early": (
        [steady(UNMEASURED, stop="interrupted")],
        "stopped early, after 4 invocations",
    ),
}


@pytest.mark.parametrize("limit", ["", TEACHER.name, STUDENT.name])
@pytest.mark.parametrize("what", UNFINISHED)
@pytest.mark.parametrize("baseline", ["none", "of the other model", "of both"])
def test_a_run_that_was_interrupted_is_no_pass(baseline: str, what: str, limit: str) -> None:
    now, words = UNFINISHED[what]
    scored = steady(X).model_copy(update={"accuracy": an_accuracy(0.95)})
    run = in_memory([scored, *now], "b", cells=(X, UNMEASURED))
    report = None
    if baseline != "none":
        before = [steady(X), *([steady(UNMEASURED)] if baseline == "of both" else [])]
        report = compare(match_runs(in_memory(before), run))
    judgement = judge(run, Limits(min_accuracy={limit: 0.8}), report)
    assert judgement.decision is Decision.INCONCLUSIVE
    found = judgement.of(Outcome.INCONCLUSIVE)[0]
    assert found.cell == UNMEASURED
    assert words in found.words
    assert "--resume" in found.advice


# -- limits that nothing was held against ---------------------------------------------------------


def test_a_least_accuracy_of_a_run_that_nobody_scored_is_no_pass() -> None:
    run = in_memory([steady(X)])
    for limits in (Limits(min_accuracy={"": 0.8}), Limits(min_accuracy={TEACHER.name: 0.8})):
        assert judge(run, limits).decision is Decision.INCONCLUSIVE
    beside = gate([steady(X)], [steady(X)], Limits(0.05, {"": 0.8}))
    assert only(beside, Outcome.INCONCLUSIVE).kind == "accuracy"
    assert "labelled data" in only(beside, Outcome.INCONCLUSIVE).advice


def test_the_advice_to_score_names_the_flag_that_left_scoring_out() -> None:
    unscored = Suite(models=("a",), accuracy=False)
    found = gate([steady(X)], [steady(X)], Limits(0.05, {"": 0.8}), suite=unscored)
    assert "--no-accuracy" in only(found, Outcome.INCONCLUSIVE).advice


def test_a_limit_on_another_kind_of_metric_holds_nothing() -> None:
    scored = steady(X).model_copy(update={"accuracy": an_accuracy(0.9)})
    judgement = gate([scored], [scored], Limits(0.05, worst_score={"": 12}))
    assert "--worst-score" in only(judgement, Outcome.INCONCLUSIVE).words


def test_a_target_on_which_a_scored_model_was_not_scored_is_open_and_another_model_is_not() -> None:
    scored = steady(X).model_copy(update={"accuracy": an_accuracy(0.95)})
    unlabelled = steady(a_cell(STUDENT, "x:cpu"))
    limits = Limits(min_accuracy={"": 0.8})
    assert judge(in_memory([scored, unlabelled]), limits).decision is Decision.PASS
    judgement = judge(in_memory([scored, steady(Y)]), limits)
    assert only(judgement, Outcome.INCONCLUSIVE).cell == Y
    loads = [scored, steady(a_cell(target="x:cpu", scenario="offline", batch=32))]
    assert judge(in_memory(loads), limits).decision is Decision.PASS


@pytest.mark.parametrize("side", ["before", "now", "both"])
def test_a_loss_of_accuracy_that_one_side_does_not_know_is_open(side: str) -> None:
    scored = steady(X).model_copy(update={"accuracy": an_accuracy(0.9)})
    before = steady(X) if side in ("before", "both") else scored
    now = steady(X) if side in ("now", "both") else scored
    judgement = gate([before], [now], Limits(0.05, max_accuracy_loss=0.01))
    assert only(judgement, Outcome.INCONCLUSIVE).kind == "accuracy loss"
    assert judgement.decision is Decision.INCONCLUSIVE


# -- a busy machine -------------------------------------------------------------------------------


#: Which side was disturbed -> what a run that is twice as slow is, and one that is as fast.
BUSY_SIDES = {
    "none": (Decision.FAIL, Decision.PASS),
    "run": (Decision.INCONCLUSIVE, Decision.PASS),
    "baseline": (Decision.FAIL, Decision.INCONCLUSIVE),
    "both": (Decision.INCONCLUSIVE, Decision.PASS),
}


@pytest.mark.parametrize("busy", BUSY_SIDES)
def test_load_makes_slow_so_it_explains_a_slow_run_and_a_slow_baseline_alone(busy: str) -> None:
    before = steady(X, checks=BUSY if busy in ("baseline", "both") else ())
    busy_now = BUSY if busy in ("run", "both") else ()
    found = [gate([before], [steady(X, time, checks=busy_now)]) for time in (2e5, 1e5)]
    assert tuple(one.decision for one in found) == BUSY_SIDES[busy]
    for one in found:
        for finding in one.of(Outcome.INCONCLUSIVE):
            assert "disturbed: 9 of 10 blocks" in finding.words
            assert finding.words.startswith(f"the {'run' if busy == 'both' else busy} was")
            assert "quiet machine" in finding.advice


@pytest.mark.parametrize("busy", ["none", "run", "baseline", "both"])
def test_a_gate_fails_only_what_a_comparison_calls_slower(busy: str) -> None:
    before = steady(X, checks=BUSY if busy in ("baseline", "both") else ())
    now = steady(X, 2e5, checks=BUSY if busy in ("run", "both") else ())
    (effect,) = compare(match_runs(in_memory([before]), in_memory([now], "b"))).effects
    failed = gate([before], [now]).decision is Decision.FAIL
    assert failed == (effect.verdict is Verdict.SLOWER)


# -- advice that can be followed ------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.02, 0.06, 0.12, 0.25])
@pytest.mark.parametrize("first", [{}, QUICK, {"max_invocations": 4, "min_invocations": 3}])
def test_the_flags_of_an_advice_make_a_suite_in_which_so_many_invocations_fit(
    spread: float, first: dict[str, Any]
) -> None:
    suite = with_flags(Suite(models=("a",)), first)
    wide = [1e5 * (1 + spread * k) for k in (-1, 0.5, 1, -0.5, 0.2)]
    matched = match_runs(
        in_memory([measured(wide, X)], suite=suite), in_memory([measured(wide, X)], "b")
    )
    judgement = judge(matched.matches[0].b.run, FIVE_PERCENT, compare(matched))
    advice = judgement.findings[0].advice
    flags = re.search(r"(--min-invocations \d+.*)\.$", advice)
    if flags is None:
        assert judgement.decision is Decision.PASS or "more than 500" in advice
        return
    parsed = bench_run.make_context("run", shlex.split(flags[1])).params
    given = {key: value for key, value in parsed.items() if key in Suite.model_fields and value}
    again = with_flags(suite, given)
    needed = given["min_invocations"]
    assert again.max_invocations >= again.min_invocations == needed
    assert again.max_time_s >= 0.1 * needed


# -- many findings --------------------------------------------------------------------------------


def test_more_findings_than_are_told_are_counted_with_their_reasons() -> None:
    noisy = [1e5 * (1 + 0.1 * k) for k in (-1, 0.5, 1, -0.5)]
    cells = [a_cell(target=f"t{n}:cpu") for n in range(20)]
    unsure = [measured(noisy, cell) for cell in cells]
    slow = [steady(cell, 2e5) for cell in cells]
    before = [*(steady(cell) for cell in cells), steady(Y)]
    now = [*slow[:8], *(r.model_copy(update={"checks": BUSY}) for r in slow[8:11]), *unsure[11:]]
    text = " ".join(gate_text(gate(before, now), 200).plain.split())
    assert (
        "The table has 13 more: 1 missing (missing from this run), 12 inconclusive "
        "(the time is too uncertain to check: 9, the run was disturbed: 3)." in text
    )
    alone = gate(before[:-1], [*slow[:8], *unsure[8:]])
    text = " ".join(gate_text(alone, 200).plain.split())
    assert "12 more: 12 inconclusive (the time is too uncertain to check)." in text


def test_failures_of_several_limits_are_counted_in_words_without_figures() -> None:
    cells = [a_cell(target=f"t{n}:cpu") for n in range(12)]
    before = [steady(cell) for cell in cells]
    now = [*(a_failure(cell) for cell in cells[:9]), *(steady(cell, 2e5) for cell in cells[9:])]
    text = " ".join(gate_text(gate(before, now), 200).plain.split())
    assert "The table has 4 more: 1 stopped working (timeout), 3 failed (too slow)." in text


def test_the_json_says_why_in_words_that_can_be_counted() -> None:
    cells = [a_cell(target="x:cpu", threads=n) for n in (1, 2, 4)]
    now = [steady(cell, ns) for cell, ns in zip(cells, (2e5, 3e5, 1e5), strict=True)]
    judgement = gate([steady(cell) for cell in cells], now)
    found = gate_json(judgement)["findings"]
    assert isinstance(found, list)
    assert [row["reason"] for row in found] == ["too slow", "too slow", ""]
    assert [row["settings"] for row in found] == [
        "1 thread, image 1x28x28",
        "2 threads, image 1x28x28",
        "4 threads, image 1x28x28",
    ]
    assert len({row["words"] for row in found}) == 3


# -- what else is told agrees with the exit code --------------------------------------------------


@pytest.mark.parametrize("counts_as", list(Decision))
@pytest.mark.parametrize("what", ["open", "nothing judged", "failed", "passed", "missing"])
def test_every_format_agrees_with_the_exit_code(what: str, counts_as: Decision) -> None:
    judgement = {
        "open": lambda: gate([steady(X)], [steady(X, 2e5, checks=BUSY)]),
        "nothing judged": lambda: gate([a_failure(X)], [a_failure(X)]),
        "failed": lambda: gate([steady(X)], [steady(X, 2e5)]),
        "passed": lambda: gate([steady(X)], [steady(X)]),
        "missing": lambda: gate([steady(X), steady(Y)], [steady(X)]),
    }[what]()
    judgement = replace(judgement, inconclusive=counts_as)
    subject = Subject(judgement.run, judgement)
    root = ElementTree.fromstring(junit_text(subject))
    assert (root.get("failures"), root.get("errors")) != ("0", "0") or judgement.exit_code != 1
    assert (root.get("failures"), root.get("errors")) == ("0", "0") or judgement.exit_code == 1
    symbol = {0: "✅", 1: "❌", 3: "⚠️"}[judgement.exit_code]
    assert markdown_text(subject).startswith(f"### {symbol} ")
    assert gate_json(judgement)["exit_code"] == judgement.exit_code
    open_ = what in ("open", "nothing judged")
    assert ("--inconclusive" in summary(judgement)) == (
        open_ and counts_as is not Decision.INCONCLUSIVE
    )
