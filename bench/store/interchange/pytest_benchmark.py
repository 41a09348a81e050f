"""pytest-benchmark's JSON (``--benchmark-json``, ``--benchmark-save``): read and written.

Source: ionelmc/pytest-benchmark 5, `stats.py` (what each statistic means) and `session.py` (the
keys of the file). Times are seconds. A timing is the mean of ``iterations`` calls, so timings are
rounds, not calls. ``data`` is there unless ``--benchmark-save`` was used without
``--benchmark-save-data``.
"""

from __future__ import annotations

import json
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.record.result import Foreign, Record
from bench.store.interchange.foreign import ForeignRun, Result, nanoseconds, time_ns
from bench.store.rows import result_rows
from bench.store.run import StoredRun

NAME = "pytest-benchmark"
_S = 1e9
#: The layout that is written; the key ``version`` tells readers.
_LAYOUT = "5.0.0"


def recognises(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "benchmarks" in value and "machine_info" in value


def read(text: str, source: str) -> ForeignRun:
    value = json.loads(text)
    version = str(value.get("version", ""))
    results = tuple(_result(found, version, source) for found in value["benchmarks"])
    return ForeignRun(NAME, results, _facts(value), _when(value.get("datetime")))


def _result(found: dict[str, Any], version: str, source: str) -> Result:
    stats = found["stats"]
    samples_ns = nanoseconds(stats.get("data") or (), _S)
    extra = {f"extra_info.{key}": str(v) for key, v in (found.get("extra_info") or {}).items()}
    details = {
        "fullname": str(found.get("fullname", "")),
        "group": str(found.get("group") or ""),
        "iterations": str(stats.get("iterations", "")),
        **extra,
    }
    foreign = Foreign(
        tool=NAME,
        version=version,
        source=source,
        name=str(found["name"]),
        median_ns=time_ns(stats["median"], _S),
        mean_ns=time_ns(stats.get("mean"), _S),
        stddev_ns=time_ns(stats.get("stddev"), _S),
        min_ns=time_ns(stats.get("min"), _S),
        max_ns=time_ns(stats.get("max"), _S),
        samples=int(stats["rounds"]),
        stored_samples=len(samples_ns),
        details={key: text for key, text in details.items() if text},
    )
    samples = (samples_ns,) if len(samples_ns) else ()
    return Result(foreign, str(found.get("fullname") or found["name"]), samples_ns=samples)


def _facts(value: dict[str, Any]) -> dict[str, Any]:
    machine, commit = value.get("machine_info") or {}, value.get("commit_info") or {}
    facts = {
        "cpu_model": (machine.get("cpu") or {}).get("brand_raw"),
        "architecture": machine.get("machine"),
        "os": machine.get("system"),
        "kernel": machine.get("release"),
        "python": machine.get("python_version"),
        "git_commit": commit.get("id") if commit.get("id") != "unversioned" else None,
    }
    return {key: fact for key, fact in facts.items() if fact}


def _when(text: Any) -> str:
    """The time in UTC; older versions wrote it without a zone, and meant UTC."""
    if not text:
        return ""
    moment = datetime.fromisoformat(str(text))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="seconds")


# -- writing --------------------------------------------------------------------------------------


def write(runs: Sequence[StoredRun]) -> tuple[bytes, list[str]]:
    """Runs of one machine as a file that ``pytest-benchmark compare`` reads, and what of them it
    has no place for. One entry a record with stored samples; our figures are in ``extra_info``."""
    entries, left_out = [], []
    for run in runs:
        rows = result_rows(run.records)
        for record, row in zip(run.records, rows, strict=True):
            samples_ns = list(run.samples(record.cell_id).values())
            if not samples_ns:
                left_out.append(f"{record.cell.label}: no stored samples")
                continue
            entries.append(_entry(record, row, np.concatenate(samples_ns)))
    facts = runs[0].header.facts
    value = {
        "machine_info": {
            "node": str(facts.get("hostname_hash") or "unknown"),
            "processor": "",
            "machine": facts.get("architecture") or "",
            "python_version": facts.get("python") or "",
            "python_implementation": "CPython",
            "release": facts.get("kernel") or "",
            "system": facts.get("os") or "",
            "cpu": {"brand_raw": facts.get("cpu_model") or ""},
        },
        "commit_info": {"id": facts.get("git_commit") or "unversioned", "dirty": False},
        "benchmarks": entries,
        "datetime": runs[0].header.created_at,
        "version": _LAYOUT,
    }
    return json.dumps(value, indent=1, allow_nan=False).encode() + b"\n", left_out


def _entry(record: Record, row: dict[str, object], samples_ns: Array) -> dict[str, Any]:
    cell = record.cell
    group = f"{cell.model.name} {cell.variant} {cell.scenario} batch {cell.batch}"
    name = record.foreign.name if record.foreign else cell.label
    data = [float(ns) / _S for ns in samples_ns]
    return {
        "group": group,
        "name": name,
        "fullname": cell.model.name if record.foreign else name,
        "params": None,
        "param": None,
        "extra_info": {key: value for key, value in row.items() if value is not None},
        "options": {},
        "stats": {**_statistics(data), "data": data, "iterations": 1},
    }


def _statistics(data: Sequence[float]) -> dict[str, Any]:
    """The statistics of pytest-benchmark, in seconds, by its own definitions."""
    ordered = sorted(data)
    mean = statistics.fmean(data)
    stddev = statistics.stdev(data, mean) if len(data) > 1 else 0.0
    q1, q3 = _quartiles(ordered)
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    beyond_stddev = sum(abs(x - mean) > stddev for x in data)
    beyond_iqr = sum(not low <= x <= high for x in data)
    total = sum(data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": stddev,
        "rounds": len(data),
        "median": statistics.median(ordered),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond_iqr,
        "stddev_outliers": beyond_stddev,
        "outliers": f"{beyond_stddev};{beyond_iqr}",
        "ld15iqr": ordered[min(bisect_left(ordered, low), len(data) - 1)],
        "hd15iqr": ordered[max(bisect_right(ordered, high) - 1, 0)],
        "ops": len(data) / total if total else 0.0,
        "total": total,
    }


def _quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    """First and third quartile as pytest-benchmark's method takes them: of an odd count the
    weighted neighbours (4n + 1, 4n + 3), of an even count the medians of the halves."""
    rounds = len(ordered)
    if rounds == 1:
        return ordered[0], ordered[0]
    if rounds % 2 == 0:
        return _median(ordered[: rounds // 2]), _median(ordered[rounds // 2 :])
    n, q = divmod(rounds, 4)
    if q == 1:
        return (
            0.25 * ordered[n - 1] + 0.75 * ordered[n],
            0.75 * ordered[3 * n] + 0.25 * ordered[3 * n + 1],
        )
    return (
        0.75 * ordered[n] + 0.25 * ordered[n + 1],
        0.25 * ordered[3 * n + 1] + 0.75 * ordered[3 * n + 2],
    )


def _median(values: Iterable[float]) -> float:
    return float(statistics.median(values))
