"""`bench gate`: fails and passes by whole intervals, and says when it can't tell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import MACHINE, in_memory, measured, noisy, on_disk, with_predictions
from fake_queries import queries
from fake_records import STUDENT, TEACHER, a_cell, a_failed_check, a_failure, a_record, an_accuracy
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bench.__main__ import main
from bench.errors import SpecError
from bench.judge.compare import compare
from bench.judge.finding import Decision, Finding, Limits, Outcome
from bench.judge.gate import Judgement, judge
from bench.judge.matching import match_runs
from bench.present.gate import found_text, gate_json, gate_text, summary
from bench.record.result import Accuracy, Record
from bench.stats.interval import Interval
from bench.store.baseline import baseline_text, make_baseline, read_baseline
from bench.store.run import read_run

CELLS = [a_cell(model, target) for model in (TEACHER, STUDENT) for target in ("x:cpu", "y:cpu")]
FIVE: dict[str, Any] = {"max_slowdown": 0.05}
FIVE_PERCENT = Limits(**FIVE)


def gate(
    before: Sequence[Record], now: Sequence[Record], limits: Limits = FIVE_PERCENT, **facts: Any
) -> Judgement:
    matched = match_runs(in_memory(before), in_memory(now, "b", **facts))
    return judge(matched.matches[0].b.run, limits, compare(matched))


def only(judgement: Judgement, *outcomes: Outcome) -> Finding:
    (finding,) = judgement.of(*outcomes)
    return finding


def plain(judgement: Judgement, width: int = 80) -> str:
    text = gate_text(judgement, width).plain
    assert max(map(cell_len, text.splitlines())) <= width
    return text


# -- speed ----------------------------------------------------------------------------------------


def test_a_run_that_is_no_slower_than_allowed_hardly_ever_fails() -> None:
    """Exactly at the limit: at most 2.5% of runs of four cells fail (and 5 standard errors)."""
    rng = np.random.default_rng(1)
    failed = 0
    for _ in range(400):
        before = [measured(noisy(rng, 1e5, sd=0.05), cell) for cell in CELLS]
        now = [measured(noisy(rng, 1.05e5, sd=0.05), cell) for cell in CELLS]
        failed += gate(before, now).decision is Decision.FAIL
    assert failed / 400 <= 0.025 + 5 * (0.025 * 0.975 / 400) ** 0.5


def test_a_run_that_is_slower_than_allowed_hardly_ever_passes() -> None:
    rng = np.random.default_rng(2)
    passed = 0
    for _ in range(400):
        before = [measured(noisy(rng, 1e5, sd=0.05), cell) for cell in CELLS]
        now = [measured(noisy(rng, 1.0501e5, sd=0.05), cell) for cell in CELLS]
        passed += gate(before, now).decision is Decision.PASS
    assert passed / 400 <= 0.025 + 5 * (0.025 * 0.975 / 400) ** 0.5


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.2, Decision.FAIL), (1.0, Decision.PASS), (0.5, Decision.PASS)]
)
def test_what_is_clearly_slower_fails_and_what_is_not_passes(
    factor: float, expected: Decision
) -> None:
    rng = np.random.default_rng(3)
    found = Counter(
        gate(
            [measured(noisy(rng, 1e5, 10, sd=0.01))],
            [measured(noisy(rng, factor * 1e5, 10, sd=0.01))],
        ).decision
        for _ in range(100)
    )
    assert found[expected] >= 97


def test_slower_throughput_is_a_longer_time_a_sample() -> None:
    rng = np.random.default_rng(4)
    cell = a_cell(scenario="offline", batch=32)
    before, now = measured(noisy(rng, 1e5, 8), cell), measured(noisy(rng, 1e5, 8), cell)
    slower = now.model_copy(
        update={
            "invocations": tuple(
                i.model_copy(update={"busy_ns": round(1.3 * i.busy_ns)}) for i in now.invocations
            )
        }
    )
    judgement = gate([before], [slower])
    finding = only(judgement, Outcome.FAIL)
    assert finding.kind == "throughput"
    assert finding.found is not None
    assert finding.found.estimate > 1.05
    assert finding.before is not None
    assert finding.now is not None
    assert finding.before > finding.now  # samples a second


def test_an_inconclusive_gate_says_how_many_invocations_would_decide_and_they_do() -> None:
    rng = np.random.default_rng(5)
    decided = 0
    for _ in range(50):
        judgement = gate(
            [measured(noisy(rng, 1e5, 4, sd=0.05))], [measured(noisy(rng, 1e5, 4, sd=0.05))]
        )
        if judgement.decision is not Decision.INCONCLUSIVE:
            decided += 1
            continue
        advice = only(judgement, Outcome.INCONCLUSIVE).advice
        if "--min-invocations" not in advice:
            assert "more than 500" in advice
            continue
        count = int(advice.rpartition(" ")[2].rstrip("."))
        assert count > 4
        again = gate(
            [measured(noisy(rng, 1e5, 2 * count, sd=0.05))],
            [measured(noisy(rng, 1e5, 2 * count, sd=0.05))],
        )
        decided += again.decision is not Decision.INCONCLUSIVE
    assert decided >= 25


def test_a_machine_that_changed_between_the_runs_is_told_from_a_slower_model() -> None:
    rng = np.random.default_rng(6)
    before = measured(noisy(rng, 1e5, 8, 0.005), canary_ns=noisy(rng, 1e6, 8, 0.005))
    drifted = measured(noisy(rng, 1.3e5, 8, 0.005), canary_ns=noisy(rng, 1.3e6, 8, 0.005))
    judgement = gate([before], [drifted])
    assert judgement.decision is Decision.INCONCLUSIVE
    assert "machine drift" in only(judgement, Outcome.INCONCLUSIVE).words
    slower = measured(noisy(rng, 1.3e5, 8, 0.005), canary_ns=noisy(rng, 1e6, 8, 0.005))
    assert gate([before], [slower]).decision is Decision.FAIL


def test_slower_at_the_median_and_faster_at_its_best_is_not_a_regression() -> None:
    rng = np.random.default_rng(7)
    before = measured(noisy(rng, 1e5, 8, 0.01), floors_ns=noisy(rng, 9e4, 8, 0.01))
    now = measured(noisy(rng, 1.3e5, 8, 0.01), floors_ns=noisy(rng, 7e4, 8, 0.01))
    judgement = gate([before], [now])
    assert judgement.decision is Decision.INCONCLUSIVE
    assert "load" in only(judgement, Outcome.INCONCLUSIVE).words


# -- what ran -------------------------------------------------------------------------------------


def steady(cell: Any = None, **changes: Any) -> Record:
    return measured([1e5, 1.001e5, 0.999e5, 1e5, 1.0005e5], cell, **changes)


def scored(accuracy: Accuracy, cell: Any = None) -> Record:
    return steady(cell).model_copy(update={"accuracy": accuracy})


def test_a_crash_where_the_baseline_worked_is_an_error_and_fails() -> None:
    one, two = CELLS[0], CELLS[1]
    judgement = gate(
        [steady(one), steady(two)], [steady(one), a_failure(two, "crashed", "SIGSEGV")]
    )
    assert judgement.decision is Decision.FAIL
    assert "crashed: SIGSEGV" in only(judgement, Outcome.ERROR).words


def test_a_device_that_is_absent_where_it_may_be_is_skipped_and_the_rest_decides() -> None:
    one, two = CELLS[0], CELLS[1]
    absent, limits = a_failure(two, "unavailable", "no NPU was found"), Limits(allow_missing=True)
    judgement = gate([steady(one), steady(two)], [steady(one), absent], replace(limits, **FIVE))
    assert judgement.decision is Decision.PASS
    assert "no NPU" in only(judgement, Outcome.SKIPPED).words
    nothing = gate([steady(two)], [absent], limits)
    assert nothing.decision is Decision.INCONCLUSIVE
    assert "nothing to judge" in summary(nothing)


def test_what_failed_before_too_is_skipped_and_what_works_again_is_new() -> None:
    one, two = CELLS[0], CELLS[1]
    judgement = gate([steady(one), a_failure(two)], [steady(one), a_failure(two)])
    assert judgement.decision is Decision.PASS
    assert only(judgement, Outcome.SKIPPED).cell == two
    assert only(gate([steady(one), a_failure(two)], [steady(one), steady(two)]), Outcome.NEW)


def test_cells_of_one_side_are_told_and_decide_nothing_where_they_may_be_missing() -> None:
    one, two, three = CELLS[:3]
    limits = Limits(allow_missing=True, **FIVE)
    judgement = gate([steady(one), steady(two)], [steady(one), steady(three)], limits)
    assert judgement.decision is Decision.PASS
    assert only(judgement, Outcome.SKIPPED).cell == two
    assert only(judgement, Outcome.NEW).cell == three


def test_a_cell_that_was_not_reached_leaves_the_gate_open() -> None:
    one, two = CELLS[0], CELLS[1]
    a = in_memory([steady(one), steady(two)])
    b = in_memory([steady(one)], "b")
    b = type(b)(b.path, b.header.model_copy(update={"cells": (one, two)}), b.records, [], [])
    judgement = judge(b, FIVE_PERCENT, compare(match_runs(a, b)))
    assert judgement.decision is Decision.INCONCLUSIVE
    assert "--resume" in only(judgement, Outcome.INCONCLUSIVE).advice


@pytest.mark.parametrize("check", ["parity", "placement", "precision", "accuracy"])
def test_an_output_that_became_wrong_fails_however_fast_it_is(check: str) -> None:
    broken = steady(checks=(a_failed_check(check, "largest difference 3e-1"),))
    right = steady(CELLS[3])
    assert gate([steady(), right], [broken, right]).decision is Decision.FAIL
    assert gate([broken, right], [broken, right]).decision is Decision.PASS


@pytest.mark.parametrize(
    ("tpot_bound_ms", "count", "decision"),
    [(3, 700, Decision.PASS), (2, 700, Decision.FAIL), (3, 100, Decision.INCONCLUSIVE)],
)
def test_a_rate_under_bounds_passes_only_where_both_are_met(
    tpot_bound_ms: int, count: int, decision: Decision
) -> None:
    """TTFT is met; TPOT is 2.5 ms."""
    bounds = {"ttft_bound_ns": 3_000_000, "tpot_bound_ns": tpot_bound_ms * 1_000_000}
    asked = queries("server@8+5", 2_000_000, 10_000_000, count=count, **bounds)
    served = steady().model_copy(update={"queries": asked})
    assert gate([served], [served]).decision is decision


def test_a_busy_machine_is_no_failure() -> None:
    busy = steady(checks=(a_failed_check("undisturbed", "9 of 10 blocks were disturbed"),))
    assert gate([steady()], [busy]).decision is Decision.PASS


def test_a_simulated_device_is_not_timed() -> None:
    one, two = CELLS[0], CELLS[1]
    before = [steady(one), steady(two, simulated=True)]
    now = [steady(one), measured([9e9] * 5, two, simulated=True)]
    assert gate(before, now).decision is Decision.PASS


# -- accuracy and memory --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "expected"),
    [(9300, Decision.PASS), (8700, Decision.FAIL), (9010, Decision.INCONCLUSIVE)],
)
def test_a_least_accuracy_is_held_against_an_exact_interval(
    tmp_path: Path, right: int, expected: Decision
) -> None:
    accuracy = an_accuracy(right / 10_000)
    run = on_disk(tmp_path, [steady(CELLS[0])])
    record = run.records[0].model_copy(update={"accuracy": accuracy})
    run.records[:] = [record]
    with_predictions(run, {"x": np.arange(10_000) < right})
    judgement = judge(run, Limits(min_accuracy={"": 0.9}))
    assert judgement.decision is expected
    assert not judgement.warnings
    if expected is Decision.INCONCLUSIVE:
        assert "labelled examples" in only(judgement, Outcome.INCONCLUSIVE).advice


def test_a_model_s_own_least_accuracy_wins_over_that_of_all(tmp_path: Path) -> None:
    run = in_memory([steady(CELLS[0]), scored(an_accuracy(0.86), CELLS[2])])
    limits = Limits(min_accuracy={"": 0.9, STUDENT.name: 0.85})
    assert judge(run, limits).decision is Decision.PASS
    with pytest.raises(SpecError, match="no such model"):
        judge(run, Limits(min_accuracy={"nobody": 0.9}))


def _scored_runs(folder: Path, before: np.ndarray, now: np.ndarray) -> list[Any]:
    runs = []
    for name, right in (("a", before), ("b", now)):
        accuracy = an_accuracy(float(right.mean()), len(right))
        accuracy = accuracy.model_copy(update={"predictions": "predictions/x.parquet"})
        run = on_disk(folder / name, [scored(accuracy)])
        with_predictions(run, {"x": right})
        runs.append(run)
    return runs


def test_lost_accuracy_is_compared_example_by_example(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    before = rng.random(4000) < 0.9
    now = before.copy()
    now[np.flatnonzero(before)[:44]] = False  # 1.1 points, and nothing gained
    a, b = _scored_runs(tmp_path, before, now)
    limits = Limits(max_accuracy_loss=0.005)
    judgement = judge(b, limits, compare(match_runs(a, b)))
    assert judgement.decision is Decision.FAIL
    assert only(judgement, Outcome.FAIL).kind == "accuracy loss"

    # Without predictions the two intervals alone can't show it.
    for file in (b.path / "predictions").glob("*.parquet"):
        file.unlink()
    again = judge(b, limits, compare(match_runs(a, b)))
    assert again.decision is Decision.INCONCLUSIVE
    assert any("where predictions can't be compared" in warning for warning in again.warnings)
    assert any("predictions" in w and "which is" not in w for w in again.warnings), again.warnings


def test_predictions_of_two_loads_are_compared_example_by_example_too(tmp_path: Path) -> None:
    """A model is scored once on a target, at whichever load has its turn first."""
    before = np.random.default_rng(8).random(4000) < 0.9
    now = before.copy()
    now[np.flatnonzero(before)[:44]] = False
    runs = _scored_runs(tmp_path, before, now)
    cells = [a_cell(), a_cell(scenario="offline", batch=32)]
    for run, here in zip(runs, cells, strict=True):
        accuracy = run.records[0].accuracy
        run.records[:] = [
            steady(cell).model_copy(update={"accuracy": accuracy if cell is here else None})
            for cell in cells
        ]
    a, b = runs
    report = compare(match_runs(a, b))
    judgement = judge(b, Limits(max_accuracy_loss=0.005), report)
    assert len(report.accuracies) == 1
    assert not judgement.warnings
    assert only(judgement, Outcome.FAIL).kind == "accuracy loss"


@pytest.mark.parametrize("kept", [True, False], ids=["paired", "predictions lost"])
def test_how_much_accuracy_may_be_lost_is_judged_at_the_confidence_asked_for(
    tmp_path: Path, kept: bool
) -> None:
    rng = np.random.default_rng(8)
    before = rng.random(4000) < 0.9
    now = before.copy()
    now[np.flatnonzero(before)[:36]] = False
    a, b = _scored_runs(tmp_path, before, now)
    report = compare(match_runs(a, b))
    for file in () if kept else (b.path / "predictions").glob("*.parquet"):
        file.unlink()
    widths = []
    for confidence in (0.5, 0.95, 0.999):
        found = judge(
            b,
            Limits(max_accuracy_loss=0.007),
            report if kept else compare(match_runs(a, b)),
            confidence,
        ).findings
        interval = next(f.found for f in found if f.kind == "accuracy loss")
        assert interval is not None
        widths.append(interval.high - interval.low)
        assert interval.confidence == pytest.approx(confidence)
    assert widths == sorted(widths)
    assert widths[2] > 3 * widths[0]


def test_memory_that_grew_fails() -> None:
    def with_peak(share: float) -> Record:
        record = steady()
        grown = tuple(
            i.model_copy(update={"peak_rss_bytes": round(1e8 * share * (1 + 0.001 * i.index))})
            for i in record.invocations
        )
        return record.model_copy(update={"invocations": grown})

    limits = Limits(max_memory_growth=0.1)
    assert gate([with_peak(1)], [with_peak(1.3)], limits).decision is Decision.FAIL
    assert gate([with_peak(1)], [with_peak(1.05)], limits).decision is Decision.PASS


def test_memory_is_judged_from_two_processes_on() -> None:
    def with_peaks(*peaks: int | None) -> Record:
        record = steady()
        known = dict(enumerate(peaks))
        found = tuple(
            i.model_copy(update={"peak_rss_bytes": known.get(i.index)}) for i in record.invocations
        )
        return record.model_copy(update={"invocations": found})

    limits = Limits(max_memory_growth=0.1)
    two, one = with_peaks(10**8, 10**8), with_peaks(10**8)
    grown = with_peaks(2 * 10**8, 2 * 10**8)
    assert gate([two], [grown], limits).of(Outcome.FAIL)
    for before, now in ((one, grown), (grown, one)):
        found = only(gate([before], [now], limits), Outcome.INCONCLUSIVE)
        assert (found.kind, found.found) == ("memory", None)


# -- the baseline in a file -----------------------------------------------------------------------


def test_a_baseline_file_gates_exactly_as_its_run_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    a, b = _scored_runs(tmp_path, rng.random(2000) < 0.9, rng.random(2000) < 0.88)
    content, problems = make_baseline(a)
    assert problems == []
    path = tmp_path / "baseline.json"
    path.write_text(baseline_text(content))
    limits = Limits(0.05, {"": 0.8}, 0.005, 0.1)
    from_file = judge(b, limits, compare(match_runs(read_baseline(path), b)))
    from_run = judge(b, limits, compare(match_runs(read_baseline(a.path), b)))
    assert from_file.findings == from_run.findings
    assert from_file.warnings == ()
    assert path.stat().st_size < 20_000


columns = st.sampled_from(["<i8", "<f8", "|b1", "<i4", "<f4"])


@given(columns, st.lists(st.integers(-(2**31), 2**31 - 1), max_size=30), st.booleans())
def test_columns_of_predictions_come_back_as_they_were(
    dtype: str, values: list[int], is_wide: bool
) -> None:
    from bench.store.baseline import _packed, _unpacked

    array = np.array(values, dtype="<i8").astype(dtype)
    array = array.reshape(-1, 1) if is_wide else array
    again = _unpacked(_packed(array))
    np.testing.assert_array_equal(again, array)
    assert again.dtype.kind == array.dtype.kind


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a baseline file"),
        ("[]", "not a baseline file"),
        ("{}", "not a baseline file"),
        ('{"kind": "bench-baseline", "schema_version": 99}', "Update bench"),
        ('{"kind": "bench-baseline", "schema_version": 1}', "missing"),
        ("[" * 100_000, "not a baseline file"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_in_one_sentence(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=complaint) as caught:
        read_baseline(path)
    assert "\n" not in str(caught.value)


def test_broken_predictions_in_a_baseline_are_told_and_the_gate_goes_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    a, b = _scored_runs(tmp_path, rng.random(500) < 0.9, rng.random(500) < 0.9)
    content, _ = make_baseline(a)
    path = tmp_path / "baseline.json"
    data = json.loads(baseline_text(content))
    for column in data["columns"].values():
        column["data"] = column["data"][:-8]
    path.write_text(json.dumps(data))
    report = compare(match_runs(read_baseline(path), b))
    judgement = judge(b, Limits(max_accuracy_loss=0.1), report)
    assert judgement.decision is Decision.PASS
    assert any("are broken" in warning for warning in judgement.warnings)


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(11)

    def stored(name: str, records: Sequence[Record], **changes: Any) -> Path:
        return on_disk(tmp_path / name, records, **changes).path

    wide = [measured(noisy(rng, 1e5, 3, 0.2), CELLS[0])]
    other = {**MACHINE, "machine_id": "ffffffffffff", "cpu_model": "Another CPU"}
    return {
        "base": stored("base", [steady(CELLS[0])]),
        "same": stored("same", [steady(CELLS[0])]),
        "slow": stored("slow", [measured([1.5e5, 1.501e5, 1.499e5], CELLS[0])]),
        "noisy": stored("noisy", wide),
        "elsewhere": stored("elsewhere", [steady(CELLS[0])], facts=other),
        "nothing in common": stored("nothing", [steady(CELLS[3])]),
    }


@pytest.mark.parametrize(
    ("run", "flags", "code"),
    [
        ("same", (), 0),
        ("slow", (), 1),
        ("slow", ("--max-slowdown", "60%"), 0),
        ("noisy", (), 3),
        ("noisy", ("--inconclusive", "fail"), 1),
        ("noisy", ("--inconclusive", "pass"), 0),
        ("slow", ("--inconclusive", "pass"), 1),
        ("elsewhere", (), 2),
        ("elsewhere", ("--allow", "machine"), 0),
        ("nothing in common", (), 2),
        ("base", (), 2),
    ],
)
def test_exit_codes(
    runs: dict[str, Path],
    run: str,
    flags: tuple[str, ...],
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["gate", str(runs[run]), "--baseline", str(runs["base"]), *flags]
    assert main(words) == code
    printed = capsys.readouterr()
    if code == 2:
        assert printed.out == ""
        assert len(printed.err.splitlines()) == 1
        assert "Traceback" not in printed.err


def test_a_baseline_from_another_machine_is_refused_in_one_sentence(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(runs["elsewhere"]), "--baseline", str(runs["base"])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "they differ in hardware" in line
    assert "Another CPU" in line
    assert "--allow machine" in line


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--max-slowdown", "5"), "write the percent sign"),
        (("--max-slowdown", "fast"), "not a number or a percentage"),
        (("--max-slowdown", "-5%"), "is not a share of 0 or more"),
        (("--min-accuracy", "90"), "from 0 to 1"),
        (("--max-accuracy-loss", "-1"), "points"),
        (("--max-accuracy-loss", "nan"), "points"),
    ],
)
def test_limits_that_mean_nothing_are_refused(
    runs: dict[str, Path],
    flags: tuple[str, ...],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["gate", str(runs["same"]), "--baseline", str(runs["base"]), *flags]) == 2
    assert complaint in capsys.readouterr().err


def test_a_gate_without_any_limit_or_baseline_says_what_to_name(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(runs["same"])]) == 2
    assert "--baseline" in capsys.readouterr().err
    assert main(["gate", str(runs["same"]), "--max-slowdown", "5%"]) == 2
    assert "--baseline" in capsys.readouterr().err


def test_a_baseline_is_written_and_read_by_the_commands(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new folder" / "baseline.json"
    assert main(["gate", str(runs["base"]), "--save", str(file)]) == 0
    assert "1 cells" in capsys.readouterr().out
    assert main(["gate", str(runs["same"]), "--baseline", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decision"] == "pass"
    assert found["findings"][0]["outcome"] == "pass"


def test_a_baseline_that_is_there_is_replaced_and_told_and_another_file_is_left_alone(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "baseline.json"
    save = ["--save", str(file)]
    assert main(["gate", str(runs["base"]), *save]) == 0
    assert "replaced" not in capsys.readouterr().out
    assert main(["gate", str(runs["same"]), *save]) == 0
    assert "; replaced the baseline of 2026-01-01 00:00" in capsys.readouterr().out
    file.write_bytes(file.read_bytes()[:300])  # a cache that was cut
    assert main(["gate", str(runs["same"]), *save]) == 0
    assert "; replaced a baseline that can't be read." in capsys.readouterr().out
    file.write_text("")
    assert main(["gate", str(runs["same"]), *save]) == 0
    file.write_text("my notes")
    assert main(["gate", str(runs["same"]), *save]) == 2
    assert "no baseline, so it is not replaced" in capsys.readouterr().err
    assert file.read_text() == "my notes"


def test_the_verdict_comes_in_words_first_and_fits_a_terminal() -> None:
    rng = np.random.default_rng(12)
    long = a_cell(TEACHER.model_copy(update={"name": "m" * 300}), "x:cpu")
    before = [steady(cell) for cell in CELLS] + [steady(long)]
    now = [
        measured([1.5e5, 1.501e5, 1.499e5], CELLS[0]),
        a_failure(CELLS[1], "crashed", "the worker died: " + "SIGSEGV " * 40),
        measured(noisy(rng, 1e5, 3, 0.2), CELLS[2]),
        a_failure(CELLS[3], "unavailable", "no device"),
        steady(long),
    ]
    judgement = gate(before, now)
    for width in (60, 80, 200):
        first = plain(judgement, width).splitlines()[0]
        assert first.startswith("FAIL: ")
    assert "1 stopped working" in summary(judgement)
    json.dumps(gate_json(judgement), allow_nan=False)


def test_reading_a_run_again_changes_nothing(tmp_path: Path) -> None:
    run = on_disk(tmp_path, [steady(CELLS[0])])
    content, _ = make_baseline(run)
    path = tmp_path / "baseline.json"
    path.write_text(baseline_text(content))
    again = read_baseline(path)
    assert again.records == read_run(run.path).records
    assert again.header == run.header
    assert baseline_text(make_baseline(again)[0]) == path.read_text()
    assert a_record() != again.records[0]


def test_an_unstable_ratio_is_called_so_in_the_table_and_in_words() -> None:
    found = Interval(2.0, 1e-9, 4e9, 0.95)
    finding = Finding("latency", a_cell(), Outcome.INCONCLUSIVE, found=found, limit=1.1)
    assert found_text(finding) == "2.00x (unstable)"
    energy = Finding("energy", a_cell(), Outcome.INCONCLUSIVE, found=found, limit=1.1)
    assert found_text(energy) == "2.00 J (unstable)"
