"""Cells that LoadGen drives: how they are asked for, and what LoadGen is asked for of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_records import a_cell

from bench.cell import LoadGen
from bench.errors import AccuracyFailed, SpecError, Unsupported
from bench.measure.group import group_class
from bench.measure.loadgen.asked import (
    MOST_TRACED,
    accuracy_test,
    longest_s,
    performance_test,
    trial,
)
from bench.measure.loadgen.group import LoadGenGroup
from bench.measure.loadgen.scoring import logged_outputs
from bench.scenarios import find_scenario
from bench.spec import Suite, make_suite, with_flags
from bench.worker.messages import LoadGenTest, ScoredThroughLoadGen

LOGS = Path("/runs/a/loadgen")


def driven(scenario: str = "single-stream", batch: int = 1, **settings: Any) -> Any:
    bound = {"latency_bound_ns": 5_000_000} if scenario == "server" else {}
    return a_cell(scenario=scenario, batch=batch, loadgen=LoadGen(**settings), **bound)


def test_a_cell_that_loadgen_drives_is_another_cell_and_others_keep_their_ids() -> None:
    plain = a_cell()
    assert plain.driver == "bench"
    assert driven().driver == "loadgen"
    assert driven().id not in (plain.id, driven(min_duration=20).id)
    assert "loadgen" in plain.model_dump()
    assert type(plain).model_validate(plain.model_dump(exclude={"loadgen"})).id == plain.id
    assert driven().label == f"{plain.label} through LoadGen"


def test_loadgens_cells_are_measured_by_its_own_group() -> None:
    assert group_class(driven("server")) is LoadGenGroup
    assert group_class(a_cell()) is not LoadGenGroup


def test_loadgens_names_of_scenarios_are_understood() -> None:
    for theirs, ours in (("SingleStream", "single-stream"), ("Server", "server")):
        assert find_scenario(theirs).name == ours
        assert find_scenario(ours).loadgen == theirs
    assert Suite(scenarios=("Offline",)).scenarios == ("offline",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"loadgen": {"min_duration": 5}}, "--driver loadgen"),
        ({"driver": "loadgen", "scenarios": ["prefill"]}, "no scenario `prefill`"),
        ({"driver": "loadgen", "lane": "native"}, "native"),
        ({"driver": "loadgen", "energy": True}, "--energy"),
        ({"driver": "loadgen", "loadgen": {"min_durations": 5}}, "min_duration"),
        ({"driver": "wrk"}, "loadgen"),
        (
            {
                "driver": "loadgen",
                "scenarios": ["server"],
                "latency_bound": "5ms",
                "loadgen": {"target_latency": 5},
            },
            "give only one",
        ),
    ],
)
def test_what_loadgen_cannot_do_is_said_in_a_sentence(data: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make_suite(data, "the flags")


def test_a_setting_that_is_given_leaves_the_files_others_as_they_are() -> None:
    file = Suite(driver="loadgen", loadgen=LoadGen(min_duration=500, min_query_count=7))
    found = with_flags(file, {"loadgen": {"min_duration": "900"}})
    assert (found.loadgen.min_duration, found.loadgen.min_query_count) == (900, 7)


def test_target_latency_is_the_bound_in_mlperfs_words() -> None:
    suite = make_suite(
        {"driver": "loadgen", "scenarios": ["Server"], "loadgen": {"target_latency": 7.5}}, "a"
    )
    assert suite.latency_bound_ns == 7_500_000


# -- what is asked of LoadGen ---------------------------------------------------------------------


def asked(cell: Any, floor_ns: float = 1e6, rate: float | None = None) -> LoadGenTest:
    return performance_test(cell, LOGS, floor_ns, 1, rate)


def test_the_defaults_are_those_of_mlperf() -> None:
    found = asked(driven())
    assert (found.scenario, found.target_latency_percentile) == ("SingleStream", 0.90)
    assert (found.min_duration_ms, found.min_query_count) == (10_000, 100)
    # mlcommons/inference, loadgen/mlperf.conf, v6.1
    assert found.qsl_rng_seed == "2085463073848966840"
    assert found.sample_index_rng_seed == "2747215439041700203"
    assert found.schedule_rng_seed == "16159082839903944936"
    assert asked(driven("multi-stream", 8)).target_latency_percentile == 0.99


def test_loadgen_is_to_make_ready_for_the_quickest_calls() -> None:
    """One that runs out of queries calls its test invalid."""
    assert asked(driven(), floor_ns=1e6).expected_per_s == pytest.approx(1100)
    offline = performance_test(driven("offline", 32), LOGS, 1e6, 4, None)
    assert offline.expected_per_s == pytest.approx(1100 * 32 * 4), "samples, of all streams"
    assert asked(driven(target_qps=50)).expected_per_s == 50


def test_a_server_has_its_rate_and_its_bound() -> None:
    found = asked(driven("server"), rate=333.0)
    assert (found.expected_per_s, found.target_latency_ns) == (333.0, 5_000_000)


def test_a_trial_makes_exactly_the_queries_of_the_search() -> None:
    found = trial(driven("server"), LOGS, 100.0, 2648)
    assert (found.min_query_count, found.max_query_count, found.min_duration_ms) == (2648, 2648, 0)
    assert longest_s(found) > 26.48, "a worker that is busy with it does not hang"


def test_a_test_may_take_its_minimum_duration() -> None:
    assert longest_s(asked(driven(min_duration=600_000))) > 600


def test_a_trace_that_would_be_too_long_is_not_asked_for() -> None:
    assert asked(driven()).traced
    assert not asked(driven(min_duration=600_000), floor_ns=50_000).traced
    assert not asked(driven("offline", 8)).traced, "its latencies are no queries'"
    rate = MOST_TRACED / 10 + 1
    with pytest.raises(Unsupported, match="shorter min_duration"):
        asked(driven("server"), rate=rate)


def test_accuracy_mode_is_of_the_same_scenario_without_a_trace() -> None:
    found = accuracy_test(driven("server"), LOGS)
    assert (found.scenario, found.traced, found.target_latency_ns) == ("Server", False, 5_000_000)


# -- the accuracy log -----------------------------------------------------------------------------

ROWS = np.arange(12, dtype="<f4").reshape(4, 3)
KIND = ScoredThroughLoadGen("<f4", (3,))


def logged(folder: Path, indices: list[int], cut: int = 0) -> Path:
    entries = [
        {"seq_id": n, "qsl_idx": i, "data": ROWS[i].tobytes().hex().upper()[cut:]}
        for n, i in enumerate(indices)
    ]
    path = folder / "mlperf_log_accuracy.json"
    path.write_text(json.dumps(entries))
    return path


def test_outputs_come_back_in_the_order_of_the_data(tmp_path: Path) -> None:
    """A multi-stream query that is filled up logs samples twice."""
    found = logged_outputs(logged(tmp_path, [2, 0, 3, 1, 2]), KIND, 4)
    assert np.array_equal(found, ROWS)


def test_a_sample_that_is_missing_or_cut_is_told(tmp_path: Path) -> None:
    with pytest.raises(AccuracyFailed, match="3 of 4 samples"):
        logged_outputs(logged(tmp_path, [2, 0, 3]), KIND, 4)
    with pytest.raises(AccuracyFailed, match="4 without the 12 bytes"):
        logged_outputs(logged(tmp_path, [2, 0, 3, 1], cut=8), KIND, 4)
    with pytest.raises(AccuracyFailed, match="can't be read"):
        logged_outputs(tmp_path / "none.json", KIND, 4)
