"""A GPU without one: tensors on another device, and graphs that refuse what CUDA's do.

The device is called ``meta``, since torch's build for the CPU knows no ``cuda``. (There
``torch.tensor(..., device="meta")`` has no values, so that way to make one is for a GPU to test.)

Each pretended tensor holds a real one on the CPU. As on a GPU an operator takes tensors of one
device (besides CPU tensors of no dimension, which are numbers to it), and while a graph is captured
no copy from the CPU and no look at a value is allowed. Such a look breaks the capture: no operator
works in it any more, and to end it is an error too. What is captured is a list of operators on the
memory that they used (`graph_memory`); a replay runs them again on that memory and nothing else.

Where BENCH_TEST_CUDA names a real one (``cuda:0``), the same tests run on that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from bench.backends.torch import session as torch_session
from bench.backends.torch.graph import GraphSession
from graph_memory import Recording
from torch.utils._python_dispatch import TorchDispatchMode

COPY = (
    "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is "
    "pinned. Please use tensor.pin_memory()"
)
#: cudaErrorStreamCaptureUnsupported, and the cudaErrorStreamCaptureInvalidated that follows it.
SYNC = "CUDA error: operation not permitted when stream is capturing"
BROKEN = "CUDA error: operation failed due to a previous error during capture"
REAL = os.environ.get("BENCH_TEST_CUDA", "")
PLACE = torch.device(REAL or "meta")


class OnGpu(torch.Tensor):
    """A tensor whose values only the pretended device may see."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnGpu:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=PLACE
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of the pretended device")


