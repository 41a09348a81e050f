"""What a table says of devices that compute apart from their host."""

from __future__ import annotations

import re

import pytest
from compared_runs import in_memory
from fake_records import TEACHER, a_cell, a_failed_check, a_record, estimate

from bench.present.ci.base import Subject
from bench.present.ci.github_action import SMALLER, github_action_rows
from bench.present.ci.markdown import markdown_text
from bench.present.devices import roofline_notes
from bench.present.page.page import make_page, render
from bench.present.page.parts import Entry, Table
from bench.present.results import result_table
from bench.record.result import Busy, Record, Roofline
from bench.store.rows import result_rows


def on_gpu(share: float, target: str = "torch:cuda:0", **changes: object) -> Record:
    busy = Busy(share=estimate(share, 0.05), at_most=bool(changes.pop("at_most", False)))
    return a_record(a_cell(TEACHER, target), busy=busy, device_ns=estimate(9e4), **changes)


def shown(*records: Record) -> str:
    return " ".join(result_table(records, 100).plain.split())


def test_a_launch_bound_row_refers_to_a_note_that_says_how_busy_its_gpu_was() -> None:
    text = shown(on_gpu(0.31))
    assert "✓ torch:cuda:0¹" in text  # which is no doubt about its figures
    assert (
        "¹ launch-bound at batch 1: the GPU was busy 31% (29–33%) of the time, and waited for its "
        "host the rest of the time."
    ) in text


def test_a_share_that_has_the_pauses_in_it_is_the_most_that_it_can_be() -> None:
    text = shown(on_gpu(0.4, "ascend:npu:0", at_most=True))
    assert "the NPU was busy at most 40% (38–42%) of the time" in text


def test_a_device_that_may_be_busy_half_of_the_time_is_not_called_launch_bound() -> None:
    assert "launch-bound" not in shown(on_gpu(0.48))
    assert "launch-bound" not in shown(on_gpu(0.97))
    assert "launch-bound" not in shown(on_gpu(0.31, simulated=True))


REMARK = "launch-bound at batch 1: the GPU was busy 31% (29–33%) of the time"
#: Launch-bound, perhaps less busy than is said, and not launch-bound.
GPUS = (
    on_gpu(0.31),
    on_gpu(0.4, "torch:cuda:1", at_most=True),
    on_gpu(0.9, "torch:cuda:2"),
    a_record(a_cell(TEACHER, "torch:cpu")),
)


def of_batches(record: Record) -> Record:
    """What is known of the device, of an offline cell on the same target."""
    cell = a_cell(TEACHER, record.cell.target, "offline", 8)
    return a_record(cell, busy=record.busy, throughput=estimate(3e4))


def entries(table: Table | None, key: str) -> list[Entry]:
    assert table is not None
    place = next(n for n, column in enumerate(table.columns) if key in column.keys)
    return [row[place] for row in table.rows]


def test_the_page_says_of_a_row_that_it_is_launch_bound_and_how_busy_its_gpu_was() -> None:
    page = make_page([in_memory(GPUS)])
    details = [(status.text, status.detail) for status in entries(page.results, "status")]
    most = REMARK.replace("31% (29–33%)", "at most 40% (38–42%)")
    assert details == [("ok", REMARK), ("ok", most), ("ok", ""), ("ok", "")]
    html = render(page)
    assert f"<summary>launch-bound</summary><pre>{REMARK}</pre>" in html
    assert html.count("<summary>launch-bound</summary>") == 2


def test_a_row_of_the_page_has_the_remarks_of_both_its_cells() -> None:
    run = in_memory([on_gpu(0.31), of_batches(on_gpu(0.31))])
    (status,) = entries(make_page([run]).results, "status")
    assert status.detail.splitlines() == [REMARK, REMARK.replace("batch 1", "batch 8")]


def test_the_data_of_a_picture_has_how_busy_each_device_was_where_that_is_known() -> None:
    page = make_page([in_memory([*GPUS, *map(of_batches, GPUS)])])
    for name in ("a-latency", "a-throughput"):
        picture = next(found for found in page.pictures if found.name == name)
        shown = {(e.text, e.interval, e.values[-1]) for e in entries(picture.table, "busy_share")}
        assert shown == {
            ("31", "(29–33)", False),
            ("≤40", "(38–42)", True),
            ("90", "(86–94)", False),
            ("-", "", None),
        }
        hovers = str(picture.spec)
        assert hovers.count("the GPU was busy 31% (29–33%) of the time") == 1
        assert hovers.count("launch-bound") == 2


