"""Verdicts on pairs whose truth is known: identical targets, and targets slowed by a known cost."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from engine import Finding, Measured, measure, plugin, report

from bench.machine.cores import choose_cores
from bench.measure.listener import QuietProgress
from bench.measure.plan import PlannedCell
from bench.measure.prepare import prepare
from bench.spec import make_suite

MODEL = "fashion-teacher"
SAME = ("altered:cpu?copy=a", "altered:cpu?copy=b")
NOTHING_FOUND = {"same", "inconclusive"}


def slowed(share: float) -> str:
    return f"altered:cpu?copy=s&slow={share}"


def verdict(measured: Measured, a: str, b: str) -> str:
    """What `bench compare` says of B against A."""
    ids = {record.cell.target: record.cell_id for record in measured.run.records}
    command = [sys.executable, "-m", "bench", "compare", str(measured.run.path), "--json"]
    done = subprocess.run(
        [*command, "--cell", ids[a], "--cell", ids[b]], capture_output=True, text=True, check=True
    )
    (comparison,) = json.loads(done.stdout)["comparisons"]
    return str(comparison["verdict"])


def alarms_and_power(quick: bool) -> None:
    """One interleaved group a trial: two identical targets and one that is 5% slower."""
    trials = 4 if quick else 36
    same, slower, seconds = [], [], []
    with plugin():
        for trial in range(trials):
            targets = [*SAME, slowed(0.05)]
            measured = measure([MODEL], targets, goal="rank", seed=trial, max_time_s=20)
            same.append(verdict(measured, *SAME))
            slower.append(verdict(measured, SAME[0], slowed(0.05)))
            seconds.append(measured.seconds)
            print(f"  trial {trial + 1}: {same[-1]}, {slower[-1]}, {seconds[-1]:.1f} s", flush=True)
    wrong = sum(word not in NOTHING_FOUND for word in same)
    found = sum(word == "slower" for word in slower)
    report(
        "verdicts",
        [
            Finding(
                "identical targets told apart",
                f"{wrong} of {trials} pairs ({wrong / trials:.0%})",
                "at most 5% of at least 30",
                wrong / trials <= 0.05,
            ),
            Finding(
                "a target made 5% slower found to be slower",
                f"{found} of {trials} pairs ({found / trials:.0%}), median "
                f"{statistics.median(seconds):.1f} s for three targets",
                "at least 95%",
                found / trials >= 0.95,
            ),
        ],
        {"model": MODEL, "same": same, "slower": slower, "seconds": seconds},
    )


def time_to_decide(share: float, trials: int) -> tuple[list[float], list[bool]]:
    """Seconds of measuring until the order is settled, and whether it was right."""
    seconds, right = [], []
    for trial in range(trials):
        measured = measure([MODEL], [SAME[0], slowed(share)], goal="rank", seed=100 + trial)
        records = measured.by_target()
        medians = [
            r.latency.median_ns.value
            for r in (records[SAME[0]], records[slowed(share)])
            if r.latency
        ]
        settled = all(r.stop == "ranked" for r in records.values())
        seconds.append(measured.seconds)
        right.append(settled and medians[0] < medians[1])
        print(f"  {share:.0%}: {seconds[-1]:.1f} s, right: {right[-1]}", flush=True)
    return seconds, right


def sequential_median(planned: PlannedCell, seconds: float, processes: Any) -> float:
    """What the known tools do: one process, one target, a fixed time of calls in a row."""
    choice = planned.choice
    assert choice.runtime is not None
    assert choice.device is not None
    worker = processes.worker(choice.runtime, 1)
    try:
        worker.load(planned.model.file, choice.device, planned.options, choose_cores(1))
        worker.bind(planned.feeds)
        worker.warm_up(1.0)
        samples = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            samples.append(worker.block(calls=200, discard=0))
        return float(np.median(np.concatenate(samples)))
    finally:
        worker.kill()


def sequential(
    models: list[str], targets: list[str], seconds: float
) -> tuple[dict[str, list[str]], float]:
    """The order of the targets for each model, each cell measured after the other, and the
    seconds that it took: like the engine's own, without importing runtimes, with loading."""
    suite = make_suite(
        {
            "models": models,
            "targets": targets,
            "scenarios": ["single-stream"],
            "threads": 1,
            "accuracy": False,
        },
        "the proof",
    )
    found: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory() as cache,
        prepare(suite, QuietProgress(), Path(cache)) as prepared,
    ):
        began = time.monotonic()
        for planned in prepared.plan.cells:
            median = sequential_median(planned, seconds, prepared.launcher)
            found.setdefault(planned.cell.model.name, {})[planned.cell.target] = median
        wall_s = time.monotonic() - began
    order = {model: sorted(medians, key=lambda t: medians[t]) for model, medians in found.items()}
    return order, wall_s


