"""The result table at 80 columns, and what it says about failures, checks and simulators."""

from __future__ import annotations

import json

import pytest
from fake_records import (
    CONTROL,
    STUDENT,
    TEACHER,
    a_cell,
    a_failed_check,
    a_failure,
    a_record,
    a_run,
    an_accuracy,
)
from rich.cells import cell_len

from bench.present.layout import clip, wrap
from bench.present.results import result_table
from bench.record.result import Record
from bench.store.fields import RESULT_FIELDS
from bench.store.rows import result_rows

GOLDEN = """\
                          Latency   p99  Throughput  batch  Memory   Accuracy
                      µs, batch 1    µs         k/s            MiB          %
fashion-teacher  original, 1.18 MiB, 305k parameters
✓ onnxruntime:cpu       271 ±1.2%   352  4.92 ±2.0%     32     112  92.7 ±0.5
✓ openvino:cpu          252 ±1.2%   328  5.29 ±2.0%     32     112  92.7 ±0.5
✓ torch:cpu             705 ±1.2%     -  1.89 ±2.0%     32     112  92.7 ±0.5
✗ torch-compile:cpu   failed, timeout: no answer within 60 s; killed.
✓ ascend:npu:0          simulated     -     -                  112  92.7 ±0.5
fashion-student  distilled from fashion-teacher, 102 KiB, 25.4k parameters
✓ onnxruntime:cpu      27.6 ±1.2%  35.9  48.3 ±2.0%     32     112  87.6 ±0.5
✓ openvino:cpu         25.7 ±1.2%  33.4  51.9 ±2.0%     32     112  87.6 ±0.5
! torch:cpu¹           71.8 ±1.2%  93.3  18.6 ±2.0%     32     112  87.6 ±0.5
✗ torch-compile:cpu²  failed, unsupported: the C++ compiler could not be run:…
✓ ascend:npu:0          simulated     -     -                  112  87.6 ±0.5
fashion-student-ce  control of fashion-student, 102 KiB, 25.4k parameters
✓ onnxruntime:cpu      27.9 ±1.2%  36.3  47.8 ±2.0%     32     112  86.2 ±0.5
✓ openvino:cpu         25.9 ±1.2%  33.7  51.4 ±2.0%     32     112  86.2 ±0.5
✓ torch:cpu            72.5 ±1.2%  94.3  18.4 ±2.0%     32     112  86.2 ±0.5
✗ torch-compile:cpu³   48.0 ±1.2%  62.4      failed     32     112  86.2 ±0.5
✓ ascend:npu:0          simulated     -     -                  112  86.2 ±0.5

± is the 95% interval; p99 is an upper bound at 99% confidence.
- p99 needs 662 samples; these rows have 310.
¹ steady-state: warm-up had not settled after 200 calls
² unsupported: the C++ compiler could not be run: g++ was not found on PATH.
  Install g++, or leave out torch-compile:cpu.
³ timeout: no answer within 60 s; killed.
✓ 11 ok; ! 1 measured with warnings; ✗ 3 failed.
"""


def shown(*records: Record, width: int = 80) -> str:
    return result_table(records, width).plain


def longest(text: str) -> int:
    return max(cell_len(line) for line in text.splitlines())


def test_the_table_at_80_columns() -> None:
    assert shown(*a_run()) == GOLDEN
    assert longest(GOLDEN) <= 80


