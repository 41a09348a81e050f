"""A backend that answers with what nobody asked for, chosen by its device; installed by
`test_hostile_answers`."""

from __future__ import annotations

import gc
import json
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from stand_in import StandIn, StandInSession

from bench.backend import Device, Feeds, ModelFile, Options, Placement
from bench.worker.wire import Channel

LENGTH = struct.Struct("!Q")


def _head(*shapes: list[Any]) -> bytes:
    head = json.dumps([{"message": "Done", "fields": {}}, list(shapes)]).encode()
    return LENGTH.pack(len(head)) + head


#: What is written on the channel before the answer.
BYTES = {
    "garbage": b"\xff" * 64,
    "huge-length": LENGTH.pack(1 << 62),
    "no-json": LENGTH.pack(4) + b"{{{{",
    "nested": LENGTH.pack(200_000) + b"[" * 200_000,
    "huge-array": _head(["float32", [1 << 30, 1 << 20]]),
    "objects-announced": _head(["O", [1]]),
    "negative-shape": _head(["float32", [-1]]),
    "half": LENGTH.pack(100) + b"[",
}
#: What `fetch` gives.
OUTPUTS: dict[str, Callable[[], list[Any]]] = {
    "objects": lambda: [np.array([object()])],
    "strings": lambda: [np.array([["cat", "dog", "emu", "fox"]])],
    "scalar": lambda: [np.float32(7)],
    "nothing": list,
    "ragged": lambda: [np.array([[1], [1, 2]], dtype=object)],
}
OTHERS = ("good", "surrogate", "novel", "novel-log", "negative", "surrogate-name", "strings-scored")
DEVICES = (*BYTES, *OUTPUTS, *OTHERS)


def write_on_channel(data: bytes) -> None:
    (channel,) = [one for one in gc.get_objects() if isinstance(one, Channel)]
    channel.sock.sendall(data)


class HostileSession(StandInSession):
    def __init__(self, device: str, options: Options) -> None:
        super().__init__(Device("ok", "", ""), options)
        self.kind = device

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        call = super().bind(feeds)
        if self.kind == "negative":
            # The clock of the worker goes backwards while it is timed.
            real, place = time.perf_counter_ns, sys.modules["bench.worker.timing"]
            place.time_calls.__defaults__ = (lambda: -real(),)  # type: ignore[attr-defined]
        return call

    def fetch(self) -> list[Any]:
        return OUTPUTS[self.kind]() if self.kind in OUTPUTS else super().fetch()

    def run(self, feeds: Feeds) -> list[Any]:
        if self.kind == "strings-scored":
            return [np.array(["cat"] * len(feeds["x"]))]
        return super().run(feeds)

    def placement(self) -> Placement:
        name = "cpu\udcff" if self.kind == "surrogate-name" else self.kind
        return Placement(nodes={self.kind: 1}, source=name)


class Hostile(StandIn):
    name = "hostile"

    def devices(self) -> list[Device]:
        return [Device(id=name, vendor="nobody", name=name) for name in DEVICES]

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        if device.id in BYTES:
            write_on_channel(BYTES[device.id])
            if device.id == "half":
                time.sleep(600)
        if device.id == "surrogate":
            raise RuntimeError("caf\udce9 \ud800")
        if device.id == "novel":
            raise RuntimeError("x" * 50_000_000)
        if device.id == "novel-log":
            sys.stderr.write("y" * 50_000_000)
            sys.stderr.flush()
            raise RuntimeError("it is in the log")
        return HostileSession(device.id, options)
