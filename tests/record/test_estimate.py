"""Records' figures: from invocations and samples to estimates that say how sure they are."""

from __future__ import annotations

import numpy as np
import pytest
from fake_records import a_cell, an_invocation
from hypothesis import given
from hypothesis import strategies as st

from bench.record import estimate
from bench.stats.stopping import Stated


def invocations(*medians_ns: float, **changes: object) -> list:
    cell = a_cell()
    made = [an_invocation(index, median, cell) for index, median in enumerate(medians_ns)]
    return [i.model_copy(update=changes) for i in made]


def samples(count: int, each: int = 5) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(1)
    return {index: rng.integers(900, 1100, count) for index in range(each)}


@given(st.lists(st.floats(1e3, 1e9), min_size=2, max_size=30))
def test_an_estimate_lies_within_its_interval(values: list[float]) -> None:
    found = estimate.estimate(values, Stated(0.95))
    assert found is not None
    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)
    assert found.confidence == 0.95


def test_one_process_says_nothing_about_the_next() -> None:
    assert estimate.estimate([5.0], Stated(0.95)) is None
    assert estimate.latency(invocations(1e3), samples(1000, 1), Stated(0.95)) is None


def test_a_percentile_that_the_samples_cannot_support_is_absent() -> None:
    found = estimate.latency(invocations(*[1e3] * 5), samples(100), Stated(0.95))
    assert found is not None
    assert found.samples == 500
    assert found.p99.value_ns is None
    assert found.p99.samples_needed == 662
    assert found.p90.value_ns is not None


def test_a_supported_percentile_has_an_interval_over_processes() -> None:
    found = estimate.latency(invocations(*[1e3] * 5), samples(1000), Stated(0.95))
    assert found is not None
    p99 = found.p99
    assert p99.value_ns is not None
    assert p99.low_ns is not None
    assert p99.high_ns is not None
    assert p99.low_ns <= p99.high_ns
    assert 1080 <= p99.value_ns <= 1100


@pytest.mark.parametrize(
    ("confidence", "interval"), [(0.3, (200, 200)), (0.7, (100, 200)), (0.95, (100, 200))]
)
def test_a_percentiles_interval_is_of_whole_processes_drawn_again(
    confidence: float, interval: tuple[int, int]
) -> None:
    """Of two processes, one that always takes 100 and one that always takes 200, a quarter of the
    draws have the first twice: only then is their 90th percentile 100."""
    arrays = {0: np.full(500, 100), 1: np.full(500, 200)}
    found = estimate.latency(invocations(100.0, 200.0), arrays, Stated(confidence))
    assert found is not None
    assert found.p90.value_ns == 200
    assert (found.p90.low_ns, found.p90.high_ns) == interval


def test_a_process_with_more_samples_weighs_as_much_as_another() -> None:
    """Both are thinned to half of 10,000: with all of its samples, the longer one's would be more
    than 90% of any draw, and its 100 the percentile of nearly all of them."""
    arrays = {0: np.full(150_000, 100), 1: np.full(5_000, 200)}
    found = estimate.latency(invocations(100.0, 200.0), arrays, Stated(0.3))
    assert found is not None
    assert (found.p90.low_ns, found.p90.high_ns) == (200, 200)


def test_one_process_gives_a_percentile_no_interval() -> None:
    found = estimate.latency(invocations(1e3, 1e3), samples(5000, 1), Stated(0.95))
    assert found is not None
    assert found.p99.value_ns is not None
    assert (found.p99.low_ns, found.p99.high_ns) == (None, None)


def test_each_percentile_says_which_it_is_and_how_many_samples_it_has() -> None:
    found = estimate.latency(invocations(*[1e3] * 5), samples(1000), Stated(0.95))
    assert found is not None
    assert [(p.p, p.samples, p.samples_needed) for p in (found.p90, found.p99)] == [
        (0.9, 5000, 64),
        (0.99, 5000, 662),
    ]
    few = estimate.latency(invocations(*[1e3] * 2), samples(31, 2), Stated(0.95))
    assert few is not None
    assert (few.p90.value_ns, few.p90.samples, few.p90.samples_needed) == (None, 62, 64)
    assert (few.p99.p, few.p99.samples) == (0.99, 62)


