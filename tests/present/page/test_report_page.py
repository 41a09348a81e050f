"""What a page says, from records alone: no browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from compared_runs import MACHINE, a_header, in_memory, measured, noisy, on_disk
from fake_records import (
    STUDENT,
    TEACHER,
    a_cell,
    a_failed_check,
    a_failure,
    a_record,
    a_run,
)
from hostile_run import HOSTILE, IMAGE, LINK, PORTABILITY, TARGETS, write_hostile_run
from hypothesis import given
from hypothesis import strategies as st

from bench.cards.tasks.base import Change
from bench.cell import LoadGen
from bench.errors import SpecError
from bench.judge.deal import make_deal
from bench.present.page.distributions import SHARES, read_curves
from bench.present.page.draw import Axis, Dot, Lane, dot_plot, log_ticks
from bench.present.page.first.cards import deal_cards, speed_cards
from bench.present.page.names import NEUTRAL, SEVERAL, Palette, in_picture
from bench.present.page.page import Page, make_page, render
from bench.present.page.parts import Picture, Table
from bench.present.page.portability import (
    OUTCOMES,
    WORST_FIRST,
    portability,
    read_portability,
)
from bench.present.page.selection import cost_layers, select
from bench.present.page.template import as_json
from bench.present.page.throughput import streams_of
from bench.record.block import Block
from bench.record.portability import ModelOutcome, OperatorOutcome
from bench.record.result import Record
from bench.stats.interval import Interval
from bench.store.run import StoredRun, read_run
from bench.store.scores import metric_of
from bench.store.write import RunStore


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return read_run(write_hostile_run(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def page(hostile: StoredRun) -> Page:
    return make_page([hostile])


def picture(page: Page, name: str) -> Picture:
    return next(found for found in page.pictures if found.name == name)


def column(table: Table, key: str) -> list[str]:
    place = next(i for i, c in enumerate(table.columns) if key in c.keys)
    return [row[place].text for row in table.rows]


def test_the_cards_are_the_fastest_and_the_fastest_at_full_accuracy() -> None:
    rng = np.random.default_rng(4)
    records = []
    for model, share, centers in ((TEACHER, 0.93, (4e5, 5e5)), (STUDENT, 0.60, (1e5, 2e5))):
        for target, center in zip(("a:cpu", "b:cpu"), centers, strict=True):
            times, cell = noisy(rng, center, 8, 0.01), a_cell(model, target)
            records.append(measured(times, cell, median_ns=center, accuracy=share))
    deal = make_deal(records, lambda _: by_score)
    first, second = deal_cards(deal, by_score, Palette.of(records))
    assert (first.why, first.number, first.unit) == ("Fastest", "100", "µs")
    assert first.what == "fashion-student · a:cpu"
    assert first.times.startswith("4.0")
    assert first.than == "as fast as fashion-teacher a:cpu"
    assert first.figures[1] == "33.0 points less accurate"
    assert second.why.startswith("Fastest at full accuracy: within 0.5 points of")
    assert (second.number, second.what) == ("400", "fashion-teacher · a:cpu")
    assert second.times.startswith("1.2")
    assert first.colour != second.colour


def test_a_card_names_who_is_not_told_apart_from_its_winner() -> None:
    rng = np.random.default_rng(4)
    cells = [a_cell(TEACHER, f"t{n}:cpu") for n in range(6)]
    records = [measured(noisy(rng, 4e5, 8, 0.05), c, median_ns=4e5, accuracy=0.9) for c in cells]
    (card,) = deal_cards(make_deal(records, lambda _: by_score), by_score, Palette.of(records))
    assert card.figures[-1] == (
        "not distinguishable from it: fashion-teacher t1:cpu, fashion-teacher t2:cpu, "
        "fashion-teacher t3:cpu and 2 more"
    )
    (alone,) = speed_cards(records, Palette.of(records))
    assert alone.figures[-1].endswith(" and 2 more")


def test_an_unstable_interval_runs_off_the_axis_and_does_not_set_it() -> None:
    dots = [Dot(1.0, 0.9, 1.1, "", ""), Dot(2.0, 1e-9, 4e9, "", "")]
    spec, _ = dot_plot([Lane("x", tuple(dots))], Axis("times", log=True))
    low, high = (10**end for end in spec["layout"]["xaxis"]["range"])
    assert 0.5 < low < 0.9
    assert 2.0 < high < 4.0


def by_score(one: Record, other: Record) -> Change:
    """As `bench.judge.changes` compares them, from the scores alone."""
    assert one.accuracy is not None
    assert other.accuracy is not None
    this, that = one.accuracy.value.value, other.accuracy.value.value
    difference = Interval(this - that, this - that - 0.001, this - that + 0.001, 0.95)
    p = 1.0 if this == that else 1e-6
    return Change(metric_of(one), this, that, difference, p, "McNemar", 1000)


def test_a_run_that_leaves_open_what_is_most_accurate_says_so(page: Page) -> None:
    (answer,) = page.runs[0].answers
    assert [card.number for card in answer.cards] == ["20.0", "open"]
    assert answer.cards[0].what == f"{IMAGE} · onnxruntime:cpu"


def test_the_names_of_the_front_stand_beside_its_points(page: Page) -> None:
    names = [note["text"] for note in picture(page, "a-front1").spec["layout"]["annotations"]]
    assert names == [
        f"{in_picture(IMAGE)}<br>onnxruntime:cpu",
        f"{in_picture(HOSTILE)}<br>onnxruntime:cpu",
    ]


def test_a_banner_says_what_failed_and_where_it_is_told(page: Page) -> None:
    banner = page.runs[0].banner
    assert banner is not None
    assert banner.words.startswith("1 cell failed and 13 of 27 cells failed a validity check")
    assert banner.lines == (
        ("crashed: 1 cell", "a-failures"),
        ("undisturbed: other programs kept the machine busy, 13 cells", "a-checks"),
    )
    text = render(page)
    for _, place in banner.lines:
        assert f'id="{place}"' in text


def test_without_failures_there_is_no_banner() -> None:
    calm = make_page([in_memory([a_record(a_cell(TEACHER))])])
    assert calm.runs[0].banner is None
    assert 'class="banner"' not in render(calm)


def test_the_results_have_latency_and_throughput_of_a_target_in_one_row() -> None:
    records = [
        a_record(a_cell(TEACHER, "a:cpu"), 1e6),
        a_record(a_cell(TEACHER, "a:cpu", "offline", 32), 3e7),
    ]
    table = make_page([in_memory(records)]).results
    (row,) = table.rows
    found = {column.keys[0]: entry for column, entry in zip(table.columns, row, strict=True)}
    assert found["median_ns"].values[0] == 1e6
    assert found["throughput_per_s"].values[0] is not None
    assert found["batch"].text == "32"
    assert found["cell_ids"].text == " ".join(record.cell_id for record in records)
    assert "Variant" not in [column.title for column in table.shown]


def test_a_colour_is_a_model_and_a_shape_is_a_target_in_every_picture(page: Page) -> None:
    palette = Palette((HOSTILE, IMAGE, LINK), (*TARGETS, "ascend:npu:0"))
    shapes = {palette.symbol(target) for target in palette.targets} | {SEVERAL}
    for found in page.pictures:
        if found.name == "a-noise":
            continue
        for trace in found.spec["data"]:
            marker = trace.get("marker", {})
            colour = marker.get("color", trace.get("line", {}).get("color"))
            assert colour in {*map(palette.colour, palette.models), NEUTRAL}, found.name
            shape = marker.get("symbol", "circle").removesuffix("-dot").removesuffix("-open")
            assert shape in shapes, found.name


def test_targets_on_which_a_model_scores_alike_are_one_lane() -> None:
    records = [a_record(a_cell(model, t)) for model in (TEACHER, STUDENT) for t in ("a:x", "b:x")]
    found = picture(make_page([in_memory(records)]), "a-accuracy1")
    said = [note["text"] for note in found.spec["layout"]["annotations"]]
    assert [text for text in said if "targets" in text] == ["2 targets, all alike"] * 2
    assert found.table is not None
    assert column(found.table, "target") == ["a:x, b:x", "a:x, b:x"]


def test_labels_stand_in_a_gutter_under_their_model_with_values_at_the_right(page: Page) -> None:
    notes = picture(page, "a-latency").spec["layout"]["annotations"]
    assert notes[0]["text"] == f"<b>{in_picture(HOSTILE)}</b>"
    assert (notes[1]["text"], notes[1]["x"]) == ("onnxruntime:cpu", 0)
    assert notes[1]["xshift"] < 0
    assert (notes[2]["text"], notes[2]["x"]) == ("300 ±1.2%", 1)


def test_every_drawn_value_has_its_interval_in_the_picture(page: Page) -> None:
    for name in ("a-speedup", "a-kept", "a-latency", "a-throughput", "a-accuracy1"):
        for trace in picture(page, name).spec["data"]:
            sides = zip(trace["error_x"]["array"], trace["error_x"]["arrayminus"], strict=True)
            assert all(high + low > 0 for high, low in sides), name


def test_a_simulated_device_has_accuracy_and_is_never_timed_or_ranked(page: Page) -> None:
    rows = [r for r in page.results.rows if "ascend:npu:0" in (e.text for e in r)]
    assert len(rows) == 3
    keys = [c.keys[0] for c in page.results.columns]
    for row in rows:
        found = dict(zip(keys, row, strict=True))
        assert found["status"].text == "simulated"
        assert found["accuracy"].text != "-"
        for key in ("median_ns", "p99_ns", "throughput_per_s", "load_ns", "first_inference_ns"):
            assert found[key].text == "-", key
    for name in ("a-front1", "a-latency", "a-start-picture", "a-memory"):
        assert "ascend" not in json.dumps(picture(page, name).spec), name
    assert "ascend" in json.dumps(picture(page, "a-accuracy1").spec)
    assert any("simulated device" in text for text in page.runs[0].sure)


def test_pairs_whose_throughputs_alone_were_measured_are_told_and_drawn() -> None:
    cells = [a_cell(model, "x:cpu", "offline", 32) for model in (TEACHER, STUDENT)]
    records = [a_record(cell, ns) for cell, ns in zip(cells, (27e5, 27e4), strict=True)]
    page = make_page([in_memory(records)])
    drawn = picture(page, "a-speedup")
    assert drawn.title == "Throughput"
    assert "as fast as fashion-teacher in throughput" in render(page)


def test_a_slash_in_a_name_moves_nothing_into_the_next_column() -> None:
    teacher = TEACHER.model_copy(update={"name": "a / b · c"})
    student = STUDENT.model_copy(update={"name": "d / e", "distilled_from": teacher.name})
    records = [a_record(a_cell(model, "x · y:cpu")) for model in (teacher, student)]
    page = make_page([in_memory(records)])
    pairs = picture(page, "a-speedup").table
    assert [column(pairs, key) for key in ("model", "other", "target")] == [
        ["d / e"],
        ["a / b · c"],
        ["x · y:cpu"],
    ]


def test_failures_have_a_section_and_no_place_in_pictures(page: Page) -> None:
    section = next(s for s in page.runs[0].sections if s.title == "What failed and why")
    (table,) = section.tables
    assert column(table, "kind") == ["crashed"]
    assert "torch:cpu" in column(table, "which")[0]
    assert all("torch:cpu" not in json.dumps(p.spec) for p in page.pictures)


def test_equal_failures_are_told_once_with_all_their_cells() -> None:
    cells = [a_cell(TEACHER, f"t{n}:cpu") for n in range(40)]
    page = make_page([in_memory([a_failure(cell) for cell in cells])])
    section = next(s for s in page.runs[0].sections if s.title == "What failed and why")
    assert [row[1].text for row in section.tables[0].rows] == ["40"]
    assert "and 28 more" in section.tables[0].rows[0][2].text


def test_without_labelled_data_the_order_of_the_targets_is_the_answer() -> None:
    rng = np.random.default_rng(1)
    records = [
        measured(noisy(rng, center), a_cell(TEACHER, target), accuracy=None)
        for target, center in (("a:cpu", 1e6), ("b:cpu", 2e6))
    ]
    (answer,) = make_page([in_memory(records)]).runs[0].answers
    assert answer.said[0].startswith("fashion-teacher single-stream: a:cpu is 2.0")
    assert answer.said[0].endswith("x (1.95–2.05) as fast as b:cpu.")
    (card,) = answer.cards
    assert card.what == "fashion-teacher · a:cpu"
    assert card.times.startswith("2.0")
    assert card.than == "as fast as fashion-teacher · b:cpu"
    assert any("No accuracy was scored" in text for text in answer.sure)
    assert answer.picture is not None


def test_a_run_of_simulated_devices_alone_claims_no_speed() -> None:
    records = [a_record(a_cell(TEACHER, "ascend:npu:0"), simulated=True)]
    (answer,) = make_page([in_memory(records)]).runs[0].answers
    assert "simulated" in answer.headline
    assert answer.picture is None


def test_a_run_without_records_is_a_page_that_says_so() -> None:
    page = make_page([in_memory([])])
    assert page.runs[0].answers[0].headline == "Nothing was measured."
    assert "No cell has been measured" in render(page)


def test_models_of_different_data_are_not_weighed_against_each_other() -> None:
    records: list[Record] = []
    for number, model in enumerate((TEACHER, STUDENT)):
        record = a_record(a_cell(model))
        assert record.accuracy is not None
        other = record.accuracy.model_copy(update={"dataset_sha256": f"{number}" * 64})
        records.append(record.model_copy(update={"accuracy": other}))
    assert len(make_page([in_memory(records)]).runs[0].answers) == 2


def test_what_is_not_in_the_accuracy_is_told_beside_it() -> None:
    record = a_record(a_cell(TEACHER))
    assert record.accuracy is not None
    noted = record.accuracy.model_copy(update={"notes": ("d: 2 files are left out, hidden",)})
    page = make_page([in_memory([record.model_copy(update={"accuracy": noted})])])
    (section,) = (s for s in page.runs[0].sections if s.title == "Accuracy")
    assert section.remarks == ("fashion-teacher: d: 2 files are left out, hidden.",)


def test_lost_predictions_are_told_and_the_page_is_made(tmp_path: Path) -> None:
    page = make_page([on_disk(tmp_path, a_run())])
    section = next(s for s in page.runs[0].sections if s.title == "How it was measured")
    assert any(text.startswith("Not read: ") for text in section.remarks)


# -- several runs ---------------------------------------------------------------------------------


def two_runs(rng: np.random.Generator, factor: float, **changes: Any) -> list[StoredRun]:
    canary = [5e4] * 8
    return [
        in_memory([measured(noisy(rng, 1e6, 8, 0.004), canary_ns=canary)], "a"),
        in_memory([measured(noisy(rng, factor * 1e6, 8, 0.004), canary_ns=canary)], "b", **changes),
    ]


def test_a_later_run_is_compared_with_the_first() -> None:
    page = make_page(two_runs(np.random.default_rng(2), 1.3))
    assert page.between is not None
    assert "run B is slower than run A" in page.between.paragraphs[0]
    (found,) = page.between.pictures
    assert found.table is not None
    assert column(found.table, "verdict") == ["slower"]


def test_rows_between_runs_tell_cells_apart_that_differ_in_threads_alone() -> None:
    records = [measured([1e5, 1.01e5, 1e5], a_cell(threads=n)) for n in (1, 4)]
    page = make_page([in_memory(records, "a"), in_memory(records, "b")])
    assert page.between is not None
    (found,) = page.between.pictures
    assert found.table is not None
    assert [text.split(" · ")[1] for text in column(found.table, "cell")] == [
        "onnxruntime:cpu, 1 thread",
        "onnxruntime:cpu, 4 threads",
    ]
    drawn = json.dumps(found.spec, ensure_ascii=False)
    assert drawn.count("onnxruntime:cpu, 1 th") == 2  # beside its dot, and when pointed at
    assert drawn.count("onnxruntime:cpu, 4 th") == 2


@pytest.mark.parametrize("machine", [None, {"machine_id": "f" * 12, "cpu_model": "Other"}])
def test_cells_that_one_run_alone_has_are_told(machine: dict[str, str] | None) -> None:
    facts = {"facts": machine} if machine else {}
    common, only_a, only_b = (a_record(a_cell(target=t)) for t in ("x:cpu", "y:cpu", "z:cpu"))
    page = make_page(
        [in_memory([common, only_a], "a"), in_memory([common, only_b], "b", **facts)],
    )
    assert page.between is not None
    a, b = ("AMD EPYC 0123", "Other ffff") if machine else ("run A", "run B")
    said = page.between.paragraphs
    assert f"Only in {a}: fashion-teacher y:cpu single-stream batch 1." in said
    assert f"Only in {b}: fashion-teacher z:cpu single-stream batch 1." in said


def test_a_cell_that_the_page_leaves_out_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast, slow = a_record(a_cell(target="x:cpu"), 1e5), a_record(a_cell(target="y:cpu"), 9e5)
    faster = a_record(a_cell(target="z:cpu"), 1e4)
    monkeypatch.setattr("bench.present.page.page.select", lambda records: select(records, most=2))
    page = make_page([in_memory([fast, slow], "a"), in_memory([fast, slow, faster], "b")])
    assert page.between is not None
    only = [text for text in page.between.paragraphs if text.startswith("Only in")]
    assert only == ["Only in run B: fashion-teacher z:cpu single-stream batch 1."]


def test_runs_of_two_machines_are_compared_by_the_names_of_these() -> None:
    other = {"machine_id": "ffffffffffff", "cpu_model": "Other", "kernel": "6.1"}
    page = make_page(two_runs(np.random.default_rng(2), 1.3, facts=other))
    assert page.between is not None
    assert page.between.title == "Between the machines"
    assert "Other ffff is slower than AMD EPYC 0123" in page.between.paragraphs[0]
    assert "machine: AMD EPYC 0123 / Other ffff" in page.between.paragraphs[1]
    assert len(page.between.pictures) == 1
    assert [run.title for run in page.runs] == ["Run A: AMD EPYC 0123, a", "Run B: Other ffff, b"]
    assert column(page.results, "machine") == ["AMD EPYC 0123", "Other ffff"]


def test_runs_of_a_machine_that_changed_are_both_shown_and_not_compared() -> None:
    host = {**MACHINE, "hostname_hash": "0" * 8}
    changed = {**host, "machine_id": "ffffffffffff"}
    runs = [
        in_memory([measured([1e5, 1.01e5, 1e5])], name, facts=facts)
        for name, facts in (("a", host), ("b", changed))
    ]
    page = make_page(runs)
    assert page.between is not None
    assert "not comparable, they differ in hardware" in page.between.paragraphs[0]
    assert not page.between.pictures
    assert len(page.results.rows) == 2
    allowed = make_page(runs, allowed=["machine"])
    assert allowed.between is not None
    assert allowed.between.pictures


def test_runs_without_a_common_cell_are_both_shown() -> None:
    runs = [in_memory([a_record(a_cell(m))], m.name) for m in (TEACHER, STUDENT)]
    page = make_page(runs)
    assert page.between is not None
    assert "no cell in common" in page.between.paragraphs[0]


# -- what is too much -----------------------------------------------------------------------------


def many(count: int) -> list[Record]:
    rng = np.random.default_rng(0)
    return [
        a_record(a_cell(model, f"t{n}:cpu"), float(rng.uniform(1e5, 1e7)))
        for n in range(count // 2)
        for model in (TEACHER, STUDENT)
    ]


def test_of_many_records_the_best_of_each_model_are_shown_and_the_rest_counted() -> None:
    records = many(300)
    found = select(records, most=100)
    assert len(found.records) == 100
    assert found.left_out == 200
    for model in (TEACHER, STUDENT):
        mine = [r for r in records if r.cell.model == model]
        best = sorted(mine, key=lambda r: r.latency.median_ns.value if r.latency else 0)[:50]
        assert {r.cell_id for r in best} == {
            r.cell_id for r in found.records if r.cell.model == model
        }


def test_of_many_points_those_near_the_front_are_weighed_and_it_is_said() -> None:
    records = many(300)
    weighed, words = cost_layers(records, "latency", 20)
    assert len({(r.cell.model.name, r.cell.target) for r in weighed}) == 20
    assert words.startswith("20 of 300 points")
    fastest = min(records, key=lambda r: r.latency.median_ns.value if r.latency else 0)
    assert fastest in weighed
    assert cost_layers(records, "latency", 400) == (records, "")


@pytest.mark.slow
def test_a_page_of_a_large_run_stays_small(tmp_path: Path) -> None:
    from large_run import write_large_run

    path = write_large_run(tmp_path, records=6_000, samples=600_000)
    text = render(make_page([read_run(path)]))
    assert len(text.encode()) < 10_000_000
    assert "This page shows 1,000 of 6,000 cells" in text
    assert re.search(r"5,000 further cells are not in this table", text)


# -- curves ---------------------------------------------------------------------------------------


def test_a_curve_holds_the_quantiles_of_the_undisturbed_calls(tmp_path: Path) -> None:
    cell = a_cell()
    store = RunStore.create(tmp_path, a_header([cell]))
    calm = np.arange(1, 1001, dtype=np.int64)
    store.write_samples(
        "0",
        [
            Block(cell.id, 0, 0, 0, calm[::-1]),
            Block(cell.id, 0, 1, 0, np.full(500, 10**9, np.int64), disturbed=True),
            Block(cell.id, 1, 0, 1, np.full(7, 5, np.int64), disturbed=True),
            Block("canary", 0, 0, 2, calm),
        ],
    )
    store.close()
    (store.path / "samples" / "1.parquet").write_bytes(b"torn")
    found = read_curves(store.path, [cell.id, "absent"], 12)
    assert list(found) == [cell.id]
    first, second = found[cell.id]
    assert (first.calls, second.calls) == (1000, 7)
    np.testing.assert_array_equal(first.quantiles_ns, np.ceil(np.round(SHARES * 1000, 6)))
    assert len(SHARES) < 300
    assert len(read_curves(store.path, [cell.id], 1)[cell.id]) == 1


# -- text from outside ----------------------------------------------------------------------------


@given(st.text(max_size=60))
def test_json_in_a_page_can_not_end_its_script(text: str) -> None:
    found = as_json({"name": text, "tag": "</script><!--<script>"})
    assert "<" not in found
    assert json.loads(found)["name"] == text


@given(st.text(max_size=60))
def test_a_name_is_no_markup_and_no_template_in_a_picture(text: str) -> None:
    found = in_picture(text)
    assert "<" not in found
    assert "%{" not in found


def test_no_name_is_markup_in_the_page(page: Page) -> None:
    text = render(page)
    assert HOSTILE not in text
    assert "<img" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text.split("<script>")[0])


@given(st.floats(1e-6, 1e12), st.floats(1.02, 1e9))
def test_ticks_of_a_logarithmic_axis_are_few_and_lie_on_it(low: float, factor: float) -> None:
    found = log_ticks(low, low * factor)
    assert 1 <= len(found) <= 8
    assert all(low * 0.999999 <= tick <= low * factor * 1.000001 for tick in found)
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("target", "streams"),
    [("a:cpu", 1), ("a:cpu?streams=4", 4), ("a:cpu?hint=x&streams=2", 2), ("a:cpu?streams=x", 1)],
)
def test_streams_are_read_from_a_target(target: str, streams: int) -> None:
    assert streams_of(target) == streams


def test_streams_are_an_axis_where_a_run_varied_them() -> None:
    records = [
        a_record(a_cell(TEACHER, f"a:cpu?hint=x&streams={n}", "offline", 8), 1e6 / n)
        for n in (1, 2, 4)
    ]
    found = picture(make_page([in_memory(records)]), "a-by-streams")
    (line,) = found.spec["data"]
    assert list(line["x"]) == [1, 2, 4]
    assert found.table is not None
    assert column(found.table, "streams") == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("a-by-batch", "The highest: {} · a:cpu, 1 thread, at batch 8."),
        ("a-latency-by-batch", "The lowest: {} · a:cpu, 4 threads, at batch 2."),
        ("a-by-streams", "The highest: {} · a:cpu, batch 8, 1 thread, with 1 stream."),
    ],
)
def test_the_best_point_is_named_as_its_line_is(name: str, best: str) -> None:
    """Of lines that threads alone tell apart; a larger batch is slower, but not by as much."""
    records = [
        a_record(a_cell(TEACHER, f"a:cpu{more}", "offline", batch, threads=threads), median_ns)
        for threads, batch, more, median_ns in (
            (1, 2, "", 2e6),
            (1, 8, "", 4e6),
            (4, 2, "", 1.9e6),
            (4, 8, "", 6e6),
            (1, 8, "?streams=2", 5e6),
            (4, 8, "?streams=2", 7e6),
        )
    ]
    found = picture(make_page([in_memory(records)]), name)
    assert found.words.endswith(best.format(TEACHER.name))
    (line,) = [each["name"] for each in found.spec["data"] if each["name"] in found.words]
    assert line in best.format(TEACHER.name)


#: Two ways of running on a target, and how each is told on a page.
WAYS: dict[str, tuple[tuple[dict[str, Any], str], tuple[dict[str, Any], str]]] = {
    "lane": (({}, "x:cpu"), ({"lane": "api"}, "x:cpu, user API")),
    "threads": (({"threads": 1}, "x:cpu, 1 thread"), ({"threads": 4}, "x:cpu, 4 threads")),
    "fallback": (({}, "x:cpu"), ({"allow_fallback": True}, "x:cpu, fallback allowed")),
    "driver": (({}, "x:cpu"), ({"loadgen": LoadGen()}, "x:cpu, through LoadGen")),
    "settings": (
        ({"loadgen": LoadGen(min_duration=1)}, "x:cpu, through LoadGen, min_duration=1"),
        ({"loadgen": LoadGen(min_duration=2)}, "x:cpu, through LoadGen, min_duration=2"),
    ),
    "bound": (({}, "x:cpu"), ({"latency_bound_ns": 10**6}, "x:cpu, p99 ≤ 1.00 ms")),
    "model": (
        ({}, "x:cpu, model aaaaaaaa"),
        ({"model": TEACHER.model_copy(update={"sha256": "f" * 64})}, "x:cpu, model ffffffff"),
    ),
}


def of_two_ways(setting: str, scenario: str, *batches: int) -> tuple[Page, list[str]]:
    """A page of both ways at each batch, and how they are told."""
    ways = WAYS[setting]
    records = [
        a_record(
            a_cell(**{"target": "x:cpu", "scenario": scenario, "batch": n, **way}), 1e5 * n * k
        )
        for n in batches
        for k, (way, _) in enumerate(ways, 1)
    ]
    return make_page([in_memory(records)]), [words for _, words in ways]


@pytest.mark.parametrize("variable", ["batch", "streams"])
@pytest.mark.parametrize("setting", WAYS)
def test_each_way_of_running_has_a_line_of_its_own(setting: str, variable: str) -> None:
    """Told apart by its name, and by its dashes where colour and symbol are the same."""
    values = (1, 2, 4)
    if variable == "batch":
        page, words = of_two_ways(setting, "offline", *values)
    else:
        ways = WAYS[setting]
        targets = [f"x:cpu?streams={n}" for n in values]
        cells = [
            a_cell(**{"target": t, "scenario": "offline", **way})
            for t in targets
            for way, _ in ways
        ]
        page = make_page([in_memory([a_record(cell) for cell in cells])])
        words = [word.replace("x:cpu", "x:cpu, batch 1", 1) for _, word in ways]
    drawn = picture(page, f"a-by-{variable}").spec["data"]
    assert [list(line["x"]) for line in drawn] == [[1, 2, 4]] * 2
    assert [line["name"].split(" · ")[1] for line in drawn] == words
    assert len({line["line"]["dash"] for line in drawn}) == 2


@pytest.mark.parametrize("setting", sorted(set(WAYS) - {"bound", "settings"}))  # of a load
@pytest.mark.parametrize("name", ["a-latency", "a-memory", "a-start-picture"])
def test_each_way_of_running_is_a_row_of_its_own(setting: str, name: str) -> None:
    page, words = of_two_ways(setting, "single-stream", 1)
    found = picture(page, name)
    assert found.table is not None
    assert column(found.table, "target") == words
    drawn = json.dumps(found.spec, ensure_ascii=False)
    assert all(f"fashion-teacher · {word}" in drawn for word in words)


@pytest.mark.parametrize("setting", WAYS)
def test_each_way_of_running_is_a_rate_of_its_own(setting: str) -> None:
    page, words = of_two_ways(setting, "offline", 8)
    found = picture(page, "a-throughput")
    assert found.table is not None
    assert column(found.table, "target") == words
    drawn = json.dumps(found.spec, ensure_ascii=False)
    if setting == "bound":  # which is part of the load
        words = ["x:cpu · offline batch 8", "x:cpu · offline batch 8, p99 ≤ 1.00 ms"]
    assert all(f"fashion-teacher · {word}<" in drawn for word in words)


def test_curves_of_two_ways_of_running_are_told_apart(tmp_path: Path) -> None:
    cells = [a_cell(threads=n) for n in (1, 4)]
    store = RunStore.create(tmp_path, a_header(cells))
    calls = np.arange(1, 1001, dtype=np.int64)
    store.write_samples("0", [Block(cell.id, 0, 0, n, calls) for n, cell in enumerate(cells)])
    for cell in cells:
        store.append_record(a_record(cell))
    store.close()
    found = picture(make_page([read_run(store.path)]), "a-ecdf1")
    lines = [trace for trace in found.spec["data"] if trace["mode"] == "lines"]
    words = ["onnxruntime:cpu, 1 thread", "onnxruntime:cpu, 4 threads"]
    assert [line["name"] for line in lines] == words
    assert len({line["legendgroup"] for line in lines}) == 2
    assert len({line["line"]["dash"] for line in lines}) == 2
    assert all(word in found.words for word in words)
    assert found.table is not None
    assert column(found.table, "target") == words


@pytest.mark.parametrize("setting", sorted({*WAYS, "lengths"} - {"model"}))  # a row has its hash
def test_each_way_of_running_is_a_row_of_the_results(setting: str) -> None:
    lengths = [({"shapes": {"ids": (1, n)}}, f"x:cpu, ids {n}") for n in (8, 16)]
    ways = {**WAYS, "lengths": lengths}[setting]
    records = [a_record(a_cell(**{"target": "x:cpu", **way})) for way, _ in ways]
    assert column(make_page([in_memory(records)]).results, "target") == [words for _, words in ways]


def test_lists_on_the_page_tell_cells_apart_that_differ_in_threads_alone() -> None:
    bad = (a_failed_check("steady-state", "no"),)
    ways = [a_cell(threads=n) for n in (1, 2, 4)]
    records = [
        a_record(ways[0], 2e5, checks=bad),
        a_record(ways[1], 1e5),
        a_failure(ways[2], "crashed", "it died"),
    ]
    text = re.sub(r"\s+", " ", render(make_page([in_memory(records)])))
    where = "fashion-teacher · onnxruntime:cpu"
    assert f"{where}, 1 thread single-stream batch 1: no" in text, "in the checks"
    failed = make_page(
        [in_memory([*records, a_failure(ways[0].model_copy(update={"target": "y"}))])]
    )
    assert f"{where} single-stream batch 1" in render(failed), "the only one that failed"
    (card,) = speed_cards(records[:2], Palette.of(records))
    assert card.what == f"{where}, 2 threads"
    assert card.than == f"as fast as {where}, 1 thread"


# -- portability ----------------------------------------------------------------------------------


def test_the_heat_map_has_every_operator_model_and_outcome(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(PORTABILITY))
    found = portability(read_portability(path))
    models, operators = found.grids
    assert [row.label for row in models.rows] == ['"><img src=x onerror=alert(1)>']
    assert [row.label for row in operators.rows] == [f"{HOSTILE}-13", "Add-13"]
    assert found.words[0] == "onnxruntime:cpu computes 1 of 2 operators; 1 crash."
    assert [sign for _, sign, _ in found.legend] == ["✓", "✓", "~", "!", "…"]


def test_every_outcome_of_an_operator_or_a_model_has_a_sign_and_a_place_in_the_order() -> None:
    outcomes = {*get_args(OperatorOutcome), *get_args(ModelOutcome)}
    assert OUTCOMES.keys() == set(WORST_FIRST) == outcomes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "not a portability file"),
        ("{", "can't be read as JSON"),
        ('{"kind": "portability", "schema_version": 2}', "reads up to 1"),
        ('{"kind": "portability", "schema_version": 1}', "`bench_version` is missing"),
    ],
)
def test_another_file_is_refused_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=words):
        read_portability(path)
