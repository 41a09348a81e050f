"""How often the stated interval covers the long-run value, on traces of the real engine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from engine import Finding, measure, report

from bench.stopping import stated_interval

MODEL = "fashion-teacher"
TARGETS = ("onnxruntime:cpu", "openvino:cpu")
PRECISION, FEWEST, MOST = 0.02, 5, 30


Trace = np.ndarray[Any, np.dtype[np.float64]]


def record_traces(invocations: int) -> dict[str, Trace]:
    """Per-invocation medians of one target in ns, and ratios of two that were measured in turn;
    float64 of shape (invocations,), in the order of measuring."""
    measured = measure(
        [MODEL],
        TARGETS,
        min_invocations=invocations,
        max_invocations=invocations,
        max_time_s=3600,
    )
    records = measured.by_target()
    one, other = (
        np.array([i.median_ns for i in records[target].invocations]) for target in TARGETS
    )
    return {"latency": one, "ratio of two targets": other / one}


def stops_at(values: Trace) -> int:
    """How many of the invocations a run would have taken."""
    for count in range(FEWEST, MOST):
        if stated_interval(values[:count], 0.95).relative_half_width <= PRECISION:
            return count
    return MOST


def coverage(trace: Trace, runs: int, seed: int) -> float:
    """Share of simulated runs whose interval holds the long-run value; each run draws its
    invocations at random from the whole trace, in which the machine drifted."""
    rng = np.random.default_rng(seed)
    truth = float(np.exp(np.log(trace).mean()))
    covered = 0
    for _ in range(runs):
        drawn = rng.choice(trace, MOST, replace=False)
        covered += stated_interval(drawn[: stops_at(drawn)], 0.95).contains(truth)
    return covered / runs


def consecutive(trace: Trace) -> float:
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
    traces = {f"{kind}, quiet": trace for kind, trace in record_traces(count).items()}
    with neighbour():
        disturbed = record_traces(count)
    traces.update({f"{kind}, with a noisy neighbour": trace for kind, trace in disturbed.items()})
    analyse(traces)


def analyse(traces: dict[str, Trace]) -> None:
    """Two kinds of runs: with invocations drawn from the whole trace, which is what the interval
    promises; and with invocations that followed each other, where drift slower than a run shows."""
    findings = []
    for name, trace in traces.items():
        drawn = coverage(trace, 2000, seed=1)
        following = consecutive(trace)
        findings += [
            Finding(
                f"95% interval of the {name}: covers the long-run value",
                f"{drawn:.1%} of 2000 runs on {len(trace)} invocations",
                "93 to 97%",
                0.93 <= drawn <= 0.97,
            ),
            Finding(
                f"the same where the machine drifts between runs, {name}",
                f"{following:.1%} of runs of invocations that followed each other",
                "93 to 97%",
                0.93 <= following <= 0.97,
            ),
        ]
    details = {
        name: {"spread": float(np.log(trace).std(ddof=1)), "trace": trace.tolist()}
        for name, trace in traces.items()
    }
    report("coverage", findings, details)
