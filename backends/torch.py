"""PyTorch in eager mode, on the CPU and on CUDA.

A model is a Python file with a factory, and safetensors weights. A module doesn't declare the
types and shapes of its inputs, so the specs of a session hold names alone (dtype ``""``), and
those of the outputs follow from the first outputs. There are no options behind ``?``.
"""

from __future__ import annotations

import contextlib
import platform
from collections import Counter
from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping, Optional, Sequence

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.errors import BenchError, OutOfMemory, SpecError, Unsupported

from .checks import (
    Array,
    check_feeds,
    describe_feeds,
    first_line,
    is_out_of_memory,
    read_extra,
)
from .host import cpu_device
from .torch_module import cuda_devices, import_torch, load_module, parameter_names, precision_of


class TorchEager:
    """Adapter to ``torch``."""

    name: ClassVar[str] = "torch"
    forms: ClassVar[tuple[str, ...]] = ("torch",)
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16")
    preload: ClassVar[tuple[str, ...]] = ("torch", "safetensors.torch")
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
        # numpy's BLAS would start threads on import, which the fork server must not have. On other
        # machines torch itself computes with OpenBLAS.
        **({"OPENBLAS_NUM_THREADS": "1"} if platform.machine() in ("x86_64", "AMD64") else {}),
    }

    def version(self) -> str:
        return str(import_torch(self.name).__version__)

    def devices(self) -> list[Device]:
        torch = import_torch(self.name)
        return [cpu_device(), *cuda_devices(torch)]

    def compile(self, model: ModelFile, device: Device, options: Options) -> TorchSession:
        torch = import_torch(self.name)
        read_extra(f"{self.name}:{device.id}", options.extra, {})
        place, module = load_module(torch, model, self.name, device.id, options.threads)
        return TorchSession(torch, module, place, f"{model.name} on {self.name}:{device.id}")


class TorchSession:
    """A module in eager mode. Inference mode is entered once, not per call, and left by `close`."""

    def __init__(self, torch: ModuleType, module: Any, place: Any, where: str) -> None:
        self._torch = torch
        self._module = module
        self._place = place
        self._where = where
        self._forward: Any = module
        self._bound: Optional[_Bound] = None
        self._inputs_seen: Sequence[Any] = ()
        self._closed = False
        self.inputs = [TensorSpec(name, "", ()) for name in parameter_names(module, where)]
        self.outputs: list[TensorSpec] = []
        _inference_mode.enter(torch)

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Only the first call tells whether the module takes these inputs."""
        tensors = self._tensors(feeds)
        self._bound = bound = _Bound()
        forward = self._forward
        fed = describe_feeds(feeds)

        def call() -> None:
            try:
                bound.result = forward(*tensors)
            except Exception as error:
                raise self._refusal(error, fed) from error

        if self._place.type == "cpu":
            return call
        wait = self._torch.cuda.current_stream(self._place).synchronize

        def synchronous() -> None:
            call()
            wait()

        return synchronous

    def fetch(self) -> list[Array]:
        if self._bound is None or self._bound.result is None:
            raise BenchError(f"{self._where}: there is no output yet; bind inputs and call first.")
        return self._to_numpy(self._bound.result)

    def run(self, feeds: Feeds) -> list[Array]:
        return self._to_numpy(self._call_once(self._tensors(feeds), feeds))

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        """From numpy to numpy, with inference mode entered in each call."""
        self._tensors(feeds)
        arrays = [np.array(feeds[spec.name], order="C") for spec in self.inputs]
        torch, forward, place = self._torch, self._forward, self._place
        fed = describe_feeds(feeds)

        def call() -> object:
            try:
                with torch.inference_mode():
                    result = forward(*[torch.from_numpy(a).to(place) for a in arrays])
            except Exception as error:
                raise self._refusal(error, fed) from error
            return self._to_numpy(result)

        return call

    def placement(self) -> Placement:
        """Counts the operators of one more forward pass, by the device of what they return."""
        if not self._inputs_seen:
            raise BenchError(f"{self._where}: bind inputs first; torch places while it runs.")
        nodes: Counter[str] = Counter()
        elsewhere = []
        with _recording(self._torch) as record:
            self._module(*self._inputs_seen)
        for operator, place in record:
            nodes[place] += 1
            if place != str(self._place):
                elsewhere.append(f"{operator} ({place})")
        source = "torch: TorchDispatchMode over one forward pass"
        return Placement(dict(nodes), source, tuple(elsewhere), precision_of(self._module))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._bound = None
            self._inputs_seen = ()
            self._module = self._forward = None
            _inference_mode.leave()

    def _tensors(self, feeds: Feeds) -> list[Any]:
        """Copies of the arrays on the device, in the order of the module's parameters."""
        arrays = check_feeds(self._where, self.inputs, feeds)
        try:
            tensors = [
                self._torch.from_numpy(np.array(a, order="C")).to(self._place) for a in arrays
            ]
        except Exception as error:
            raise self._refusal(error, describe_feeds(feeds)) from error
        self._inputs_seen = tensors
        return tensors

    def _call_once(self, tensors: list[Any], feeds: Feeds) -> Any:
        try:
            return self._forward(*tensors)
        except Exception as error:
            raise self._refusal(error, describe_feeds(feeds)) from error

    def _refusal(self, error: Exception, fed: str) -> BenchError:
        if isinstance(error, BenchError):
            return error
        if is_out_of_memory(error):
            return OutOfMemory(f"{self._where}: {first_line(error)}. Use a smaller batch.")
        return SpecError(f"{self._where}: it refused {fed}: {first_line(error)}.")

    def _to_numpy(self, result: Any) -> list[Array]:
        named = list(_flatten(self._torch, "output", result))
        if not named:
            kind = type(result).__name__
            raise Unsupported(f"{self._where}: its forward returned a {kind}, no tensors.")
        arrays = [_to_array(self._torch, tensor) for _, tensor in named]
        self.outputs = [
            TensorSpec(name, array.dtype.name, (-1,) * array.ndim)
            for (name, _), array in zip(named, arrays)
        ]
        return arrays


class _Bound:
    """Where a bound call leaves its result."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: Any = None


class _InferenceMode:
    """torch's inference mode, shared by all open sessions: the first enters, the last leaves.

    It nests, so that two sessions closed in the order of their opening would leave it switched
    the wrong way.
    """

    def __init__(self) -> None:
        self._open = 0
        self._mode: Any = None

    def enter(self, torch: ModuleType) -> None:
        if self._open == 0:
            self._mode = torch.inference_mode()
            self._mode.__enter__()
        self._open += 1

    def leave(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._mode.__exit__(None, None, None)


_inference_mode = _InferenceMode()


def _flatten(torch: ModuleType, name: str, value: Any) -> Any:
    """Every tensor in nested tuples, lists and mappings, with a name."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(torch, str(key), item)
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from _flatten(torch, f"{name}_{index}", item)


def _to_array(torch: ModuleType, tensor: Any) -> Array:
    """A copy as numpy has it; bfloat16, which numpy lacks, as float32."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.array(tensor.detach().cpu().numpy())


@contextlib.contextmanager
def _recording(torch: ModuleType) -> Any:
    """A list that fills with (operator, device of its result) while the context lasts."""
    from torch.utils._python_dispatch import TorchDispatchMode

    record: list[tuple[str, str]] = []

    class Recorder(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            for _, tensor in _flatten(torch, "", result):
                record.append((str(func), str(tensor.device)))
                break
            return result

    with Recorder():
        yield record
