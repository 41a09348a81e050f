"""onnxruntime_perf_test: its result file, and the profile (``-p FILE``) that ONNX Runtime writes.

Source: microsoft/onnxruntime, `onnxruntime/test/perftest/performance_runner.h` (``DumpToFile``):
the result file, the program's last argument, is appended to, a line a call ``model,seconds,peak
working set in bytes,CPU usage in percent,number of the call``, with ``-s`` followed by sentences
such as ``P50 Latency is 0.0012sec``. The program writes no JSON of its own; the profile is a Chrome
trace whose ``model_run`` events are the calls (µs). Profiling slows them, and the first one is the
warm-up, which is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.record.result import Foreign
from bench.store.interchange.foreign import ForeignRun, Result, Timings, nanoseconds

NAME = "onnxruntime_perf_test"
_S, _US = 1e9, 1e3
_LINE = re.compile(r"(.*),([-+.\deE]+),(\d+),(-?\d+),(\d+)")
_STATISTIC = re.compile(r"(Min|Max|P\d+) Latency( is|:) [-+.\deE]+ ?s(ec)?")


def recognises(text: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return bool(_LINE.fullmatch(first.strip())) or _profile(text) is not None


def read(text: str, source: str) -> ForeignRun:
    events = _profile(text)
    if events is not None:
        return ForeignRun(NAME, (_of_profile(events, source),))
    calls: dict[str, list[list[tuple[float, int]]]] = {}
    for model, seconds, peak_bytes, number in _lines(text):
        invocations = calls.setdefault(model, [])
        if number == 0 or not invocations:
            invocations.append([])
        invocations[-1].append((seconds, peak_bytes))
    return ForeignRun(NAME, tuple(_result(*item, source) for item in calls.items()))


def _lines(text: str) -> Iterator[tuple[str, float, int, int]]:
    for line in text.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found:
            yield found[1], float(found[2]), int(found[3]), int(found[5])
        elif line.strip() and not _STATISTIC.fullmatch(line.strip()):
            raise ValueError(f"not a line of a result: {line[:60]!r}")


def _result(model: str, invocations: list[list[tuple[float, int]]], source: str) -> Result:
    samples_ns = [nanoseconds([seconds for seconds, _ in calls], _S) for calls in invocations]
    peak_bytes = max(peak for calls in invocations for _, peak in calls)
    details = {"peak working set, bytes": str(peak_bytes)}
    return Result(
        _foreign(model, samples_ns, source, details), model or "unknown", samples_ns=samples_ns
    )


def _foreign(name: str, samples_ns: list[Array], source: str, details: dict[str, str]) -> Foreign:
    joined = np.concatenate(samples_ns)
    return Foreign(
        tool=NAME,
        source=source,
        name=name,
        samples=len(joined),
        stored_samples=len(joined),
        details=details,
        **Timings.of(joined),
    )


def _profile(text: str) -> list[dict[str, Any]] | None:
    """The calls of a trace; None where it is none."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = [e for e in value if isinstance(e, dict) and e.get("name") == "model_run"]
    return found or None


def _of_profile(events: list[dict[str, Any]], source: str) -> Result:
    samples_ns = nanoseconds([event["dur"] for event in events[1:] or events], _US)
    details = {"from": "a profile, which slows the calls; the first call is left out"}
    name = source.removesuffix(".json")
    return Result(_foreign(name, [samples_ns], source, details), name, samples_ns=[samples_ns])
