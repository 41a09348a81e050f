"""CUDA's own runtime library, through ctypes: a stream, events in it, and a sleep before its work.

For runtimes that compute with CUDA and offer no such things to Python. The library is the one that
this process has loaded for them, from whichever package or folder that was. Written after NVIDIA's
documentation ("CUDA Runtime API") and the headers of 12.9 and 13.5; it has never run on a GPU.
"""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_uint, c_void_p
from typing import Any, Callable, Mapping, Sequence

from bench.errors import BenchError

from .busy import DeviceApi

#: What is called, and what it takes. All return an error code.
_TAKES: Mapping[str, Sequence[Any]] = {
    "cudaSetDevice": (c_int,),
    "cudaStreamCreateWithFlags": (POINTER(c_void_p), c_uint),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaLaunchHostFunc": (c_void_p, c_void_p, c_void_p),
    "cudaEventCreate": (POINTER(c_void_p),),
    "cudaEventRecord": (c_void_p, c_void_p),
    "cudaEventQuery": (c_void_p,),
    "cudaEventSynchronize": (c_void_p,),
    "cudaEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cudaGetLastError": (),
}
# driver_types.h
_SUCCESS, _NOT_READY, _NON_BLOCKING = 0, 600, 1
_LIBRARY = re.compile(r"/(?:.*/)?libcudart[-\w.]*\.so[.\d]*$")
#: POSIX lets `usleep` refuse a second or more.
_LONGEST_NAP_US = 500_000


class Cudart:
    """The functions that are called here. Each raises `BenchError` where CUDA returns an error."""

    def __init__(self, library: Any) -> None:
        self._functions: dict[str, Callable[..., int]] = {}
        for name, takes in _TAKES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = takes, c_int
            self._functions[name] = function
        self._words: Callable[[int], bytes] = library.cudaGetErrorString
        library.cudaGetErrorString.argtypes = (c_int,)
        library.cudaGetErrorString.restype = c_char_p

    def call(self, name: str, *arguments: Any) -> None:
        """Call the function ``name``."""
        self._check(name, self._functions[name](*arguments))

    def is_reached(self, event: c_void_p) -> bool:
        """Whether the device has come to an event."""
        code = self._functions["cudaEventQuery"](event)
        if code == _NOT_READY:
            # CUDA keeps it as the last error, which who launches the next kernel may take for
            # theirs.
            self._functions["cudaGetLastError"]()
            return False
        self._check("cudaEventQuery", code)
        return True

    def _check(self, name: str, code: int) -> None:
        if code != _SUCCESS:
            raise BenchError(f"{name} failed: {self._words(code).decode()} (CUDA error {code}).")


class CudaStream:
    """A stream of its own on a device, in which work waits for nothing that others launch.

    It isn't destroyed, nor are its events: what an error keeps alive may hold it still, and the
    process ends soon.
    """

    def __init__(self, cudart: Cudart, index: int) -> None:
        self._cudart = cudart
        self._handle = c_void_p()
        cudart.call("cudaSetDevice", index)
        cudart.call("cudaStreamCreateWithFlags", byref(self._handle), _NON_BLOCKING)

    @property
    def address(self) -> int:
        """What a runtime that is to compute in it is told."""
        assert self._handle.value  # 0 is no stream, but the default one
        return self._handle.value

    @property
    def api(self) -> DeviceApi:
        """How work in it is timed."""
        return DeviceApi(
            lambda: CudaEvent(self._cudart, self._handle), self.synchronize, self.sleep
        )

    def synchronize(self) -> None:
        """Wait until its work is done."""
        self._cudart.call("cudaStreamSynchronize", self._handle)

    def sleep(self, seconds: float) -> None:
        """Have the stream wait so long before what is launched next. Returns at once.

        CUDA calls a function of the host there, and runs what comes behind it once that returns:
        the C library's `usleep`, which needs neither Python's lock nor CUDA, and returns whatever
        the host does meanwhile. It takes its microseconds where such a function is handed data.
        """
        left_us = round(seconds * 1e6)
        usleep = ctypes.cast(ctypes.CDLL(None).usleep, c_void_p)
        while left_us > 0:
            nap_us = min(left_us, _LONGEST_NAP_US)
            self._cudart.call("cudaLaunchHostFunc", self._handle, usleep, nap_us)
            left_us -= nap_us


class CudaEvent:
    """An event that tells times, in a stream."""

    def __init__(self, cudart: Cudart, stream: c_void_p) -> None:
        self._cudart, self._stream = cudart, stream
        self.handle = c_void_p()
        cudart.call("cudaEventCreate", byref(self.handle))

    def record(self) -> None:
        """Be reached when the stream has done all that was launched before."""
        self._cudart.call("cudaEventRecord", self.handle, self._stream)

    def query(self) -> bool:
        """Whether it is reached."""
        return self._cudart.is_reached(self.handle)

    def synchronize(self) -> None:
        """Wait until it is."""
        self._cudart.call("cudaEventSynchronize", self.handle)

    def elapsed_time(self, end: CudaEvent) -> float:
        """From this one to another, in ms, once both are reached."""
        found = c_float()
        self._cudart.call("cudaEventElapsedTime", byref(found), self.handle, end.handle)
        return found.value


def loaded_cudart() -> Cudart:
    """That of this process. Raises `BenchError` where it has loaded none."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = [found[0] for line in maps if (found := _LIBRARY.search(line.rstrip()))]
    if not paths:
        raise BenchError("CUDA's runtime library (libcudart) is not loaded.")
    return Cudart(ctypes.CDLL(paths[0]))
