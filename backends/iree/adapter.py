"""IREE, the MLIR compiler and its runtime, on the CPU.

Options behind ``?``: ``driver`` (``local-task``: a pool of threads; ``local-sync``: the calling
thread alone, without a hand-over; ``auto``: the latter at one thread), ``data_tiling``, ``cache``.
A session is compiled for the shapes that it is given, and takes no others. What was compiled is
found again on the disk, so the load time of a second process is far below that of a first;
``cache=0`` compiles anew.

IREE's Vulkan driver computes right on Mesa's software device (22.3.6), but two of its threads then
spin for as long as a session lives, which would spoil what is timed beside it: it isn't offered.
"""

from __future__ import annotations

import tempfile
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping, Optional, Sequence

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.capabilities import Tunable
from bench.errors import BenchError, OutOfMemory, Unavailable, Unsupported

from ..shared import tiny
from ..shared.checks import (
    Array,
    check_feeds,
    first_line,
    is_out_of_memory,
    read_extra,
    require_onnx,
)
from ..shared.host import cpu_device
from ..shared.static_steps import Stepping
from .compile import Compiled, compile_onnx

_OPTIONS = {
    "driver": ("auto", "local-task", "local-sync"),
    "data_tiling": ("0", "1"),
    "cache": ("1", "0"),
}
#: ``host``: the instructions of this CPU; the default is a CPU of 2003.
_FLAGS = ("--iree-hal-target-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host")


class Iree:
    """Adapter to the packages ``iree-base-compiler`` and ``iree-base-runtime``."""

    name: ClassVar[str] = "iree"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("iree-base-runtime", "iree-base-compiler")
    # In the compiler's own dump, QDQ convolutions multiply i8 by i8 in i32.
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8-dynamic", "int8-static")
    tunables: ClassVar[Mapping[str, Tunable]] = {
        # With a single thread `auto` is `local-sync` already.
        "driver": Tunable(_OPTIONS["driver"], pooled=True),
        "data_tiling": Tunable(_OPTIONS["data_tiling"]),
    }
    static_shapes: ClassVar[tuple[str, ...]] = ("cpu",)
    preload: ClassVar[tuple[str, ...]] = ("iree.runtime", "iree.compiler.tools", "onnx")
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        "OPENBLAS_NUM_THREADS": "1",  # numpy's, which would start threads on import
    }

    def version(self) -> str:
        _import()
        # The packages' own VERSION is that of the release candidate they were made from.
        return metadata.version("iree-base-runtime")

    def devices(self) -> list[Device]:
        rt = _import()
        _touch(rt)
        return [cpu_device()]

    def compile(self, model: ModelFile, device: Device, options: Options) -> IreeSession:
        rt = _import()
        target = f"{self.name}:{device.id}"
        if device.id != "cpu":
            raise Unavailable(f"{target} is not available: this adapter has only iree:cpu.")
        extra = read_extra(target, options.extra, _OPTIONS)
        path = require_onnx(model, target)
        where = f"{model.name} on {target}"
        flags = [*_FLAGS, "--iree-opt-data-tiling"] if extra["data_tiling"] == "1" else _FLAGS
        keep = extra["cache"] == "1"
        compiled = compile_onnx(path, where, options.shapes, flags, keep)
        place, how = _find_place(rt, extra["driver"], options.threads, where)

        def made(compiled: Compiled) -> IreeSession:
            try:
                return IreeSession(rt, compiled, place, how, where)
            except Exception as error:
                raise _explain(error, where) from error

        session = made(compiled)
        session.static = model.static
        session.remade = lambda step: made(compile_onnx(step.path, where, {}, flags, keep))
        return session


