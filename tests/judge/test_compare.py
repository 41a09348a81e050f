"""`bench compare`: verdicts as sure as they say, accuracy, failures, and the command itself."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import MACHINE, in_memory, measured, noisy, on_disk, with_predictions
from fake_records import STUDENT, TEACHER, a_cell, a_failed_check, a_failure, a_record, an_accuracy
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from bench.__main__ import main
from bench.judge.compare import Effect, Report, compare
from bench.judge.matching import match_cells, match_runs, match_targets
from bench.present.compare import report_json, report_text, sentences
from bench.record.result import Record
from bench.spec import Suite
from bench.stats.stopping import RankingRule
from bench.stats.verdict import Verdict
from bench.store.run import StoredRun, read_run

DIFFERENT = {Verdict.FASTER, Verdict.SLOWER, Verdict.CONTENTION_DEPENDENT}
Command = Callable[..., tuple[int, str, str]]


def two_runs(one: Sequence[Record], other: Sequence[Record], **options: Any) -> Report:
    return compare(match_runs(in_memory(one), in_memory(other, "b")), **options)


def only_effect(report: Report) -> Effect:
    (effect,) = report.effects
    return effect


def plain(report: Report, width: int = 80) -> str:
    text = report_text(report, width).plain
    assert max(map(cell_len, text.splitlines())) <= width
    return text


# -- as sure as it says ---------------------------------------------------------------------------

CELLS = [a_cell(m, t) for m in (TEACHER, STUDENT) for t in ("x:cpu", "y:cpu")]


def test_runs_of_the_same_thing_are_rarely_told_apart() -> None:
    """The *family* of four comparisons holds at 95%: at most 5% of all runs have any false verdict
    (five standard errors of 400 trials above that)."""
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(400):
        ours, theirs = ([measured(noisy(rng, 1e5, sd=0.05), cell) for cell in CELLS] for _ in "ab")
        verdicts = {e.verdict for e in two_runs(ours, theirs).effects}
        false += bool(verdicts & DIFFERENT)
    assert false / 400 <= 0.05 + 5 * (0.05 * 0.95 / 400) ** 0.5


def test_equal_targets_of_one_run_are_rarely_told_apart_while_the_machine_drifts() -> None:
    rng = np.random.default_rng(2)
    cells = [a_cell(target=t) for t in ("x:cpu", "y:cpu", "z:cpu")]
    false = 0
    for _ in range(400):
        drift = np.linspace(1, rng.uniform(0.5, 2), 6)
        records = [measured(list(drift * noisy(rng, 1e5)), cell) for cell in cells]
        report = compare(match_targets(in_memory(records)))
        assert all(e.paired for e in report.effects)
        false += any(e.verdict in DIFFERENT for e in report.effects)
    assert false / 400 <= 0.05 + 5 * (0.05 * 0.95 / 400) ** 0.5


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, Verdict.SLOWER), (1 / 1.1, Verdict.FASTER)])
def test_ten_percent_is_found_in_either_direction(factor: float, verdict: Verdict) -> None:
    rng = np.random.default_rng(3)
    found = Counter(
        only_effect(
            two_runs([measured(noisy(rng, 1e5, 8))], [measured(noisy(rng, 1e5 * factor, 8))])
        ).verdict
        for _ in range(200)
    )
    assert found[verdict] >= 0.95 * 200
    assert set(found) <= {verdict, Verdict.INCONCLUSIVE}


def test_ten_percent_between_interleaved_targets_is_found_under_drift() -> None:
    rng = np.random.default_rng(4)
    drift = np.linspace(1, 2, 8)
    a = measured(list(drift * noisy(rng, 1e5, 8)), a_cell(target="x:cpu"))
    b = measured(list(drift * noisy(rng, 1.1e5, 8)), a_cell(target="y:cpu"))
    paired = only_effect(compare(match_targets(in_memory([a, b]))))
    assert (paired.verdict, paired.paired) == (Verdict.SLOWER, True)
    apart = b.model_copy(update={"cell": a.cell, "cell_id": a.cell_id})
    unpaired = only_effect(two_runs([a], [apart]))
    assert (unpaired.verdict, unpaired.paired) == (Verdict.INCONCLUSIVE, False)


def test_the_same_is_shown_by_equivalence_and_never_by_too_little_evidence() -> None:
    rng = np.random.default_rng(5)
    narrow = [measured(noisy(rng, 1e5, 20, sd=0.005)) for _ in "ab"]
    wide = [measured(noisy(rng, 1e5, 3, sd=0.1)) for _ in "ab"]
    assert only_effect(two_runs(narrow[:1], narrow[1:])).verdict == Verdict.SAME
    assert only_effect(two_runs(wide[:1], wide[1:])).verdict == Verdict.INCONCLUSIVE
    assert only_effect(two_runs(narrow[:1], narrow[1:], margin=0.0)).verdict != Verdict.SAME
    assert only_effect(two_runs(wide[:1], wide[1:], margin=0.99)).verdict == Verdict.SAME


def test_medians_and_floors_that_disagree_depend_on_contention() -> None:
    rng = np.random.default_rng(6)
    a = measured(noisy(rng, 1e5), floors_ns=noisy(rng, 8e4))
    b = measured(noisy(rng, 1.25e5), floors_ns=noisy(rng, 7e4))
    report = two_runs([a], [b])
    assert only_effect(report).verdict == Verdict.CONTENTION_DEPENDENT
    assert "Whether b is faster depends on the machine's load." in plain(report)


def test_stopping_when_the_order_is_settled_is_paid_for() -> None:
    """Two equal targets, looked at until they seem to differ: at most 5% of the runs end so."""
    rng = np.random.default_rng(9)
    suite = Suite(models=("a",), goal="rank", max_invocations=12)
    rule = RankingRule(2, 0.95, suite.margin, 3, 12)
    cells = [a_cell(target=t) for t in ("x:cpu", "y:cpu")]
    false = 0
    for _ in range(200):
        times = [noisy(rng, 1e5, 12) for _ in cells]
        figures = [dict(enumerate(values)) for values in times]
        stop = next((n for n in rule.looks() if rule.settled(*(_first(f, n) for f in figures))), 12)
        records = [
            measured(values[:stop], cell, stop="ranked")
            for values, cell in zip(times, cells, strict=True)
        ]
        effect = only_effect(compare(match_targets(in_memory(records, suite=suite))))
        false += effect.verdict in DIFFERENT
    assert false / 200 <= 0.05 + 5 * (0.05 * 0.95 / 200) ** 0.5


def _first(figures: dict[int, float], count: int) -> dict[int, float]:
    return {index: ns for index, ns in figures.items() if index < count}


def test_cells_of_a_group_that_was_split_are_not_paired() -> None:
    cells = [a_cell(target=t) for t in ("x:cpu", "y:cpu", "z:cpu")]
    groups = ("offline, part 1", "offline, part 1", "offline, part 2")
    records = [a_record(c, group=g) for c, g in zip(cells, groups, strict=True)]
    report = compare(match_targets(in_memory(records)))
    assert [e.paired for e in report.effects] == [True, False, False]


def test_more_comparisons_ask_for_wider_intervals() -> None:
    rng = np.random.default_rng(7)
    ours, theirs = ([measured(noisy(rng, 1e5), cell) for cell in CELLS] for _ in "ab")
    four, one = two_runs(ours, theirs), two_runs(ours[:1], theirs[:1])
    assert {e.ratio.confidence for e in four.effects} == {1 - 0.05 / 4}
    assert only_effect(one).ratio.confidence == 0.95
    assert four.effects[0].ratio.high > only_effect(one).ratio.high


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(1, 1e12), min_size=2, max_size=8),
    st.lists(st.floats(1, 1e12), min_size=2, max_size=8),
    st.sampled_from([("single-stream", 1), ("offline", 32)]),
    st.floats(0, 0.5),
)
def test_exchanging_a_and_b_mirrors_every_verdict(
    one: list[float], other: list[float], load: tuple[str, int], margin: float
) -> None:
    cell = a_cell(TEACHER, "x:cpu", *load)
    a, b = measured(one, cell), measured(other, cell)
    there = only_effect(two_runs([a], [b], margin=margin))
    back = only_effect(two_runs([b], [a], margin=margin))
    mirror = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
    assert back.verdict == mirror.get(there.verdict, there.verdict)
    assert there.ratio.estimate == pytest.approx(1 / back.ratio.estimate)
    report = two_runs([a], [b], margin=margin)
    plain(report)
    json.dumps(report_json(report), allow_nan=False)


# -- the machine itself ---------------------------------------------------------------------------


def drifted(factor: float, canary: float) -> Effect:
    """Two runs: in B the cell takes ``factor`` times as long, and the canary ``canary`` times."""
    wobble, calm = [0.98, 1.02, 1.0, 0.99, 1.01], [1.002, 0.998, 1.0, 1.001, 0.999]
    a = measured([1e5 * w for w in wobble], canary_ns=[5e4 * c for c in calm])
    b = measured([1e5 * factor * w for w in wobble], canary_ns=[5e4 * canary * c for c in calm])
    return only_effect(two_runs([a], [b]))


def test_what_the_canary_felt_too_is_not_put_down_to_the_cell() -> None:
    found = drifted(1.3, 1.3)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert found.withheld == Verdict.SLOWER
    assert found.drift is not None
    assert found.drift.contains(1.3)


def test_what_goes_beyond_the_drift_keeps_its_verdict() -> None:
    assert drifted(2.0, 1.3).verdict == Verdict.SLOWER
    assert drifted(1.3, 1.0).verdict == Verdict.SLOWER
    assert drifted(1.3, 1.0).drift is None


def test_drift_is_told() -> None:
    canaries = [[5e4] * 6, [6e4] * 6]
    ours, theirs = ([measured([1e5, 1.1e5] * 3, canary_ns=c)] for c in canaries)
    assert "a fixed workload took 1.20x as long in b" in " ".join(
        plain(two_runs(ours, theirs)).split()
    )


BUSY = (a_failed_check("own-cpu", "3 of 3 invocations shared a CPU"),)
LOADS = {"single-stream": {}, "offline": {"scenario": "offline", "batch": 32}}


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(("factor", "verdict"), [(2.0, Verdict.SLOWER), (0.5, Verdict.FASTER)])
def test_what_other_programs_slowed_is_not_found_slower(
    load: str, factor: float, verdict: Verdict
) -> None:
    cell = a_cell(**LOADS[load])

    def found(before: Any, now: Any) -> Report:
        return two_runs(
            [measured([1e5, 1.001e5] * 3, cell, checks=before)],
            [measured([factor * 1e5, factor * 1.001e5] * 3, cell, checks=now)],
        )

    slower, other = (((), BUSY), (BUSY, ())) if factor > 1 else ((BUSY, ()), ((), BUSY))
    report = found(*slower)
    effect = only_effect(report)
    assert (effect.verdict, effect.withheld) == (Verdict.INCONCLUSIVE, verdict)
    told = " ".join(plain(report).split())
    assert "1 verdict is withheld, because other programs slowed the slower side" in told
    assert "3 of 3 invocations shared a CPU" in told
    assert only_effect(found(*other)).verdict is verdict, "faster in spite of load"
    assert only_effect(found((), ())).verdict is verdict


def test_what_load_withheld_is_not_put_down_to_drift() -> None:
    ours = [measured([1e5, 1.001e5] * 3, canary_ns=[5e4] * 6)]
    theirs = [measured([3e5, 3.003e5] * 3, canary_ns=[6e4] * 6, checks=BUSY)]
    told = " ".join(plain(two_runs(ours, theirs)).split())
    assert "relative to that workload; none was withheld." in told
    assert "1 verdict is withheld, because other programs" in told


def test_another_machine_that_was_busy_is_slower_all_the_same() -> None:
    """How machines differ is told beside their canaries, and not withheld."""
    busy = measured([2e5, 2.002e5] * 3, checks=BUSY)
    elsewhere = in_memory([busy], "b", facts={**MACHINE, "machine_id": "f" * 12})
    found = compare(match_runs(in_memory([measured([1e5, 1.001e5] * 3)]), elsewhere), ["machine"])
    assert (only_effect(found).verdict, only_effect(found).withheld) == (Verdict.SLOWER, None)


def test_what_was_measured_in_turn_was_slowed_alike() -> None:
    cells = [a_cell(target=target) for target in ("x:cpu", "y:cpu")]
    records = [
        measured([time, 1.001 * time] * 3, cell, checks=BUSY, group="g")
        for cell, time in zip(cells, (1e5, 2e5), strict=True)
    ]
    effect = only_effect(compare(match_targets(in_memory(records))))
    assert effect.paired
    assert (effect.verdict, effect.withheld) == (Verdict.SLOWER, None)


def test_on_another_machine_the_canary_is_no_yardstick() -> None:
    a = measured([1e5, 1.001e5] * 3, canary_ns=[5e4] * 6)
    b = measured([2e5, 2.002e5] * 3, canary_ns=[1e5] * 6)
    elsewhere = in_memory([b], "b", facts={**MACHINE, "machine_id": "f" * 12})
    report = compare(match_runs(in_memory([a]), elsewhere), ["machine"])
    found = only_effect(report)
    assert (found.verdict, found.drift, found.relative) == (Verdict.SLOWER, None, None)
    assert "[allowed]" in plain(report)


# -- what is compared -----------------------------------------------------------------------------


def test_pairs_are_the_generations_that_both_took_part_in() -> None:
    times = [1e5, 1.5e5, 2e5, 3e5, 3e5, 3e5]
    a = measured(times, a_cell(target="x:cpu"))
    b = measured([t * 1.1 for t in times[1:4]], a_cell(target="y:cpu"), first_index=1)
    found = only_effect(compare(match_targets(in_memory([a, b]))))
    assert found.invocations == (3, 3)
    assert found.ratio.estimate == pytest.approx(1.1)
    assert found.ratio.low == pytest.approx(1.1)
    assert found.verdict == Verdict.SLOWER


def test_cells_of_other_groups_of_a_run_are_not_paired() -> None:
    one, other = a_cell(batch=2, scenario="offline"), a_cell(batch=4, scenario="offline")
    run = in_memory([measured([1e5] * 4, one), measured([1e5] * 4, other)])
    found = only_effect(compare(match_cells(run, [one.id, other.id])))
    assert not found.paired
    assert found.measure == "throughput"
    assert found.ratio.estimate == pytest.approx(0.5)
    assert found.verdict == Verdict.FASTER


def test_floors_of_throughput_are_times_of_a_sample_like_its_medians() -> None:
    """A query of twice the samples whose best takes as long is twice as fast at its best."""
    one, other = a_cell(batch=2, scenario="offline"), a_cell(batch=4, scenario="offline")
    records = [measured([1e5] * 4, cell, floors_ns=[8e4] * 4) for cell in (one, other)]
    found = only_effect(compare(match_cells(in_memory(records), [one.id, other.id])))
    assert found.floor is not None
    assert found.floor.estimate == pytest.approx(0.5)


def test_latency_and_throughput_are_tables_of_their_own_with_their_units() -> None:
    cells = [a_cell(), a_cell(TEACHER, "onnxruntime:cpu", "offline", 32)]
    ours = [measured([1e5, 1.01e5] * 3, cell) for cell in cells]
    theirs = [measured([2e5, 2.01e5] * 3, cell) for cell in cells]
    report = two_runs(ours, theirs)
    assert [e.verdict for e in report.effects] == [Verdict.SLOWER] * 2
    assert [round(e.ratio.estimate, 1) for e in report.effects] == [2.0, 2.0]
    text = plain(report)
    assert "Latency, median of one query (time ratio below 1: b is faster)" in text
    assert "Throughput, batch 32 (time ratio below 1: b is faster)" in text
    rows = report_json(report)["comparisons"]
    assert [row["unit"] for row in rows] == ["ns", "samples/s"]  # type: ignore[attr-defined]
    assert "b is slower than a in 2 of 2 comparisons." in text


def test_cells_that_failed_or_are_simulated_are_listed_and_never_ranked() -> None:
    targets = ["ok:cpu", "bad:cpu", "npu:0", "few:cpu", "none:cpu"]
    cells = [a_cell(target=t) for t in targets]
    ours = [a_record(cell) for cell in cells]
    theirs = [
        a_record(cells[0], 2e5),
        a_failure(cells[1], "crashed", "the worker died (SIGSEGV)."),
        a_record(cells[2], simulated=True),
        measured([1e5], cells[3]),
        measured([], cells[4]),
    ]
    report = two_runs(ours, theirs)
    assert len(report.effects) == 1
    assert report.effects[0].ratio.confidence == 0.95
    text = " ".join(plain(report).split())
    assert "bad:cpu single-stream batch 1: b failed (crashed): the worker died (SIGSEGV)." in text
    assert "b is simulated: its latency is meaningless." in text
    assert "b has 1 of at least 2 invocations." in text
    assert "b has 0 of at least 2 invocations." in text


def test_a_row_names_the_target_that_failed_in_full() -> None:
    """Names of targets have a colon, at which the reason was cut."""
    records = [
        a_record(a_cell(target="onnxruntime:cpu")),
        a_failure(a_cell(target="openvino:cpu"), "crashed", "the worker died: SIGSEGV."),
        a_record(a_cell(target="torch:cpu")),
    ]
    table = plain(compare(match_targets(in_memory(records)))).split("\n\n")[1]
    failed = [" ".join(line.split()) for line in table.splitlines() if "failed" in line]
    assert failed == ["openvino:cpu openvino:cpu failed", "torch:cpu openvino:cpu failed"]


def test_a_ratio_too_wide_for_a_number_is_told_by_its_bound() -> None:
    times = {"x:cpu": (1e5, 1e5, 1e5), "y:cpu": (3e5, 2e5, 9e5)}
    records = [measured(ns, a_cell(target=target), group="g") for target, ns in times.items()]
    report = compare(match_targets(in_memory(records)), confidence=0.8)
    effect = only_effect(report)
    assert effect.verdict is Verdict.SLOWER
    assert effect.ratio.high > 2 * effect.ratio.estimate
    assert re.search(r"y:cpu +100 → 378 +≥1\.\d+x +\S+x +slower", plain(report))


def test_a_quoted_message_keeps_all_its_dots() -> None:
    message = "see ../models/x.onnx ... it."
    report = two_runs([a_record()], [a_failure(message=message)])
    text = " ".join(plain(report).split())
    assert f"single-stream batch 1: b failed (timeout): {message} No speed" in text
    warned = report_json(report)["warnings"]
    assert any(message in str(one) for one in warned)  # type: ignore[attr-defined]


def test_a_comparison_in_which_everything_failed_says_so() -> None:
    report = two_runs([a_failure()], [a_failure()])
    assert sentences(report)[0] == "No speed could be compared."
    assert plain(report)


def test_of_many_failed_checks_it_is_said_which_runs_to_show() -> None:
    cells = [a_cell(target=f"t{number}:cpu") for number in range(5)]
    bad = (a_failed_check("undisturbed", "busy"),)
    report = two_runs(
        [measured([1e5] * 3, cell) for cell in cells],
        [measured([1e5] * 3, cell, checks=bad) for cell in cells],
    )
    told = " ".join(plain(report).split())
    assert "failed 5 times; `bench show runs/a runs/b` tells where." in told


def test_a_figure_whose_check_failed_is_marked() -> None:
    checks = (a_failed_check("steady-state", "2 of 5 invocations settled"),)
    text = plain(two_runs([a_record()], [a_record(checks=checks)]))
    assert "! onnxruntime:cpu" in text
    assert "b: 2 of 5 invocations settled" in " ".join(text.split())


@pytest.mark.parametrize("name", ["[red]x[/red]", "a\x1b[31mb", "x" * 3000, "名前" * 60, "a\nb"])
def test_hostile_names_are_shown_as_text(name: str) -> None:
    model = TEACHER.model_copy(update={"name": name})
    targets = ["x:cpu", f"{name}:cpu"]
    records = [a_record(a_cell(model, t)) for t in targets]
    failed = [records[0], a_failure(records[1].cell, name, name)]
    reports = [two_runs(records, failed), compare(match_targets(in_memory(records)))]
    for text in map(plain, reports):
        assert text.replace("\n", "").isprintable()


# -- accuracy -------------------------------------------------------------------------------------


def scored(run_name: str, cells: Sequence[Any], folder: Path) -> StoredRun:
    records = []
    for cell in cells:
        file = f"predictions/{cell.model.name}-{cell.target.partition(':')[0]}.parquet"
        accuracy = an_accuracy(0.9).model_copy(update={"predictions": file})
        records.append(a_record(cell).model_copy(update={"accuracy": accuracy}))
    return on_disk(folder / run_name, records)


def rights(count: int, wrong: slice) -> np.ndarray:
    right = np.ones(count, dtype=bool)
    right[wrong] = False
    return right


def test_accuracies_are_compared_example_by_example(tmp_path: Path) -> None:
    cells = [a_cell(), a_cell(TEACHER, "onnxruntime:cpu", "offline", 32)]
    a, b = (scored(name, cells, tmp_path) for name in "ab")
    with_predictions(a, {"fashion-teacher-onnxruntime": rights(1000, slice(0, 30))})
    with_predictions(b, {"fashion-teacher-onnxruntime": rights(1000, slice(20, 100))})
    report = compare(match_runs(a, b))
    (found,) = report.accuracies  # once, though two scenarios share the predictions
    change = found.change
    assert (change.only_other_right, change.only_this_right, change.examples) == (70, 20, 1000)
    assert change.difference.estimate == pytest.approx(-0.05)
    assert found.established(0.95)
    assert "b is less accurate than a." in plain(report)
    assert "97.0 → 92.0" in plain(report)


def test_many_accuracies_are_corrected(tmp_path: Path) -> None:
    cells = [a_cell(m, t) for m in (TEACHER, STUDENT) for t in ("x:cpu", "y:cpu")]
    a, b = (scored(name, cells, tmp_path) for name in "ab")
    names = [f"{m.name}-{t}" for m in (TEACHER, STUDENT) for t in "xy"]
    with_predictions(a, {name: rights(200, slice(0, 0)) for name in names})
    with_predictions(b, {name: rights(200, slice(0, 7)) for name in names})
    found = compare(match_runs(a, b)).accuracies
    assert [round(f.change.p, 4) for f in found] == [0.0156] * 4
    assert [round(f.adjusted_p, 4) for f in found] == [0.0625] * 4
    assert not any(f.established(0.95) for f in found)


def test_lost_predictions_and_other_examples_are_told(tmp_path: Path) -> None:
    a, b = (scored(name, [a_cell()], tmp_path) for name in "ab")
    with_predictions(a, {"fashion-teacher-onnxruntime": rights(10, slice(0, 1))})
    (warning,) = compare(match_runs(a, b)).warnings
    assert "it has no predictions" in warning
    with_predictions(b, {"fashion-teacher-onnxruntime": rights(11, slice(0, 1))})
    b = read_run(b.path)
    (warning,) = compare(match_runs(a, b)).warnings
    assert "were scored on different examples than those of" in warning


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`bench compare` in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["compare", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def stored(folder: Path, *records: Record, **changes: Any) -> Path:
    return on_disk(
        folder, [r.model_copy(update={"accuracy": None}) for r in records], **changes
    ).path


def test_the_exit_code_is_0_whatever_the_verdicts(command: Command, tmp_path: Path) -> None:
    a, b = (stored(tmp_path / str(ns), a_record(median_ns=ns)) for ns in (1e5, 2e5))
    code, out, err = command(a, b)
    assert (code, err) == (0, "")
    assert "slower" in out
    assert max(map(cell_len, out.splitlines())) <= 80
    assert command(b, a)[0] == 0


def test_a_refusal_lists_what_differs_and_ends_with_2(command: Command, tmp_path: Path) -> None:
    host = {**MACHINE, "hostname_hash": "0" * 8}
    a = stored(tmp_path / "a", a_record(), facts=host)
    b = stored(tmp_path / "b", a_record(a_cell(threads=4)), facts={**host, "machine_id": "f" * 12})
    code, out, err = command(a, b)
    assert (code, out) == (2, "")
    assert "hardware: not the same [not comparable]" in err
    assert "thread count of fashion-teacher onnxruntime:cpu single-stream batch 1: 1 / 4" in err
    assert err.splitlines()[-1] == (
        "bench: a and b are not comparable: they differ in hardware, thread count. "
        "To compare anyway: --allow machine --allow threads."
    )
    assert command(a, b, "--allow", "machine")[0] == 2
    code, out, err = command(a, b, "--allow", "machine", "--allow", "threads")
    assert (code, err) == (0, "")
    assert "thread count" in out
    assert command(a, b, "--allow", "all")[0] == 0


def test_the_comparison_as_json(command: Command, tmp_path: Path) -> None:
    cells = [a_cell(target=t) for t in ("x:cpu", "y:cpu", "z:cpu")]
    run = stored(tmp_path, *(a_record(c, 1e5 * (i + 1)) for i, c in enumerate(cells)))
    code, out, err = command(run, "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    assert value["correction"]["speed_comparisons"] == 3
    assert value["verdicts"] == {"slower": 3}
    first = value["comparisons"][0]
    assert (first["a"]["target"], first["b"]["target"]) == ("x:cpu", "y:cpu")
    assert first["ratio"]["value"] == pytest.approx(2)
    assert first["paired"] is True


def test_two_cells_of_one_run(command: Command, tmp_path: Path) -> None:
    run = stored(tmp_path, a_record(), a_record(a_cell(STUDENT), 3e4))
    code, out, _ = command(
        run, "--cell", "fashion-teacher@onnxruntime:cpu", "--cell", a_cell(STUDENT).id[:8]
    )
    assert code == 0
    assert "fashion-student, against fashion-teacher onnxruntime:cpu" in out
    assert "fashion-student is faster than fashion-teacher." in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is no run with a result"),
        (["RUN", "RUN", "RUN"], "name one run or two, not 3"),
        (["RUN", "RUN"], "are the same run"),
        (["RUN"], "no model on two targets"),
        (["nowhere"], "not a run directory"),
        (["RUN", "--margin", "nan"], "must be at least 0"),
        (["RUN", "--margin", "-1%"], "must be at least 0"),
        (["RUN", "--margin", "much"], "is not a number or a percentage"),
        (["RUN", "--confidence", "0"], "must be above 0 and below 1"),
        (["RUN", "--allow", "thread"], "Did you mean threads"),
        (["RUN", "--cell", "x", "--cell", "y"], "no such cell"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_2(
    command: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    run = stored(tmp_path, a_record())
    code, out, err = command(*(str(run) if a == "RUN" else a for a in arguments))
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_what_could_not_be_read_is_told(command: Command, tmp_path: Path) -> None:
    a, b = (stored(tmp_path / name, a_record()) for name in "ab")
    with (b / "records.jsonl").open("ab") as file:
        file.write(b'{"half')
    code, _, err = command(a, b)
    assert code == 0
    assert "skipped records.jsonl line 2" in err


def test_a_run_is_found_through_a_link_to_be_the_same(command: Command, tmp_path: Path) -> None:
    run = stored(tmp_path / "a", a_record())
    os.symlink(run, tmp_path / "link")
    assert "are the same run" in command(run, tmp_path / "link")[2]


def test_a_pair_measured_in_turn_is_compared_round_by_round() -> None:
    """In each process a neighbour hits other blocks of one than of the other."""
    a, b = (a_cell(target=target) for target in ("x:cpu", "y:cpu"))
    rng = np.random.default_rng(12)
    records = []
    for cell, base_ns in ((a, 1e5), (b, 1.1e5)):
        plain = measured([base_ns * (1 + hit) for hit in rng.random(5)], cell)
        rounds = [_with_a_hit(base_ns, rng) for _ in plain.invocations]
        invocations = tuple(
            one.model_copy(update={"round_ns": ns})
            for one, ns in zip(plain.invocations, rounds, strict=True)
        )
        records.append(plain.model_copy(update={"invocations": invocations}))
    effect = only_effect(compare(match_targets(in_memory(records))))
    assert (effect.verdict, effect.paired) == (Verdict.SLOWER, True)
    assert effect.ratio.estimate == pytest.approx(1.1, rel=1e-6)
    older = [_without_rounds(record) for record in records]
    assert only_effect(compare(match_targets(in_memory(older)))).verdict == Verdict.INCONCLUSIVE


def _without_rounds(record: Record) -> Record:
    invocations = (one.model_copy(update={"round_ns": None}) for one in record.invocations)
    return record.model_copy(update={"invocations": tuple(invocations)})


def _with_a_hit(base_ns: float, rng: np.random.Generator) -> dict[int, float]:
    hit = rng.integers(8)
    return {number: base_ns * (20 if number == hit else 1) for number in range(8)}
