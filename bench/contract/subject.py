"""A backend on a device with models to try it on, and how checks look at what comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.backend import Backend, Device, ModelFile, Options, Session
from bench.contract.decoders import write_decoder
from bench.contract.models import (
    Example,
    write_conv,
    write_embed,
    write_many,
    write_truncated,
    write_unknown_op,
)
from bench.contract.static_decoders import write_static_decoder
from bench.errors import BenchError, Unsupported

#: What ONNX Runtime's own tests of transformers allow at fp32.
TOLERANCE = 1e-4


class Subject:
    """A backend on a device, the models to try it with, and the sessions compiled so far."""

    def __init__(self, backend: Backend, device: Device, folder: Path) -> None:
        self.backend = backend
        self.device = device
        self.conv = write_conv(folder)
        self.embed = write_embed(folder)
        self.many = write_many(folder)
        self.decoder = write_decoder(folder)
        self.static_decoder = write_static_decoder(folder)
        self.unknown_op = write_unknown_op(folder)
        self.truncated = write_truncated(folder, self.conv.file)
        self._sessions: dict[tuple[str, int], Session] = {}

    def session(self, example: Example, batch: int = 3) -> Session:
        """A session for ``batch`` samples; compiling takes some runtimes seconds, so it is kept."""
        key = (example.file.name, batch)
        if key not in self._sessions:
            self._sessions[key] = self.compile(example.file, shapes=example.shapes(batch))
        return self._sessions[key]

    def examples(self) -> list[Example]:
        """All examples; one whose operators a device other than a CPU lacks is left out, if the
        backend says so. What the first and the last compute, every device has."""
        try:
            self.session(self.embed)
        except Unsupported:
            assert self.device.id != "cpu", "a CPU computes whatever its runtime does"
            return [self.conv, self.many]
        return [self.conv, self.embed, self.many]

    def compile(self, file: ModelFile, **options: Any) -> Session:
        return self.backend.compile(file, self.device, Options(**options))

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()


@contextlib.contextmanager
def raises(kind: type[BenchError]) -> Iterator[list[BenchError]]:
    """The error that the block raises, which is a ``kind``; its message is one clear sentence."""
    caught: list[BenchError] = []
    try:
        yield caught
    except BenchError as error:
        caught.append(error)
    assert caught, f"no {kind.__name__} was raised"
    (raised,) = caught
    assert isinstance(raised, kind), f"{kind.__name__} expected, not {raised!r}"
    assert len(str(raised)) > 20, "say what happened, where, and what to do"
    assert "\n" not in str(raised), f"one line, please: {raised}"


def attempt(action: Callable[[], Any]) -> tuple[Any, str]:
    """What ``action`` returns, and no message; or nothing, and the message of its `BenchError`."""
    try:
        return action(), ""
    except BenchError as error:
        return None, str(error)


def assert_right(example: Example, session: Session, batch: int) -> None:
    for seed in range(2):
        feeds = example.feeds(batch, seed)
        assert_close(session.run(feeds), example.right(feeds))


def assert_close(
    have: list[np.ndarray], want: list[np.ndarray], tolerance: float = TOLERANCE
) -> None:
    assert len(have) == len(want)
    for got, wanted in zip(have, want, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
