"""A PyTorch module on a device, fed and timed; on others than the CPU, with what only they need."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, Mapping, Optional, Sequence

import numpy as np

from bench.backend import Feeds, Placement, TensorSpec
from bench.capabilities import QUERIES_PER_STREAM, DeviceTime
from bench.decoding import Decoder
from bench.errors import BenchError, OutOfMemory, SpecError, Unsupported

from ..shared.busy import SEVERAL_STREAMS, Queue, device_time
from ..shared.checks import Array, check_feeds, describe_feeds, first_line, memory_error
from .device import device_api, timed_api
from .module import parameter_names, precision_of
from .steps import TorchSteps
from .tensors import flatten, recording


@dataclass(frozen=True)
class Launch:
    """What puts all the work of a bound call into the current stream and doesn't wait for it; None
    where several streams share the work."""

    queue: Optional[Queue]


class TorchSession:
    """A module in eager mode. Inference mode is entered once, not per call, and left by `close`.

    ``copy_times``, ``device_time`` and ``bind_streams`` (`bench.capabilities`) it has on devices
    other than the CPU.
    """

    def __init__(self, torch: ModuleType, module: Any, place: Any, where: str) -> None:
        self._torch = torch
        self._module = module
        self._place = place
        self._where = where
        self._forward: Any = module
        #: what bound calls run: another thing where a call overwrites what the last one returned
        self._bound_forward: Any = module
        self._bound: Optional[Bound] = None
        if place.type != "cpu":
            self._api = device_api(torch, place)
            self.copy_times = self._time_copies
            self.device_time = self._time_device
            self.bind_streams = self._launch_into_streams
        self._launch: Optional[Launch] = None
        self._inputs_seen: Sequence[Any] = ()
        self._arrays_seen: Sequence[Array] = ()
        #: what has the bound call work on copies of its inputs from now on
        self._protect: Callable[[], None] = _nothing
        #: whether a forward pass writes into its inputs, as far as one has shown it
        self._writes = False
        self._closed = False
        self._threads = torch.get_num_threads()
        self.inputs = [TensorSpec(name, "", ()) for name in parameter_names(module, where)]
        self.outputs: list[TensorSpec] = []
        _inference_mode.enter(torch)

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Only the first call tells whether the module takes these inputs, or writes into them;
        `placement` looks, and has later calls work on copies then, so that each computes the same.
        """
        tensors = self._tensors(feeds)
        self._bound = bound = Bound()
        forward = self._bound_forward
        fed = describe_feeds(feeds)

        def protect() -> None:
            nonlocal forward
            forward = on_copies(forward)

        self._protect = protect
        if self._writes:
            protect()

        def call() -> None:
            try:
                bound.result = forward(*tensors)
            except Exception as error:
                raise self._refusal(error, fed) from error

        if self._place.type == "cpu":
            return call
        wait = self._api.current_stream(self._place).synchronize

        def synchronous() -> None:
            call()
            wait()

        self._launch = Launch(call)
        return synchronous

    def _launch_into_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        """One thread launches into so many of the device's streams in turn."""
        tensors, api = self._tensors(feeds), self._api
        self._bound = bound = Bound()
        forward, fed = self._forward, describe_feeds(feeds)
        lanes = [api.Stream(device=self._place) for _ in range(streams)]
        api.synchronize(self._place)  # the inputs are there before any stream begins

        def call() -> None:
            try:
                for _ in range(QUERIES_PER_STREAM):
                    for lane in lanes:
                        with api.stream(lane):
                            bound.result = forward(*tensors)
            except Exception as error:
                raise self._refusal(error, fed) from error
            for lane in lanes:
                lane.synchronize()

        self._launch = Launch(None)
        return call

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> TorchSteps:
        """The tensors that a pass returns are what the next one is given, or the module keeps
        them."""
        cached = getattr(self._module, "cached_steps", None)
        return self._steps(self._module, decoder, batch, capacity, cached)

    def _steps(
        self, forward: Any, decoder: Decoder, batch: int, capacity: int, cached: Any = None
    ) -> TorchSteps:
        return TorchSteps(
            self._torch,
            forward,
            cached,
            [spec.name for spec in self.inputs],
            self._place,
            self._step_error,
            self._where,
            decoder,
            batch,
            capacity,
        )

    def fetch(self) -> list[Array]:
        if self._bound is None or self._bound.result is None:
            raise BenchError(f"{self._where}: no output yet; bind inputs and call first.")
        return self._to_numpy(self._bound.result)

    def run(self, feeds: Feeds) -> list[Array]:
        return self._to_numpy(self._call_once(self._tensors(feeds), feeds))

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        """From numpy to numpy, with inference mode entered in each call."""
        self._tensors(feeds)
        arrays = [np.array(feeds[spec.name], order="C") for spec in self.inputs]
        torch, forward, place = self._torch, self._forward, self._place
        fed = describe_feeds(feeds)

        def protect() -> None:
            nonlocal forward
            forward = on_copies(forward)
            for array, kept in zip(arrays, self._arrays_seen):
                array[...] = kept

        self._protect = protect

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
            raise BenchError(f"{self._where}: bind inputs first; torch places nodes at run time.")
        nodes: Counter[str] = Counter()
        elsewhere = []
        copies = [tensor.clone() for tensor in self._inputs_seen]
        with recording(self._torch) as record:
            self._module(*copies)
        self._look_for_writes(copies)
        self._look_at_threads()
        for operator, place in record:
            nodes[place] += 1
            if place != str(self._place):
                elsewhere.append(f"{operator} ({place})")
        source = "torch: TorchDispatchMode over one forward pass"
        return Placement(dict(nodes), source, tuple(elsewhere), precision_of(self._module))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._bound = self._launch = None
            self._inputs_seen = self._arrays_seen = ()
            self._protect = _nothing
            self._module = self._forward = self._bound_forward = None
            _inference_mode.leave()

    def _tensors(self, feeds: Feeds) -> list[Any]:
        """Copies of the arrays on the device, in the order of the module's parameters."""
        if not {spec.name for spec in self.inputs}.issuperset(feeds):
            names = parameter_names(self._module, self._where, feeds)
            self.inputs = [TensorSpec(name, "", ()) for name in names]
        arrays = check_feeds(self._where, self.inputs, feeds)
        try:
            tensors = [
                self._torch.from_numpy(np.array(a, order="C")).to(self._place) for a in arrays
            ]
        except Exception as error:
            raise self._refusal(error, describe_feeds(feeds)) from error
        self._inputs_seen, self._arrays_seen = tensors, [np.array(a) for a in arrays]
        return tensors

    def _look_for_writes(self, given: Sequence[Any]) -> None:
        """Have bound calls work on copies where the pass that got the tensors ``given``, or an
        earlier one, wrote into its inputs; these are what they were again."""
        for tensors in (given, self._inputs_seen):
            for tensor, array in zip(tensors, self._arrays_seen):
                if _to_array(self._torch, tensor).tobytes() != array.tobytes():
                    self._writes = True
                    tensor.copy_(self._torch.from_numpy(array))
        if self._writes:
            self._protect()
            self._protect = _nothing

    def _look_at_threads(self) -> None:
        """Raise `Unsupported` where the module itself set how many threads compute."""
        if self._torch.get_num_threads() != self._threads:
            raise Unsupported(
                f"{self._where}: its forward sets torch's number of threads to "
                f"{self._torch.get_num_threads()}, so it can't be measured with {self._threads}. "
                "Remove that call."
            )

    def _time_copies(self, feeds: Feeds, repeats: int) -> Mapping[str, list[int]]:
        """Times in ns of copying all inputs to the device and all outputs back, on its own clock,
        ``repeats`` of each, between events. The host's memory is page-locked."""
        torch, api = self._torch, self._api
        arrays = check_feeds(self._where, self.inputs, feeds)
        times: dict[str, list[int]] = {"h2d_ns": [], "d2h_ns": []}
        try:
            sources = [torch.from_numpy(np.array(a, order="C")).pin_memory() for a in arrays]
            inputs = [source.to(self._place) for source in sources]
            outputs = [t for _, t in flatten(torch, "output", self._forward(*inputs))]
            hosts = [torch.empty_like(t, device="cpu", pin_memory=True) for t in outputs]
            start, between, end = (api.Event(enable_timing=True) for _ in range(3))
            for _ in range(repeats):
                start.record()
                for tensor, source in zip(inputs, sources):
                    tensor.copy_(source, non_blocking=True)
                between.record()
                for host, tensor in zip(hosts, outputs):
                    host.copy_(tensor, non_blocking=True)
                end.record()
                end.synchronize()
                # in ms (torch.cuda.Event.elapsed_time)
                times["h2d_ns"].append(round(start.elapsed_time(between) * 1e6))
                times["d2h_ns"].append(round(between.elapsed_time(end) * 1e6))
        except Exception as error:
            raise self._refusal(error, describe_feeds(feeds)) from error
        return times

    def _time_device(self, calls: int) -> DeviceTime:
        """See `busy`; of what is bound."""
        if self._launch is None:
            raise BenchError(f"{self._where}: no inputs are bound, so there is no work to time.")
        if self._launch.queue is None:
            raise BenchError(f"{self._where}: {SEVERAL_STREAMS}.")
        return device_time(timed_api(self._torch, self._place), self._launch.queue, calls)

    def _call_once(self, tensors: list[Any], feeds: Feeds) -> Any:
        try:
            return self._forward(*tensors)
        except Exception as error:
            raise self._refusal(error, describe_feeds(feeds)) from error

    def _step_error(self, error: Exception, what: str) -> BenchError:
        return self._refusal(error, what)

    def _refusal(self, error: Exception, fed: str) -> BenchError:
        if isinstance(error, BenchError):
            return error
        rejected = SpecError(f"{self._where}: it rejected {fed}: {first_line(error)}.")
        return self._out_of_memory(error) or rejected

    def _out_of_memory(self, error: Exception) -> Optional[OutOfMemory]:
        """Where that is what an error comes from."""
        ran_out = memory_error(error)
        if ran_out is None:
            return None
        return OutOfMemory(f"{self._where}: {first_line(ran_out)}. Use a smaller batch.")

    def _to_numpy(self, result: Any) -> list[Array]:
        named = list(flatten(self._torch, "output", result))
        if not named:
            kind = type(result).__name__
            raise Unsupported(f"{self._where}: its forward returned a {kind}, not tensors.")
        arrays = [_to_array(self._torch, tensor) for _, tensor in named]
        self.outputs = [
            TensorSpec(name, array.dtype.name, (-1,) * array.ndim)
            for (name, _), array in zip(named, arrays)
        ]
        return arrays


def on_copies(forward: Any) -> Any:
    """``forward`` on copies of what it is given: the copies are part of each call then, since the
    module can't be called again without."""
    return lambda *tensors: forward(*[tensor.clone() for tensor in tensors])


def _nothing() -> None:
    """There is no bound call to protect."""


class Bound:
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
_NUMPY_FLOATS = ("float16", "float32", "float64")


def _to_array(torch: ModuleType, tensor: Any) -> Array:
    """A copy as numpy has it; bfloat16 and float8, which numpy lacks, as float32."""
    if tensor.is_floating_point() and str(tensor.dtype).partition(".")[2] not in _NUMPY_FLOATS:
        tensor = tensor.float()
    return np.array(tensor.detach().cpu().numpy())
