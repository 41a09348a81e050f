"""How often the stated interval covers the long-run value, on traces of the real engine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from engine import Finding, measure, report
from numpy.typing import NDArray

from bench.stats.interval import Interval, ratio_interval, trimmed_mean_interval
from bench.stats.stopping import Stated, clearly_narrow

MODEL = "fashion-teacher"
TARGETS = ("onnxruntime:cpu", "openvino:cpu")
PRECISION, FEWEST, MOST = 0.02, 5, 30


Trace = np.ndarray[Any, np.dtype[np.float64]]
#: How one run's interval is made of its invocations: (one target's, the other's) -> interval
Stating = Callable[[Trace, Trace], Interval]


def record_traces(invocations: int) -> tuple[Trace, Trace]:
    """Per-invocation medians in ns of two targets that were measured in turn, float64 of shape
    (invocations,), in the order of measuring."""
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
    return one, other


def stated(values: Trace, first: int, precision: float) -> Interval:
    """Of a run that ends with these invocations, and is asked for ``first`` at least."""
    clear = len(values) == first and clearly_narrow(values, 0.95, precision)
    return Stated(0.95, chosen=not clear).interval(values)


def stops_at(values: Trace) -> int:
    """How many of the invocations a run would have taken."""
    for count in range(FEWEST, MOST):
        if stated(values[:count], FEWEST, PRECISION).relative_half_width <= PRECISION:
            return count
    return MOST


def latency(one: Trace, other: Trace) -> Interval:
    """What a run states of the first target."""
    return stated(one[: stops_at(one)], FEWEST, PRECISION)


def ratio(one: Trace, other: Trace) -> Interval:
    """What is stated of the two from the invocations that both took until either stopped: it is not
    what stopped them."""
    count = min(stops_at(one), stops_at(other))
    return ratio_interval(one[:count], other[:count], 0.95)


def long_run(values: Trace) -> float:
    """The typical invocation of the whole trace."""
    return trimmed_mean_interval(values).estimate


def drawn(runs: int, seed: int, length: int) -> Iterator[NDArray[np.int64]]:
    """Which invocations each of so many runs had: drawn from the whole trace, in which the machine
    drifted."""
    rng = np.random.default_rng(seed)
    for _ in range(runs):
        yield rng.choice(length, MOST, replace=False)


def consecutive(length: int) -> Iterator[NDArray[np.int64]]:
    """The same for runs of invocations that really followed each other: drift included."""
    for first in range(0, length - MOST, 3):
        yield np.arange(first, first + MOST)


def covered(
    stating: Stating, truth: float, both: tuple[Trace, Trace], runs: Iterable[NDArray[np.int64]]
) -> float:
    """Share of the runs whose interval holds ``truth``."""
    one, other = both
    return float(np.mean([stating(one[run], other[run]).contains(truth) for run in runs]))


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
    quiet = record_traces(count)
    with neighbour():
        disturbed = record_traces(count)
    analyse({"quiet": quiet, "with a noisy neighbour": disturbed})


def analyse(traces: dict[str, tuple[Trace, Trace]]) -> None:
    """Two kinds of runs: with invocations drawn from the whole trace, which is what the interval
    promises; and with invocations that followed each other, where drift slower than a run shows."""
    findings = []
    for name, both in traces.items():
        one, other = both
        for what, stating, truth in (
            ("latency", latency, long_run(one)),
            ("ratio of two targets", ratio, long_run(other / one)),
        ):
            length = len(one)
            findings += [
                _finding(
                    f"95% interval of the {what}, {name}: covers the long-run value",
                    covered(stating, truth, both, drawn(2000, 1, length)),
                    f"of 2000 runs on {length} invocations",
                ),
                _finding(
                    f"the same where the machine drifts between runs, {what}, {name}",
                    covered(stating, truth, both, consecutive(length)),
                    "of runs of invocations that followed each other",
                ),
            ]
    details = {
        name: {target: trace.tolist() for target, trace in zip(TARGETS, both, strict=True)}
        for name, both in traces.items()
    }
    report("coverage", findings, details)


def _finding(claim: str, share: float, of: str) -> Finding:
    return Finding(claim, f"{share:.1%} {of}", "93 to 97%", 0.93 <= share <= 0.97)
