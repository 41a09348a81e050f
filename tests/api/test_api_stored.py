"""A stored run in Python: tables, comparisons, the deal, pictures, the report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from compared_runs import measured, on_disk
from fake_records import STUDENT, TEACHER, a_cell, a_failure
from measured_runs import measured_run

import bench
from bench.api.html import without_empty_columns
from bench.commands.cli import cli
from bench.numbers import MISSING
from bench.present.ci.tables import Table
from bench.record.result import Check
from bench.store.run import read_run

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results" / "default"
BEFORE = {"created_at": "2026-01-01T00:00:00+00:00", "label": "before"}
AFTER = {"created_at": "2026-01-02T00:00:00+00:00", "label": "after"}


@pytest.fixture(scope="module")
def published() -> bench.Run:
    return bench.open(PUBLISHED)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with two runs of one cell: the later one takes half of the time."""
    for times, changes in (((2e5, 2.01e5, 1.99e5), BEFORE), ((1e5, 1.01e5, 0.99e5), AFTER)):
        on_disk(tmp_path, [measured(times, a_cell())], **changes)
    return tmp_path


def test_a_run_is_opened_by_its_path_its_label_or_as_the_latest(two: Path) -> None:
    assert bench.open(results=two).label == "after"
    before = bench.open("before", results=two)
    assert before.label == "before"
    assert bench.open(str(before.path)).path == bench.open(before.path).path == before.path
    on_disk(two, [measured((1e5, 1e5))], created_at="2026-01-03T00:00:00+00:00", label="before")
    assert bench.open("before", results=two).path != before.path  # the latest of that label
    with pytest.raises(bench.BenchError, match="neither a run directory nor the label"):
        bench.open("nobody", results=two)
    with pytest.raises(bench.BenchError, match="no run with a result"):
        bench.open(results=two / "elsewhere")
    with pytest.raises(bench.BenchError, match="not a run directory"):
        bench.open(two / "elsewhere")


def test_tables_are_those_of_load(published: bench.Run) -> None:
    assert published.table.equals(bench.load(published.path))
    assert published.pairs.equals(bench.load(published.path, "pairs"))
    assert list(published.samples.columns)[:2] == ["run", "cell_id"]
    assert [row["cell_id"] for row in published.rows] == list(published.table.cell_id)


def test_a_row_a_pair_has_the_figures_of_the_table_that_people_read(published: bench.Run) -> None:
    table = published.pairs.set_index(["model", "other", "target"])
    row = table.loc[("fashion-student", "fashion-teacher", "onnxruntime:cpu")]
    assert row.speedup_value == pytest.approx(35.0, abs=0.05)
    assert row.accuracy_difference == pytest.approx(-0.0498, abs=1e-6)
    assert row.speedup_verdict == "faster"
    assert table.speedup_value.dtype == "float64"
    assert str(table.accuracy_examples.dtype) == "Int64"
    assert f"{row.speedup_value:.1f}x" in row.sentence


def test_columns_of_pairs_have_their_types_where_nothing_was_compared(tmp_path: Path) -> None:
    failed = [a_failure(a_cell(model)) for model in (TEACHER, STUDENT)]
    none = bench.Run(on_disk(tmp_path, failed)).pairs
    both = bench.open(PUBLISHED).pairs
    assert list(none.dtypes) == list(both.dtypes)
    assert none.speedup_value.isna().all()
    assert none.columns[0] == "run"
    with pytest.raises(bench.BenchError, match=r"one of records, .*pairs"):
        bench.load(PUBLISHED, "nothing")  # type: ignore[arg-type]