def test_a_latency_counts_its_outliers_by_class() -> None:
    body = [96, 97, 98, 99, 100, 101, 102, 103, 104]  # median 100, MAD 2
    found = estimate.latency(
        invocations(100.0, 100.0),
        {0: np.array([*body, 140]), 1: np.array([*body, 85])},
        Stated(0.95),
    )
    assert found is not None
    assert found.outliers == {"low_severe": 0, "low_mild": 1, "high_mild": 0, "high_severe": 1}


def test_a_latency_states_the_median_and_the_floor_of_the_typical_process() -> None:
    made = [
        one.model_copy(update={"floor_ns": floor})
        for one, floor in zip(invocations(100.0, 110.0, 121.0), (50.0, 60.0, 72.0), strict=True)
    ]
    found = estimate.latency(made, samples(100, 3), Stated(0.9))
    assert found is not None
    assert found.median_ns.value == pytest.approx(110.0)
    assert found.floor_ns.value == pytest.approx(60.0)
    assert found.median_ns.confidence == found.floor_ns.confidence == 0.9


def test_a_process_whose_samples_were_not_kept_gives_none() -> None:
    found = estimate.latency(invocations(*[1e3] * 3), samples(200, 2), Stated(0.95))
    assert found is not None
    assert found.samples == 400
    assert estimate.latency(invocations(*[1e3] * 3), {}, Stated(0.95)) is None


def test_an_estimate_is_the_stated_interval_with_its_ends() -> None:
    values = [100.0, 104.0, 99.0, 103.0, 101.0, 180.0]
    found = estimate.estimate(values, Stated(0.9))
    stated = Stated(0.9).interval(values)
    assert found is not None
    assert (found.value, found.low, found.high, found.confidence) == (
        stated.estimate,
        stated.low,
        stated.high,
        0.9,
    )
    assert estimate.relative_half_width(np.array(values), 0.9) == stated.relative_half_width


def test_throughput_counts_samples_over_the_time_of_the_calls() -> None:
    cell = a_cell(scenario="offline", batch=32)
    found = estimate.figures(cell, invocations(1e6, 1e6, calls=10, busy_ns=int(1e9)))
    assert found.tolist() == [320.0, 320.0]


def test_the_figure_of_a_latency_is_the_median_of_each_process() -> None:
    assert estimate.figures(a_cell(), invocations(1e6, 2e6)).tolist() == [1e6, 2e6]


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


def test_memory_that_some_processes_did_not_tell_is_that_of_the_others() -> None:
    told, silent = invocations(1.0, 1.0, rss_before_load_bytes=10, peak_rss_bytes=100)
    silent = silent.model_copy(update={"peak_rss_bytes": None})
    half = told.model_copy(update={"rss_before_load_bytes": None, "peak_rss_bytes": 70})
    found = estimate.memory([silent, told, half])
    assert (found.peak_rss_bytes, found.added_rss_bytes, found.device_bytes) == (100, 90, None)
    on_device = [told.model_copy(update={"device_memory_bytes": held}) for held in (None, 40, 30)]
    assert estimate.memory(on_device).device_bytes == 40


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, set()),
        ({"settled": False}, {"steady-state"}),
        ({"blocks": 8, "disturbed_blocks": 7}, {"undisturbed"}),
        # A quarter of the blocks may be hit.
        ({"blocks": 8, "disturbed_blocks": 2}, set()),
        ({"blocks": 8, "disturbed_blocks": 3}, {"undisturbed"}),
        ({"device_readings": 8, "throttled": {}}, set()),
        ({"device_readings": 8, "throttled": {"power brake": 1}}, {"unthrottled"}),
        ({"clock_hz": 1.5e9, "default_clock_hz": 2e9}, set()),
        ({"clock_hz": 1.49e9, "default_clock_hz": 2e9}, {"device-clock"}),
        ({"clock_hz": 1.4e9}, set()),
        ({"waited_share": 0.1}, set()),
        ({"waited_share": 0.11}, {"own-cpu"}),
    ],
)
def test_each_check_fails_for_its_reason(changes: dict, failed: set[str]) -> None:
    found = estimate.checks(invocations(1e3, 1e3, **changes))
    assert {check.name for check in found if not check.ok} == failed
    assert all(check.detail for check in found)


