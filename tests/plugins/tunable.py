"""A backend with options to tune: one for how long a call takes, and one that breaks it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, Callable

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.capabilities import Tunable

#: What is set where nothing crashes.
MENDED = "TUNABLE_MENDED"


class TunableSession:
    """Doubles its input, or does what ``fault`` says."""

    def __init__(self, options: Options) -> None:
        self.wait_ns = int(float(options.extra.get("us", "400")) * 1000)
        self.fault = options.extra.get("fault", "none")
        self.inputs = [TensorSpec("x", "float32", (-1, 4))]
        self.outputs = [TensorSpec("y", "float32", (-1, 4))]
        self.y: Any = np.empty(0, np.float32)

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        x = np.array(feeds["x"])

        def call() -> None:
            end = time.perf_counter_ns() + self.wait_ns
            if self.fault == "crash" and MENDED not in os.environ:
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.fault == "hang":
                time.sleep(3600)
            self.y = x * (3 if self.fault == "wrong" else 2)
            while time.perf_counter_ns() < end:
                pass

        return call

    def fetch(self) -> list[Any]:
        return [self.y]

    def run(self, feeds: Feeds) -> list[Any]:
        return [np.asarray(feeds["x"]) * 2]

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        return self.bind(feeds)

    def placement(self) -> Placement:
        return Placement(nodes={"cpu": 1}, source="tunable")

    def close(self) -> None:
        pass


class TunableBackend:
    name = "tunable"
    forms = ("onnx",)
    preload: tuple[str, ...] = ()
    fork_safe = True
    environment: dict[str, str] = {}  # noqa: RUF012
    tunables = {  # noqa: RUF012
        "us": Tunable(("400", "100", "900")),
        "fault": Tunable(("none", "crash", "wrong", "hang")),
    }

    def version(self) -> str:
        return "1.0"

    def devices(self) -> list[Device]:
        return [Device(id="cpu", vendor="nobody", name="tunable")]

    def compile(self, model: ModelFile, device: Device, options: Options) -> TunableSession:
        return TunableSession(options)