class Gpu(TorchDispatchMode):
    """The device, its driver and ``torch.cuda``, as far as a session uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.capturing: Recording | None = None
        self.broken = False  #: the capture, by an operator that it does not allow
        self.copied = 0  #: copies from the CPU
        self.streams = [Stream()]  #: the current one is the last

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat = list(_flat([*args, *kwargs.values()]))
        tensors = [value for value in flat if isinstance(value, torch.Tensor)]
        wanted = [value for value in flat if isinstance(value, torch.device)]
        on_gpu = any(isinstance(tensor, OnGpu) for tensor in tensors)
        if not on_gpu and not any(device.type == PLACE.type for device in wanted):
            return func(*args, **kwargs)
        whole = func.decompose  # as in inference mode, where operators come whole
        with self:
            parts = whole(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        self._refuse(func, args, tensors)
        if _waits(func, args):
            self._not_now(SYNC, breaks=True)
        to_cpu = any(device.type == "cpu" for device in wanted)
        given, named = _held(args), {key: _held(value) for key, value in kwargs.items()}
        result = func(*given, **named)
        if to_cpu or not isinstance(result, (torch.Tensor, tuple, list)):
            self._not_now(SYNC, breaks=True)
            return result
        if func._schema.name.endswith("_") and args and isinstance(args[0], OnGpu):
            self._note(func, given, named, result)
            return args[0]
        self._note(func, given, named, result)
        return _on_gpu(result)

    def _refuse(self, func: Any, args: Any, tensors: list[torch.Tensor]) -> None:
        name = func._schema.name
        here = [t for t in tensors if not isinstance(t, OnGpu)]
        copies = name in ("aten::_to_copy", "aten::copy_") or "index" in name or "where" in name
        if here and copies:
            self.copied += 1
            self._not_now(COPY)
        elif any(t.dim() for t in here):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} has two")

    def _not_now(self, why: str, breaks: bool = False) -> None:
        if self.capturing is not None:
            why = BROKEN if self.broken else why
            self.broken = self.broken or breaks
            raise RuntimeError(why)

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        if self.broken:
            raise RuntimeError(BROKEN)
        if self.capturing is not None:
            self.capturing.note(func, args, kwargs, result)

    # -- what a session uses of torch.cuda ---------------------------------------------------------

    class CUDAGraph(Recording):
        """What was captured."""

        gpu: Gpu

        def capture_end(self) -> None:
            broken = self.gpu.broken
            self.gpu.capturing, self.gpu.broken = None, False
            if broken:
                raise RuntimeError(BROKEN)

    def graph(self, graph: CUDAGraph) -> Capture:
        return Capture(self, graph)

    def in_its_own_stream(self) -> bool:
        return len(self.streams) == 1

    def Stream(self, device: Any) -> Stream:
        return Stream()

    def current_stream(self, device: Any) -> Stream:
        return self.streams[-1]

    def stream(self, stream: Stream) -> InStream:
        return InStream(self, stream)

    def synchronize(self, device: Any) -> None: ...


class Stream:
    def wait_stream(self, other: Stream) -> None: ...
    def synchronize(self) -> None: ...


class InStream:
    """``with torch.cuda.stream(s):``; as there, to leave it restores what was before."""

    def __init__(self, gpu: Gpu, stream: Stream) -> None:
        self.gpu, self.stream = gpu, stream

    def __enter__(self) -> None:
        self.before = list(self.gpu.streams)
        self.gpu.streams.append(self.stream)

    def __exit__(self, *_: Any) -> None:
        self.gpu.streams[:] = self.before


class Capture:
    """``with torch.cuda.graph(g):``, step by step as there (torch/cuda/graphs.py)."""

    def __init__(self, gpu: Gpu, graph: Gpu.CUDAGraph) -> None:
        self.gpu, self.graph = gpu, graph
        self.in_stream = gpu.stream(Stream())

    def __enter__(self) -> None:
        self.in_stream.__enter__()
        self.graph.gpu = self.gpu
        self.gpu.capturing, self.gpu.broken = self.graph, False

    def __exit__(self, *error: Any) -> None:
        self.graph.capture_end()
        self.in_stream.__exit__(*error)


class RealGpu:
    """What the tests ask of the device, of one that is there."""

    CUDAGraph = torch.cuda.CUDAGraph
    copied = 0
    broken = False

    @property
    def capturing(self) -> Any:
        return True if torch.cuda.is_current_stream_capturing() else None

    def in_its_own_stream(self) -> bool:
        return bool(torch.cuda.current_stream(PLACE) == torch.cuda.default_stream(PLACE))


def _waits(func: Any, args: Any) -> bool:
    """Whether the host has to know values to know how much comes out."""
    dynamic = torch.Tag.dynamic_output_shape in func.tags
    if func._schema.name != "aten::index":
        return dynamic
    indices = (value for value in args[1] if value is not None)
    return any(value.dtype in (torch.bool, torch.uint8) for value in indices)


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _held(value: Any) -> Any:
    """What the device computes on."""
    if isinstance(value, OnGpu):
        return value.held
    if isinstance(value, torch.device):
        return torch.device("cpu")
    if isinstance(value, (list, tuple)):
        return type(value)(_held(item) for item in value)
    return value


def _on_gpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return OnGpu(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_on_gpu(item) for item in value)
    return value


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its parameters and buffers on the device."""
    if REAL:
        return module.to(PLACE)
    with torch.inference_mode():  # as sessions are: what is cut from them is of one kind then
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = OnGpu(parameter.clone())  # type: ignore[assignment]
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = OnGpu(buffer.clone())
    return module


@contextlib.contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """The device, for sessions to find."""
    if REAL:
        yield RealGpu()  # type: ignore[misc]
        return
    found = Gpu()
    monkeypatch.setattr(torch_session, "device_api", lambda torch, place: found)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    torch._C._ensureCUDADeviceGuardSet()  # one that does nothing, as for fake tensors
    with found:
        yield found


IDS = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
OTHERS = np.array([[2, 7, 1, 8, 2, 8, 1, 8]])


def session_of(module: torch.nn.Module) -> GraphSession:
    return GraphSession(torch, moved(module.eval()), PLACE, "it on torch:cuda:0")


def captured(module: torch.nn.Module) -> tuple[GraphSession, Any]:
    """A session on the pretended device, and the call that replays its graph on `IDS`."""
    session = session_of(module)
    try:
        return session, session.bind({"ids": IDS})
    except BaseException:
        session.close()
        raise
