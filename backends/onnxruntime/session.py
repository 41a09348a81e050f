"""A session of ONNX Runtime: its prepared calls, its outputs, and where its nodes ran."""

from __future__ import annotations

import ctypes
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from bench.backend import Feeds, Placement, TensorSpec
from bench.capabilities import QUERIES_PER_STREAM, Nanoseconds, TimeCalls
from bench.decoding import Decoder
from bench.errors import BenchError, OutOfMemory, SpecError, Unsupported

from ..shared.captured import captured_stderr
from ..shared.checks import Array, check_feeds, first_line, is_out_of_memory
from ..shared.values import array_type, decoded, is_decoded
from .messages import describe, reasons
from .native import NativeLoop
from .profile import computed_precision, profile, time_share
from .provider import lowered
from .recipe import INFORMATION, Recipe, elsewhere
from .steps import OrtSteps

#: Run option of CUDA and TensorRT: which captured graph to replay, and -1 to run without one
#: (onnxruntime_run_options_config_keys.h).
_GRAPH_ID = "gpu_graph_id"
_NO_GRAPH = {_GRAPH_ID: "-1"}


class OrtSession:
    """An `InferenceSession` whose calls are prepared through an `IOBinding`."""

    def __init__(self, recipe: Recipe, session: Any, device_id: str) -> None:
        self._recipe = recipe
        self._ort = recipe.ort
        self._session = session
        self._device_id = device_id
        self._where = recipe.where
        self._memory = recipe.provider.memory
        self._index = recipe.index if self._memory != "cpu" else 0
        self._graphs = 0
        self._captures = recipe.extra.get("cuda_graph") == "1"
        self._native: Optional[NativeLoop] = None
        self._pool: Optional[ThreadPoolExecutor] = None
        self._binding: Any = None
        self._kept: List[Any] = []
        self.inputs = [_spec(self._where, value) for value in session.get_inputs()]
        #: of every output its name and type; those that are no tensors of numbers are timed alone
        self._kinds = [(value.name, _kind(value.type)) for value in session.get_outputs()]
        self._plain = not any(is_decoded(kind) or not array_type(kind) for _, kind in self._kinds)
        self.outputs = [
            _output(value) for value in session.get_outputs() if array_type(_kind(value.type))
        ]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """An output is allocated on the device by the first call, and used again by later ones."""
        arrays = check_feeds(self._where, self.inputs, feeds)
        values = [self._value(array) for array in arrays]
        # A value on the CPU doesn't own its numbers, and before 1.32 the binding kept no reference.
        self._kept.append(values)
        binding, entries = self._bound(values)
        self._binding = binding
        call = self._prepared(binding, entries)
        if self._memory == "cpu":
            return call

        def synchronous() -> None:
            call()
            binding.synchronize_outputs()

        return synchronous

    def _bound(self, values: Sequence[Any]) -> Tuple[Any, Dict[str, str]]:
        """A binding of these inputs, and the run options that its calls need."""
        binding = self._session.io_binding()
        for spec, value in zip(self.inputs, values):
            binding.bind_ortvalue_input(spec.name, value)
        for name, kind in self._kinds:
            memory = self._memory if array_type(kind) and not is_decoded(kind) else "cpu"
            binding.bind_output(name, memory, self._index if memory == self._memory else 0)
        return binding, self._capture(binding) if self._captures else {}

    def _value(self, array: Array) -> Any:
        # On the CPU an OrtValue wraps the array that it is given, so that has to be a copy.
        own = np.array(array, order="C", copy=True)
        return self._ort.OrtValue.ortvalue_from_numpy(own, self._memory, self._index)

    def _capture(self, binding: Any) -> Dict[str, str]:
        """Run options under which the call records a CUDA graph once, then replays it.

        A graph holds addresses, so the outputs get buffers that stay; one inference without a
        graph tells how large they have to be.
        """
        self._refuse_other_types("a CUDA graph")
        self._session.run_with_iobinding(binding, self._run_options(_NO_GRAPH))
        binding.synchronize_outputs()
        for spec, value in zip(self.outputs, binding.get_outputs()):
            own = self._ort.OrtValue.ortvalue_from_shape_and_type(
                value.shape(), np.dtype(spec.dtype).type, self._memory, self._index
            )
            binding.bind_ortvalue_output(spec.name, own)
        self._graphs += 1
        return {_GRAPH_ID: str(self._graphs)}

    def _refuse_other_types(self, what: str) -> None:
        if not self._plain:
            raise Unsupported(f"{self._where}: {what} only accepts outputs of numpy's own types.")

    def _run_options(self, entries: Mapping[str, str]) -> Any:
        """The options of a run; None where it has none."""
        if not entries:
            return None
        options = self._ort.RunOptions()
        for key, value in entries.items():
            options.add_run_config_entry(key, value)
        return options

    def _prepared(self, binding: Any, entries: Mapping[str, str]) -> Callable[[], object]:
        """The cheapest call: past the public method's checks, which cost 0.3 to 0.5 us a call."""
        options = self._run_options(entries)
        try:
            return partial(self._session._sess.run_with_iobinding, binding._iobinding, options)
        except AttributeError:  # these names are private and may go
            return partial(self._session.run_with_iobinding, binding, options)

    def bind_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        """A thread for each stream; ONNX Runtime lets go of Python's lock while it computes."""
        if self._captures:
            raise Unsupported(f"{self._where}: a CUDA graph can't be replayed by several streams.")
        calls = [self.bind(feeds) for _ in range(streams)]
        pool = self._pool = ThreadPoolExecutor(streams)

        def stream(call: Callable[[], object]) -> None:
            for _ in range(QUERIES_PER_STREAM):
                call()

        def all_streams() -> None:
            for future in [pool.submit(stream, call) for call in calls]:
                future.result()

        return all_streams

    def native_timer(self, feeds: Feeds, time_calls: TimeCalls) -> Callable[[int], Nanoseconds]:
        """A loop of inferences through the C API, in a session of its own with the same options."""
        if self._recipe.provider.kind != "cpu":
            raise Unsupported(f"{self._where}: the native lane only runs on the CPU.")
        self._refuse_other_types("the native lane")
        check_feeds(self._where, self.inputs, feeds)
        recipe = self._recipe
        loop = self._native = NativeLoop(
            recipe.ort,
            recipe.model,
            recipe.settings,
            feeds,
            self.outputs,
            self.run(feeds),
        )
        return partial(loop.time, time_calls)

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> OrtSteps:
        """Each step takes up what the last one left where it is, on the device."""
        if self._captures:
            raise Unsupported(
                f"{self._where}: a CUDA graph has fixed lengths, but texts grow. Leave "
                "cuda_graph=1 out."
            )
        if self._recipe.sizes:
            raise Unsupported(f"{self._where}: it is compiled for fixed lengths, but texts grow.")
        kind = dict(self._kinds)[decoder.logits]
        return OrtSteps(
            self._ort,
            self._session,
            self._ort.OrtDevice.make(self._memory, self._index)._get_c_device(),
            partial(_numbers, kind=kind),
            self._where,
            decoder,
            batch,
            capacity,
        )

    def fetch(self) -> list[Array]:
        if self._native is not None:
            return [np.array(array) for array in self._native.outputs]
        values = self._binding.get_outputs() if self._binding is not None else []
        # Copying out what was never allocated would crash the process.
        if not values or not all(value.has_value() for value in values):
            raise BenchError(f"{self._where}: no output yet; bind inputs and call first.")
        return self._arrays(values)

    def run(self, feeds: Feeds) -> list[Array]:
        check_feeds(self._where, self.inputs, feeds)
        options = self._run_options(_NO_GRAPH if self._captures else {})
        try:
            if self._plain:
                return list(self._session.run(None, dict(feeds), options))
            from_array = self._ort.OrtValue.ortvalue_from_numpy
            given = {name: from_array(np.array(array, order="C")) for name, array in feeds.items()}
            return self._arrays(self._session.run_with_ort_values(None, given, options))
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"{self._where}: {first_line(error)}. Use less.") from error
            if "INVALID_ARGUMENT" in str(error):
                names = ", ".join(feeds)
                raise SpecError(
                    f"{self._where}: the values of {names} are rejected: {first_line(error)}."
                ) from error
            raise

    def _arrays(self, values: Sequence[Any]) -> List[Array]:
        """Copies of the outputs that are tensors of numbers."""
        return [
            _numbers(value, kind)
            for value, (_, kind) in zip(values, self._kinds)
            if array_type(kind)
        ]

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        check_feeds(self._where, self.inputs, feeds)
        if self._captures:
            raise Unsupported(
                f"{self._where}: the usual call binds the host's memory, which a CUDA graph can't "
                "hold. Leave out cuda_graph=1 or --lane api."
            )
        own = {name: array.copy() for name, array in feeds.items()}
        return partial(self._session.run, None, own)

    def placement(self) -> Placement:
        """Old releases can't tell: there only the strict session option vouches, without counts."""
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            return Placement({}, "onnxruntime: session.disable_cpu_ep_fallback")
        nodes: Counter[str] = Counter()
        for part in self._session.get_provider_graph_assignment_info():
            nodes[self._place(part.ep_name)] += len(part.get_nodes())
        off = tuple(describe(node, {}) for node in elsewhere(self._session, self._recipe))
        precision = lowered(self._recipe.provider, self._recipe.extra)
        source = "onnxruntime: get_provider_graph_assignment_info"
        return Placement(dict(nodes), source, off, precision)

    def profiled_placement(self, feeds: Feeds) -> Placement:
        """With the precision and each device's share of the time, from the profile of a few
        inferences of a further session with the same options; and, where the log of making it
        says so, why nodes are elsewhere."""
        check_feeds(self._where, self.inputs, feeds)
        recipe, found = self._recipe, self.placement()
        why: Dict[str, str] = {}
        if found.off_device:
            with captured_stderr() as lines:
                recipe.open(recipe.session_options(INFORMATION))
            why = reasons(lines)
        events = profile(recipe.open, recipe.session_options(), feeds)
        provider = recipe.ep if recipe.provider.asynchronous else ""
        share: Counter[str] = Counter()
        for name, fraction in time_share(events, provider).items():
            share[self._place(name)] += fraction  # type: ignore[assignment]
        off = tuple(describe(node, why) for node in elsewhere(self._session, recipe))
        precision = found.precision or computed_precision(events)
        source = f"{found.source}; a profile of its inferences" if share else found.source
        return Placement(found.nodes, source, off, precision, dict(share))

    def _place(self, provider: str) -> str:
        """The device that a provider stands for; one that nobody asked for keeps its name."""
        if provider == self._recipe.ep:
            return self._device_id
        return "cpu" if provider == "CPUExecutionProvider" else provider

    def close(self) -> None:
        if self._native is not None:
            self._native.close()
        self._native = None
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None
        self._binding = None
        self._kept.clear()
        self._session = None


