"""Tests in workers: whatever a runtime does costs one test."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.backend import Device
from bench.errors import BenchError
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, parse_target
from bench.trials.portability.cases import NodeTests
from bench.trials.portability.execute import Job, run_tests
from bench.trials.portability.outcomes import TestResult

#: The first four are fine; what fragile does to the others its `FAULTS` say.
NAMES = ["test_abs", "test_add", "test_neg", "test_relu", "test_acos", "test_acosh", "test_asin"]
NAMES += ["test_asinh", "test_atan", "test_atanh", "test_ceil", "test_floor"]


def job(
    tests: NodeTests, plugins: Path, logs: Path, names: list[str], shards: int = 2, **parts: object
) -> Job:
    runtime = Runtime("fragile", "fragile:Fragile", {"PYTHONPATH": str(plugins)})
    device = Device("npu:0", "nobody", "a fragile thing")
    choice = Choice(parse_target("fragile:npu:0"), runtime, device, "1.0")
    chosen = [case for name in names for case in tests.cases if case.name == name]
    options = {"choice": choice, "timeout_s": 2.0} | parts
    return Job(tests=tests, cases=chosen, shards=shards, logs=logs, **options)  # type: ignore[arg-type]


def run(the_job: Job) -> dict[str, TestResult]:
    found: dict[str, TestResult] = {}

    def note(result: TestResult) -> None:
        assert result.test not in found
        found[result.test] = result

    assert run_tests(the_job, note) is None
    return found


def test_every_kind_of_failure_costs_one_test_and_is_named(
    onnx_tests: NodeTests, plugin_path: Path, tmp_path: Path
) -> None:
    found = run(job(onnx_tests, plugin_path, tmp_path, NAMES))
    assert {name: result.outcome for name, result in found.items()} == {
        **dict.fromkeys(["test_abs", "test_add", "test_neg", "test_relu"], "pass"),
        "test_acos": "crash",
        "test_acosh": "timeout",
        "test_asin": "crash",
        "test_asinh": "unsupported",
        "test_atan": "unsupported",
        "test_atanh": "wrong",
        "test_ceil": "pass",
        "test_floor": "wrong",
    }
    assert "SIGSEGV" in found["test_acos"].detail
    assert "the kernel said no" in found["test_asinh"].detail
    assert found["test_atan"].detail == "there is no kernel for Atan."
    assert found["test_atanh"].max_abs_error == pytest.approx(0.5)


def test_a_test_is_not_blamed_for_what_an_earlier_one_did_to_the_worker(
    onnx_tests: NodeTests, plugin_path: Path, tmp_path: Path
) -> None:
    found = run(job(onnx_tests, plugin_path, tmp_path, ["test_abs", "test_ceil"], shards=1))
    assert [found[name].outcome for name in ("test_abs", "test_ceil")] == ["pass", "pass"]
    # Two workers served: the second one was fresh.
    logs = [p for p in tmp_path.rglob("fragile-*.log") if "server" not in p.name]
    assert len(logs) == 2


def test_one_worker_serves_many_tests(
    onnx_tests: NodeTests, plugin_path: Path, tmp_path: Path
) -> None:
    names = ["test_abs", "test_add", "test_neg", "test_relu"]
    assert len(run(job(onnx_tests, plugin_path, tmp_path, names, shards=1))) == 4
    assert len([p for p in tmp_path.rglob("*.log") if "server" not in p.name]) == 1


def test_a_runtime_that_cannot_be_started_is_reported_and_leaves_tests_open(
    onnx_tests: NodeTests, tmp_path: Path
) -> None:
    runtime = Runtime("broken", "no_such_module:Broken", {})
    choice = Choice(parse_target("broken:cpu"), runtime, Device("cpu", "", ""), "1.0")
    found: list[TestResult] = []
    gone = run_tests(job(onnx_tests, tmp_path, tmp_path, ["test_abs"], choice=choice), found.append)
    assert isinstance(gone, BenchError)
    assert found == []


def test_an_interruption_ends_the_workers_and_goes_on(
    onnx_tests: NodeTests, plugin_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(result: TestResult) -> None:
        raise AssertionError("nothing is noted after an interruption")

    the_job = job(onnx_tests, plugin_path, tmp_path, ["test_acosh"], timeout_s=60.0)
    monkeypatch.setattr("bench.trials.portability.execute.time", _Interrupted())
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tests(the_job, interrupt)
    assert time.monotonic() - started < the_job.timeout_s


class _Interrupted:
    """The module `time` for a main thread that is interrupted in its first sleep."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def sleep(_: float) -> None:
        time.sleep(1.0)
        raise KeyboardInterrupt