@pytest.mark.parametrize("width", [40, 60, 79, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    widest = 62 if width < 62 else width  # below that the figures alone need the room
    assert longest(shown(*a_run(), width=width)) <= widest


def test_colour_marks_what_it_means_and_nothing_else() -> None:
    text = result_table(a_run(), 80)
    green = {text.plain[s.start : s.end].strip() for s in text.spans if s.style == "green"}
    red = {text.plain[s.start : s.end].strip() for s in text.spans if s.style == "red"}
    assert green == {"✓"}
    assert "✗" in red
    assert "271" not in red
    assert str(text.style) == ""


def test_a_wider_terminal_shows_more() -> None:
    text = shown(*a_run(), width=130)
    for title in ("p90", "Load", "First run", "samples"):
        assert title in text
        assert title not in GOLDEN.splitlines()[0]


def test_a_simulated_device_has_accuracy_but_no_latency() -> None:
    (line,) = [
        line
        for line in shown(a_record(a_cell(target="ascend:npu:0"), 9e9, simulated=True)).splitlines()
        if "ascend" in line
    ]
    assert "simulated" in line
    assert "92.7" in line
    assert "9000" not in line


def test_a_p99_that_the_samples_cannot_support_is_absent_and_says_what_it_needs() -> None:
    text = shown(a_record(samples=400), a_record(a_cell(STUDENT), 27e3, samples=900))
    assert "p99 needs 662 samples; these rows have 400." in text


def test_one_line_for_each_batch() -> None:
    records = [a_record()]
    records += [
        a_record(a_cell(scenario="offline", batch=batch), 271e3 * batch, None)
        for batch in (256, 1, 32)
    ]
    lines = shown(*records).splitlines()
    start = next(i for i, line in enumerate(lines) if "onnxruntime" in line)
    assert "271 ±1.2%" in lines[start]
    assert [text.split()[0] for text in (lines[start + 1], lines[start + 2])] == ["3.69", "3.69"]
    assert " 32 " in lines[start + 1]
    assert " 256 " in lines[start + 2]


def test_latencies_at_several_batches_stand_on_lines_of_their_own() -> None:
    records = [a_record(a_cell(batch=batch), 1e5 * batch) for batch in (1, 8)]
    text = shown(*records)
    assert "batch 1" not in text
    assert text.count("±1.2%") == 2


def test_a_cell_measured_again_shows_its_latest_record() -> None:
    text = shown(a_failure(), a_record())
    assert "failed" not in text
    assert "271" in text


def test_nothing_measured() -> None:
    assert shown() == "no cell has been measured.\n"


def test_only_failures() -> None:
    text = shown(a_failure(), a_failure(a_cell(STUDENT), "crashed", "killed by signal 11"))
    assert "failed, crashed: killed by signal 11" in text
    assert "✗ 2 failed." in text
    assert "±" not in text


def test_labels_tell_lanes_threads_and_fallback_apart() -> None:
    text = shown(
        a_record(),
        a_record(a_cell(lane="api")),
        a_record(a_cell(threads=2, allow_fallback=True)),
        width=120,
    )
    assert "onnxruntime:cpu, 1 thread " in text
    assert "onnxruntime:cpu, user API, 1 thread" in text
    assert "onnxruntime:cpu, 2 threads, fallback allowed" in text


HOSTILE = ["[red]x[/red]", "a\x1b[31mb\x07", "表" * 60, "x" * 5000, "new\nline", "\u202eright"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_text(name: str) -> None:
    model = TEACHER.model_copy(update={"name": name})
    records = [
        a_record(a_cell(model, f"onnxruntime:{name}")),
        a_record(
            a_cell(model, "openvino:cpu"),
            checks=(a_failed_check(name, name),),
        ),
        a_failure(a_cell(model, "torch:cpu"), "crashed", name * 3),
    ]
    text = shown(*records)
    assert longest(text) <= 80
    assert text.replace("\n", "").isprintable()
    if name == "[red]x[/red]":
        assert name in text


def test_what_is_not_in_the_accuracy_stands_under_the_table_once() -> None:
    accuracy = an_accuracy(0.9).model_copy(update={"notes": ("d: 2 files are left out, hidden",)})
    records = [
        a_record(a_cell(TEACHER, target)).model_copy(update={"accuracy": accuracy})
        for target in ("onnxruntime:cpu", "openvino:cpu")
    ]
    words = "- accuracy of fashion-teacher: d: 2 files are left out, hidden."
    assert shown(*records).count(words) == 1
    assert result_rows(records)[0]["accuracy_notes"] == "d: 2 files are left out, hidden"


def test_sizes_that_were_asked_for_and_guesses_stand_under_the_table_once() -> None:
    told = {"sizes": {"seq": 64}, "assumed": ("guessed sizes: past=128",)}
    records = [
        a_record(a_cell(STUDENT, target)).model_copy(update=told)
        for target in ("onnxruntime:cpu", "openvino:cpu")
    ]
    text = shown(*records)
    assert text.count("measured at seq=64.") == 1
    assert text.count("guessed sizes: past=128.") == 1
    assert "measured at" not in shown(a_record(a_cell(STUDENT, "onnxruntime:cpu")))


def test_raw_rows_have_the_named_keys_and_are_json() -> None:
    rows = result_rows(a_run())
    assert all(list(row) == list(RESULT_FIELDS) for row in rows)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows[0]["median_ns"] == 271_000
    assert {row["failure_kind"] for row in rows} == {None, "timeout", "unsupported"}
    assert {row["model"] for row in rows} == {m.name for m in (TEACHER, STUDENT, CONTROL)}


def test_wrapping_keeps_indentation_and_width() -> None:
    text = wrap("  name: " + "word " * 40, 30, indent=4)
    first, *rest = text.splitlines()
    assert first.startswith("  name")
    assert all(line.startswith("    word") for line in rest)
    assert longest(text) <= 30


def test_clipping_counts_terminal_cells() -> None:
    assert clip("表表表", 6) == "表表表"
    assert cell_len(clip("表表表表", 6)) <= 6


def test_what_fails_a_cell_and_its_scoring_is_said_once() -> None:
    words = "stand-in: RuntimeError: the driver said no, and then it said much more than that"
    scored = a_failed_check("accuracy", words)
    failed = a_failure(a_cell(), "crashed", words).model_copy(update={"checks": (scored,)})
    text = " ".join(shown(failed).split())
    assert text.count("the driver said no, and then it said much more") == 1
    other = failed.model_copy(update={"checks": (a_failed_check("accuracy", "no labels"),)})
    assert "accuracy: no labels" in shown(other)
