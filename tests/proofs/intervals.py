"""How often the stated interval covers the long-run value, on traces of the real engine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from engine import Finding, measure, report

from bench.stopping import stated_interval

MODEL, TARGET = "fashion-teacher", "onnxruntime:cpu"
PRECISION, FEWEST, MOST = 0.02, 5, 30


def record_trace(invocations: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Per-invocation medians in ns, float64 of shape (invocations,), in the order of measuring."""
    measured = measure(
        [MODEL],
        [TARGET],
        min_invocations=invocations,
        max_invocations=invocations,
        max_time_s=3600,
    )
    (record,) = measured.run.records
    return np.array([invocation.median_ns for invocation in record.invocations])


def stops_at(values: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    """How many of the invocations a run would have taken."""
    for count in range(FEWEST, MOST):
        if stated_interval(values[:count], 0.95).relative_half_width <= PRECISION:
            return count
    return MOST


def coverage(trace: np.ndarray[Any, np.dtype[np.float64]], runs: int, seed: int) -> float:
    """Share of simulated runs whose interval holds the long-run value; each run draws its
    invocations at random from the whole trace, in which the machine drifted."""
    rng = np.random.default_rng(seed)
    truth = float(np.exp(np.log(trace).mean()))
    covered = 0
    for _ in range(runs):
        drawn = rng.choice(trace, MOST, replace=False)
        covered += stated_interval(drawn[: stops_at(drawn)], 0.95).contains(truth)
    return covered / runs


def consecutive(trace: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """The same with the invocations that really followed each other: drift included."""
    truth = float(np.exp(np.log(trace).mean()))
    starts = range(0, len(trace) - MOST, 3)
    covered = [
        stated_interval(trace[s : s + stops_at(trace[s : s + MOST])], 0.95).contains(truth)
        for s in starts
    ]
    return float(np.mean(covered))


def _spin(stop: Any) -> None:
    """A neighbour that works and rests in turns, in cache and in memory."""
    rng = np.random.default_rng(0)
    data = rng.random(4_000_000)
    while not stop.is_set():
        for _ in range(int(rng.integers(5, 60))):
            data.sum()
        stop.wait(float(rng.uniform(0, 0.3)))


@contextmanager
def neighbour() -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    process = context.Process(target=_spin, args=(stop,))
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join()


def prove(quick: bool) -> None:
    """Record a quiet and a disturbed trace, and simulate runs on them."""
    count = 60 if quick else 400
    traces = {"quiet": record_trace(count)}
    with neighbour():
        traces["with a noisy neighbour"] = record_trace(count)
    findings, details = [], {}
    for name, trace in traces.items():
        share = coverage(trace, 2000, seed=1)
        following = consecutive(trace)
        findings.append(
            Finding(
                f"the 95% interval covers the long-run value, {name}",
                f"{share:.1%} of 2000 runs on {count} invocations",
                "93 to 97%",
                0.93 <= share <= 0.97,
            )
        )
        findings.append(
            Finding(
                f"the same for invocations that followed each other, {name}",
                f"{following:.1%}",
                "93 to 97%; drift slower than a run is outside of what it can see",
                0.93 <= following <= 0.97,
            )
        )
        spread = float(np.log(trace).std(ddof=1))
        details[name] = {"spread_between_invocations": spread, "medians_ns": trace.tolist()}
    report("coverage", findings, details)
