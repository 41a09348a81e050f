"""Files that other tools wrote become runs whose records are marked foreign.

The files of pytest-benchmark, benchmark_app and the profile of ONNX Runtime were written by those
programs; those of llama-bench, onnxruntime_perf_test
and lm-evaluation-harness by hand, after their sources.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import SpecError
from bench.judge.differences import differences, refuse
from bench.judge.matching import match_cells
from bench.present.results import result_table
from bench.record.result import Record
from bench.store.interchange.foreign import read_foreign, store
from bench.store.interchange.formats import READERS
from bench.store.rows import result_rows
from bench.store.run import StoredRun, read_run

FILES = Path(__file__).parent / "files"
TOOLS = {
    "pytest_benchmark.json": "pytest-benchmark",
    "benchmark_app.json": "benchmark_app",
    "benchmark_app.csv": "benchmark_app",
    "llama_bench.json": "llama-bench",
    "onnxruntime_perf_test.csv": "onnxruntime_perf_test",
    "onnxruntime_profile.json": "onnxruntime_perf_test",
    "lm_eval_results.json": "lm-evaluation-harness",
    "samples_hellaswag_2026-11-27T10-00-00.jsonl": "lm-evaluation-harness",
}


def imported(name: str, folder: Path) -> StoredRun:
    found = read_foreign(FILES / name, READERS, None)
    return read_run(store(found, folder / name, "bench results import"))


def by_name(run: StoredRun) -> dict[str, Record]:
    return {record.foreign.name: record for record in run.records if record.foreign}


@pytest.mark.parametrize("name", TOOLS)
def test_each_format_is_recognised_and_its_records_are_marked(name: str, tmp_path: Path) -> None:
    run = imported(name, tmp_path)
    assert run.skipped == []
    assert {row["foreign"] for row in result_rows(run.records)} == {TOOLS[name]}
    for record in run.records:
        assert record.latency is None
        assert record.throughput is None
        assert record.checks == ()
        assert record.cell.target.startswith(f"{TOOLS[name]}:")


@pytest.mark.parametrize("name", TOOLS)
def test_a_foreign_table_shows_no_interval_and_says_whose_figures_these_are(
    name: str, tmp_path: Path
) -> None:
    text = result_table(imported(name, tmp_path).records, 80).plain
    assert "±" not in text
    assert f"measured by {TOOLS[name]}" in text
    assert "✓" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_rows_of_foreign_records_have_bounds_and_variant_missing(tmp_path: Path) -> None:
    (row,) = result_rows(imported("benchmark_app.json", tmp_path).records)
    assert row["median_ns"] == pytest.approx(20_000)
    assert row["throughput_per_s"] == 25480.14
    missing = ("median_low_ns", "median_high_ns", "throughput_low_per_s", "variant", "confidence")
    assert [row[key] for key in missing] == [None] * len(missing)


def test_what_lm_evaluation_harness_scored_stands_in_the_details(tmp_path: Path) -> None:
    run = imported("lm_eval_results.json", tmp_path)
    found = by_name(run)
    assert set(found) == {"hellaswag", "wikitext", "gsm8k"}
    told = {name: record.foreign.details for name, record in found.items() if record.foreign}
    assert told["hellaswag"]["acc_norm"] == "0.552 (standard error 0.005)"
    assert told["hellaswag"]["items scored"] == "10042"
    assert told["wikitext"]["bits_per_byte"] == "0.84, lower is better"
    assert told["gsm8k"]["exact_match (flexible-extract)"].startswith("0.03 ")
    assert found["gsm8k"].cell.model.name == "HuggingFaceTB/SmolLM2-135M gsm8k"
    assert run.header.facts["cpu_model"] == "AMD EPYC 7763"
    assert run.header.created_at == "2025-06-15T15:06:40+00:00"
    assert "acc_norm 0.552" in " ".join(result_table(run.records, 200).plain.split())


def test_samples_of_lm_evaluation_harness_are_averaged(tmp_path: Path) -> None:
    run = imported("samples_hellaswag_2026-11-27T10-00-00.jsonl", tmp_path)
    (record,) = run.records
    assert record.foreign is not None
    assert record.foreign.name == "hellaswag"
    assert record.foreign.details == {
        "acc": "0.5",
        "acc_norm": "1",
        "items scored": "4",
    }


def test_pytest_benchmark_timings_are_kept_and_agree_with_its_statistics(tmp_path: Path) -> None:
    run = imported("pytest_benchmark.json", tmp_path)
    value = json.loads((FILES / "pytest_benchmark.json").read_text())
    for entry in value["benchmarks"]:
        record = by_name(run)[entry["name"]]
        assert record.foreign is not None
        (samples_ns,) = run.samples(record.cell_id).values()
        assert len(samples_ns) == entry["stats"]["rounds"] == record.foreign.samples
        assert np.median(samples_ns) == pytest.approx(1e9 * entry["stats"]["median"], abs=1)
        assert record.foreign.median_ns == pytest.approx(1e9 * entry["stats"]["median"])
    assert run.header.created_at == value["datetime"][:19] + "+00:00"
    assert run.header.facts["cpu_model"]


def test_a_result_file_that_was_appended_to_is_several_invocations(tmp_path: Path) -> None:
    run = imported("onnxruntime_perf_test.csv", tmp_path)
    (record,) = run.records
    found = run.samples(record.cell_id)
    assert {index: len(samples) for index, samples in found.items()} == {0: 3, 1: 2}
    assert found[0].tolist() == [1_020_000, 980_000, 1_100_000]


def test_the_warm_up_of_a_profile_is_left_out(tmp_path: Path) -> None:
    run = imported("onnxruntime_profile.json", tmp_path)
    (record,) = run.records
    (samples_ns,) = run.samples(record.cell_id).values()
    events = json.loads((FILES / "onnxruntime_profile.json").read_text())
    durations = [e["dur"] * 1000 for e in events if e["name"] == "model_run"]
    assert samples_ns.tolist() == durations[1:]


def test_the_tests_of_llama_bench_are_cells_of_their_own_and_tokens_are_no_samples(
    tmp_path: Path,
) -> None:
    run = imported("llama_bench.json", tmp_path)
    assert list(by_name(run)) == ["pp512", "tg128 @ d4096"]
    row = result_rows(run.records)[0]
    assert row["median_ns"] == 70_000_000
    assert row["throughput_per_s"] is None
    assert row["parameters"] == 7_615_616_512
    assert run.records[0].device_name == "NVIDIA GeForce RTX 4080"


def test_lines_of_json_are_read_like_the_array(tmp_path: Path) -> None:
    tests = json.loads((FILES / "llama_bench.json").read_text())
    path = tmp_path / "llama.jsonl"
    path.write_text("".join(json.dumps(test) + "\n" for test in tests))
    assert len(read_foreign(path, READERS, None).results) == 2


def test_benchmark_app_writes_the_same_as_json_and_as_csv(tmp_path: Path) -> None:
    (record,) = imported("benchmark_app.csv", tmp_path).records
    assert record.cell.scenario == "multi-stream"
    assert record.cell.batch == 8
    assert record.foreign is not None
    assert record.foreign.throughput_per_s == 94538.38


def test_another_percentile_than_the_median_is_not_taken_for_it(tmp_path: Path) -> None:
    value = json.loads((FILES / "benchmark_app.json").read_text())
    results = value["execution_results"]
    results["latency (90 percentile) (ms)"] = results.pop("latency (ms)")
    path = tmp_path / "report.json"
    path.write_text(json.dumps(value))
    (result,) = read_foreign(path, READERS, None).results
    assert result.foreign.median_ns is None
    assert result.foreign.p90_ns == 20_000


def test_a_foreign_record_is_not_compared_with_ours_unless_that_is_allowed(tmp_path: Path) -> None:
    from compared_runs import in_memory
    from fake_records import a_cell, a_record

    ours = a_record(a_cell(target="onnxruntime:cpu"))
    (theirs,) = imported("benchmark_app.json", tmp_path).records
    theirs = theirs.model_copy(update={"cell": theirs.cell.model_copy(update={"threads": 1})})
    matched = match_cells(in_memory([ours, theirs]), [ours.cell_id, theirs.cell_id])
    with pytest.raises(SpecError, match=r"the tool that measured.*--allow"):
        refuse(differences(matched), ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a result file in a format that bench knows"),
        ("{}", "not a result file in a format that bench knows"),
        ('{"machine_info": {}, "benchmarks": []}', "without results"),
        ('{"machine_info": {}, "benchmarks": [{"name": "x"}]}', "incomplete.*'stats'"),
        ('{"execution_results": {"error": "no device"}}', "no device"),
        ('[{"avg_ns": "x", "n_prompt": 1, "n_gen": 0}]', "incomplete"),
        ("m,0.1,5,5,0\nhello\n", "not a line of a result"),
        ("m,-0.1,5,5,0\n", "negative"),
    ],
)
def test_what_is_not_whole_is_one_sentence(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(SpecError, match=words):
        read_foreign(path, READERS, None)


def test_a_file_of_another_format_than_was_said_is_refused() -> None:
    with pytest.raises(SpecError, match="incomplete as a file of llama-bench"):
        read_foreign(FILES / "benchmark_app.csv", READERS, "llama-bench")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_sentence(
    data: st.DataObject, tmp_path: Path
) -> None:
    whole = (FILES / data.draw(st.sampled_from(sorted(TOOLS)))).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged"
    path.write_bytes(damaged[: data.draw(st.integers(place + 1, len(whole)))])
    try:
        found = read_foreign(path, READERS, None)
        run = read_run(store(found, tmp_path / "runs", "bench results import"))
    except SpecError:
        return
    assert run.records
    result_table(run.records, 80)
