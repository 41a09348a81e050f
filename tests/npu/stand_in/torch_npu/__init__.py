"""A stand-in for torch_npu: torch's spare device type as ``npu``, whose tensors live on the CPU.

They are tensors of the device ``npu:N`` to torch itself: a tensor of the CPU among them is refused,
`.to` copies, and each operator goes through `NpuTensor.__torch_dispatch__`, which computes it on
the CPU. What runs asynchronously on a device is *pending* here until something waits for its
stream, and a test can ask what is pending. ``torch.npu`` has the functions of `torch.cuda` that
torch_npu's documents name, and for the adapter to CUDA graphs a graph that records and replays.

TORCH_NPU_STAND_IN: ``no-cann`` fails the import as it fails without Huawei's libraries; ``no-npu``
finds no device; ``wrong`` computes sums that are wrong.
"""

from __future__ import annotations

import os
import time
import types
from typing import Any

import torch
from graph_memory import Recording
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__version__ = "2.13.0"
FAULT = os.environ.get("TORCH_NPU_STAND_IN", "")
MEMORY_BYTES = 32 * 2**30

if FAULT == "no-cann":
    raise ImportError("libascendcl.so: cannot open shared object file: No such file or directory")


class Stream:
    """A queue of a device's work; ``pending`` until it was waited for."""

    def __init__(self, device: Any = None) -> None:
        self.device = torch.device(device if device is not None else current())
        self.pending = False
        self.marks: list[Event] = []

    def synchronize(self) -> None:
        refuse_in_capture()
        self.pending = False
        for event in self.marks:
            event.done = True
        self.marks.clear()

    def wait_stream(self, other: Stream) -> None:
        self.pending = self.pending or other.pending


torch.utils.rename_privateuse1_backend("npu")


class State:
    """What the driver and torch's allocator would know."""

    def __init__(self) -> None:
        self.index = 0
        self.defaults = {0: Stream("npu:0"), 1: Stream("npu:1")}
        self.stream: Stream | None = None
        self.graph: Graph | None = None
        self.broken = False  #: its capture
        self.streams_used: set[int] = set()
        self.pinned: set[int] = set()  #: where page-locked memory begins
        self.copies_in_flight = 0  #: so many did not make the host wait


