"""A GPU without one: tensors on another device, and graphs that refuse what CUDA's do.

The device is called ``meta``, since torch's build for the CPU knows no ``cuda``. (There
``torch.tensor(..., device="meta")`` has no values, so that way to make one is for a GPU to test.)

Each pretended tensor holds a real one on the CPU. As on a GPU an operator takes tensors of one
device (besides CPU tensors of no dimension, which are numbers to it), and while a graph is captured
no copy from the CPU and no look at a value is allowed. What is captured is a list of operators on
the memory that they used; a replay runs them again on that memory, and on nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

COPY = (
    "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is "
    "pinned. Please use tensor.pin_memory()"
)
SYNC = "CUDA error: operation not permitted when stream is capturing"
PLACE = torch.device("meta")


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
        self.capturing: list[tuple[Any, Any, Any, Any]] | None = None
        self.copied = 0  #: copies from the CPU

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
        to_cpu = any(device.type == "cpu" for device in wanted)
        given, named = _held(args), {key: _held(value) for key, value in kwargs.items()}
        result = func(*given, **named)
        if to_cpu or not isinstance(result, (torch.Tensor, tuple, list)):
            self._not_now(SYNC)
            return result
        if func._schema.name.endswith("_") and args and isinstance(args[0], OnGpu):
            self._note(func, given, named, None)
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

    def _not_now(self, why: str) -> None:
        if self.capturing is not None:
            raise RuntimeError(why)

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        if self.capturing is not None:
            self.capturing.append((func, args, kwargs, result))

    # -- what a session uses of torch.cuda ---------------------------------------------------------

    class CUDAGraph:
        """What was captured."""

        def __init__(self) -> None:
            self.done: list[tuple[Any, Any, Any, Any]] = []

        def replay(self) -> None:
            for func, args, kwargs, result in self.done:
                again = func(*args, **kwargs)
                for kept, new in zip(_flat([result]), _flat([again]), strict=True):
                    if isinstance(kept, torch.Tensor) and kept.data_ptr() != new.data_ptr():
                        kept.copy_(new)

    @contextlib.contextmanager
    def graph(self, graph: CUDAGraph) -> Iterator[None]:
        """Capture into it."""
        self.capturing = graph.done
        try:
            yield
        finally:
            self.capturing = None

    def Stream(self, device: Any) -> Any:
        return SimpleNamespace(wait_stream=lambda other: None, synchronize=lambda: None)

    def current_stream(self, device: Any) -> Any:
        return self.Stream(device)

    def stream(self, stream: Any) -> Any:
        return contextlib.nullcontext()

    def synchronize(self, device: Any) -> None: ...


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
    """The module with its parameters and buffers on the pretended device."""
    with torch.inference_mode():  # as sessions are: what is cut from them is of one kind then
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = OnGpu(parameter.clone())  # type: ignore[assignment]
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = OnGpu(buffer.clone())
    return module
