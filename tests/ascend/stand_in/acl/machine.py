"""The state behind the stand-in: what exists, who may use it, and what was done wrong.

A `Fault` is what pyACL answers with a code. A *misuse* is what the real thing answers with
undefined behaviour, a leak or a crash: it is written down in `Machine.misuses` as well as answered
with a code.
"""

from __future__ import annotations

import collections
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import offline

INVALID, UNINITIALISED, REPEATED_INIT, MODEL_ID = 100000, 100001, 100002, 100011
DEVICE_ID, NO_CONTEXT, STREAM_CONTEXT, MODEL_CONTEXT = 107001, 107002, 107003, 107004
UNALIGNED, OUT_OF_MEMORY, EVENT_NOT_COMPLETE, GEAR = 107008, 207001, 507006, 145013
GENERIC, GRAPH_ENGINE = 500001, 500002

H2H, H2D, D2H = 0, 1, 2
ALIGNMENT = 64


class Fault(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Thing:
    """What a handle stands for."""

    kind: str
    handle: int
    context: int = 0
    alive: bool = True
    excused: bool = False  #: releasing it was made to fail
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Task:
    """Work that waits in a stream until somebody synchronises."""

    words: str
    work: Callable[[], None]
    uses: tuple[int, ...] = ()
    model: int = 0


class Machine:
    """One process's view of a machine with NPUs."""

    def __init__(self) -> None:
        self.soc = "StandIn910B4"
        self.devices = 1
        self.capacity = int(os.environ.get("ACL_STAND_IN_MEMORY", str(2**30)))
        self.somebody_elses = os.environ.get("ACL_STAND_IN_OWNED") == "1"
        self.state = "initialised" if self.somebody_elses else "new"
        self.misuses: list[str] = []
        self.calls: collections.Counter[str] = collections.Counter()
        self.things: dict[int, Thing] = {}
        self.models: dict[int, Thing] = {}
        self.set_devices: collections.Counter[int] = collections.Counter()
        self.queues: dict[int, list[Task]] = {}
        self.lent: dict[int, bytes] = {}
        self.local = threading.local()
        self.next = 0x100000
        self.failing: dict[str, tuple[int, int, str]] = {}

    # What tests ask.

    def fail(self, name: str, at: int, code: int, message: str = "") -> None:
        """Let the ``at``-th call (from 1) of ``acl.name`` from now on answer with ``code``."""
        self.failing[name] = (self.calls[name] + at, code, message)

    def leaks(self) -> list[str]:
        """What is still held."""
        held = [*self.things.values(), *self.models.values()]
        found = [f"{t.kind} {t.handle:#x}" for t in held if t.alive and not t.excused]
        return found + [f"device {d} set {n} times" for d, n in self.set_devices.items() if n > 0]

    # Bookkeeping.

    def misuse(self, words: str, code: int = INVALID) -> Fault:
        self.note(words)
        return Fault(code, words)

    def note(self, words: str) -> None:
        self.misuses.append(words)
        log(words)

    def injected(self, name: str, arguments: tuple[Any, ...]) -> Fault | None:
        self.calls[name] += 1
        at, code, message = self.failing.get(name, (0, 0, ""))
        if self.calls[name] != at:
            return None
        if name == "rt.synchronize_stream":
            self.queues[arguments[0]] = []  # the work was aborted
        if arguments and name in RELEASES:
            self._excuse(name, arguments[0])
        return Fault(code, message or f"acl.{name} was made to fail")

    def _excuse(self, name: str, handle: int) -> None:
        if name == "rt.reset_device":
            self.set_devices[handle] = 0
        elif name == "mdl.unload":
            self.models[handle].excused = True
        else:
            self.things[handle].excused = True

    def say(self, message: str) -> None:
        self.local.message = message

    def make(self, kind: str, context: int = 0, span: int = 0, **facts: Any) -> int:
        handle = self.next
        self.next += ALIGNMENT * (2 + span // ALIGNMENT)
        self.things[handle] = Thing(kind, handle, context, facts=facts)
        return handle

    def find(self, handle: int, *kinds: str) -> Thing:
        if not isinstance(handle, int):
            raise TypeError(f"an integer is required, not {type(handle).__name__}")
        thing = self.things.get(handle)
        if thing is None or thing.kind not in kinds:
            raise self.misuse(f"{handle:#x} is no {' or '.join(kinds)}")
        if not thing.alive:
            raise self.misuse(f"{thing.kind} {handle:#x} is used after it was released")
        return thing

    def drop(self, handle: int, *kinds: str) -> Thing:
        thing = self.things.get(handle)
        if thing is not None and thing.kind in kinds and not thing.alive:
            raise self.misuse(f"{thing.kind} {handle:#x} is released twice")
        thing = self.find(handle, *kinds)
        waiting = [t.words for queue in self.queues.values() for t in queue if handle in t.uses]
        if waiting:
            raise self.misuse(f"{thing.kind} {handle:#x} is released while {waiting[0]} waits")
        thing.alive = False
        return thing

    def ready(self) -> None:
        if self.state != "initialised":
            raise Fault(UNINITIALISED, "acl is not initialised")

    def context(self) -> int:
        """The current context of this thread."""
        self.ready()
        current: int = getattr(self.local, "context", 0)
        if not current or not self.things[current].alive:
            raise Fault(NO_CONTEXT, "EE1001: The argument is invalid.Reason: ctx is NULL!")
        return current

    # acl

    def init(self, *_: str) -> None:
        if self.state == "initialised":
            raise Fault(REPEATED_INIT, "repeated init")
        if self.state == "finalised":
            raise self.misuse("init after finalize: a process initialises once")
        self.state = "initialised"

    def finalize(self) -> None:
        self.ready()
        if self.somebody_elses:
            raise self.misuse("finalize by one who did not initialise")
        for leak in self.leaks():
            self.note(f"leak at finalize: {leak}")
        self.state = "finalised"
        log(f"finalised in process {os.getpid()}")

    def get_soc_name(self) -> str:
        return self.soc

    def get_recent_err_msg(self) -> str | None:
        message: str | None = getattr(self.local, "message", None)
        self.local.message = None
        return message

    def create_data_buffer(self, pointer: int, size: int) -> int:
        if pointer:
            memory = self.find(pointer, "device memory", "output memory")
            if size > memory.facts["size"]:
                raise self.misuse(f"a buffer of {size} bytes over {memory.facts['size']}")
        elif size:
            raise self.misuse("a buffer at address 0 with a size")
        return self.make("data buffer", pointer=pointer, size=size)

    def destroy_data_buffer(self, buffer: int) -> None:
        self.drop(buffer, "data buffer")

    def update_data_buffer(self, buffer: int, pointer: int, size: int) -> None:
        self.find(buffer, "data buffer").facts.update(pointer=pointer, size=size)

    def get_data_buffer_addr(self, buffer: int) -> int:
        return int(self.find(buffer, "data buffer").facts["pointer"])

    def get_tensor_desc_num_dims(self, desc: int) -> int:
        return len(self.find(desc, "tensor description").facts["dims"])

    def get_tensor_desc_dim_v2(self, desc: int, axis: int) -> int:
        return int(self.find(desc, "tensor description").facts["dims"][axis])

    # acl.util

    def bytes_to_ptr(self, data: bytes) -> int:
        if not isinstance(data, bytes):
            raise TypeError(f"a bytes object is required, not {type(data).__name__}")
        self.next += ALIGNMENT * (2 + len(data) // ALIGNMENT)
        # Bytes lie where Python puts them: 32 bytes behind an aligned address (CPython).
        self.lent[self.next + 32] = data
        return self.next + 32

    def ptr_to_bytes(self, pointer: int, size: int) -> bytes:
        memory = self.find(pointer, "host memory")
        if size > memory.facts["size"]:
            raise self.misuse(f"{size} bytes are read from {memory.facts['size']}")
        return memory.facts["data"][:size].tobytes()

    # acl.rt

    def get_device_count(self) -> int:
        self.ready()
        return self.devices

    def set_device(self, device: int) -> None:
        self.ready()
        if not 0 <= device < self.devices:
            raise Fault(DEVICE_ID, f"EE1001: device id {device} is not within [0, {self.devices})")
        self.set_devices[device] += 1

    def reset_device(self, device: int) -> None:
        self.ready()
        if self.set_devices[device] <= 0:
            raise self.misuse(f"device {device} is reset more often than set")
        self.set_devices[device] -= 1
        if not self.set_devices[device]:
            self._nothing_left("device reset", lambda t: t.facts.get("device") == device)
            log(f"device {device} was reset in process {os.getpid()}")

    def _nothing_left(self, when: str, mine: Callable[[Thing], bool]) -> None:
        left = [t for t in (*self.things.values(), *self.models.values()) if mine(t)]
        for thing in left:
            if thing.alive and not thing.excused:
                self.note(f"{when} before {thing.kind} {thing.handle:#x} was released")

    def create_context(self, device: int) -> int:
        self.ready()
        if self.set_devices[device] <= 0:
            raise self.misuse(f"a context on device {device}, which is not set", DEVICE_ID)
        self.local.context = self.make("context", device=device)
        return int(self.local.context)

    def set_context(self, context: int) -> None:
        self.ready()
        self.find(context, "context")
        self.local.context = context

    def destroy_context(self, context: int) -> None:
        self.drop(context, "context")
        self._nothing_left("context destroyed", lambda t: t.context == context)

    def create_stream(self) -> int:
        stream = self.make("stream", self.context())
        self.queues[stream] = []
        return stream

    def destroy_stream(self, stream: int) -> None:
        self.drop(stream, "stream")
        if self.queues[stream]:
            raise self.misuse(f"stream {stream:#x} is destroyed while work waits in it")

    def synchronize_stream(self, stream: int) -> None:
        self._stream(stream)
        queue, self.queues[stream] = self.queues[stream], []
        for task in queue:
            task.work()

    def _stream(self, stream: int) -> None:
        context = self.context()
        if self.find(stream, "stream").context != context:
            raise Fault(STREAM_CONTEXT, "the stream is not in the current context")

    def _wait(self, stream: int, task: Task) -> None:
        self._stream(stream)
        self.queues[stream].append(task)

    def create_event(self) -> int:
        return self.make("event", self.context(), at=None)

    def destroy_event(self, event: int) -> None:
        self.drop(event, "event")

    def record_event(self, event: int, stream: int) -> None:
        facts = self.find(event, "event").facts
        facts.update(at=None, stream=stream)
        work = lambda: facts.update(at=time.perf_counter())  # noqa: E731
        self._wait(stream, Task("an event", work, (event,)))

    def event_elapsed_time(self, first: int, second: int) -> float:
        start, end = (self.find(event, "event").facts for event in (first, second))
        if start["at"] is None or end["at"] is None:
            raise Fault(EVENT_NOT_COMPLETE, "the event is not complete")
        if start["stream"] != end["stream"]:
            raise self.misuse("time between events of two streams")
        return float((end["at"] - start["at"]) * 1e3)

    def malloc(self, size: int, policy: int) -> int:
        context = self.context()
        # 32 more, rounded up to 32 (pyACL: acl.rt.malloc).
        room = math.ceil((size + 32) / 32) * 32
        if size <= 0 or policy not in (0, 1, 2):
            raise Fault(INVALID, f"size {size}, policy {policy}")
        if room > self.free_bytes():
            raise Fault(OUT_OF_MEMORY, f"EL0004: Failed to allocate memory. {room} bytes")
        return self._memory("device memory", size, room, context)

    def _memory(self, kind: str, size: int, room: int, context: int = 0) -> int:
        device = self.things[context].facts["device"] if context else None
        data = np.full(size, 0xA5, np.uint8)
        return self.make(kind, context, room, size=size, room=room, data=data, device=device)

    def free_bytes(self) -> int:
        kinds = ("device memory", "output memory")
        held = (t.facts["room"] for t in self.things.values() if t.alive and t.kind in kinds)
        return (
            self.capacity
            - sum(held)
            - sum(len(t.facts["offline"].onnx) for t in self.models.values() if t.alive)
        )

    def free(self, pointer: int) -> None:
        self.context()
        self.drop(pointer, "device memory", "output memory").facts["data"] = None

    def malloc_host(self, size: int) -> int:
        self.context()
        return self._memory("host memory", size, size)

    def free_host(self, pointer: int) -> None:
        self.context()
        self.drop(pointer, "host memory").facts["data"] = None

    def get_mem_info(self, attribute: int) -> tuple[int, int]:
        self.context()
        return (self.free_bytes(), self.capacity) if attribute == 1 else (0, 0)

    def memcpy(self, dst: int, room: int, src: int, size: int, kind: int) -> None:
        self.context()
        self._copy(dst, room, src, size, kind)()

    def memcpy_async(
        self, dst: int, room: int, src: int, size: int, kind: int, stream: int
    ) -> None:
        if dst % ALIGNMENT or src % ALIGNMENT:
            raise Fault(UNALIGNED, "memory address unaligned")
        if src in self.lent or kind == H2H:
            raise self.misuse("an asynchronous copy of host memory that malloc_host did not make")
        self._wait(stream, Task("a copy", self._copy(dst, room, src, size, kind), (dst, src)))

    def _copy(self, dst: int, room: int, src: int, size: int, kind: int) -> Callable[[], None]:
        if kind not in (H2H, H2D, D2H):
            raise Fault(INVALID, f"memcpy kind {kind}")
        device = ("device memory", "output memory")
        target = self.find(dst, *(device if kind == H2D else ("host memory",)))
        if room > target.facts["size"] or size > room:
            raise self.misuse(f"{size} bytes are copied into {target.facts['size']}")
        source = self._source(src, size, device if kind == D2H else ("host memory",))
        return lambda: target.facts["data"].__setitem__(slice(size), source())

    def _source(self, src: int, size: int, kinds: tuple[str, ...]) -> Callable[[], Any]:
        data = self.lent.get(src)
        if data is not None and kinds == ("host memory",):
            # Three: the dictionary, this variable, the argument. Nobody else holds them.
            if sys.getrefcount(data) <= 3:
                raise self.misuse("the bytes were gone before they were copied")
            if size > len(data):
                raise self.misuse(f"{size} bytes are read from {len(data)}")
            del self.lent[src]
            held = np.frombuffer(data, np.uint8)
            return lambda: held[:size]
        memory = self.find(src, *kinds)
        if size > memory.facts["size"]:
            raise self.misuse(f"{size} bytes are read from {memory.facts['size']}")
        return lambda: memory.facts["data"][:size]

    # acl.mdl

    def load_from_file(self, path: str) -> int:
        context = self.context()
        found = offline.read(Path(path)) if Path(path).is_file() else None
        if found is None:
            raise Fault(GRAPH_ENGINE, f"E14001: {path} is no offline model")
        if found.soc != self.soc:
            raise Fault(
                GRAPH_ENGINE,
                "EE1001: [PID: 4242] 2026-11-24-10:00:00.000.001 The argument is invalid.Reason: "
                f"ModelCheckCompatibility failed, supported socVersion={self.soc}, but the model "
                f"socVersion={found.soc}\n        Solution: 1.Check the input parameter range.",
            )
        if len(found.onnx) > self.free_bytes():
            raise Fault(
                OUT_OF_MEMORY, f"EL0004: Failed to allocate memory. {len(found.onnx)} bytes"
            )
        number = len(self.models) + 1
        thing = Thing(
            "model", number, context, facts={"offline": found, "session": None, "gear": 0}
        )
        self.models[number] = thing
        return number

    def _model(self, number: int) -> Thing:
        if number not in self.models:
            raise Fault(MODEL_ID, f"there is no model {number}")
        if not self.models[number].alive:
            raise self.misuse(f"model {number} is used after it was unloaded", MODEL_ID)
        return self.models[number]

    def unload(self, number: int) -> None:
        model = self._model(number)
        if model.context != self.context():
            raise self.misuse(f"model {number} is unloaded in another context", MODEL_CONTEXT)
        if any(task.model == number for queue in self.queues.values() for task in queue):
            raise self.misuse(f"model {number} is unloaded while it runs")
        model.alive = False

    def create_desc(self) -> int:
        return self.make("model description", offline=None)

    def destroy_desc(self, desc: int) -> None:
        self.drop(desc, "model description")

    def get_desc(self, desc: int, number: int) -> None:
        facts = self.find(desc, "model description").facts
        facts.update(offline=self._model(number).facts["offline"], model=self.models[number])

    def _described(self, desc: int) -> Any:
        found = self.find(desc, "model description").facts["offline"]
        if found is None:
            raise self.misuse("a model description that describes nothing yet")
        return found

    def get_num_inputs(self, desc: int) -> int:
        found = self._described(desc)
        return len(found.inputs) + bool(found.gears)

    def get_num_outputs(self, desc: int) -> int:
        return len(self._described(desc).outputs)

    def _input(self, desc: int, index: int) -> offline.Tensor:
        found = self._described(desc)
        gear = offline.Tensor(offline.GEAR_INPUT, offline.TYPES["int32"], [1])
        return [*found.inputs, *([gear] if found.gears else [])][index]

    def _output(self, desc: int, index: int) -> offline.Tensor:
        return self._described(desc).outputs[index]  # type: ignore[no-any-return]

    def get_input_name_by_index(self, desc: int, index: int) -> str:
        return self._input(desc, index).name

    def get_output_name_by_index(self, desc: int, index: int) -> str:
        # The name of a node may hold colons, and so may that of a tensor.
        return f"/head/onnx::node_{index}:0:{self._output(desc, index).name}"

    def get_input_index_by_name(self, desc: int, name: str) -> int:
        names = [self._input(desc, i).name for i in range(self.get_num_inputs(desc))]
        if name not in names:
            raise Fault(INVALID, f"no input {name}")
        return names.index(name)

    def get_input_data_type(self, desc: int, index: int) -> int:
        return self._input(desc, index).dtype

    def get_output_data_type(self, desc: int, index: int) -> int:
        return self._output(desc, index).dtype

    def get_input_size_by_index(self, desc: int, index: int) -> int:
        found = self._described(desc)
        largest = max(found.gears, default=0)
        tensor = self._input(desc, index)
        return _bytes(tensor.dtype, [largest if d == -1 else d for d in tensor.dims])

    def get_output_size_by_index(self, desc: int, index: int) -> int:
        found = self._described(desc)
        dims = found.output_dims[max(found.gears, default=0)][index]
        return 0 if -1 in dims else _bytes(self._output(desc, index).dtype, dims)

    def get_input_dims(self, desc: int, index: int) -> dict[str, Any]:
        tensor = self._input(desc, index)
        return _dims(tensor.name, tensor.dims)

    def get_output_dims(self, desc: int, index: int) -> dict[str, Any]:
        found = self._described(desc)
        return _dims(
            self._output(desc, index).name, found.output_dims[max(found.gears, default=0)][index]
        )

    def get_cur_output_dims(self, desc: int, index: int) -> dict[str, Any]:
        found = self._described(desc)
        gear = self.things[desc].facts["model"].facts["gear"] or max(found.gears, default=0)
        return _dims(self._output(desc, index).name, found.output_dims[gear][index])

    def get_dynamic_batch(self, desc: int) -> dict[str, Any]:
        found = self._described(desc)
        gears = [] if found.by_dims else found.gears
        return {"batchCount": len(gears), "batch": list(gears)}

    def get_input_dynamic_gear_count(self, desc: int, index: int) -> int:
        if index != -1:
            raise Fault(INVALID, "the index is reserved, but must be -1")
        found = self._described(desc)
        return len(found.gears) if found.by_dims else 0

    def create_dataset(self) -> int:
        return self.make("dataset", buffers=[], gear=0, shapes=[])

    def destroy_dataset(self, dataset: int) -> None:
        self.drop(dataset, "dataset")

    def add_dataset_buffer(self, dataset: int, buffer: int) -> int:
        self.find(buffer, "data buffer")
        self.find(dataset, "dataset").facts["buffers"].append(buffer)
        return dataset

    def get_dataset_tensor_desc(self, dataset: int, index: int) -> int:
        shapes = self.find(dataset, "dataset").facts["shapes"]
        if not shapes:
            raise self.misuse("the shape of an output before anything was executed")
        desc = self.make("tensor description", dims=shapes[index])
        self.things[desc].excused = True  # it belongs to the dataset
        return desc

    def set_dynamic_batch_size(self, number: int, dataset: int, index: int, batch: int) -> None:
        model = self._model(number)
        found = model.facts["offline"]
        if found.by_dims or index != len(found.inputs) or batch not in found.gears:
            raise Fault(GEAR, f"batch {batch} at input {index} is not among {found.gears}")
        buffers = self.find(dataset, "dataset").facts["buffers"]
        if len(buffers) <= index:
            raise self.misuse("a batch is set before the input for it is in the dataset")
        model.facts["gear"] = self.things[dataset].facts["gear"] = batch

    def set_input_dynamic_dims(
        self, number: int, dataset: int, index: int, told: dict[str, Any]
    ) -> None:
        """The dimensions of all inputs one behind the other, which have to be those of a gear."""
        model = self._model(number)
        found = model.facts["offline"]
        own = [dim for tensor in found.inputs for dim in tensor.dims]
        gears = {gear: [gear if d == -1 else d for d in own] for gear in found.gears}
        fitting = [gear for gear, dims in gears.items() if dims == told["dims"]]
        counted = told["dimCount"] == len(own)
        if not (found.by_dims and fitting and counted and index == len(found.inputs)):
            raise Fault(GEAR, f"{told} at input {index} is none of {gears}")
        if len(self.find(dataset, "dataset").facts["buffers"]) <= index:
            raise self.misuse("dimensions are set before the input for them is in the dataset")
        model.facts["gear"] = self.things[dataset].facts["gear"] = fitting[0]

    def execute(self, number: int, inputs: int, outputs: int) -> None:
        self._task(number, inputs, outputs, 0).work()

    def execute_async(self, number: int, inputs: int, outputs: int, stream: int) -> None:
        self._wait(stream, self._task(number, inputs, outputs, stream))

    def _task(self, number: int, inputs: int, outputs: int, stream: int) -> Task:
        """Check all that can be checked when a model is started."""
        model = self._model(number)
        if model.context != self.context():
            raise Fault(MODEL_CONTEXT, "the model is not in the current context")
        for other, queue in self.queues.items():
            if other != stream and any(task.model == number for task in queue):
                raise self.misuse(f"model {number} is on two streams at once")
        found = model.facts["offline"]
        taken = self._buffers(inputs, len(found.inputs) + bool(found.gears))
        given = self._buffers(outputs, len(found.outputs))
        gear = self.things[inputs].facts["gear"]
        if found.gears and not gear:
            raise Fault(GEAR, "no batch size is set for this input")
        for tensor, buffer in zip(found.inputs, taken, strict=False):
            dims = [gear if d == -1 else d for d in tensor.dims]
            self._enough(buffer, _bytes(tensor.dtype, dims), tensor.name)
        for dims, tensor, buffer in zip(found.output_dims[gear], found.outputs, given, strict=True):
            if -1 in dims:
                if self.find(buffer, "data buffer").facts["pointer"]:
                    raise self.misuse("the memory of an earlier output was not freed")
            else:
                self._enough(buffer, _bytes(tensor.dtype, dims), tensor.name)
                # What somebody reads who does not wait.
                self.things[self.things[buffer].facts["pointer"]].facts["data"].fill(0x5A)
        memory = [self.things[b].facts["pointer"] for b in (*taken, *given)]
        work = lambda: self._compute(model, gear, taken, given, outputs)  # noqa: E731
        uses = (inputs, outputs, *taken, *given, *memory)
        return Task(f"model {number}", work, tuple(h for h in uses if h), number)

    def _buffers(self, dataset: int, count: int) -> list[int]:
        buffers: list[int] = self.find(dataset, "dataset").facts["buffers"]
        if len(buffers) != count:
            raise self.misuse(f"a dataset of {len(buffers)} buffers for {count}")
        for buffer in buffers:
            self.find(buffer, "data buffer")
        return buffers

    def _enough(self, buffer: int, size: int, name: str) -> None:
        facts = self.things[buffer].facts
        self.find(facts["pointer"], "device memory", "output memory")
        if facts["size"] < size:
            raise self.misuse(f"{name}: a buffer of {facts['size']} bytes for {size}")

    def _compute(
        self, model: Thing, gear: int, taken: list[int], given: list[int], outputs: int
    ) -> None:
        """What the model makes of the bytes on the device, by ONNX Runtime."""
        found = model.facts["offline"]
        feeds = {}
        for tensor, buffer in zip(found.inputs, taken, strict=False):
            dims = [gear if d == -1 else d for d in tensor.dims]
            data = self.things[self.things[buffer].facts["pointer"]].facts["data"]
            values = data[: _bytes(tensor.dtype, dims)].view(offline.NAMES[tensor.dtype])
            feeds[tensor.name] = _as(found.precision, values.reshape(dims))
        if model.facts["session"] is None:
            model.facts["session"] = _session(found.onnx)
        results = model.facts["session"].run(None, feeds)
        self.things[outputs].facts["shapes"] = [list(result.shape) for result in results]
        for buffer, result in zip(given, results, strict=True):
            raw = np.ascontiguousarray(_as(found.precision, result)).reshape(-1).view(np.uint8)
            facts = self.things[buffer].facts
            if not facts["pointer"]:
                size = max(1, len(raw))
                facts["pointer"] = self._memory("output memory", size, size, model.context)
                facts["size"] = size
            self.things[facts["pointer"]].facts["data"][: len(raw)] = raw


#: Calls that give something back; where one is made to fail, what it was called for is excused.
RELEASES = {
    "rt.reset_device",
    "rt.destroy_context",
    "rt.destroy_stream",
    "rt.destroy_event",
    "rt.free",
    "rt.free_host",
    "mdl.unload",
    "mdl.destroy_desc",
    "mdl.destroy_dataset",
    "destroy_data_buffer",
}


def log(words: str) -> None:
    """For tests that start workers: into the file that ``ACL_STAND_IN_LOG`` names."""
    if path := os.environ.get("ACL_STAND_IN_LOG"):
        with open(path, "a") as file:
            file.write(f"{words}\n")


def _bytes(dtype: int, dims: list[int]) -> int:
    return math.prod(dims) * np.dtype(offline.NAMES[dtype]).itemsize


def _dims(name: str, dims: list[int]) -> dict[str, Any]:
    return {"name": name, "dimCount": len(dims), "dims": list(dims)}


def _as(precision: str, array: Any) -> Any:
    """Float32 values with what is left of them in float16, where that was compiled for."""
    if array.dtype == np.float32 and precision in ("fp16", "mixed_float16"):
        return array.astype(np.float16).astype(np.float32)
    return array


def _session(onnx: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