def test_a_run_says_whether_it_is_whole_and_went_well(tmp_path: Path) -> None:
    good, bad = measured((1e5, 1e5)), a_failure(a_cell(STUDENT))
    run = bench.Run(on_disk(tmp_path / "a", [good, bad]))
    assert (run.ok, run.complete) == (False, True)
    assert repr(run).endswith("2 cells, 1 failed>")
    stored = on_disk(tmp_path / "b", [good])
    header = stored.header.model_copy(update={"cells": (good.cell, bad.cell)})
    run = bench.Run(type(stored)(stored.path, header, stored.records, [], []))
    assert (run.ok, run.complete) == (True, False)
    assert "1 cell of 2, stopped" in repr(run)
    run = bench.Run(type(stored)(stored.path, header, [], [], []))
    assert (run.ok, run.complete) == (False, False), "nothing was measured"
    nothing = stored.header.model_copy(update={"cells": ()})
    assert not bench.Run(type(stored)(stored.path, nothing, [], [], [])).ok


def test_the_other_run_is_the_baseline(two: Path) -> None:
    before, after = (bench.open(name, results=two) for name in ("before", "after"))
    found = after.compare(before)
    assert found.verdicts == {"faster": 1}
    (row,) = found.rows
    assert row["ratio"]["value"] == pytest.approx(0.5, rel=0.02)  # type: ignore[index]
    assert found.table.verdict.tolist() == ["faster"]
    assert found.table.ratio_value.tolist() == [row["ratio"]["value"]]  # type: ignore[index]
    # As the terminal has it: half of the time.
    assert '<td style="text-align: right">0.50' in found._repr_html_()
    assert "after is faster than before" in " ".join(found.sentences)
    assert "after is faster" in str(found)
    assert before.compare(after).verdicts == {"slower": 1}
    assert after.compare(before.path).verdicts == {"faster": 1}
    assert after.compare(before, confidence=0.9).table.ratio_confidence.tolist() == [0.9]


def test_what_the_verdicts_have_to_be_read_with_is_among_the_warnings(tmp_path: Path) -> None:
    busy = Check(name="undisturbed", ok=False, detail="29 of 30 blocks")
    marked = measured((1e5, 1.01e5, 0.99e5)).model_copy(update={"checks": (busy,)})
    before = bench.Run(on_disk(tmp_path / "a", [measured((2e5, 2.01e5, 1.99e5))], **BEFORE))
    other = measured((1e5, 1e5), a_cell(STUDENT))
    after = bench.Run(on_disk(tmp_path / "b", [marked, other], **AFTER))
    found = after.compare(before)
    warnings = " ".join(found.warnings)
    assert "undisturbed: fashion-teacher" in warnings
    assert "29 of 30 blocks" in warnings
    assert "Only in after: fashion-student" in warnings
    assert "no predictions" in found.warnings[0]  # of a run: a command tells it beside its output
    printed = " ".join(str(found).split())
    assert all(text in printed for text in found.warnings[1:])
    assert "29 of 30 blocks" in found._repr_html_()
    assert after.warnings[0].startswith("undisturbed: other programs kept the machine busy, 1 cell")


def test_a_notebook_names_the_side_that_has_no_figure(tmp_path: Path) -> None:
    records = [measured((1e5, 1e5)), a_failure(a_cell(target="openvino:cpu"), "crashed", "died.")]
    shown = bench.Run(on_disk(tmp_path, records)).compare()._repr_html_()
    assert "openvino:cpu failed (crashed): died." in shown
    assert "B failed" not in shown


def test_a_notebook_tells_cells_apart_that_differ_in_a_setting_alone(tmp_path: Path) -> None:
    records = [measured((1e5, 1.01e5), a_cell(threads=n)) for n in (1, 4)]
    before = bench.Run(on_disk(tmp_path / "a", records, **BEFORE))
    shown = bench.Run(on_disk(tmp_path / "b", records, **AFTER)).compare(before)._repr_html_()
    assert "batch 1 (1 thread)" in shown
    assert "batch 1 (4 threads)" in shown


def test_a_run_by_itself_compares_its_targets(published: bench.Run) -> None:
    found = published.compare()
    assert sum(found.verdicts.values()) == len(found.table) == 36
    cells = [f"fashion-student@{target}/single-stream" for target in ("openvino:cpu", "torch:cpu")]
    assert published.compare(cells=cells).verdicts == {"slower": 1}