class Event:
    """A mark in a stream; its time counts when that stream was waited for."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.timed, self.at, self.done = enable_timing, 0.0, False

    def record(self, stream: Stream | None = None) -> None:
        self.at, self.done, self.stream = time.perf_counter(), False, stream or current_stream()
        self.stream.pending = True
        self.stream.marks.append(self)

    def synchronize(self) -> None:
        self.stream.synchronize()

    def elapsed_time(self, end: Event) -> float:
        """In ms."""
        if not (self.timed and end.timed):
            raise ValueError("both events must be created with argument 'enable_timing=True'")
        if not self.at or not end.done:
            raise RuntimeError("device not ready")
        return (end.at - self.at) * 1e3


class Graph(Recording):
    """Operators as they were captured: not executed then, and again at each replay."""

    def replay(self) -> None:
        current_stream().pending = True
        super().replay()


class graph:
    """``with torch.cuda.graph(g):``; a capture that an operator broke can't be ended without an
    error, and leaves its stream the current one (torch/cuda/graphs.py)."""

    def __init__(self, made: Graph) -> None:
        self.made, self.stream = made, stream(Stream())

    def __enter__(self) -> None:
        synchronize()
        self.stream.__enter__()
        STATE.graph, STATE.broken = self.made, False

    def __exit__(self, *error: Any) -> None:
        STATE.graph = None
        if STATE.broken:
            STATE.broken = False
            raise RuntimeError("operation failed due to a previous error during capture")
        self.stream.__exit__(*error)
        self.made.forget_results()


class stream:
    """``with torch.cuda.stream(s):``"""

    def __init__(self, entered: Stream) -> None:
        self.entered = entered

    def __enter__(self) -> None:
        self.before, STATE.stream = STATE.stream, self.entered

    def __exit__(self, *_: Any) -> None:
        STATE.stream = self.before


def current() -> str:
    return f"npu:{STATE.index}"


def current_stream(device: Any = None) -> Stream:
    index = STATE.index if device is None else torch.device(device).index
    return STATE.stream or STATE.defaults[index]


def synchronize(device: Any = None) -> None:
    refuse_in_capture()
    for one in STATE.defaults.values():
        one.synchronize()


def set_device(device: Any) -> None:
    STATE.index = device if isinstance(device, int) else torch.device(device).index


def refuse_in_capture() -> None:
    if STATE.graph is not None:
        STATE.broken = True
        raise RuntimeError("operation not permitted when stream is capturing")


def host(value: Any) -> Any:
    return value.host if isinstance(value, NpuTensor) else value


def npu_tensors(values: Any) -> list[NpuTensor]:
    return [value for value in tree_leaves(values) if isinstance(value, NpuTensor)]


class NpuTensor(torch.Tensor):
    """A tensor of an NPU; ``host`` holds its elements."""

    host: torch.Tensor

    # torch.compile traces a subclass that can be taken apart, and has no other __torch_function__.
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __tensor_flatten__(self) -> tuple[list[str], str]:
        return ["host"], str(self.device)

    @staticmethod
    def __tensor_unflatten__(inner: Any, device: str, size: Any, stride: Any) -> NpuTensor:
        return NpuTensor(inner["host"], device)

    @staticmethod
    def __new__(cls, data: torch.Tensor, device: Any) -> NpuTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, data.shape, strides=data.stride(), dtype=data.dtype, device=device
        )
        made.host = data
        return made

    def __init__(self, *_: Any) -> None:
        pass

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.ops.aten.copy_.default:
            return copy(*args)
        if func is torch.ops.aten._has_compatible_shallow_copy_type.default:
            return all(isinstance(tensor, NpuTensor) for tensor in args)
        return compute(func, args, kwargs)


def copy(target: Any, source: Any, non_blocking: bool = False) -> Any:
    """Between the host and a device, or within one."""
    both = isinstance(target, NpuTensor) and isinstance(source, NpuTensor)
    if not both:
        refuse_in_capture()
        side = source if isinstance(target, NpuTensor) else target
        if non_blocking and side.data_ptr() not in STATE.pinned:
            non_blocking = False  # from and to other memory than this, copies wait
    host(target).copy_(host(source))
    place = target if isinstance(target, NpuTensor) else source
    if both or non_blocking:
        current_stream(place.device).pending = True
        STATE.copies_in_flight += not both
    if both and STATE.graph is not None:
        copied = host(target), host(source)
        STATE.graph.note(torch.ops.aten.copy_.default, copied, {}, copied[0])
    return target


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    given = npu_tensors((args, kwargs))
    device = given[0].device
    wanted = kwargs.get("device")
    if wanted is not None:
        kwargs["device"] = torch.device("cpu")
    for value in tree_leaves((args, kwargs)):
        if isinstance(value, torch.Tensor) and not isinstance(value, NpuTensor) and value.ndim:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found {device} and cpu: {func}"
            )
    result = func(*tree_map(host, args), **tree_map(host, kwargs))
    if isinstance(result, (bool, int, float)):  # the host waits for it
        refuse_in_capture()
    if FAULT == "wrong" and func is torch.ops.aten.sum.default:
        result = result + 1
    if wanted is not None and torch.device(wanted).type == "cpu":
        return result
    known = {id(tensor.host): tensor for tensor in given}

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return known[id(value)] if id(value) in known else NpuTensor(value, device)

    wrapped = tree_map(wrap, result)
    current_stream(device).pending = True
    STATE.streams_used.add(id(current_stream(device)))
    if STATE.graph is not None:
        STATE.graph.note(func, *tree_map(host, (args, kwargs, wrapped)))
    return wrapped


def on(device: Any) -> torch.device:
    place = torch.device(device)
    return place if place.index is not None else torch.device(current())


def empty(
    size: Any, dtype: Any = None, device: Any = None, memory_format: Any = None, **_: Any
) -> Any:
    memory_format = memory_format or torch.contiguous_format
    made = torch.empty(size, dtype=dtype or torch.float32, memory_format=memory_format)
    return NpuTensor(owned(made), on(device))


def empty_strided(size: Any, stride: Any, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    made = torch.empty_strided(size, stride, dtype=dtype or torch.float32)
    return NpuTensor(owned(made), on(device))


def owned(made: torch.Tensor) -> torch.Tensor:
    """Memory of the graph where one is being captured."""
    if STATE.graph is not None:
        STATE.graph.own(made)
    return made


def properties(index: int) -> Any:
    return types.SimpleNamespace(name=f"StandIn910B4-{index}", total_memory=MEMORY_BYTES)


def pin(made: torch.Tensor) -> torch.Tensor:
    STATE.pinned.add(made.data_ptr())
    return made


def empty_like(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Any:
    """As torch's, whose page-locked memory only a back end in C++ can give."""
    made = plain_empty_like(*args, **kwargs)
    return pin(made) if pin_memory else made


plain_empty_like, torch.empty_like = torch.empty_like, empty_like
torch.Tensor.pin_memory = lambda self: pin(self.clone())
STATE = State()
count = 0 if FAULT == "no-npu" else 2
npu = types.SimpleNamespace(
    # what torch asks of any device's module
    is_initialized=lambda: True,
    _is_in_bad_fork=lambda: False,
    current_device=lambda: STATE.index,
    get_amp_supported_dtype=lambda: [torch.float16, torch.bfloat16],
    # what mirrors torch.cuda
    init=lambda: None,
    is_available=lambda: count > 0,
    device_count=lambda: count,
    set_device=set_device,
    current_stream=current_stream,
    synchronize=synchronize,
    empty_cache=lambda: None,
    mem_get_info=lambda index=None: (MEMORY_BYTES - 2**30, MEMORY_BYTES),
    max_memory_reserved=lambda index=None: 2 * 2**20,
    get_device_properties=properties,
    Event=Event,
    Stream=Stream,
    stream=stream,
    CUDAGraph=Graph,
    graph=graph,
    matmul=types.SimpleNamespace(allow_hf32=False),
    conv=types.SimpleNamespace(allow_hf32=True),  # its default
    stand_in=STATE,
)
_setup_privateuseone_for_python_backend("npu", backend_module=npu)
_library = torch.library.Library("aten", "IMPL")
_library.impl("empty.memory_format", empty, "PrivateUse1")
_library.impl("empty_strided", empty_strided, "PrivateUse1")