class IreeSession(Stepping):
    """A module in a context of its own that knows one device."""

    def __init__(
        self, rt: ModuleType, compiled: Compiled, place: Any, how: str, where: str
    ) -> None:
        self._rt = rt
        self._place = place
        self.where = where
        self._placement = Placement(
            {"cpu": compiled.dispatches},
            f"iree: dispatches that its compiler counted, in a context that has only {how}",
        )
        self._returned: list[Any] = []
        self.inputs = list(compiled.inputs)
        self.outputs = list(compiled.outputs)
        instance = rt.VmInstance()
        module = rt.VmModule.copy_buffer(instance, compiled.module)
        self._context = rt.VmContext(instance, [rt.create_hal_module(instance, place), module])
        (name,) = [n for n in module.function_names if not n.startswith("__") and "$" not in n]
        self._function = module.lookup_function(name)
        self._invoker = rt.FunctionInvoker(self._context, place, self._function)

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Copies to buffers of the device; the call makes new outputs there, as it always does."""
        arguments = self._arguments(feeds)
        returned: list[Any] = []
        self._returned = returned
        new_list, invoke, function = self._rt.VmVariantList, self._context.invoke, self._function
        outputs = len(self.outputs)

        def call() -> None:
            results = new_list(outputs)
            invoke(function, arguments, results)
            returned[:] = (results,)

        return call

    def fetch(self) -> list[Array]:
        if not self._returned:
            raise BenchError(f"{self.where}: no output yet; bind inputs and call first.")
        return self._copied(self._returned[0])

    def run(self, feeds: Feeds) -> list[Array]:
        return self._copied(self._invoked(self._arguments(feeds)))

    def put(self, array: Array) -> Any:
        rt = self._rt
        try:
            # IREE has no type of one bit: numpy's bool is its i8.
            plain = np.ascontiguousarray(array.view(np.int8) if array.dtype == bool else array)
            return self._place.allocator.allocate_buffer_copy(
                memory_type=rt.MemoryType.DEVICE_LOCAL,
                allowed_usage=rt.BufferUsage.DEFAULT,
                device=self._place,
                buffer=plain.reshape(array.shape),
                element_type=rt.array_interop.map_dtype_to_hal_element_type(array.dtype),
            )
        except Exception as error:
            raise _explain(error, self.where) from error

    def step(self, values: Sequence[Any]) -> Sequence[Any]:
        arguments = self._rt.VmVariantList(len(values))
        for view in values:
            arguments.push_ref(view)
        results = self._invoked(arguments)
        view = self._rt.HalBufferView
        return [results.get_as_object(index, view) for index in range(len(self.outputs))]

    def take(self, value: Any, spec: TensorSpec) -> Array:
        return np.array(self._rt.DeviceArray(self._place, value).to_host(), dtype=spec.dtype)

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        own = [array.copy() for array in check_feeds(self.where, self.inputs, feeds)]
        invoker = self._invoker

        def call() -> list[Array]:
            results = invoker(*own)
            several = results if isinstance(results, tuple) else (results,)
            return [array.to_host() for array in several]

        return call

    def placement(self) -> Placement:
        return self._placement

    def close(self) -> None:
        self._returned = []
        self._invoker = self._function = self._context = None

    def _arguments(self, feeds: Feeds) -> Any:
        arrays = check_feeds(self.where, self.inputs, feeds)
        arguments = self._rt.VmVariantList(len(arrays))
        for array in arrays:
            arguments.push_ref(self.put(array))
        return arguments

    def _invoked(self, arguments: Any) -> Any:
        results = self._rt.VmVariantList(len(self.outputs))
        try:
            self._context.invoke(self._function, arguments, results)
        except Exception as error:
            raise _explain(error, self.where) from error
        return results

    def _copied(self, results: Any) -> list[Array]:
        view = self._rt.HalBufferView
        return [
            self.take(results.get_as_object(index, view), spec)
            for index, spec in enumerate(self.outputs)
        ]


def _import() -> ModuleType:
    try:
        import iree.compiler.tools
        import iree.runtime
        import onnx  # noqa: F401
    except (ImportError, OSError) as error:
        raise Unavailable(
            f"iree is not available: {first_line(error)}.",
            "Install it: pip install 'infer-bench[iree]'.",
        ) from error
    return iree.runtime  # type: ignore[no-any-return]


#: The threads of the pool that this process has: IREE reads its flags when a driver is made, and
#: makes each driver once.
_pool_threads: Optional[int] = None


def _find_place(rt: ModuleType, driver: str, threads: int, where: str) -> tuple[Any, str]:
    """The device of a driver, and what it is."""
    global _pool_threads
    if driver == "auto":  # one thread has nothing to gain from handing its work to another
        driver = "local-sync" if threads == 1 else "local-task"
    if driver == "local-sync":
        return rt.get_driver(driver).create_default_device(), "the calling thread"
    if _pool_threads not in (None, threads):
        raise Unsupported(
            f"{where}: iree has one thread pool per process, and this one has {_pool_threads}; "
            f"{threads} need another process."
        )
    rt.flags.parse_flags(f"--task_topology_group_count={threads}")
    _pool_threads = threads
    return rt.get_driver(driver).create_default_device(), f"a pool of {threads} thread(s)"


def _touch(rt: ModuleType) -> None:
    """Raise `Unavailable` unless a tiny model compiles and computes."""
    with tempfile.TemporaryDirectory(prefix="bench-iree-") as folder:
        path = Path(folder, "tiny.onnx")
        path.write_bytes(tiny.ONNX)
        shapes = {name: array.shape for name, array in tiny.FEEDS.items()}
        try:
            compiled = compile_onnx(path, "a tiny model", shapes, _FLAGS, keep=True)
            place = rt.get_driver("local-sync").create_default_device()
            session = IreeSession(rt, compiled, place, "the calling thread", "a tiny model")
            right = tiny.is_right(session.run(tiny.FEEDS)[0])
        except Exception as error:
            raise Unavailable(f"iree:cpu is not available: {first_line(error)}.") from error
    if not right:
        raise Unavailable("iree:cpu is not available: its results on this CPU are incorrect.")


def _explain(error: Exception, where: str) -> BenchError:
    if is_out_of_memory(error) or "RESOURCE_EXHAUSTED" in str(error):
        return OutOfMemory(f"{where}: {first_line(error)}. Use a smaller batch or model.")
    return BenchError(f"{where}: iree: {first_line(error)}.")
