"""One cell over many runs: in the order of time, machine by machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import MACHINE, on_disk
from conftest import Bench
from fake_records import (
    STUDENT,
    TEACHER,
    a_cell,
    a_failed_check,
    a_failure,
    a_record,
    an_invocation,
    estimate,
)
from scipy import stats

from bench.errors import SpecError
from bench.judge.history import Break, Selection, Series, history, joined
from bench.present.history import history_json, history_text, sparkline
from bench.record.result import Foreign, Record
from bench.store.interchange.foreign import read_foreign, store
from bench.store.interchange.formats import READERS

FILES = Path(__file__).parents[1] / "store" / "interchange" / "files"
LATENCY = Selection(scenario="single-stream")


def write(folder: Path, day: int, median_ns: float, **facts: Any) -> None:
    """A nightly run of a latency and a throughput cell."""
    canary = facts.pop("canary_ns", 1000.0)
    rate = a_cell(STUDENT, scenario="offline", batch=32)
    records = [
        a_record(a_cell(), median_ns, canary_ns=estimate(canary) if canary else None),
        a_record(rate, median_ns),
    ]
    when = f"2026-01-{day:02}T03:00:00+00:00"
    on_disk(folder / f"{99 - day}", records, created_at=when, facts={**MACHINE, **facts})


def nightly(folder: Path, factor: float = 1.0, start: int = 13, canary: float = 1.0) -> Path:
    rng = np.random.default_rng(5)
    for day in range(1, 21):
        after = day >= start
        write(
            folder,
            day,
            2.7e5 * float(rng.lognormal(0, 0.01)) * (factor if after else 1),
            git_commit=f"{day:04}" * 10,
            canary_ns=1000 * (canary if after else 1) * float(rng.lognormal(0, 0.002)),
        )
    return folder


def one(folder: Path, selection: Selection = LATENCY, **options: Any) -> Series:
    (series,) = history(folder, selection, **options)[0]
    return series


def retrained(folder: Path, *contents: str, every: int = 1) -> Path:
    """A run a day of a model whose content is ``contents`` in turn, ``every`` days each."""
    for day in range(len(contents) * every):
        content = contents[day // every]
        cell = a_cell(STUDENT.model_copy(update={"sha256": content * 64}))
        when = f"2026-01-{day + 1:02}T03:00:00+00:00"
        on_disk(folder / str(day), [a_record(cell, 2.7e5)], created_at=when)
    return folder


def test_a_line_goes_through_runs_that_did_not_keep_the_axes_of_their_batch(tmp_path: Path) -> None:
    axes: list[dict[str, int] | None] = [None, {"image": 0}]
    for day, (content, batch_axes) in enumerate(zip("ab", axes, strict=True), 1):
        model = STUDENT.model_copy(update={"sha256": content * 64})
        record = a_record(a_cell(model, batch_axes=batch_axes), 2.7e5)
        on_disk(tmp_path / content, [record], created_at=f"2026-01-0{day}T03:00:00+00:00")
    found, _ = history(tmp_path, LATENCY)
    (line,) = joined(found)
    assert len(line.points) == 2


def test_contents_of_one_name_are_one_line_with_a_break_where_they_change(tmp_path: Path) -> None:
    found, _ = history(retrained(tmp_path, "a", "b", "a", every=2), LATENCY)
    assert len(found) == 2
    (line,) = joined(found)
    assert [p.created_at[8:10] for p in line.points] == ["01", "02", "03", "04", "05", "06"]
    ids = [series.cell_id for series in found]
    changed = ("model's content",)
    assert line.breaks == (Break(2, changed, *ids), Break(4, changed, *reversed(ids)))
    assert (line.first_id, line.cell_id) == (ids[0], ids[0])
    text = history_text(found, 80).plain
    assert text.count("fashion-student") == 1
    assert "2026-01-03: the model's content changed; first in" in text
    assert text.count("≠") == 2


def test_a_step_within_a_content_is_where_it_was_in_the_joined_line(tmp_path: Path) -> None:
    nightly(tmp_path, 1.3)
    cell = a_cell(TEACHER.model_copy(update={"sha256": "9" * 64}))
    when = "2025-12-31T03:00:00+00:00"
    on_disk(tmp_path / "older", [a_record(cell, 1e5)], created_at=when)
    (line,) = joined(history(tmp_path, LATENCY)[0])
    assert [type(mark).__name__ for mark in line.marks] == ["Break", "Change"]
    assert [mark.index for mark in line.marks] == [1, 13]
    assert line.points[13].created_at.startswith("2026-01-13")


def test_two_contents_in_one_run_are_two_lines(tmp_path: Path) -> None:
    """They are configurations measured beside each other, not one that changed."""
    cells = [a_cell(), a_cell(input_sha256="f" * 64)]
    on_disk(tmp_path / "a", [a_record(cell) for cell in cells])
    found, _ = history(tmp_path, LATENCY)
    assert joined(found) == found


def test_another_batch_or_machine_is_another_line(tmp_path: Path) -> None:
    on_disk(tmp_path / "a", [a_record(a_cell())])
    on_disk(tmp_path / "b", [a_record(a_cell(threads=2))])
    other = {**MACHINE, "machine_id": "fedcba987654"}
    changed = a_cell(TEACHER.model_copy(update={"sha256": "9" * 64}))
    on_disk(tmp_path / "c", [a_record(changed)], facts=other)
    found, _ = history(tmp_path, LATENCY)
    assert len(joined(found)) == len(found) == 3


def test_runs_are_in_the_order_of_time_whatever_their_folders_are_called(tmp_path: Path) -> None:
    points = one(nightly(tmp_path)).points
    assert len(points) == 20
    assert [p.created_at for p in points] == sorted(p.created_at for p in points)


def test_a_regression_is_told_with_its_commit_and_size(tmp_path: Path) -> None:
    series = one(nightly(tmp_path, 1.2))
    (change,) = series.changes
    assert series.points[change.index].created_at.startswith("2026-01-13")
    assert change.slower
    assert change.ratio.low < 1.2 < change.ratio.high
    assert change.changed == (("commit", "0012" * 10, "0013" * 10),)
    text = history_text([series], 80).plain
    assert change.times == change.ratio
    found = " ".join(text.split())
    assert re.search(r"2026-01-13: slower, 0\.8\d+x \(0\.8\d+–0\.8\d+\) as fast \(p", found)
    assert "commit 00120012 → 00130013" in " ".join(text.split())


def test_a_steps_size_is_welchs_ratio_of_the_runs_on_either_side(tmp_path: Path) -> None:
    nightly(tmp_path, 1.2, canary=1.1)
    series = one(tmp_path)
    (change,) = series.changes
    for found, values in (
        (change.ratio, [p.value for p in series.points]),
        (change.canary, [p.canary_ns for p in series.points]),
    ):
        before, after = np.log(values[: change.index]), np.log(values[change.index :])
        ends = stats.ttest_ind(after, before, equal_var=False).confidence_interval(0.95)
        assert found is not None
        assert (found.low, found.high) == pytest.approx((np.exp(ends.low), np.exp(ends.high)))
        assert found.estimate == pytest.approx(np.exp(after.mean() - before.mean()))


def test_a_faster_run_is_a_step_that_is_not_slower(tmp_path: Path) -> None:
    nightly(tmp_path, 0.8)
    (latency,) = one(tmp_path).changes
    (rate,) = one(tmp_path, Selection(scenario="offline")).changes
    assert (latency.slower, rate.slower) == (False, False)
    assert latency.ratio.high < 1 < rate.ratio.low
    assert latency.times.high < 1
    assert rate.times.high < 1
    for scenario in ("single-stream", "offline"):
        text = history_text([one(tmp_path, Selection(scenario=scenario))], 120).plain
        assert re.search(r": faster, 1\.2\dx \(.*\) as fast \(p", text)


def test_two_steps_are_each_measured_between_their_neighbours(tmp_path: Path) -> None:
    for day in range(1, 31):
        level = 1e5 if day <= 10 else 2e5 if day <= 20 else 8e5
        write(tmp_path, day, level * (1 + day % 3 / 1000), git_commit=f"c{day}")
    first, second = one(tmp_path).changes
    assert (first.index, second.index) == (10, 20)
    assert (first.ratio.estimate, second.ratio.estimate) == pytest.approx((2, 4), rel=0.01)
    assert [c.changed for c in (first, second)] == [
        (("commit", "c10", "c11"),),
        (("commit", "c20", "c21"),),
    ]


def test_a_canary_that_fewer_than_two_runs_of_a_side_have_is_no_witness(tmp_path: Path) -> None:
    for day in range(1, 17):
        known = day in (1, 2) or day == 16
        level = 1e5 if day <= 8 else 2e5
        write(tmp_path, day, level * (1 + day % 3 / 1000), canary_ns=1000.0 if known else 0.0)
    (change,) = one(tmp_path).changes
    assert change.canary is None


@pytest.mark.parametrize(
    "selection",
    [
        Selection(model="other"),
        Selection(target="other:cpu"),
        Selection(scenario="server"),
        Selection(variant="fp16"),
        Selection(cell="fashion-teacher@onnxruntime:cpu/offline"),
    ],
)
def test_each_filter_leaves_out_what_it_does_not_name(selection: Selection, tmp_path: Path) -> None:
    write(tmp_path, 1, 1e5)
    with pytest.raises(SpecError, match="is what was asked for"):
        history(tmp_path, selection)


def test_all_filters_together_choose_one_cell(tmp_path: Path) -> None:
    write(tmp_path, 1, 1e5)
    wanted = Selection(
        "fashion-teacher@onnxruntime:cpu/single-stream",
        "fashion-teacher",
        "onnxruntime:cpu",
        "single-stream",
        "fp32",
    )
    assert one(tmp_path, wanted).cell == a_cell()
    assert len(history(tmp_path, Selection())[0]) == 2


def test_of_a_throughput_less_is_slower(tmp_path: Path) -> None:
    (change,) = one(nightly(tmp_path, 1.2), Selection(scenario="offline")).changes
    assert change.slower
    assert change.ratio.high < 1


def test_nothing_is_told_where_nothing_happened(tmp_path: Path) -> None:
    series = one(nightly(tmp_path))
    assert series.changes == ()
    assert "No step established." in history_text([series], 80).plain


def test_a_step_of_the_canary_is_said_with_that_of_the_cell(tmp_path: Path) -> None:
    series = one(nightly(tmp_path, 1.2, canary=1.2))
    assert "the machine changed as well: the canary took 1.20x" in " ".join(
        history_text([series], 80).plain.split()
    )
    assert history_json([series], [])["series"][0]["steps"][0]["machine_changed"]  # type: ignore[index]


def test_another_machine_is_another_series_and_never_a_step(tmp_path: Path) -> None:
    for day in range(1, 25):
        other = {"machine_id": "b"} if day > 12 else {}
        write(tmp_path, day, 1e5 if day <= 12 else 9e5, **other)
    found, _ = history(tmp_path, LATENCY)
    assert [len(series.points) for series in found] == [12, 12]
    assert [series.changes for series in found] == [(), ()]


def test_runs_of_unknown_machines_are_shown_and_no_step_is_looked_for(tmp_path: Path) -> None:
    for day in range(1, 25):
        write(tmp_path, day, 1e5 if day <= 12 else 9e5, machine_id=None)
    series = one(tmp_path)
    assert len(series.points) == 24
    assert series.changes == ()
    assert "the machine is not recorded" in series.why_none


def test_too_few_runs_say_how_many_it_takes(tmp_path: Path) -> None:
    write(tmp_path, 1, 1e5)
    assert one(tmp_path).why_none == "it takes 8 runs on one machine, and there are 1"


def test_a_run_in_which_the_cell_failed_is_counted_and_no_point(tmp_path: Path) -> None:
    write(tmp_path, 1, 1e5)
    facts = {**MACHINE}
    on_disk(tmp_path, [a_failure()], created_at="2026-01-02T03:00:00+00:00", facts=facts)
    series = one(tmp_path)
    assert (len(series.points), series.failed) == (1, 1)


def test_why_a_run_has_no_point_is_told(tmp_path: Path) -> None:
    lone = a_record(latency=None, invocations=(an_invocation(0, 2.7e5, a_cell()),))
    wrong = a_record(checks=(a_failed_check("placement", "on the CPU"),))
    assert (lone.standing, wrong.standing) == ("ok", "wrong")
    none = a_record(latency=None)
    partial, simulated = a_record(stop="interrupted"), a_record(simulated=True)
    found = (a_record(), lone, lone, a_failure(), wrong, none, partial, simulated)
    for day, record in enumerate(found, 1):
        on_disk(tmp_path, [record], created_at=f"2026-01-{day:02}T03:00:00+00:00")
    series = one(tmp_path)
    absent = {"no interval": 2, "failed": 1, "WRONG": 1, "no figure": 1}
    absent |= {"stopped early": 1, "simulated": 1}
    assert (len(series.points), series.failed, series.absent) == (1, 1, absent)
    text = " ".join(history_text([series], 80).plain.split())
    assert "1 run, 2026-01-01; no interval in 2 more; failed in 1 more; WRONG in 1 more;" in text
    (row,) = history_json([series], [])["series"]  # type: ignore[misc,attr-defined]
    assert (row["failed"], row["absent"]) == (1, absent)


def foreign_rate(folder: Path, day: int, ns: float, **changes: Any) -> None:
    cell = a_cell(TEACHER, "benchmark_app:CPU", "offline", 8)
    values = {"median_ns": ns, "throughput_per_s": 8e9 / ns} | changes
    found = Foreign(tool="benchmark_app", source="x", name="n", **values)
    record = Record(cell_id=cell.id, cell=cell, status="ok", stop="foreign", foreign=found)
    on_disk(folder, [record], created_at=f"2026-01-{day:02}T03:00:00+00:00")


def test_the_figure_of_another_tool_is_a_rate_where_the_scenario_is_judged_by_one(
    tmp_path: Path,
) -> None:
    for day in range(1, 13):
        foreign_rate(tmp_path, day, (1e6 if day <= 6 else 2e6) * (1 + day % 3 / 1000))
    foreign_rate(tmp_path, 13, 1e6, throughput_per_s=None)
    series = one(tmp_path, Selection())
    assert series.points[0].value == pytest.approx(8e9 / 1.001e6)
    assert series.absent == {"no figure": 1}
    (change,) = series.changes
    assert change.slower
    assert change.times.low > 1
    assert "slower, 0.5" in history_text([series], 80).plain


def test_foreign_results_have_a_history_too(tmp_path: Path) -> None:
    store(read_foreign(FILES / "llama_bench.json", READERS, None), tmp_path, "x")
    found, _ = history(tmp_path, Selection())
    assert [series.points[0].value for series in found] == [7e7, 1e9]
    assert found[0].points[0].low is None
    history_text(found, 80)


@pytest.mark.parametrize("cell", ["fashion-teacher@onnxruntime:cpu", "763"])
def test_a_cell_is_named_by_model_and_target_or_by_its_id(cell: str, tmp_path: Path) -> None:
    write(tmp_path, 1, 1e5)
    assert one(tmp_path, Selection(cell=cell)).cell.model.name == "fashion-teacher"


def test_a_cell_that_is_nowhere_is_one_sentence_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path, 1, 1e5)
    with pytest.raises(SpecError, match="Available: fashion-student@onnxruntime:cpu"):
        history(tmp_path, Selection(cell="fashion-studen@onnxruntime:cpu"))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int, tmp_path: Path) -> None:
    found, _ = history(nightly(tmp_path, 1.2), Selection())
    text = history_text(found, width).plain
    longest = max(text.splitlines(), key=len)
    assert len(longest) <= width, longest


def test_a_sparkline_marks_steps_and_fits() -> None:
    assert sparkline([1, 1, 2, 2], [2], 10) == "▁▁│██"
    assert sparkline([5.0], [], 10) == "▁"
    drawn = sparkline(list(range(1000)), [500], 60)
    assert len(drawn) <= 60
    assert drawn.count("│") == 1
    assert (drawn[0], drawn[-1]) == ("▁", "█")


def test_the_command_prints_text_and_json(bench: Bench, tmp_path: Path) -> None:
    nightly(tmp_path / "results", 1.2)
    done = bench("show", "--history", "results", "--model", "fashion-teacher")
    assert done.returncode == 0, done.stderr
    assert "│" in done.stdout
    value = json.loads(bench("show", "--history", "results", "--json").stdout)
    assert [len(series["steps"]) for series in value["series"]] == [1, 1]
    assert len(value["series"][0]["points"]) == 20
