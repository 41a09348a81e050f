"""Workers that wait for their turn leave the processor to the one that is timed.

No latency is looked at, so the load of the machine makes no difference: what waiting workers burn
is read from the kernel. `make proof` measures what they do to the latency of the timed one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.backend import Device, ModelFile, Options
from bench.cards.card import load_card
from bench.discover import card_paths
from bench.machine.cores import choose_cores
from bench.measure.canary import CANARY_RUNTIME
from bench.runtimes.client import Worker
from bench.runtimes.processes import Launcher, launcher
from bench.runtimes.targets import find_runtime

#: Two, so that the runtime has a pool of threads that could spin.
THREADS = 2
#: Longer than the 45 to 58 ms for which ONNX Runtime's threads spin where they may.
WINDOW_S = 0.3
#: Waiting is a blocking read and takes nothing; the rest is for ends of what went before.
ALLOWED_S = 0.01

Start = Callable[[str], Worker]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="needs Linux with schedstat"
)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Launcher]:
    with launcher(tmp_path / "logs", timeout_s=60) as started:
        yield started


@pytest.fixture
def start(processes: Launcher) -> Start:
    """A worker with ONNX Runtime, warm, that has just worked."""
    card = load_card(card_paths()["fashion-teacher"])
    image = np.random.default_rng(0).random((1, 1, 28, 28), dtype=np.float32)
    options = {"threads": THREADS, "shapes": {"image": image.shape}}

    def started(spinning: str) -> Worker:
        worker = processes.worker(find_runtime("onnxruntime"), THREADS)
        made = Options(**options, extra={"spinning": spinning})
        cpus = choose_cores(THREADS)
        loaded = worker.load(card.model_file(), Device("cpu", "", ""), made, cpus)
        (spec,) = loaded.inputs
        worker.bind({spec.name: image})
        worker.warm_up(1.0)
        return worker

    return started


def cpu_s(workers: Sequence[Worker]) -> float:
    """Seconds that all threads of the workers have run on a processor, to the nanosecond."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) / 1e9
        for worker in workers
        for task in Path(f"/proc/{worker.pid}/task").iterdir()
    )


def burnt_after_work(idle: Sequence[Worker], meanwhile: Callable[[], Any]) -> float:
    """Seconds of CPU that the workers burn in a window right after a block of each."""
    for worker in idle:
        worker.block(calls=20, discard=0)
    before = cpu_s(idle)
    end = time.monotonic() + WINDOW_S
    while time.monotonic() < end:
        meanwhile()
    return cpu_s(idle) - before


def test_idle_workers_burn_no_cpu_while_another_measures(processes: Launcher, start: Start) -> None:
    idle = [start("0") for _ in range(3)]
    timed = processes.worker(CANARY_RUNTIME, 1)
    timed.load(ModelFile("canary"), Device("cpu", "", ""), Options())
    timed.bind({})
    before = cpu_s([timed])
    burnt = burnt_after_work(idle, lambda: timed.block(calls=50, discard=0))
    assert burnt < ALLOWED_S
    assert cpu_s([timed]) - before > ALLOWED_S  # or the clock that is read stands still


@pytest.mark.skipif((os.cpu_count() or 1) < THREADS, reason="needs two cores")
def test_threads_that_spin_would_be_noticed(start: Start) -> None:
    """What the default of the adapter saves us from, and that the test above can fail."""
    burnt = burnt_after_work([start("1")], lambda: time.sleep(0.01))
    assert burnt > ALLOWED_S
