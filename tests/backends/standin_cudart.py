"""A stand-in for libcudart and for a GPU with streams, whose host and device each go by their own
time.

Functions have the names, arguments, codes and meanings of NVIDIA's documentation ("CUDA Runtime
API"). What they are handed passes through the declared ``argtypes``, as `ctypes` does it, so a
missing or wrong declaration is an error here too. Time is a number: nothing waits.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Callable

SUCCESS, INVALID_VALUE, INVALID_HANDLE, NOT_READY, NO_DEVICE = 0, 1, 400, 600, 100
WORDS = {
    INVALID_VALUE: b"invalid argument",
    INVALID_HANDLE: b"invalid resource handle",
    NOT_READY: b"device not ready",
    NO_DEVICE: b"no CUDA-capable device is detected",
}
NON_BLOCKING = 1
USLEEP = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value
#: Addresses do not fit into an int, as on a real machine.
FIRST_ADDRESS = 0x7F30_0000_1000


@dataclass
class Stream:
    """Work that is done in order: when it is done with what was launched so far."""

    device_us: float = 0.0
    queued: list[float] = field(default_factory=list)  #: when each launch will be done
    sleeps_us: list[int] = field(default_factory=list)


@dataclass
class Gpu:
    """A GPU and its host: each launch costs the host ``launch_us``; ``depth`` launches of a stream
    fit into the driver's queue."""

    launch_us: float = 20.0
    depth: int = 1000
    devices: int = 2
    host_us: float = 0.0
    index: int | None = None  #: of the device that is set
    streams: dict[int, Stream] = field(default_factory=dict)
    events: dict[int, tuple[float, int] | None] = field(default_factory=dict)
    last_error: int = SUCCESS
    launched: int = 0

    def clock_s(self) -> float:
        """The host's time."""
        return self.host_us / 1e6

    def launch(self, stream: Stream, takes_us: float) -> None:
        self.launched += 1
        self.host_us += self.launch_us
        stream.queued = [done for done in stream.queued if done > self.host_us]
        if len(stream.queued) >= self.depth:
            self.host_us = stream.queued[-self.depth]
        stream.device_us = max(stream.device_us, self.host_us) + takes_us
        stream.queued.append(stream.device_us)

    def wait(self, stream: Stream) -> None:
        self.host_us = max(self.host_us, stream.device_us)

    def address(self) -> int:
        return FIRST_ADDRESS + 16 * (len(self.streams) + len(self.events))

    # -- the functions ----------------------------------------------------------------------------

    def cudaSetDevice(self, index: int) -> int:
        if not 0 <= index < self.devices:
            return NO_DEVICE
        self.index = index
        return SUCCESS

    def cudaStreamCreateWithFlags(self, found: Any, flags: int) -> int:
        assert self.index is not None, "a stream of which device?"
        assert flags == NON_BLOCKING, "it would wait for the default stream's work, and that for it"
        address = self.address()
        self.streams[address] = Stream()
        found.contents.value = address
        return SUCCESS

    def cudaStreamSynchronize(self, stream: int) -> int:
        if stream not in self.streams:
            return INVALID_HANDLE
        self.wait(self.streams[stream])
        return SUCCESS

    def cudaLaunchHostFunc(self, stream: int, function: int, data: int) -> int:
        assert function == USLEEP, "it must make no call of CUDA, and end by itself"
        assert 0 < data < 1_000_000, "POSIX lets usleep refuse a second"
        self.streams[stream].sleeps_us.append(data)
        self.launch(self.streams[stream], data)
        return SUCCESS

    def cudaEventCreate(self, found: Any) -> int:
        address = self.address()
        self.events[address] = None
        found.contents.value = address
        return SUCCESS

    def cudaEventRecord(self, event: int, stream: int) -> int:
        assert event in self.events
        if stream not in self.streams:
            return INVALID_HANDLE
        self.launch(self.streams[stream], 0.0)
        self.events[event] = (self.streams[stream].device_us, stream)
        return SUCCESS

    def cudaEventQuery(self, event: int) -> int:
        at = self.events[event]
        assert at is not None, "an event that was not recorded"
        if at[0] <= self.host_us:
            return SUCCESS
        self.last_error = NOT_READY
        return NOT_READY

    def cudaEventSynchronize(self, event: int) -> int:
        at = self.events[event]
        assert at is not None
        self.host_us = max(self.host_us, at[0])
        return SUCCESS

    def cudaEventElapsedTime(self, found: Any, start: int, end: int) -> int:
        begun, done = self.events[start], self.events[end]
        if begun is None or done is None:
            return INVALID_HANDLE
        assert begun[1] == done[1], "of two streams"
        if max(begun[0], done[0]) > self.host_us:
            return NOT_READY
        found.contents.value = (done[0] - begun[0]) / 1e3
        return SUCCESS

    def cudaGetLastError(self) -> int:
        found, self.last_error = self.last_error, SUCCESS
        return found

    def cudaGetErrorString(self, code: int) -> bytes:
        return WORDS[code]


class Function:
    """A function of the library: callable once its arguments and its result are declared."""

    argtypes: Any = None
    restype: Any = None

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function

    def __call__(self, *arguments: Any) -> Any:
        assert self.argtypes is not None, f"{self.name}: addresses would be cut to 32 bits"
        result = ctypes.c_char_p if self.name == "cudaGetErrorString" else ctypes.c_int
        assert self.restype is result, self.name
        assert len(arguments) == len(self.argtypes), self.name
        taken = [kind.from_param(a) for kind, a in zip(self.argtypes, arguments, strict=True)]
        return self.function(
            *(
                _value(kind, a, t)
                for kind, a, t in zip(self.argtypes, arguments, taken, strict=True)
            )
        )


def _value(kind: Any, given: Any, taken: Any) -> Any:
    """What the function sees of an argument."""
    if issubclass(kind, ctypes._Pointer):
        return kind(given._obj)  # of byref
    value = getattr(given, "value", given)
    return 0 if value is None else value


class Library:
    """The library, as `ctypes.CDLL` gives it."""

    def __init__(self, gpu: Gpu) -> None:
        for name in dir(gpu):
            if name.startswith("cuda"):
                setattr(self, name, Function(name, getattr(gpu, name)))