class OnDeviceSession(OrtSession):
    """One whose bound inputs and outputs lie in the device's memory."""

    def copy_times(self, feeds: Feeds, repeats: int) -> Mapping[str, List[int]]:
        """Nanoseconds of copying all inputs to the device and all outputs back, each on its own."""
        arrays = check_feeds(self._where, self.inputs, feeds)
        hosts = [np.ascontiguousarray(array) for array in arrays]
        values = [self._value(array) for array in arrays]
        results = [self._value(array) for array in self.run(feeds)]
        times: Dict[str, List[int]] = {"h2d_ns": [], "d2h_ns": []}
        for _ in range(repeats):
            started = time.perf_counter_ns()
            for value, host in zip(values, hosts):
                value.update_inplace(host)
            between = time.perf_counter_ns()
            for result in results:
                result.numpy()
            times["h2d_ns"].append(between - started)
            times["d2h_ns"].append(time.perf_counter_ns() - between)
        return times


def _kind(text: str) -> str:
    """``float`` of ``tensor(float)``; what is no tensor keeps its name."""
    match = re.fullmatch(r"tensor\((\w+)\)", text)
    return match[1] if match else text


def _output(value: Any) -> TensorSpec:
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in value.shape)
    return TensorSpec(value.name, array_type(_kind(value.type)), shape)


def _numbers(value: Any, kind: str) -> Array:
    """What a tensor holds, types that numpy lacks as float32."""
    if not is_decoded(kind):
        return np.array(value.numpy())
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return decoded(np.frombuffer(raw, np.uint8), kind).reshape(value.shape())


def _spec(where: str, value: Any) -> TensorSpec:
    """``tensor(float)`` and dimensions that are numbers, names or None."""
    kind = _kind(value.type)
    if is_decoded(kind) or not array_type(kind):
        raise Unsupported(
            f"{where}: the input {value.name!r} is a {value.type}, which numpy does not have."
        )
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in value.shape)
    return TensorSpec(value.name, array_type(kind), shape)