def test_pages_of_what_is_not_known_to_wait_say_nothing_of_it() -> None:
    page = make_page([in_memory([on_gpu(0.31, simulated=True), GPUS[-1]])])
    assert "launch-bound</summary>" not in render(page)
    picture = next(found for found in page.pictures if found.name == "a-latency")
    assert {e.text for e in entries(picture.table, "busy_share")} == {"-"}


def test_markdown_and_github_actions_tables_have_the_remark_as_well() -> None:
    marked = on_gpu(0.31, "torch:cuda:3", checks=(a_failed_check("undisturbed", ""),))
    subject = Subject(in_memory([*GPUS, marked]))
    rows = [line for line in markdown_text(subject).splitlines() if "torch:" in line]
    states = [row.split(" | ")[-1].removesuffix(" |") for row in rows]
    assert states[0] == f"✅ {REMARK}"
    assert states[2:4] == ["✅", "✅"]
    assert states[4] == f"⚠️ failed: undisturbed; {REMARK}"
    told = {row["name"]: row["extra"] for row in github_action_rows(subject)[SMALLER]}
    assert {name.split(" ")[1] for name, extra in told.items() if "launch-bound" in extra} == {
        "torch:cuda:0",
        "torch:cuda:1",
        "torch:cuda:3",
    }


def test_copies_are_stated_although_no_figure_has_them() -> None:
    copied = {"h2d_ns": estimate(12_000), "d2h_ns": estimate(7_400)}
    other = a_record(a_cell(TEACHER, "torch:cuda:0", "offline", 32), h2d_ns=estimate(9e4))
    other = other.model_copy(update={"d2h_ns": estimate(8_000)})
    text = shown(on_gpu(0.97, **copied), other, a_record(a_cell(TEACHER, "torch:cpu")))
    assert (
        "- copies between host and device are not part of the figures (--lane api includes them): "
        "fashion-teacher on torch:cuda:0: 12.0 µs there and 7.40 µs back at batch 1, 90.0 µs there "
        "and 8.00 µs back at batch 32."
    ) in text
    assert "copies" not in shown(a_record(a_cell(TEACHER, "torch:cpu")))


def test_the_copies_of_one_row_are_not_told_as_those_of_another() -> None:
    def copying(ns: float, **cell: object) -> Record:
        found = a_cell(TEACHER, "torch:cuda:0", **cell)  # type: ignore[arg-type]
        return a_record(found, h2d_ns=estimate(ns), d2h_ns=estimate(ns))

    def told(*records: Record) -> list[str]:
        (found,) = re.findall(r"includes them\): (.*?)\. ", f"{shown(*records)} ")
        return found.split("; ")  # type: ignore[no-any-return]

    rows = (
        copying(12e3),
        copying(9e3, variant="fp16"),
        copying(15e3, scenario="server", latency_bound_ns=5_000_000),
        copying(70e3, shapes={"image": (1, 1, 56, 56)}),
    )
    assert told(*rows) == [
        "fashion-teacher on torch:cuda:0, image 1x28x28: 12.0 µs there and 12.0 µs back at batch 1",
        "fashion-teacher fp16 on torch:cuda:0: 9.00 µs there and 9.00 µs back at batch 1",
        "fashion-teacher on torch:cuda:0, server, p99 ≤ 5.00 ms: 15.0 µs there and 15.0 µs back "
        "at batch 1",
        "fashion-teacher on torch:cuda:0, image 1x56x56: 70.0 µs there and 70.0 µs back at batch 1",
    ]
    same_row = "fashion-teacher on torch:cuda:0: 12.0 µs there and 12.0 µs back at batch 1"
    assert told(copying(12e3), copying(13e3, scenario="offline")) == [same_row]


def test_how_busy_a_device_was_is_in_the_raw_rows() -> None:
    row, plain = result_rows([on_gpu(0.31), a_record()])
    assert (row["device_ns"], row["busy_share"], row["busy_at_most"]) == (9e4, 0.31, False)
    assert (plain["device_ns"], plain["busy_share"], plain["busy_at_most"]) == (None, None, None)


