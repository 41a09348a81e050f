"""What MLPerf's LoadGen says of a test, read from its detail log (``mlperf_log_detail.txt``).

None of it is a result of MLPerf: nobody has reviewed it (docs/mlperf.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from bench.cell import MOST, Count, Frozen
from bench.errors import WorkerCrashed

DETAIL = "mlperf_log_detail.txt"
_LINE = ":::MLLOG "
#: Scenario -> the key of its figure (mlcommons/inference, submission_checker/constants.py,
#: RESULT_FIELD_NEW, v6.0 and v6.1), and whether that is a rate.
FIGURES: dict[str, tuple[str, bool]] = {
    "SingleStream": ("early_stopping_latency_ss", False),
    "MultiStream": ("early_stopping_latency_ms", False),
    "Server": ("result_completed_samples_per_sec", True),
    "Offline": ("result_samples_per_second", True),
}
#: What LoadGen demands of a valid test, by the key that tells whether it is met (results.cc).
_DEMANDS = {
    "result_perf_constraints_met": "the latency bound is not met",
    "result_min_duration_met": "min_duration is not reached",
    "result_min_queries_met": "min_query_count is not reached",
    "early_stopping_met": "early stopping: too few queries for its percentile",
}
#: One said above.
_Figure = Annotated[float, Field(gt=0, le=MOST)]


class LoadGenSaid(Frozen):
    """What LoadGen says of one test of one worker; times in ns.

    ``figure`` is what MLPerf's rules take for the scenario (`FIGURES`), where LoadGen has one.
    Percentiles are LoadGen's: element ``int(n * p)`` of the sorted latencies.
    """

    version: str
    scenario: str  #: in its words
    logs: str  #: folder of its files in the run directory
    valid: bool
    why: tuple[str, ...] = ()  #: of a test that is not valid: what is not met
    queries: Count
    figure: _Figure | None = None
    p50_ns: _Figure | None = None
    p90_ns: _Figure | None = None
    p99_ns: _Figure | None = None
    early_stopping: str = ""  #: in its words
    traced: bool  #: whether the latencies that are kept are LoadGen's own
    call_ns: _Figure  #: median time of the prepared call alone, by our clock

    @property
    def is_rate(self) -> bool:
        """Whether its figure is a rate in samples a second."""
        return FIGURES[self.scenario][1]


def read_detail(text: str) -> dict[str, Any]:
    """Key -> value of a detail log; of a key that comes twice the first, as MLPerf's own checker
    takes it. Raises `WorkerCrashed` for a log that is none."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        if not line.startswith(_LINE):
            continue
        try:
            entry = json.loads(line.removeprefix(_LINE))
            found.setdefault(entry["key"], entry["value"])
        except (ValueError, KeyError, TypeError) as error:
            raise WorkerCrashed(f"a line of LoadGen's log can't be read: {line[:80]!r}.") from error
    return found


def said(text: str, logs: str, *, call_ns: float, traced: bool) -> LoadGenSaid:
    """What a performance test's detail log says. Raises `WorkerCrashed` where it is not whole."""
    found = read_detail(text)
    scenario = found.get("effective_scenario")
    if scenario not in FIGURES or "result_validity" not in found:
        raise WorkerCrashed(f"LoadGen ended without a result; its log is in {logs}.")
    valid = found["result_validity"] == "VALID"
    query = "per_query_" if scenario == "MultiStream" else ""

    def percentile(p: str) -> float | None:
        return found.get(f"result_{p}_percentile_{query}latency_ns") or None

    return LoadGenSaid(
        version=str(found.get("loadgen_version", "")),
        scenario=scenario,
        logs=logs,
        valid=valid,
        why=() if valid else _why(found),
        queries=found["result_query_count"],
        # 0 where the queries were too few for an estimate.
        figure=found.get(FIGURES[scenario][0]) or None,
        p50_ns=percentile("50.00"),
        p90_ns=percentile("90.00"),
        p99_ns=percentile("99.00"),
        early_stopping=" ".join(str(found.get("early_stopping_result", "")).split()),
        traced=traced,
        call_ns=call_ns,
    )


def _why(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What of LoadGen's demands is not met, and what it recommends."""
    missed = [words for key, words in _DEMANDS.items() if found.get(key) is False]
    advice = " ".join(str(found.get("result_invalid_reason", "")).split())
    return (*missed, *([advice] if advice else []))
