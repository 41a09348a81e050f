"""What Ray's daemons and an idle agent do to what is measured beside them.

A node of a fleet is started as docs/fleet.md says, with its agent and a driver that asks it. The
same workers are timed with the daemons as they are and with all of them stopped (SIGSTOP), in
random turn; what was timed right after each other is a pair.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from calls import feeds_of
from engine import Finding, report

from bench.backend import Device, Options
from bench.fleet.file import FleetFile
from bench.fleet.ray.connect import connect
from bench.machine.cores import choose_cores
from bench.measure.canary import Canary
from bench.runtimes.processes import launcher
from bench.runtimes.targets import find_runtime

sys.path.append(str(Path(__file__).resolve().parents[1] / "fleet"))

MODEL, BACKEND = "fashion-teacher", "onnxruntime"
#: Of a turn: blocks with the daemons, and as many without.
BLOCKS = 6
#: Daemons that were stopped have something to catch up on, which is not their rest.
SETTLE_S = 0.3
#: How long the daemons' own use of the CPU is watched.
WATCH_S = 20.0


class Daemons:
    """All processes of one node of Ray, and of the cluster's head."""

    def __init__(self, root: psutil.Process) -> None:
        self._all = [root, *root.children(recursive=True)]

    def send(self, number: signal.Signals) -> None:
        for process in self._all:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        time.sleep(SETTLE_S)

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU that each has used."""
        found: dict[str, float] = {}
        for process in self._all:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                name = _called(process)
                found[name] = found.get(name, 0.0) + times.user + times.system
        return found


def _called(process: psutil.Process) -> str:
    words = process.cmdline()
    for word in words:
        name = Path(word).name
        if name in ("gcs_server", "raylet", "monitor.py", "log_monitor.py", "dashboard.py"):
            return name
        if word.startswith("ray::"):
            return word.removeprefix("ray::").split(".")[0]
    return "ray start" if "start" in words else Path(words[0]).name


@contextlib.contextmanager
def a_node() -> Iterator[Daemons]:
    """A head and node of Ray, with the agent of a fleet on it that a driver asks."""
    from ray_nodes import local_nodes  # beside the tests that use it

    os.environ["RAY_AUTH_MODE"] = "disabled"
    folder = Path(tempfile.mkdtemp(prefix="bench-proof-fleet-"))
    with local_nodes(folder, [dict(os.environ)]) as (address, nodes):
        file = FleetFile.model_validate({"nodes": {"n1": {"resource": "n1", "targets": [BACKEND]}}})
        transport = connect(file, address)
        try:
            transport.nodes()
            yield Daemons(psutil.Process(nodes[0].process.pid))
        finally:
            transport.close()


def prove(quick: bool) -> None:
    turns = 4 if quick else 40
    with a_node() as daemons:
        time.sleep(WATCH_S)  # what a start still does is over
        share = _share(daemons, 5.0 if quick else WATCH_S)
        logs = _paired(daemons, turns)
    findings = [_finding(name, np.array(found)) for name, found in logs.items()]
    total = sum(share.values())
    findings.append(
        Finding(
            "CPU that the daemons of a head, a node and an idle agent use",
            f"{total:.1%} of one core",
            "at most 3%",
            total <= 0.03,
        )
    )
    details = {
        "log ratios, with over without": logs,
        "share of a core": share,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    report("fleet-quiet", findings, details)


def _share(daemons: Daemons, watched_s: float) -> dict[str, float]:
    before = daemons.cpu_s()
    time.sleep(watched_s)
    after = daemons.cpu_s()
    return {name: (used - before.get(name, 0.0)) / watched_s for name, used in after.items()}


def _paired(daemons: Daemons, turns: int) -> dict[str, list[float]]:
    """Logs of a latency with the daemons over that without, one a turn."""
    rng = np.random.default_rng(1)
    card, feeds = feeds_of(MODEL)
    shapes = {key: array.shape for key, array in feeds.items()}
    cell, canary_name = f"{MODEL} on {BACKEND}", "the canary"
    logs: dict[str, list[float]] = {canary_name: [], cell: []}
    with (
        launcher(Path(tempfile.mkdtemp(prefix="bench-proof-logs-")), 120) as processes,
        Canary(processes) as canary,
    ):
        (cpu, *_) = choose_cores(1)
        canary.stay_on(cpu)
        for _ in range(turns):
            worker = processes.worker(find_runtime(BACKEND), 1)
            worker.load(card.model_file(), Device("cpu", "", ""), Options(1, shapes=shapes), (cpu,))
            worker.bind(feeds)
            worker.warm_up(1.0)
            found: dict[str, dict[bool, list[Any]]] = {name: {True: [], False: []} for name in logs}
            for running in rng.permutation([True, False] * BLOCKS):
                daemons.send(signal.SIGCONT if running else signal.SIGSTOP)
                found[cell][bool(running)].append(worker.block(calls=60, discard=5))
                beat = canary.block()
                if beat is not None:
                    found[canary_name][bool(running)].append(beat)
            daemons.send(signal.SIGCONT)
            worker.kill()
            for name, both in found.items():
                logs[name].append(_log_ratio(both[True], both[False]))
    return logs


def _log_ratio(these: Sequence[Any], those: Sequence[Any]) -> float:
    return float(np.log(np.median(np.concatenate(these)) / np.median(np.concatenate(those))))


def _finding(name: str, logs: Any) -> Finding:
    shift = float(np.expm1(logs.mean()))
    error = 1.96 * float(logs.std(ddof=1)) / len(logs) ** 0.5
    return Finding(
        f"latency of {name} with Ray's daemons and an idle agent over that with them stopped",
        f"{shift:+.2%} ± {error:.2%} ({len(logs)} turns)",
        "within noise of at most 2%, or within 1%",
        abs(shift) <= max(min(error, 0.02), 0.01),
    )
