"""ONNX Runtime with a known extra cost in each inference, so that a proof knows the truth.

``altered:cpu?copy=a`` is one of any number of identical targets; ``&slow=0.05`` makes each
inference 5% dearer by spinning for that share of the session's own latency. All copies go through
the same wrapper, so nothing but the extra cost differs.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any, Callable, ClassVar, Mapping

from bench.backend import Device, Feeds, ModelFile, Options
from bench.discover import load_backend
from bench.worker.timing import time_calls

_CALIBRATION_CALLS = 60
_ONNXRUNTIME: Any = load_backend("onnxruntime")


class AlteredSession:
    """A session whose prepared call spins after the real one."""

    def __init__(self, real: Any, slow: float) -> None:
        self._real = real
        self._slow = slow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        real = self._real.bind(feeds)
        extra_ns = round(self._slow * own_latency_ns(real))
        clock = time.perf_counter_ns

        def call() -> None:
            real()
            end = clock() + extra_ns
            while clock() < end:
                pass

        return call


def own_latency_ns(call: Callable[[], object]) -> float:
    """The latency that the extra cost is a share of: the lower quartile, warm and undisturbed."""
    time_calls(call, _CALIBRATION_CALLS)
    samples = sorted(time_calls(call, _CALIBRATION_CALLS).tolist())
    return statistics.quantiles(samples, n=4)[0]


class Altered:
    """The ONNX Runtime adapter with ``copy`` and ``slow`` as further options."""

    name = "altered"
    forms = ("onnx",)
    fork_safe = True

    def __init__(self) -> None:
        self._real = _ONNXRUNTIME()

    @property
    def preload(self) -> tuple[str, ...]:
        return self._real.preload

    environment: ClassVar[Mapping[str, str]] = _ONNXRUNTIME.environment

    def version(self) -> str:
        return self._real.version()

    def devices(self) -> list[Device]:
        return [d for d in self._real.devices() if d.id == "cpu"]

    def compile(self, model: ModelFile, device: Device, options: Options) -> AlteredSession:
        extra = dict(options.extra)
        extra.pop("copy", None)
        slow = float(extra.pop("slow", "0"))
        return AlteredSession(
            self._real.compile(model, device, replace(options, extra=extra)), slow
        )
