"""Backends that break one promise each, to prove that the suite notices."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from bench.backends.onnx_reference import OnnxReference

from bench.backend import Device, Feeds, ModelFile, Options, Placement
from bench.errors import BenchError


class Wrapped:
    """A session that passes everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.inputs = inner.inputs
        self.outputs = inner.outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Honest(OnnxReference):
    """Keeps every promise; the others change one thing."""

    wrapper: type[Wrapped] = Wrapped

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        return self.wrapper(super().compile(model, device, options))


class ZerosSession(Wrapped):
    def run(self, feeds: Feeds) -> list[np.ndarray]:
        return [np.zeros_like(array) for array in self.inner.run(feeds)]


class ComputesZeros(Honest):
    wrapper = ZerosSession


class IgnoresOptions(Honest):
    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        return super().compile(model, device, replace(options, extra={}))


class TakesAnyDevice(Honest):
    """The silent fallback."""

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        return super().compile(model, replace(device, id="cpu"), options)


class AliasingSession(Wrapped):
    """Keeps the caller's arrays instead of copies."""

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        self.result: list[np.ndarray] = []

        def call() -> None:
            self.result = self.inner.run(feeds)

        return call

    def fetch(self) -> list[np.ndarray]:
        if not self.result:
            raise BenchError("nothing has been computed here yet; call first.")
        return self.result


class AliasesInputs(Honest):
    wrapper = AliasingSession


class AsynchronousSession(AliasingSession):
    """Its call returns before the outputs exist."""

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        self.result = [np.zeros((len(next(iter(feeds.values()))), 10), np.float32)]

        def compute() -> None:
            time.sleep(0.01)
            with contextlib.suppress(BenchError):
                self.result = self.inner.run(feeds)

        return lambda: threading.Thread(target=compute).start()


class ReturnsTooEarly(Honest):
    wrapper = AsynchronousSession


class CastingSession(Wrapped):
    """Makes whatever it is fed fit."""

    def run(self, feeds: Feeds) -> list[np.ndarray]:
        return self.inner.run(
            {spec.name: np.asarray(feeds[spec.name]).astype(spec.dtype) for spec in self.inputs}
        )


class CastsInputs(Honest):
    wrapper = CastingSession


class ElsewhereSession(Wrapped):
    def placement(self) -> Placement:
        return Placement({"cpu": 1, "npu:0": 3}, "made up", ("Conv (cpu)",))


class PlacesElsewhere(Honest):
    wrapper = ElsewhereSession


class CrashesOnBadFiles(Honest):
    """Lets the runtime's own exception through."""

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        try:
            return super().compile(model, device, options)
        except BenchError as error:
            raise RuntimeError("parser error at line 1") from error


class Spins(Honest):
    """Has a thread that never sleeps, from its first session on."""

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        def spin() -> None:
            while True:
                pass

        threading.Thread(target=spin, daemon=True).start()
        return super().compile(model, device, options)
