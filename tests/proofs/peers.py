"""The same two targets measured by us and by the known tools, whole runs in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from engine import Finding, measure, report

MODEL = "fashion-teacher"
TARGETS = ("onnxruntime:cpu", "openvino:cpu")
PEERS = ("pytest-benchmark", "torch.utils.benchmark", "MLPerf LoadGen", "benchmark_app")
CHILD = Path(__file__).with_name("peer_child.py")

Figures = dict[str, float]  #: runtime -> latency in ns


def child(tool: str) -> Figures | str:
    """The figures of one whole run, or the last line of why there are none."""
    done = subprocess.run([sys.executable, str(CHILD), tool, MODEL], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return {key: float(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}


def ours(seed: int) -> Figures:
    records = measure([MODEL], TARGETS, seed=seed).by_target()
    return {
        target.partition(":")[0]: record.latency.median_ns.value
        for target, record in records.items()
        if record.latency is not None
    }


def spread(values: list[float]) -> float:
    """(Largest - smallest) / median."""
    return (max(values) - min(values)) / statistics.median(values)


def prove(quick: bool) -> None:
    """Each round measures every tool once, with a reference on both sides of it."""
    rounds = 2 if quick else 8
    runs: dict[str, list[Figures]] = {name: [] for name in ("bench", *PEERS)}
    biases: dict[str, list[float]] = {name: [] for name in runs}
    absent: dict[str, str] = {}
    before = child("reference")
    for number in range(rounds):
        for name in runs:
            if name in absent:
                continue
            found = ours(number) if name == "bench" else child(name)
            after = child("reference")
            if isinstance(found, str) or isinstance(before, str) or isinstance(after, str):
                absent[name] = str(found)
                continue
            runs[name].append(found)
            ratios = [2 * v / (before[r] + after[r]) for r, v in found.items()]
            biases[name].append(statistics.fmean(ratios) - 1)
            before = after
        print(f"  round {number + 1} of {rounds}", flush=True)
    report("peers", list(findings(runs, biases, absent)), {"runs": runs, "absent": absent})


def findings(
    runs: dict[str, list[Figures]], biases: dict[str, list[float]], absent: dict[str, str]
) -> list[Finding]:
    found = []
    bias = {name: statistics.median(values) for name, values in biases.items() if values}
    smallest = min((abs(b) for name, b in bias.items() if name != "bench"), default=1.0)
    for name, values in runs.items():
        if name in absent:
            found.append(Finding(f"{name}: could not run here", absent[name], "-", None))
            continue
        ratios = [run["openvino"] / run["onnxruntime"] for run in values if len(run) == 2]
        figure = f"reported over reference {bias[name]:+.1%} (spread {spread_of(biases[name])})"
        if ratios:
            figure += f"; openvino/onnxruntime {statistics.median(ratios):.3f}, spread "
            figure += f"{spread(ratios):.1%}"
        mine = name == "bench"
        met = (abs(bias[name]) <= smallest and spread(ratios) < 0.03) if mine else None
        goal = "smaller bias than every peer; ratio spread under 3%" if mine else "-"
        found.append(Finding(f"{name}, {len(values)} whole runs", figure, goal, met))
    return found


def spread_of(biases: list[float]) -> str:
    return f"{max(biases) - min(biases):.1%}"
