"""Outcomes survive the run that found them, and nothing broken survives with them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bench.backend import Device
from bench.runtimes.targets import Choice, parse_target
from bench.trials.portability.kept import KeptResults, kept_results
from bench.trials.portability.outcomes import TestResult


def result(name: str, outcome: str = "pass") -> TestResult:
    return TestResult(test=name, outcome=outcome)  # type: ignore[arg-type]


def choice(version: str = "1.0", driver: str = "") -> Choice:
    device = Device("cpu", "vendor", "name", driver=driver)
    return Choice(parse_target("onnx-reference:cpu"), None, device, version)


def test_what_one_run_found_the_next_one_knows(tmp_path: Path) -> None:
    first = KeptResults(tmp_path / "deep" / "x.jsonl")
    first.add(result("a"))
    first.add(result("b", "wrong"))
    first.close()
    again = KeptResults(first.path)
    assert {r.test: r.outcome for r in again.results.values()} == {"a": "pass", "b": "wrong"}


def test_the_last_word_on_a_test_counts(tmp_path: Path) -> None:
    kept = KeptResults(tmp_path / "x.jsonl")
    kept.add(result("a", "crash"))
    kept.add(result("a"))
    kept.close()
    assert KeptResults(kept.path).results["a"].outcome == "pass"


def test_what_is_forgotten_is_asked_anew_and_the_rest_stays(tmp_path: Path) -> None:
    kept = KeptResults(tmp_path / "x.jsonl")
    kept.add(result("a", "wrong"))
    kept.add(result("b"))
    kept.forget(["a", "never-heard-of"])
    assert set(kept.results) == {"b"}
    kept.add(result("a"))
    kept.close()
    assert {r.test: r.outcome for r in KeptResults(kept.path).results.values()} == {
        "a": "pass",
        "b": "pass",
    }


def test_that_a_target_could_not_be_had_is_not_kept(tmp_path: Path) -> None:
    kept = KeptResults(tmp_path / "x.jsonl")
    kept.add(result("a", "unavailable"))
    kept.close()
    assert KeptResults(kept.path).results == {}


def test_a_line_cut_short_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    kept = KeptResults(path)
    kept.add(result("a"))
    kept.add(result("b"))
    kept.close()
    path.write_bytes(path.read_bytes()[:-9])
    again = KeptResults(path)
    assert set(again.results) == {"a"}
    again.add(result("c"))
    again.close()
    assert set(KeptResults(path).results) == {"a", "c"}


@given(st.binary(max_size=200))
def test_a_file_of_anything_is_no_error(tmp_path_factory: object, content: bytes) -> None:
    path = tmp_path_factory.mktemp("kept") / "x.jsonl"  # type: ignore[attr-defined]
    path.write_bytes(content)
    assert KeptResults(path).results == {}


def test_a_full_disk_is_told_once_and_the_outcomes_stay_in_memory(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    kept = KeptResults(in_the_way / "x.jsonl")
    kept.add(result("a"))
    kept.add(result("b"))
    assert "x.jsonl" in kept.problem
    assert set(kept.results) == {"a", "b"}


def test_another_version_device_or_target_has_another_file(tmp_path: Path) -> None:
    paths = {
        kept_results(tmp_path, choice(), "1.20").path,
        kept_results(tmp_path, choice("1.1"), "1.20").path,
        kept_results(tmp_path, choice(), "1.21").path,
        kept_results(tmp_path, choice(driver="7"), "1.20").path,
    }
    assert len(paths) == 4
    assert kept_results(tmp_path, choice(), "1.20").path in paths