def test_the_checks_count_over_all_processes() -> None:
    settled, still_warming = invocations(1e3, 1e3, blocks=8, disturbed_blocks=1)
    still_warming = still_warming.model_copy(update={"settled": False, "disturbed_blocks": 2})
    steady, undisturbed = estimate.checks([settled, still_warming])
    assert not steady.ok
    assert steady.detail == "1 of 2 invocations settled in the warm-up"
    assert undisturbed.ok
    assert undisturbed.detail == "3 of 16 blocks were disturbed by other load"


def test_an_invocation_of_a_shared_cpu_that_the_estimate_leaves_out_marks_nothing() -> None:
    alone = invocations(1e3, 1e3, 1e3, 1e3, 1e3, waited_share=0.01)
    shared = [i.model_copy(update={"waited_share": 0.5}) for i in alone]
    for count, ok in ((0, True), (1, True), (2, False), (5, False)):
        found = {c.name: c for c in estimate.checks([*shared[:count], *alone[count:]])}["own-cpu"]
        assert found.ok == ok
    assert found.detail == (
        "5 of 5 invocations shared a CPU with other programs and waited for it 50% of the time, "
        "so latencies read high"
    )


def test_more_threads_than_cpus_are_told() -> None:
    crowded = estimate.checks(invocations(1e3, 1e3, cpus=(0, 1)), 64)
    assert {c.name: c.detail for c in crowded if not c.ok} == {
        "own-cpu": "64 threads took turns on 2 CPUs"
    }
    assert all(c.ok for c in estimate.checks(invocations(1e3, 1e3, cpus=(0, 1)), 2))


def test_how_busy_a_device_was_is_its_own_time_over_that_of_calls() -> None:
    """Its own time is known of the first invocations alone."""
    made = invocations(980.0, 1000.0, 1020.0, 990.0, 1010.0)
    known = [i.model_copy(update={"device_ns": 300.0 + i.index}) for i in made[:3]] + made[3:]
    found = estimate.busy(known, Stated(0.95))
    assert found is not None
    assert found.share.value == pytest.approx(0.301, rel=0.01)
    # Quotients: as wide as the two together.
    spread = estimate.estimate([i.median_ns for i in made], Stated(0.95))
    assert spread is not None
    assert (found.share.value - found.share.low) / 0.301 > 1 - spread.low / spread.value
    assert found.launch_bound
    assert not found.at_most


def test_a_device_is_launch_bound_where_it_surely_works_for_less_than_half_of_the_time() -> None:
    for device_ns, bound in ((300.0, True), (495.0, False), (900.0, False)):
        made = invocations(980.0, 1000.0, 1020.0, device_ns=device_ns, device_gaps=True)
        found = estimate.busy(made, Stated(0.95))
        assert found is not None
        assert (found.launch_bound, found.at_most) == (bound, True)


def test_one_invocation_that_tells_it_is_no_estimate_of_how_busy_a_device_was() -> None:
    made = invocations(980.0, 1000.0, 1020.0)
    assert estimate.busy(made, Stated(0.95)) is None
    assert (
        estimate.busy([made[0].model_copy(update={"device_ns": 5.0}), *made[1:]], Stated(0.95))
        is None
    )
