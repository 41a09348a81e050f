"""What the timed loop adds to one inference, in one process, printed and never asserted.

    python tests/benchmarks/overhead.py

For each runtime the same prepared call is made in two ways, in alternating blocks: by `time_calls`,
and by the barest loop that Python has, timed from outside. The difference is what the harness adds.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

from bench.backend import Device, ModelFile, Options
from bench.cards.card import load_card
from bench.cards.datasets import load_dataset
from bench.discover import backend_entry_points, card_paths, load_backend
from bench.errors import BenchError
from bench.runtimes.processes import thread_environment
from bench.worker.timing import time_calls

MODEL = "fashion-student"
BLOCKS = 60
BLOCK_NS = 5_000_000


def bare_ns(call: Callable[[], object], calls: int) -> float:
    """Nanoseconds a call of a loop that does nothing else."""
    started = time.perf_counter_ns()
    for _ in repeat(None, calls):
        call()
    return (time.perf_counter_ns() - started) / calls


def timed_ns(call: Callable[[], object], calls: int) -> float:
    """Nanoseconds a call as the harness measures it: the mean of its samples."""
    return float(time_calls(call, calls).mean())


def compare(call: Callable[[], object]) -> tuple[float, float]:
    """Medians over alternating blocks: the bare loop, and what the harness adds to it."""
    for _ in range(50):
        call()
    calls = max(1, round(BLOCK_NS / bare_ns(call, 20)))
    bare, added = [], []
    for block in range(BLOCKS):
        order = (bare_ns, timed_ns) if block % 2 else (timed_ns, bare_ns)
        found = {measure: measure(call, calls) for measure in order}
        bare.append(found[bare_ns])
        added.append(found[timed_ns] - found[bare_ns])
    return statistics.median(bare), statistics.median(added)


def prepared(backend: Any, file: ModelFile, feeds: Any) -> Callable[[], object]:
    device = Device(id="cpu", vendor="", name="")
    shapes = {name: array.shape for name, array in feeds.items()}
    return backend.compile(file, device, Options(threads=1, shapes=shapes)).bind(feeds)


def main() -> None:
    os.environ.update(thread_environment(1))
    card = load_card(card_paths()[MODEL])
    feeds = {name: array[:1] for name, array in load_dataset(card).inputs.items()}
    print(f"{'call':<28}{'bare loop':>12}{'harness adds':>15}{'ratio':>9}")
    calls: dict[str, Callable[[], Callable[[], object]]] = {"nothing": lambda: int}
    for name in backend_entry_points():
        backend = load_backend(name)()
        if name != "onnx-reference":
            calls[f"{MODEL}, {name}"] = lambda b=backend: prepared(b, card.model_file(), feeds)
    for name, make in calls.items():
        try:
            bare, added = compare(make())
        except BenchError as error:
            print(f"{name:<28} skipped: {error}")
            continue
        print(f"{name:<28}{bare / 1e3:>9.3f} us{added / 1e3:>12.3f} us{1 + added / bare:>9.4f}")


if __name__ == "__main__":
    main()
