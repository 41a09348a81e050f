"""ONNX Runtime's C API, called in a loop without Python: what Python adds is the difference.

The wheel carries ``libonnxruntime.so``, whose one entry point is ``OrtGetApiBase``; everything
else is a table of functions, whose places are those of `OrtApi` in the public header
``onnxruntime_c_api.h`` (functions are only ever added at its end). The loop is ten lines of C,
compiled where a C compiler is found; without one each call goes through ctypes, which adds about
a microsecond and is said in `NativeLoop.how`.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Optional, Sequence

import numpy as np

from bench.backend import Feeds, TensorSpec
from bench.capabilities import Nanoseconds, TimeCalls
from bench.errors import BenchError, Unsupported
from bench.programs import ask

from ..shared.checks import Array
from .recipe import Settings

#: The version of the table that is asked for: old enough for every supported release.
_API_VERSION = 16

#: Places in the table (onnxruntime_c_api.h, struct OrtApi, counted from 0).
_GET_ERROR_MESSAGE = 2
_CREATE_ENV = 3
_CREATE_SESSION = 7
_RUN = 9
_CREATE_SESSION_OPTIONS = 10
_SET_EXECUTION_MODE = 13
_DISABLE_CPU_MEM_ARENA = 19
_SET_OPTIMIZATION_LEVEL = 23
_SET_INTRA_OP_THREADS = 24
_SET_INTER_OP_THREADS = 25
_CREATE_TENSOR_WITH_DATA = 49
_CREATE_CPU_MEMORY_INFO = 69
_RELEASE_ENV = 92
_RELEASE_MEMORY_INFO = 94
_RELEASE_SESSION = 95
_RELEASE_VALUE = 96
_RELEASE_SESSION_OPTIONS = 100
_ADD_SESSION_CONFIG_ENTRY = 130

_LEVELS = {"disabled": 0, "basic": 1, "extended": 2, "all": 99}  # enum GraphOptimizationLevel
#: enum ONNXTensorElementDataType
_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
}
_SEQUENTIAL, _PARALLEL = 0, 1  # enum ExecutionMode
_ERRORS_ALONE = 3  # enum OrtLoggingLevel
_ARENA_ALLOCATOR, _DEFAULT_MEMORY = 1, 0

_COMPILER_S = 60.0  #: most; ten lines take a tenth of a second

_LOOP_SOURCE = """
#include <stdint.h>
#include <time.h>
typedef void *(*run_t)(void *, void *, const char **, void **, size_t, const char **, size_t,
                       void **);