def test_what_can_not_be_compared_is_an_error_that_says_so(two: Path) -> None:
    other = TEACHER.model_copy(update={"sha256": "f" * 64})
    third = bench.Run(on_disk(two, [measured((1e5, 1e5), a_cell(other))], label="third"))
    before = bench.open("before", results=two)
    with pytest.raises(bench.BenchError, match="same run"):
        before.compare(before)
    with pytest.raises(bench.BenchError, match="model"):
        third.compare(before)
    with pytest.raises(bench.BenchError, match="`confidence` is 95"):
        third.compare(before, confidence=95)
    with pytest.raises(bench.BenchError, match="nonsense"):
        third.compare(before, allow=["nonsense"])


def test_the_deal_is_that_of_the_command(published: bench.Run) -> None:
    deal = published.deal()
    assert deal.sentences[0] == deal.answer
    assert deal.answer.startswith("The fastest overall is fashion-student onnxruntime:cpu")
    assert [row["standing"] for row in deal.rows[:2]] == ["front", "dominated"]
    assert list(deal.table.cost) == [row["cost"] for row in deal.rows]
    assert "432 ±1.9%" in str(deal)
    assert "432 µs ±1.9%" in deal._repr_html_()
    assert "k/s ±" in published.deal("throughput")._repr_html_()
    assert published.deal(loss=0.1).answer != deal.answer


def test_print_shows_the_tables_of_show(
    published: bench.Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    cli.main(["show", str(published.path)], standalone_mode=False)
    assert str(published).split() == capsys.readouterr().out.split()


def test_a_notebook_shows_tables_that_nothing_can_break_out_of(tmp_path: Path) -> None:
    run = bench.Run(read_run(measured_run(tmp_path, hostile="<script>x</script>")))
    shown = run._repr_html_()
    assert "<table>" in shown
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "no NPU was found" in shown


def test_empty_columns_are_left_out() -> None:
    rows = [("1", MISSING, "2"), ("", "", "3")]
    found = without_empty_columns(Table(("a", "b", "c"), rows, frozenset({0, 2}), frozenset({2})))
    assert found.header == ("a", "c")
    assert list(found.rows) == [("1", "2"), ("", "3")]
    assert (found.numbers, found.names) == ({0, 1}, {1})


def test_figures_are_the_pictures_of_the_report(published: bench.Run) -> None:
    figures = published.figures
    assert next(iter(figures)) == "front1"
    assert {"latency", "throughput", "speedup"} <= set(figures)
    assert published.plot() is figures["front1"]
    assert published.plot("latency").layout.title.text
    x = [value for trace in published.plot().data if trace.x is not None for value in trace.x]
    assert any(value == pytest.approx(12.46, abs=0.01) for value in x if value)
    with pytest.raises(bench.BenchError, match="one of front1, "):
        published.plot("nothing")


def test_the_report_is_the_page(published: bench.Run, tmp_path: Path) -> None:
    path = published.report(tmp_path / "page.html", title="Ours")
    assert path == tmp_path / "page.html"
    assert "<title>Ours</title>" in path.read_text()
    with pytest.raises(bench.BenchError):
        published.report(path / "page.html")


@pytest.mark.parametrize(
    ("module", "ask", "extra"),
    [
        ("pandas", lambda run: run.table, "data"),
        ("pandas", lambda run: run.compare().table, "data"),
        ("plotly.graph_objects", lambda run: run.figures, "report"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    module: str, ask: Any, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = (a_cell(), a_cell(target="x:cpu"))
    run = bench.Run(on_disk(tmp_path, [measured((1e5, 1.01e5), cell) for cell in cells]))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(bench.BenchError, match=rf"pip install 'infer-bench\[{extra}\]'"):
        ask(run)
    assert run.rows
    assert run._repr_html_()
    assert str(run)


def test_a_deal_by_what_is_no_cost_is_refused(published: bench.Run) -> None:
    with pytest.raises(
        bench.BenchError, match="`by` is 'speed', but should be one of latency, throughput"
    ):
        published.deal("speed")  # type: ignore[arg-type]
