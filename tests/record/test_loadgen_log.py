"""What LoadGen's detail log says, and what a record makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.errors import WorkerCrashed
from bench.record.loadgen import read_detail, said

VALID = {
    "loadgen_version": "6.0.17 @ d6147c7eb7",
    "effective_scenario": "SingleStream",
    "result_validity": "VALID",
    "result_min_duration_met": True,
    "result_min_queries_met": True,
    "early_stopping_met": True,
    "early_stopping_result": " * Processed at least 64 queries (1779).  * Would discard 147",
    "result_query_count": 1779,
    "early_stopping_latency_ss": 367757,
    "result_50.00_percentile_latency_ns": 207487,
    "result_90.00_percentile_latency_ns": 268772,
    "result_99.00_percentile_latency_ns": 2178569,
}


def log(**changes: Any) -> str:
    lines = [
        f":::MLLOG {json.dumps({'key': key, 'value': value, 'time_ms': 0.1})}"
        for key, value in {**VALID, **changes}.items()
        if value is not None
    ]
    return "\n".join(["a line of something else", *lines])


def test_a_valid_test_is_read() -> None:
    found = said(log(), "loadgen/a/run_1", call_ns=200_000, traced=True)
    assert (found.version, found.scenario, found.logs) == (
        "6.0.17 @ d6147c7eb7",
        "SingleStream",
        "loadgen/a/run_1",
    )
    assert found.valid
    assert found.why == ()
    assert (found.queries, found.figure) == (1779, 367757)
    assert (found.p50_ns, found.p90_ns, found.p99_ns) == (207487, 268772, 2178569)
    assert found.early_stopping == "* Processed at least 64 queries (1779). * Would discard 147"


def test_an_invalid_test_says_what_was_not_met_and_loadgens_advice() -> None:
    text = log(
        result_validity="INVALID",
        result_min_duration_met=False,
        early_stopping_met=False,
        early_stopping_latency_ss=0,
        result_invalid_reason="Decrease the expected latency ",
    )
    found = said(text, "logs", call_ns=1, traced=True)
    assert not found.valid
    assert found.why == (
        "min_duration is not reached",
        "early stopping: too few queries for its percentile",
        "Decrease the expected latency",
    )
    assert found.figure is None, "0 is LoadGen's way to say that there is none"


@pytest.mark.parametrize(
    ("scenario", "key", "rate"),
    [
        ("MultiStream", "early_stopping_latency_ms", False),
        ("Server", "result_completed_samples_per_sec", True),
        ("Offline", "result_samples_per_second", True),
    ],
)
def test_the_figure_is_the_one_that_mlperfs_rules_take(scenario: str, key: str, rate: bool) -> None:
    found = said(log(effective_scenario=scenario, **{key: 12.5}), "logs", call_ns=1, traced=True)
    assert found.figure == 12.5
    assert found.is_rate == rate


def test_percentiles_of_a_multi_stream_are_those_of_queries() -> None:
    changes = {"result_99.00_percentile_per_query_latency_ns": 99}
    found = said(log(effective_scenario="MultiStream", **changes), "logs", call_ns=1, traced=True)
    assert found.p99_ns == 99
    assert found.p50_ns is None


def test_a_log_that_ends_early_is_no_result() -> None:
    with pytest.raises(WorkerCrashed, match="loadgen/a/run_1"):
        said(log(result_validity=None), "loadgen/a/run_1", call_ns=1, traced=True)


def test_a_broken_line_is_told() -> None:
    with pytest.raises(WorkerCrashed, match="can't be read"):
        read_detail(log() + '\n:::MLLOG {"key": ')


def test_of_a_key_that_comes_twice_the_first_counts() -> None:
    assert read_detail(log() + "\n" + log(result_validity="INVALID"))["result_validity"] == "VALID"