def with_roofline(variant: str = "fp32", **unknown: int) -> Record:
    """A query of 100 us: 2 billion operations of 100 a ns, and 12 MB of 200 kB a us."""
    line = Roofline(
        operations=2 * 10**9,
        bytes=12 * 10**6,
        unknown=unknown,
        peak_operations_per_s=1e14,
        peak_bytes_per_s=2e11,
    )
    cell = a_cell(TEACHER, "x:cuda:0", "offline", 8, variant=variant)
    return a_record(cell, 100_000, roofline=line, throughput=estimate(8 / 100e-6))


def test_a_roofline_is_told_as_shares_of_what_the_target_reached() -> None:
    assert (
        "fashion-teacher on x:cuda:0, offline batch 8: 20% of the measured peak of matrix "
        "products, at least 60% of the measured copy bandwidth: closer to memory-bound."
    ) in shown(with_roofline())


def test_the_share_of_a_rate_is_that_of_all_its_queries_however_long_one_takes() -> None:
    """Queries that wait for others, as a server's, or run beside them."""
    record = with_roofline()
    beside = record.model_copy(update={"throughput": estimate(2 * 8 / 100e-6)})
    assert "40% of the measured peak" in shown(beside)
    cell = a_cell(TEACHER, "x:cuda:0", "server", latency_bound_ns=10**8)
    waiting = a_record(cell, 5e6, roofline=record.roofline, throughput=estimate(1 / 100e-6))
    assert "server batch 1: 20% of the measured peak" in shown(waiting)


def test_the_share_of_a_latency_is_that_of_its_median() -> None:
    record = a_record(a_cell(TEACHER, "x:cuda:0"), 50_000, roofline=with_roofline().roofline)
    assert "batch 1: 40% of the measured peak" in shown(record)


def test_other_precisions_are_not_held_against_a_peak_of_fp32() -> None:
    text = shown(with_roofline("int8-dynamic"))
    assert "60% of the measured copy bandwidth" in text
    assert "matrix" not in text


def test_a_peak_of_the_cell_s_own_precision_is_named_by_it() -> None:
    record = with_roofline("fp16")
    line = record.roofline.model_copy(update={"peak_of": "fp16"})  # type: ignore[union-attr]
    record = record.model_copy(update={"roofline": line})
    assert "20% of the measured peak of matrix products in fp16, at least 60% of" in shown(record)
    (row,) = result_rows([record])
    assert row["peak_of"] == "fp16"


def test_a_runtime_without_such_a_product_says_so_instead_of_a_share() -> None:
    record = with_roofline("int8-static")
    none = {"peak_of": "int8-static", "no_peak": "no kernel.", "peak_operations_per_s": None}
    line = record.roofline.model_copy(update=none)  # type: ignore[union-attr]
    assert (
        "at least 60% of the measured copy bandwidth; no share of compute, because no matrix "
        "product was measured in int8-static: no kernel."
    ) in shown(record.model_copy(update={"roofline": line}))


def test_what_has_no_roofline_says_why_once_for_each_target() -> None:
    why = {"no_roofline": "its operations are counted in an ONNX file."}
    cells = [a_cell(TEACHER, "torch:cpu"), a_cell(TEACHER, "torch:cpu", "offline", 32)]
    records = [a_record(cell, **why) for cell in cells]  # type: ignore[arg-type]
    text = shown(*records, a_record(a_cell(TEACHER, "x:cuda:0")))
    words = (
        "fashion-teacher on torch:cpu has no roofline: its operations are counted in an ONNX file."
    )
    assert text.count(words) == 1
    assert text.count("roofline") == 1
    assert roofline_notes(records) == [f"- {words}"], "which the page shows, too"


def test_operators_that_were_not_counted_are_named() -> None:
    text = shown(with_roofline(Twist=3))
    assert "at least 20% of the measured peak" in text
    assert "closer to memory-bound (not counted: 3 Twist)." in text


@pytest.mark.parametrize(
    ("peak", "share", "how"),
    [
        ("peak_operations_per_s", "200% of the measured peak", "an algorithm needs fewer"),
        ("peak_bytes_per_s", "at least 600% of the measured copy bandwidth", "caches keep data"),
    ],
)
def test_a_share_above_a_peak_is_told_for_what_it_is(peak: str, share: str, how: str) -> None:
    record = with_roofline()
    line = record.roofline
    assert line is not None
    low = line.model_copy(update={peak: getattr(line, peak) / 10})
    text = shown(record.model_copy(update={"roofline": low}))
    assert share in text
    assert f"above the measured peak, because {how}" in text
    assert ", or other programs disturbed the measurement of the peak" in text
    assert "closer" not in text
    assert ("caches" in text) != ("algorithm" in text)
