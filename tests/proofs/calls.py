"""What is timed: the bias of the timed loop, and what idle workers do to the one that is timed."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from engine import Finding, report

from bench.backend import Device, Options
from bench.cards.card import load_card
from bench.cards.datasets import load_dataset
from bench.discover import card_paths, load_backend
from bench.machine.cores import choose_cores
from bench.runtimes.processes import launcher, thread_environment
from bench.runtimes.targets import find_runtime
from bench.worker.timing import time_calls

MODELS = ("fashion-student", "fashion-teacher")
CHUNK_NS = 200_000


def feeds_of(name: str) -> tuple[Any, dict[str, Any]]:
    card = load_card(card_paths()[name])
    return card, {key: array[:1] for key, array in load_dataset(card).inputs.items()}


def bound_call(model: str, backend: str) -> Callable[[], object]:
    card, feeds = feeds_of(model)
    shapes = {key: array.shape for key, array in feeds.items()}
    options = Options(threads=1, shapes=shapes)
    adapter: Any = load_backend(backend)()
    device = Device(id="cpu", vendor="", name="")
    return adapter.compile(card.model_file(), device, options).bind(feeds)


def tight_loop_ns(call: Callable[[], object], calls: int) -> float:
    began = time.perf_counter_ns()
    for _ in repeat(None, calls):
        call()
    return (time.perf_counter_ns() - began) / calls


def bias_of(call: Callable[[], object], chunks: int) -> float:
    """Median of the harness's samples over the median of a tight loop's, chunks in turn."""
    for _ in range(200):
        call()
    calls = max(2, round(CHUNK_NS / tight_loop_ns(call, 20)))
    ratios = []
    for _ in range(chunks):
        ours = float(np.median(time_calls(call, calls)))
        bare = tight_loop_ns(call, calls)
        again = float(np.median(time_calls(call, calls)))
        ratios.append((ours + again) / 2 / bare)
    return statistics.median(ratios) - 1


def bias(quick: bool) -> None:
    os.environ.update(thread_environment(1))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, choose_cores(1))
    findings, details = [], {}
    for model in MODELS:
        for backend in ("onnxruntime", "openvino", "torch"):
            found = bias_of(bound_call(model, backend), 100 if quick else 1500)
            details[f"{model} {backend}"] = found
            findings.append(
                Finding(
                    f"reported median over a tight loop's, {model} on {backend}",
                    f"{found:+.2%}",
                    "within 1%",
                    abs(found) <= 0.01,
                )
            )
    report("bias", findings, details)


def interference(quick: bool) -> None:
    """One worker is timed with 0, 3 and 7 others alive and idle, in random turn."""
    rounds = 8 if quick else 40
    runtimes = [find_runtime(name) for name in ("onnxruntime", "openvino", "torch")]
    card, feeds = feeds_of("fashion-teacher")
    rng = np.random.default_rng(1)
    medians: dict[int, list[float]] = {0: [], 3: [], 7: []}
    with launcher(Path("/tmp/bench-proof-logs"), 120) as processes:

        def ready(number: int) -> Any:
            worker = processes.worker(runtimes[number % len(runtimes)], 1)
            shapes = {key: array.shape for key, array in feeds.items()}
            options = Options(threads=1, shapes=shapes)
            worker.load(card.model_file(), Device("cpu", "", ""), options, choose_cores(1))
            worker.bind(feeds)
            worker.warm_up(1.0)
            return worker

        for _ in range(rounds):
            for idle in rng.permutation(list(medians)):
                others = [ready(number) for number in range(int(idle))]
                timed = ready(0)
                for other in others:  # they worked just now, as in a round
                    other.block(calls=20, discard=0)
                blocks = [timed.block(calls=40, discard=5) for _ in range(8)]
                medians[int(idle)].append(float(np.median(np.concatenate(blocks))))
                for worker in (*others, timed):
                    worker.kill()
    findings = []
    for idle in (3, 7):
        logs = np.log(np.array(medians[idle]) / np.array(medians[0]))
        shift = float(np.expm1(logs.mean()))
        error = 1.96 * float(logs.std(ddof=1)) / len(logs) ** 0.5
        findings.append(
            Finding(
                f"latency with {idle} idle workers over that with none",
                f"{shift:+.2%} ± {error:.2%}",
                "within noise of at most 2%, or within 1%",
                abs(shift) <= max(min(error, 0.02), 0.01),
            )
        )
    report("interference", findings, {str(k): v for k, v in medians.items()})