static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}
void *loop(run_t run, void *session, const char **in_names, void **in, size_t n_in,
           const char **out_names, size_t n_out, void **out, int64_t calls, int64_t *stamps) {
  stamps[0] = now();
  for (int64_t i = 1; i <= calls; i++) {
    void *status = run(session, 0, in_names, in, n_in, out_names, n_out, out);
    if (status) return status;
    stamps[i] = now();
  }
  return 0;
}
"""

_Pointer = ctypes.c_void_p


class NativeLoop:
    """A session of its own in the same library, with inputs and outputs bound to numpy buffers."""

    def __init__(
        self,
        ort: ModuleType,
        model: str,
        settings: Settings,
        feeds: Feeds,
        specs: Sequence[TensorSpec],
        outputs: Sequence[Array],
    ) -> None:
        """``outputs`` give names' order, shapes and types; their values are not used."""
        self._api = _table(ort)
        self._made: list[tuple[int, Any]] = []
        self._keep: list[Any] = []
        self.outputs = [np.zeros_like(array, order="C") for array in outputs]
        self._session = self._create_session(model, settings)
        info = self._made_by(_CREATE_CPU_MEMORY_INFO, _RELEASE_MEMORY_INFO)(
            ctypes.c_int(_ARENA_ALLOCATOR), ctypes.c_int(_DEFAULT_MEMORY)
        )
        inputs = [np.array(array, order="C", copy=True) for array in feeds.values()]
        self._arguments = (
            *self._tensors(list(feeds), inputs, info),
            *self._tensors([spec.name for spec in specs], self.outputs, info),
        )
        self._loop = _compiled_loop()
        self.how = (
            "a C loop" if self._loop is not None else "ctypes, no working C compiler was found"
        )

    def time(self, time_calls: TimeCalls, calls: int) -> Nanoseconds:
        """Latencies in ns, int64 of shape (calls,), of ``calls`` back-to-back inferences; what
        ``time_calls`` times where nothing compiled the loop."""
        names_in, values_in, count_in, names_out, values_out, count_out = self._arguments
        run = self._function(_RUN)
        if self._loop is None:
            arguments = (self._session, None, names_in, values_in, count_in)
            rest = (names_out, count_out, values_out)
            return time_calls(lambda: self._check(run(*arguments, *rest)), calls)
        stamps = np.empty(calls + 1, np.int64)
        status = self._loop(
            ctypes.cast(run, _Pointer),
            self._session,
            names_in,
            values_in,
            count_in,
            names_out,
            count_out,
            values_out,
            ctypes.c_int64(calls),
            stamps.ctypes.data_as(_Pointer),
        )
        self._check(status)
        return np.subtract(stamps[1:], stamps[:-1])

    def close(self) -> None:
        """Release everything, the last made first. Calling it twice does nothing."""
        while self._made:
            release, pointer = self._made.pop()
            function = self._function(release)
            function.restype = None
            function(pointer)

    def _create_session(self, model: str, settings: Settings) -> Any:
        env = self._made_by(_CREATE_ENV, _RELEASE_ENV)(ctypes.c_int(_ERRORS_ALONE), b"bench")
        options = self._made_by(_CREATE_SESSION_OPTIONS, _RELEASE_SESSION_OPTIONS)()
        self._do(_SET_INTRA_OP_THREADS, options, ctypes.c_int(settings.threads))
        self._do(_SET_INTER_OP_THREADS, options, ctypes.c_int(settings.nodes_at_once))
        mode = _PARALLEL if settings.parallel else _SEQUENTIAL
        self._do(_SET_EXECUTION_MODE, options, ctypes.c_int(mode))
        level = ctypes.c_int(_LEVELS[settings.optimization])
        self._do(_SET_OPTIMIZATION_LEVEL, options, level)
        if not settings.arena:
            self._do(_DISABLE_CPU_MEM_ARENA, options)
        for key, value in settings.entries.items():
            self._do(_ADD_SESSION_CONFIG_ENTRY, options, key.encode(), value.encode())
        path = str(Path(model)).encode()
        return self._made_by(_CREATE_SESSION, _RELEASE_SESSION)(env, path, options)

    def _tensors(self, names: list[str], arrays: list[Array], info: Any) -> tuple[Any, Any, Any]:
        """Names, tensors over the arrays' own memory, and their number, as C arrays."""
        values = []
        for array in arrays:
            if array.dtype.name not in _TYPES:
                raise Unsupported(f"the native lane has no type for {array.dtype.name}.")
            shape = (ctypes.c_int64 * array.ndim)(*array.shape)
            values.append(
                self._made_by(_CREATE_TENSOR_WITH_DATA, _RELEASE_VALUE)(
                    info,
                    array.ctypes.data_as(_Pointer),
                    ctypes.c_size_t(array.nbytes),
                    shape,
                    ctypes.c_size_t(array.ndim),
                    ctypes.c_int(_TYPES[array.dtype.name]),
                )
            )
        self._keep += arrays
        encoded = (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
        return encoded, (_Pointer * len(values))(*values), ctypes.c_size_t(len(values))

    def _made_by(self, create: int, release: int) -> Any:
        """A function that calls ``create`` with an out pointer at its end, and keeps the result."""

        def make(*arguments: Any) -> Any:
            out = _Pointer()
            self._do(create, *arguments, ctypes.byref(out))
            self._made.append((release, out))
            return out

        return make

    def _do(self, place: int, *arguments: Any) -> None:
        self._check(self._function(place)(*arguments))

    def _function(self, place: int) -> Any:
        return ctypes.CFUNCTYPE(_Pointer)(self._api[place])

    def _check(self, status: Optional[int]) -> None:
        if status:
            message = self._function(_GET_ERROR_MESSAGE)
            message.restype = ctypes.c_char_p
            text = message(_Pointer(status)) or b""
            raise BenchError(f"onnxruntime's C API: {text.decode(errors='replace')}")


def _table(ort: ModuleType) -> Any:
    """The table of functions of the library in the wheel."""
    folder = Path(str(ort.__file__)).parent / "capi"
    libraries = sorted(folder.glob("libonnxruntime.so*")) + sorted(folder.glob("onnxruntime.dll"))
    libraries += sorted(folder.glob("libonnxruntime*.dylib"))
    if not libraries:
        raise Unsupported(
            "this onnxruntime package has no C library, so it has no native lane; the lanes "
            "are prepared and api."
        )
    library = ctypes.CDLL(str(libraries[0]))
    library.OrtGetApiBase.restype = ctypes.POINTER(_Pointer)
    get_api = ctypes.CFUNCTYPE(_Pointer, ctypes.c_uint32)(library.OrtGetApiBase()[0])
    table = get_api(_API_VERSION)
    if not table:
        raise Unsupported(f"{libraries[0].name} does not offer version {_API_VERSION} of its API.")
    return ctypes.cast(table, ctypes.POINTER(_Pointer))


def _compiled_loop() -> Any:
    """The loop as a function, or None where nothing compiles it."""
    compiler = next((c for c in map(shutil.which, ("cc", "gcc", "clang")) if c), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(prefix="bench-native-") as folder:
        source, target = Path(folder, "loop.c"), Path(folder, "loop.so")
        source.write_text(_LOOP_SOURCE)
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(target), str(source)]
        try:
            if ask(command, _COMPILER_S).returncode:
                return None
        except (OSError, subprocess.TimeoutExpired):
            return None
        loop = ctypes.CDLL(str(target)).loop  # stays mapped after the file is gone
    loop.restype = _Pointer
    return loop
