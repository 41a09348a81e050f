"""What is asked of LoadGen: its settings, from a cell and from how fast it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.arrays import Array
from bench.cell import Cell, LoadGen
from bench.errors import Unsupported
from bench.measure.plan import PlannedCell
from bench.scenarios import find_scenario
from bench.worker.messages import LoadGenTest

#: What LoadGen itself takes where nobody says otherwise (loadgen/mlperf.conf).
_PERCENTILES = {"SingleStream": 0.90, "MultiStream": 0.99, "Server": 0.99, "Offline": 0.90}
#: LoadGen makes its queries ready before it begins, and calls a test invalid that runs out of them
#: early: they have to do at the rate of the quickest calls, and a little above. Our choice.
_HEADROOM = 1.1
#: LoadGen adds a tenth to an offline test (loadgen.cc, kSlack).
_SLACK = 1.1
#: In accuracy mode nothing is timed.
_EAGER_PER_S = 1e6
#: LoadGen's trace is about 660 bytes a sample: 1.3 GB.
MOST_TRACED = 2_000_000


def loadgen_of(cell: Cell) -> LoadGen:
    """The settings of a cell that LoadGen drives."""
    assert cell.loadgen is not None
    return cell.loadgen


def scenario_of(cell: Cell) -> str:
    """What LoadGen calls its scenario."""
    return find_scenario(cell.scenario).loadgen


def performance_test(
    cell: Cell, logs: Path, floor_ns: float, queries_per_call: int, rate_per_s: float | None
) -> LoadGenTest:
    """A whole test of a cell whose quickest calls take ``floor_ns``; a server's at a rate."""
    asked, scenario = loadgen_of(cell), scenario_of(cell)
    expected = asked.target_qps or _expected_per_s(cell, floor_ns, queries_per_call)
    return _checked(_test(cell, logs, rate_per_s or expected, scenario))


def library_of(planned: PlannedCell) -> dict[str, Array] | None:
    """Samples of the labelled data for LoadGen's library; None where what is bound is all of it.

    Raises `Unsupported` where there are none, or a query holds more than one.
    """
    count, dataset = (
        loadgen_of(planned.cell).performance_sample_count_override,
        planned.model.dataset,
    )
    if count is None:
        return None
    if planned.cell.batch != 1 or planned.streams != 1 or dataset is None or not dataset.inputs:
        raise Unsupported(
            f"{planned.cell.label}: performance_sample_count_override only applies to "
            "single-sample queries of a model with labelled data. Leave it out, or measure "
            "single-stream and server."
        )
    return {name: array[:count] for name, array in dataset.inputs.items()}


def trial(cell: Cell, logs: Path, rate_per_s: float, queries: int) -> LoadGenTest:
    """A server test of so many queries, whatever it takes."""
    made = _test(cell, logs, rate_per_s, scenario_of(cell))
    return replace(made, min_duration_ms=0, min_query_count=queries, max_query_count=queries)


def accuracy_test(cell: Cell, logs: Path) -> LoadGenTest:
    """All samples once, as fast as it goes; of a server at a rate that queues."""
    return replace(_test(cell, logs, _EAGER_PER_S, scenario_of(cell)), traced=False)


def longest_s(test: LoadGenTest) -> float:
    """How long a test may take if nothing is wrong."""
    by_count = test.min_query_count / test.expected_per_s
    return 2 * max(test.min_duration_ms / 1e3, by_count) * _SLACK


def _test(cell: Cell, logs: Path, expected_per_s: float, scenario: str) -> LoadGenTest:
    asked = loadgen_of(cell)
    percentile = asked.target_latency_percentile
    return LoadGenTest(
        scenario=scenario,
        samples_per_query=cell.batch,
        expected_per_s=float(expected_per_s),
        target_latency_ns=cell.latency_bound_ns or 0,
        target_latency_percentile=percentile / 100 if percentile else _PERCENTILES[scenario],
        min_duration_ms=asked.min_duration,
        min_query_count=asked.min_query_count,
        max_query_count=0,
        qsl_rng_seed=str(asked.qsl_rng_seed),
        sample_index_rng_seed=str(asked.sample_index_rng_seed),
        schedule_rng_seed=str(asked.schedule_rng_seed),
        logs=str(logs),
        traced=scenario != "Offline",
    )


def _expected_per_s(cell: Cell, floor_ns: float, queries_per_call: int) -> float:
    """Queries a second that LoadGen is to make ready for, of an offline test samples."""
    per_s = _HEADROOM * 1e9 / floor_ns
    return per_s * queries_per_call * cell.batch if scenario_of(cell) == "Offline" else per_s


def _checked(test: LoadGenTest) -> LoadGenTest:
    """Without a trace where it would be too long: latencies are then those of our own clock, which
    a server's, counted from when a query was due, can't be."""
    queries = max(test.min_query_count, test.expected_per_s * test.min_duration_ms / 1e3)
    if queries * test.samples_per_query <= MOST_TRACED or not test.traced:
        return test
    if test.scenario == "Server":
        raise Unsupported(
            f"{queries:.0f} queries of a LoadGen test are too many to trace one by one; the limit "
            f"is {MOST_TRACED}. Give a shorter min_duration, or a lower rate."
        )
    return replace(test, traced=False)
