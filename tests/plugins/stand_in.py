"""A backend that fails in every way a runtime can, chosen by its device; installed by `conftest`.

It computes ``y = 2 * x`` for the model of `conftest.doubling_model`, so parity can be checked.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import Any, Callable

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.errors import SpecError, Unavailable, Unsupported

#: device id -> when it fails: at load, at a call, or when outputs are read
DEVICES = (
    "ok",
    "raises",
    "segfaults",
    "killed",
    "hangs",
    "allocates",
    "small",
    "unsupported",
    "wrong",
    "nan",
    "dies-in-block",
    "dies-late",
    "hangs-late",
    "raises-late",
    "exits",
    "partly",
)


#: More calls than a warm-up and a look at the latency make.
LATE = 3000


class StandInSession:
    """Waits for ``us`` microseconds a call, then doubles its input."""

    def __init__(self, device: Device, options: Options) -> None:
        self.device = device
        self.wait_ns = int(float(options.extra.get("us", "50")) * 1000)
        self.inputs = [TensorSpec("x", "float32", (-1, 4))]
        self.outputs = [TensorSpec("y", "float32", (-1, 4))]
        self.y: Any = np.empty(0, np.float32)
        self.calls = 0

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        x = np.array(feeds["x"])
        if self.device.id == "small" and len(x) > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 7 TB")

        def call() -> None:
            end = time.perf_counter_ns() + self.wait_ns
            self.calls += 1
            if self.device.id == "dies-in-block" and self.calls > 30:
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.calls == LATE and self.device.id.endswith("-late"):
                self.fail_late()
            self.y = x * 2 if self.device.id != "wrong" else x * 3
            while time.perf_counter_ns() < end:
                pass

        return call

    def fail_late(self) -> None:
        """In the middle of a test that is long enough."""
        if self.device.id == "dies-late":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.device.id == "hangs-late":
            time.sleep(3600)
        raise RuntimeError("the card fell off")

    def fetch(self) -> list[Any]:
        return [self.y * np.float32("nan") if self.device.id == "nan" else self.y]

    def run(self, feeds: Feeds) -> list[Any]:
        return [np.asarray(feeds["x"]) * 2]

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        return self.bind(feeds)

    def placement(self) -> Placement:
        if self.device.id == "partly":
            return Placement({"partly": 3, "cpu": 1}, "stand-in", ("odd (on cpu)",))
        return Placement(nodes={self.device.id: 1}, source="stand-in")

    def profiled_placement(self, feeds: Feeds) -> Placement:
        if self.device.id != "partly":
            return self.placement()
        return Placement(
            {"partly": 3, "cpu": 1},
            "stand-in: a profile",
            ("odd (on cpu: no kernel)",),
            "fp32",
            {"partly": 0.62, "cpu": 0.38},
        )

    def close(self) -> None:
        pass


class StandIn:
    name = "stand-in"
    forms = ("onnx",)
    preload: tuple[str, ...] = ()
    fork_safe = True
    environment: dict[str, str] = {}  # noqa: RUF012

    def version(self) -> str:
        return "1.0"

    def devices(self) -> list[Device]:
        return [Device(id=name, vendor="nobody", name=f"stand-in {name}") for name in DEVICES]

    def absent_devices(self) -> dict[str, Unavailable]:
        return {"card": Unavailable("libcard.so: cannot open.", "Install the card's driver.")}

    def compile(self, model: ModelFile, device: Device, options: Options) -> StandInSession:
        unknown = set(options.extra) - {"us"}
        if unknown:
            raise SpecError(f"stand-in does not know the option {unknown.pop()!r}; it knows: us.")
        if device.id == "raises":
            raise RuntimeError("the driver said no\nand then much more")
        if device.id == "segfaults":
            print("about to read address zero", file=sys.stderr, flush=True)
            ctypes.string_at(0)
        if device.id == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if device.id == "hangs":
            time.sleep(3600)
        if device.id == "allocates":
            raise RuntimeError("std::bad_alloc: failed to allocate 7 TB")
        if device.id == "unsupported":
            raise Unsupported("stand-in has no kernel for the operator Mul")
        if device.id == "exits":
            os._exit(3)
        return StandInSession(device, options)


class Hanging(StandIn):
    """A driver that never answers."""

    name = "hanging"

    def devices(self) -> list[Device]:
        time.sleep(3600)
        return []


class Missing:
    """A runtime that is not there."""

    name = "missing"
    forms = ("onnx",)
    preload = ("a_module_that_does_not_exist",)
    fork_safe = True
    environment: dict[str, str] = {}  # noqa: RUF012

    def version(self) -> str:
        raise Unavailable("libmissing.so was not found.", "Install the missing runtime.")

    def devices(self) -> list[Device]:
        raise Unavailable("libmissing.so was not found.", "Install the missing runtime.")

    def compile(self, model: ModelFile, device: Device, options: Options) -> StandInSession:
        raise AssertionError
