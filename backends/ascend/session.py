"""A session on an Ascend device: an offline model fed, executed and timed through pyACL."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Callable, Mapping, Optional, Sequence, Tuple

import numpy as np

from bench.backend import Feeds, Placement
from bench.capabilities import DeviceTime
from bench.decoding import Decoder
from bench.errors import BenchError, Unsupported

from ..shared.checks import Array, check_feeds
from .acl import Acl, Held
from .device import DEVICE_TO_HOST, HOST_TO_DEVICE, HOST_TO_HOST, PROCESS
from .model import OfflineModel, Slot
from .steps import AscendSteps

#: For a decoder, a batch and a capacity: the compiled model, its outputs' names, and its gears.
Compiled = Callable[[Decoder, int, int], Tuple[Path, Sequence[str], Tuple[int, ...]]]


@dataclass
class Tensor:
    """Memory of one input or output."""

    slot: Slot
    pointer: int
    buffer: int
    shape: tuple[int, ...] = ()
    freed: int = 0  #: what the buffer may still point to, though it is freed

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.slot.spec.dtype).itemsize


@dataclass
class Bound:
    """Inputs that lie on the device, and room for outputs: two datasets."""

    inputs: int
    outputs: int
    taken: list[Tensor] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)
    called: bool = False


class AscendSession:
    """A model loaded from a ``.om`` file, on a stream of its own."""

    def __init__(
        self, acl: Acl, index: int, om: Path, precision: str, outputs: Sequence[str] = ()
    ) -> None:
        """``outputs`` are what the ONNX file calls its outputs."""
        self._acl = acl
        self._steps: Optional[Compiled] = None
        self._device_id = f"npu:{index}"
        self._precision = precision
        self._bound: Optional[Bound] = None
        self._held = Held()
        try:
            self._npu = PROCESS.acquire(acl, index)
            self._held.keep(PROCESS.release, self._npu)
            self._npu.use()
            self._stream: int = acl.get("rt.create_stream")
            self._held.keep(acl.do, "rt.destroy_stream", self._stream)
            self._model = OfflineModel(acl, om, self._held, outputs)
        except BaseException:
            self._held.release()  # the first error is the one to tell
            raise
        self.inputs = [slot.spec for slot in self._model.taken]
        self.outputs = [slot.spec for slot in self._model.given]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Copies the inputs to the device; what is timed starts the model and waits for its end."""
        self._bound = bound = self._prepare(feeds, self._held)
        execute = self._acl.function("mdl.execute_async")
        synchronize = self._acl.function("rt.synchronize_stream")
        model, inputs, outputs, stream = self._model.id, bound.inputs, bound.outputs, self._stream
        unbounded = [tensor for tensor in bound.given if not tensor.slot.size]

        def call() -> None:
            if unbounded:
                self._drop(unbounded)
            code = execute(model, inputs, outputs, stream)
            if code:
                raise self._acl.error("mdl.execute_async", code)
            code = synchronize(stream)
            if code:
                raise self._acl.error("rt.synchronize_stream", code)
            bound.called = True

        return call

    def compiles_steps(self, steps: Compiled) -> None:
        """How `decoding` gets its model, for which another file is compiled."""
        self._steps = steps

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> AscendSteps:
        """Two sets of device buffers hold the state in turn; gears are the sizes of a step."""
        if self._steps is None:
            raise Unsupported(f"{self._acl.where}: it was loaded for single inferences.")
        om, outputs, gears = self._steps(decoder, batch, capacity)
        return AscendSteps(
            self._acl,
            self._npu,
            self._stream,
            om,
            outputs,
            gears,
            self._held,
            decoder,
            batch,
            capacity,
        )

    def fetch(self) -> list[Array]:
        if self._bound is None or not self._bound.called:
            raise BenchError(f"{self._acl.where}: no output yet; bind inputs and call first.")
        self._npu.use()
        return [self._read(self._bound, tensor) for tensor in self._bound.given]

    def run(self, feeds: Feeds) -> list[Array]:
        held = Held()
        try:
            bound = self._prepare(feeds, held)
            self._execute(bound)
            outputs = [self._read(bound, tensor) for tensor in bound.given]
        except BaseException:
            held.release()
            raise
        held.close()
        return outputs

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        """From numpy to numpy with `acl.mdl.execute`, as Huawei's samples do it."""
        bound = self._prepare(feeds, self._held)
        arrays = [feeds[tensor.slot.spec.name] for tensor in bound.taken]

        def call() -> list[Array]:
            for tensor, array in zip(bound.taken, arrays):
                self._npu.write(tensor.pointer, tensor.slot.size, array.tobytes())
            self._execute(bound)
            return [self._read(bound, tensor) for tensor in bound.given]

        return call

    def copy_times(self, feeds: Feeds, repeats: int) -> Mapping[str, list[int]]:
        """Times in ns on the device's own clock, ``repeats`` of each: ``h2d_ns``, ``d2h_ns`` for
        all inputs and all outputs, and ``compute_ns`` between. Host memory is page-locked."""
        held = Held()
        try:
            times = self._time_copies(self._prepare(feeds, held), repeats, held)
        except BaseException:
            held.release()
            raise
        held.close()
        return times

    def device_time(self, calls: int) -> DeviceTime:
        """Of what is bound, between events on its stream. A model is launched as a whole, but
        whatever its device waits for in between is in that."""
        if self._bound is None:
            raise BenchError(
                f"{self._acl.where}: no inputs are bound, so there is no work to time."
            )
        held = Held()
        try:
            spans_ms = self._spans(self._bound, calls, held)
        except BaseException:
            held.release()
            raise
        held.close()
        return DeviceTime(median(spans_ms) * 1e6, gaps=True)

    def placement(self) -> Placement:
        """An offline model is loaded and executed on one device as a whole."""
        source = "ascend: acl.mdl.load_from_file, an offline model is one unit on the device"
        return Placement({self._device_id: 1}, source, precision=self._precision)

    def close(self) -> None:
        self._bound = None
        held, self._held = self._held, Held()
        if held.empty:
            return
        try:
            self._npu.use()
        finally:
            held.close()

    def _prepare(self, feeds: Feeds, owner: Held) -> Bound:
        """Datasets with ``feeds`` on the device; ``owner`` takes what was acquired."""
        arrays = check_feeds(self._acl.where, self.inputs, feeds)
        model, held = self._model, Held()
        model.check_batch(arrays)
        try:
            self._npu.use()
            bound = Bound(self._dataset(held), self._dataset(held))
            for slot, array in zip(model.taken, arrays):
                bound.taken.append(self._add(bound.inputs, slot, array.shape, held))
                self._npu.write(bound.taken[-1].pointer, slot.size, array.tobytes())
            if model.gear_slot is not None:
                # atc puts it behind the model's own inputs.
                self._add(bound.inputs, model.gear_slot, (), held)
                model.set_batch(bound.inputs, arrays)
            for slot in model.given:
                shape = model.output_shape(slot)
                bound.given.append(self._add(bound.outputs, slot, shape, held))
        except BaseException:
            held.release()
            raise
        owner.absorb(held)
        return bound

    def _dataset(self, held: Held) -> int:
        dataset = self._acl.handle("mdl.create_dataset")
        held.keep(self._acl.do, "mdl.destroy_dataset", dataset)
        return dataset

    def _add(self, dataset: int, slot: Slot, shape: tuple[int, ...], held: Held) -> Tensor:
        """Memory in a buffer in the dataset. An output without a bound gets none: the runtime
        allocates it, and whoever read it frees it (pyACL: `acl.mdl.execute`)."""
        pointer = self._npu.malloc(slot.size, held) if slot.size else 0
        buffer = self._acl.handle("create_data_buffer", pointer, slot.size)
        held.keep(self._acl.do, "destroy_data_buffer", buffer)
        tensor = Tensor(slot, pointer, buffer, shape)
        if not slot.size:
            held.keep(self._drop, [tensor])
        self._acl.get("mdl.add_dataset_buffer", dataset, buffer)
        return tensor

    def _drop(self, unbounded: list[Tensor]) -> None:
        """Free what the runtime allocated for outputs, so that it can allocate again."""
        for tensor in unbounded:
            pointer = self._acl.ask("get_data_buffer_addr", tensor.buffer)
            if pointer and pointer != tensor.freed:
                self._acl.do("rt.free", pointer)
                tensor.freed = pointer
                self._acl.do("update_data_buffer", tensor.buffer, 0, 0)
                tensor.freed = 0

    def _execute(self, bound: Bound) -> None:
        """One synchronous inference."""
        self._drop([tensor for tensor in bound.given if not tensor.slot.size])
        self._acl.do("mdl.execute", self._model.id, bound.inputs, bound.outputs)

    def _read(self, bound: Bound, tensor: Tensor) -> Array:
        """An output, copied to the host."""
        pointer = tensor.pointer
        if not tensor.slot.size:
            pointer = self._acl.handle("get_data_buffer_addr", tensor.buffer)
            tensor = replace(tensor, shape=self._actual_shape(bound, tensor.slot))
        if not tensor.nbytes:
            return np.empty(tensor.shape, tensor.slot.spec.dtype)
        data = self._npu.read(pointer, tensor.nbytes)
        return np.frombuffer(data, tensor.slot.spec.dtype).reshape(tensor.shape).copy()

    def _actual_shape(self, bound: Bound, slot: Slot) -> tuple[int, ...]:
        """What the last execution made of an output without a bound."""
        desc = self._acl.handle("mdl.get_dataset_tensor_desc", bound.outputs, slot.index)
        rank = self._acl.ask("get_tensor_desc_num_dims", desc)
        return tuple(self._acl.get("get_tensor_desc_dim_v2", desc, axis) for axis in range(rank))

    def _spans(self, bound: Bound, calls: int, held: Held) -> list[float]:
        """The time of each of so many executions on the device's own clock, in ms."""
        acl, stream = self._acl, self._stream
        self._npu.use()
        start, end = _event(acl, held), _event(acl, held)
        # Should a call below fail, work must have ended before its events are destroyed.
        held.keep(acl.do, "rt.synchronize_stream", stream)
        spans_ms = []
        for _ in range(calls):
            self._drop([tensor for tensor in bound.given if not tensor.slot.size])
            acl.do("rt.record_event", start, stream)
            acl.do("mdl.execute_async", self._model.id, bound.inputs, bound.outputs, stream)
            acl.do("rt.record_event", end, stream)
            acl.do("rt.synchronize_stream", stream)
            spans_ms.append(float(acl.get("rt.event_elapsed_time", start, end)))
        return spans_ms

    def _time_copies(self, bound: Bound, repeats: int, held: Held) -> dict[str, list[int]]:
        acl, npu, stream = self._acl, self._npu, self._stream
        outputs = [tensor for tensor in bound.given if tensor.slot.size]
        hosts = {
            id(tensor): npu.malloc_host(tensor.slot.size, held)
            for tensor in [*bound.taken, *outputs]
        }
        for tensor in bound.taken:
            data = npu.read(tensor.pointer, tensor.nbytes)
            npu.write(hosts[id(tensor)], tensor.slot.size, data, HOST_TO_HOST)
        events = [_event(acl, held) for _ in range(4)]
        # Should a call below fail, copies must have ended before their memory is freed.
        held.keep(acl.do, "rt.synchronize_stream", stream)
        times: dict[str, list[int]] = {"h2d_ns": [], "compute_ns": [], "d2h_ns": []}
        for _ in range(repeats):
            self._drop([tensor for tensor in bound.given if not tensor.slot.size])
            acl.do("rt.record_event", events[0], stream)
            for tensor in bound.taken:
                copy = (tensor.pointer, tensor.slot.size, hosts[id(tensor)], tensor.nbytes)
                acl.do("rt.memcpy_async", *copy, HOST_TO_DEVICE, stream)
            acl.do("rt.record_event", events[1], stream)
            acl.do("mdl.execute_async", self._model.id, bound.inputs, bound.outputs, stream)
            acl.do("rt.record_event", events[2], stream)
            for tensor in outputs:
                copy = (hosts[id(tensor)], tensor.slot.size, tensor.pointer, tensor.nbytes)
                acl.do("rt.memcpy_async", *copy, DEVICE_TO_HOST, stream)
            acl.do("rt.record_event", events[3], stream)
            acl.do("rt.synchronize_stream", stream)
            for name, first, second in zip(times, events, events[1:]):
                elapsed_ms = acl.get("rt.event_elapsed_time", first, second)
                times[name].append(round(elapsed_ms * 1e6))
        return times


def _event(acl: Acl, held: Held) -> int:
    event: int = acl.get("rt.create_event")
    held.keep(acl.do, "rt.destroy_event", event)
    return event
