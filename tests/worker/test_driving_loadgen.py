"""LoadGen in the worker: what it is asked for, and what is made of what it issues."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standing_loadgen import StandIn

from bench.errors import BenchError, Unavailable, WorkerCrashed
from bench.worker import loadgen
from bench.worker import messages as m


def a_test(logs: Path, scenario: str = "SingleStream", samples: int = 1, **changes: Any) -> Any:
    made = m.LoadGenTest(
        scenario=scenario,
        samples_per_query=samples,
        expected_per_s=200.0,
        target_latency_ns=5_000_000,
        target_latency_percentile=0.95,
        min_duration_ms=300,
        min_query_count=12,
        max_query_count=0,
        qsl_rng_seed="1",
        sample_index_rng_seed="2",
        schedule_rng_seed="16159082839903944936",
        logs=str(logs),
        traced=True,
    )
    return replace(made, **changes)


def test_each_query_is_one_call_and_its_latency_is_loadgens(tmp_path: Path) -> None:
    stand_in, calls, clock = StandIn([[0], [0], [0]]), count(), count(0, 250)
    driven = loadgen.drive(
        stand_in, a_test(tmp_path), [lambda: next(calls)], clock=lambda: next(clock)
    )
    assert next(calls) == 3
    assert driven.latency_ns.tolist() == [1000, 1001, 1002]
    assert driven.call_ns.tolist() == [250, 250, 250]
    assert stand_in.completed == [100, 101, 102]
    assert stand_in.library == (1, 1)
    assert stand_in.handles == ["sut", "library", "no library", "no sut"]
    assert list(tmp_path.iterdir()) == [], "the trace is hundreds of bytes a sample"


def test_loadgen_is_asked_in_its_own_words(tmp_path: Path) -> None:
    stand_in = StandIn([[0]])
    loadgen.drive(stand_in, a_test(tmp_path), [lambda: None])
    asked = stand_in.settings
    assert (asked.scenario, asked.mode) == ("SingleStream", "PerformanceOnly")
    assert (asked.min_duration_ms, asked.min_query_count, asked.max_query_count) == (300, 12, 0)
    assert (asked.qsl_rng_seed, asked.sample_index_rng_seed) == (1, 2)
    assert asked.schedule_rng_seed == 16159082839903944936
    assert asked.single_stream_expected_latency_ns == 5e6
    assert asked.single_stream_target_latency_percentile == 0.95
    assert stand_in.log.log_output.outdir == str(tmp_path)
    assert stand_in.log.enable_trace
    assert stand_in.audit == "", "no audit.config of the folder that the worker stands in"


def test_a_server_is_asked_for_its_rate_and_bound(tmp_path: Path) -> None:
    stand_in = StandIn([[0]])
    loadgen.drive(stand_in, a_test(tmp_path, "Server"), [lambda: None])
    assert stand_in.settings.server_target_qps == 200
    assert stand_in.settings.server_target_latency_ns == 5_000_000
    assert stand_in.settings.server_target_latency_percentile == 0.95


def test_a_query_of_several_samples_has_the_latency_of_its_slowest(tmp_path: Path) -> None:
    stand_in = StandIn([[0, 1, 2], [0, 1, 2]], latency_ns=lambda place: [5, 9, 7, 8, 2, 1][place])
    driven = loadgen.drive(stand_in, a_test(tmp_path, "MultiStream", 3), [lambda: None])
    assert driven.latency_ns.tolist() == [9, 8]
    assert stand_in.settings.multi_stream_samples_per_query == 3
    assert stand_in.library == (3, 3)
    assert len(driven.call_ns) == 2


def test_an_offline_query_is_cut_into_calls_of_as_many_samples_as_they_compute(
    tmp_path: Path,
) -> None:
    """The last call computes more than there are samples left; LoadGen hears of each once."""
    stand_in, calls = StandIn([[0, 1] * 5]), count()
    driven = loadgen.drive(
        stand_in, a_test(tmp_path, "Offline", 2, traced=False), [lambda: next(calls)], 2
    )
    assert next(calls) == 3, "10 samples, two queries of 2 a call"
    assert stand_in.completed == list(range(100, 110))
    assert driven.latency_ns.tolist() == driven.call_ns.tolist()
    assert stand_in.settings.offline_expected_qps == 200
    assert stand_in.settings.sample_concatenate_permutation, "each batch is the whole library"


def test_of_a_library_each_sample_has_a_call_of_its_own(tmp_path: Path) -> None:
    stand_in, made = StandIn([[2], [0], [2]]), []
    calls = [lambda n=n: made.append(n) for n in range(3)]
    loadgen.drive(stand_in, a_test(tmp_path), calls)
    assert made == [2, 0, 2]
    assert stand_in.library == (3, 3)


def test_accuracy_mode_logs_the_output_of_each_sample(tmp_path: Path) -> None:
    """In LoadGen's order, which is its own; the last batch is filled up."""
    data = np.arange(10, dtype=np.float32).reshape(5, 2)
    asked = m.ScoreThroughLoadGen(a_test(tmp_path, "Offline"), {"x": data}, output=0, batch=2)
    stand_in, sizes = StandIn([[3, 0, 4, 1, 2]]), []

    def outputs(feeds: m.Inputs) -> np.ndarray[Any, Any]:
        sizes.append(len(feeds["x"]))
        return feeds["x"] * 2

    kind = loadgen.score(stand_in, asked, outputs)
    logged = [np.frombuffer(row, kind.dtype).reshape(kind.shape) for row in stand_in.given]
    assert np.array_equal(logged, data[[3, 0, 4, 1, 2]] * 2)
    assert sizes == [2, 2, 2]
    assert stand_in.settings.mode == "AccuracyOnly"
    assert stand_in.library == (5, 5)


def test_an_error_of_the_call_is_the_tests(tmp_path: Path) -> None:
    def call() -> None:
        raise BenchError("out of luck")

    stand_in = StandIn([[0], [0]])
    with pytest.raises(BenchError, match="out of luck"):
        loadgen.drive(stand_in, a_test(tmp_path), [call])
    assert stand_in.completed == [100, 101], "LoadGen waits for each of its queries"


def test_a_trace_without_samples_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkerCrashed, match="no sample"):
        loadgen.drive(StandIn([]), a_test(tmp_path), [lambda: None])


def test_an_interpreter_without_loadgen_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(Unavailable, match=f"{sys.executable} -m pip install mlcommons-loadgen"):
        loadgen.module()
