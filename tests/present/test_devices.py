"""What a table says of devices that compute apart from their host."""

from __future__ import annotations

from fake_records import TEACHER, a_cell, a_record, estimate

from bench.present.results import result_table
from bench.record.result import Busy, Record
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
        "host in the rest."
    ) in text


def test_a_share_that_has_the_pauses_in_it_is_the_most_that_it_can_be() -> None:
    text = shown(on_gpu(0.4, "ascend:npu:0", at_most=True))
    assert "the NPU was busy at most 40% (38–42%) of the time" in text


def test_a_device_that_may_be_busy_half_of_the_time_is_not_called_launch_bound() -> None:
    assert "launch-bound" not in shown(on_gpu(0.48))
    assert "launch-bound" not in shown(on_gpu(0.97))
    assert "launch-bound" not in shown(on_gpu(0.31, simulated=True))


def test_copies_are_stated_although_no_figure_has_them() -> None:
    copied = {"h2d_ns": estimate(12_000), "d2h_ns": estimate(7_400)}
    other = a_record(a_cell(TEACHER, "torch:cuda:0", "offline", 32), h2d_ns=estimate(9e4))
    other = other.model_copy(update={"d2h_ns": estimate(8_000)})
    text = shown(on_gpu(0.97, **copied), other, a_record(a_cell(TEACHER, "torch:cpu")))
    assert (
        "- copies between host and device are in none of the figures (--lane api has them in): "
        "fashion-teacher on torch:cuda:0: 12.0 µs there and 7.40 µs back at batch 1, 90.0 µs there "
        "and 8.00 µs back at batch 32."
    ) in text
    assert "copies" not in shown(a_record(a_cell(TEACHER, "torch:cpu")))


def test_how_busy_a_device_was_is_in_the_raw_rows() -> None:
    row, plain = result_rows([on_gpu(0.31), a_record()])
    assert (row["device_ns"], row["busy_share"], row["busy_at_most"]) == (9e4, 0.31, False)
    assert (plain["device_ns"], plain["busy_share"], plain["busy_at_most"]) == (None, None, None)
