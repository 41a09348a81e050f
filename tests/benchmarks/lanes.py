"""What Python adds: native loop, prepared call and user API of each runtime, in one run.

    python tests/benchmarks/lanes.py [MODEL]

Blocks of the lanes take turns in one process; printed are medians and their ratios to the native
loop, or to the prepared call where a runtime has no native lane. Nothing is asserted.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.backend import Device, Options
from bench.capabilities import NativeTimer
from bench.cards.card import load_card
from bench.cards.datasets import load_dataset
from bench.discover import backend_entry_points, card_paths, load_backend
from bench.errors import BenchError
from bench.runtimes.processes import thread_environment
from bench.worker.timing import time_calls

BLOCKS = 60
BLOCK_NS = 5_000_000

Timer = Callable[[int], "np.ndarray[Any, Any]"]


def timers(session: Any, feeds: dict[str, Any]) -> dict[str, Timer]:
    """A way to time so many inferences, for each lane that the session has."""
    found: dict[str, Timer] = {}
    if isinstance(session, NativeTimer):
        found["native"] = session.native_timer(feeds, time_calls)
    for lane, call in (("prepared", session.bind(feeds)), ("api", session.api_call(feeds))):
        found[lane] = lambda calls, call=call: time_calls(call, calls)
    return found


def medians_ns(lanes: dict[str, Timer]) -> dict[str, float]:
    """The median over blocks in random turn, the first calls of each left out."""
    calls = {lane: max(10, round(BLOCK_NS / np.median(time(50)))) for lane, time in lanes.items()}
    found: dict[str, list[float]] = {lane: [] for lane in lanes}
    for _ in range(BLOCKS):
        for lane in random.sample(list(lanes), len(lanes)):
            found[lane].append(float(np.median(lanes[lane](calls[lane])[5:])))
    return {lane: statistics.median(values) for lane, values in found.items()}


def main() -> None:
    os.environ.update(thread_environment(1))
    random.seed(1)
    name = sys.argv[1] if len(sys.argv) > 1 else "fashion-student"
    card = load_card(card_paths()[name])
    feeds = {key: array[:1] for key, array in load_dataset(card).inputs.items()}
    options = Options(threads=1, shapes={key: array.shape for key, array in feeds.items()})
    device = Device(id="cpu", vendor="", name="")
    for backend in backend_entry_points():
        if backend == "onnx-reference":
            continue
        try:
            adapter: Any = load_backend(backend)()
            session = adapter.compile(card.model_file(), device, options)
        except BenchError as error:
            print(f"{backend}: skipped: {error}")
            continue
        medians = medians_ns(timers(session, feeds))
        first = next(iter(medians.values()))
        words = [f"{lane} {ns / 1e3:.2f} us ({ns / first:.2f}x)" for lane, ns in medians.items()]
        print(f"{name} on {backend}: {', '.join(words)}")


if __name__ == "__main__":
    main()