def ranked(measured: Measured) -> dict[str, list[str]]:
    found: dict[str, dict[str, float]] = {}
    for record in measured.run.records:
        if record.latency is not None:
            median = record.latency.median_ns.value
            found.setdefault(record.cell.model.name, {})[record.cell.target] = median
    return {model: sorted(medians, key=lambda t: medians[t]) for model, medians in found.items()}


def ranking(quick: bool) -> None:
    """Time to the right order, against 10 s a cell one after the other."""
    trials = 1 if quick else 3
    fixed_s = 1.0 if quick else 10.0
    defaults = ["onnxruntime:cpu", "openvino:cpu", "torch:cpu"]
    models = ["fashion-student", "fashion-teacher"]
    with plugin():
        large, large_right = time_to_decide(0.30, 2 if quick else 10)
        middle, middle_right = time_to_decide(0.08, 2 if quick else 10)
        near = [SAME[0], slowed(0.04)]
        truth = measure(models, defaults, precision=0.01, max_time_s=60, max_invocations=60)
        right_order = ranked(truth)
        ours, theirs, near_ours, near_theirs = [], [], [], []
        wall = {"rank": [], "sequential": []}
        for trial in range(trials):
            measured = measure(models, defaults, goal="rank", seed=200 + trial)
            wall["rank"].append(measured.seconds)
            ours.append(ranked(measured) == right_order)
            order, sequential_s = sequential(models, defaults, fixed_s)
            theirs.append(order == right_order)
            wall["sequential"].append(sequential_s)
            measured = measure([MODEL], near, goal="rank", seed=300 + trial)
            near_ours.append(ranked(measured)[MODEL] == near)
            near_theirs.append(sequential([MODEL], near, fixed_s)[0][MODEL] == near)
            print(f"  trial {trial + 1}: {ours[-1]} {theirs[-1]} {near_ours[-1]} {near_theirs[-1]}")
    median = {name: statistics.median(values) for name, values in wall.items()}
    share = median["rank"] / median["sequential"]
    report(
        "ranking",
        [
            Finding(
                "a gap of 30% decided",
                f"median {statistics.median(large):.1f} s, "
                f"{sum(large_right)} of {len(large)} right",
                "within 2 s on a quiet machine",
                statistics.median(large) <= 2 and all(large_right),
            ),
            Finding(
                "a gap of 8% decided",
                f"median {statistics.median(middle):.1f} s, "
                f"{sum(middle_right)} of {len(middle)} right",
                "within 10 s on a quiet machine",
                statistics.median(middle) <= 10 and all(middle_right),
            ),
            Finding(
                "two models on three targets ranked, time over that of 10 s a cell in sequence",
                f"{share:.2f} ({median['rank']:.1f} s against {median['sequential']:.1f} s)",
                "under 0.2",
                share < 0.2,
            ),
            Finding(
                "right orders of those, ours against sequential",
                f"{sum(ours)} of {trials} against {sum(theirs)} of {trials}",
                "no fewer",
                sum(ours) >= sum(theirs),
            ),
            Finding(
                "right orders of two targets that differ by 4%, ours against sequential",
                f"{sum(near_ours)} of {trials} against {sum(near_theirs)} of {trials}",
                "no fewer",
                sum(near_ours) >= sum(near_theirs),
            ),
        ],
        {"gap_30_s": large, "gap_8_s": middle, "wall_s": wall, "truth": right_order},
    )
