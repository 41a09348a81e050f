"""Records' figures: from invocations and samples to estimates that say how sure they are."""

from __future__ import annotations

import numpy as np
import pytest
from fake_records import a_cell, an_invocation
from hypothesis import given
from hypothesis import strategies as st

from bench.record import estimate


def invocations(*medians_ns: float, **changes: object) -> list:
    cell = a_cell()
    made = [an_invocation(index, median, cell) for index, median in enumerate(medians_ns)]
    return [i.model_copy(update=changes) for i in made]


def samples(count: int, each: int = 5) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(1)
    return {index: rng.integers(900, 1100, count) for index in range(each)}


@given(st.lists(st.floats(1e3, 1e9), min_size=2, max_size=30))
def test_an_estimate_lies_within_its_interval(values: list[float]) -> None:
    found = estimate.estimate(values, 0.95)
    assert found is not None
    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)
    assert found.confidence == 0.95


def test_one_process_says_nothing_about_the_next() -> None:
    assert estimate.estimate([5.0], 0.95) is None
    assert estimate.latency(invocations(1e3), samples(1000, 1), 0.95) is None


def test_a_percentile_that_the_samples_cannot_support_is_absent() -> None:
    found = estimate.latency(invocations(*[1e3] * 5), samples(100), 0.95)
    assert found is not None
    assert found.samples == 500
    assert found.p99.value_ns is None
    assert found.p99.samples_needed == 662
    assert found.p90.value_ns is not None


def test_a_supported_percentile_has_an_interval_over_processes() -> None:
    found = estimate.latency(invocations(*[1e3] * 5), samples(1000), 0.95)
    assert found is not None
    p99 = found.p99
    assert p99.value_ns is not None
    assert p99.low_ns is not None
    assert p99.high_ns is not None
    assert p99.low_ns <= p99.high_ns
    assert 1080 <= p99.value_ns <= 1100


def test_throughput_counts_samples_over_the_time_of_the_calls() -> None:
    cell = a_cell(scenario="offline", batch=32)
    found = estimate.figures(cell, invocations(1e6, 1e6, calls=10, busy_ns=int(1e9)))
    assert found.tolist() == [320.0, 320.0]


def test_throughput_counts_the_queries_of_all_streams() -> None:
    cell = a_cell(scenario="offline", batch=2)
    one_call = invocations(1e6, 1e6, calls=10, busy_ns=int(1e9), queries_per_call=8)
    assert estimate.figures(cell, one_call).tolist() == [160.0, 160.0]


def test_memory_is_the_largest_of_any_process() -> None:
    peaks = [
        i.model_copy(update={"peak_rss_bytes": peak, "rss_before_load_bytes": 10})
        for i, peak in zip(invocations(1.0, 1.0), (100, 300), strict=True)
    ]
    found = estimate.memory(peaks)
    assert (found.peak_rss_bytes, found.added_rss_bytes) == (300, 290)
    unknown = estimate.memory(invocations(1.0, peak_rss_bytes=None))
    assert unknown.peak_rss_bytes is None


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, set()),
        ({"settled": False}, {"steady-state"}),
        ({"blocks": 8, "disturbed_blocks": 7}, {"undisturbed"}),
        ({"device_readings": 8, "throttled": {}}, set()),
        ({"device_readings": 8, "throttled": {"power brake": 1}}, {"unthrottled"}),
        ({"clock_hz": 1.5e9, "default_clock_hz": 2e9}, set()),
        ({"clock_hz": 1.4e9, "default_clock_hz": 2e9}, {"device-clock"}),
        ({"clock_hz": 1.4e9}, set()),
    ],
)
def test_each_check_fails_for_its_reason(changes: dict, failed: set[str]) -> None:
    found = estimate.checks(invocations(1e3, 1e3, **changes))
    assert {check.name for check in found if not check.ok} == failed
    assert all(check.detail for check in found)
