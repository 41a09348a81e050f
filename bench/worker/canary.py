"""A fixed workload that takes part in every round and tells how the machine was.

Part arithmetic, part memory traffic, no runtime and no threads, so that its time moves only
when the machine does. It follows the backend contract: to the scheduler it is one more worker.
"""

from __future__ import annotations

import hashlib
from typing import Any, Callable, ClassVar

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec

#: About 100 us on a 2020s core: some 100 calls in a 10 ms block.
_HASHED_BYTES = 64 * 1024
_STREAMED_FLOATS = 128 * 1024


class CanarySession:
    """Hash a buffer, then add two arrays that fill a level-2 cache."""

    def __init__(self) -> None:
        self.inputs: list[TensorSpec] = []
        self.outputs: list[TensorSpec] = []

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        buffer = bytes(range(256)) * (_HASHED_BYTES // 256)
        left = np.arange(_STREAMED_FLOATS, dtype=np.float32)
        right, total = left[::-1].copy(), np.empty_like(left)

        def call() -> None:
            hashlib.sha256(buffer).digest()
            np.add(left, right, out=total)

        return call

    def fetch(self) -> list[np.ndarray[Any, Any]]:
        return []

    def run(self, feeds: Feeds) -> list[np.ndarray[Any, Any]]:
        return []

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        return self.bind(feeds)

    def placement(self) -> Placement:
        return Placement(nodes={"cpu": 1}, source="bench: plain numpy and hashlib")

    def close(self) -> None:
        pass


class Canary:
    """The backend of the canary."""

    name: ClassVar[str] = "canary"
    forms: ClassVar[tuple[str, ...]] = ()
    preload: ClassVar[tuple[str, ...]] = ()
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[dict[str, str]] = {}

    def version(self) -> str:
        return "1"

    def devices(self) -> list[Device]:
        return [Device(id="cpu", vendor="", name="canary")]

    def compile(self, model: ModelFile, device: Device, options: Options) -> CanarySession:
        return CanarySession()
