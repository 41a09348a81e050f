"""Apache TVM, compiled for this CPU by LLVM, as its importer leaves a model: without tuning.

It has no options behind ``?``. Without tuning TVM is right and slow, so it is here as a check of
portability. A session is compiled for the shapes that it is given, and takes no others.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping, Optional, Sequence

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.errors import BenchError, OutOfMemory, Unavailable, Unsupported

from .shared import tiny
from .shared.checks import (
    Array,
    check_feeds,
    first_line,
    is_out_of_memory,
    read_extra,
    require_onnx,
)
from .shared.host import cpu_device
from .shared.onnx_file import Shapes, fix_shapes, read_onnx, require_known_operators, spec_of
from .shared.static_steps import Stepping

#: The threads of the pool that this process has: TVM reads their number once.
_pool_threads: Optional[int] = None


class Tvm:
    """Adapter to the package ``apache-tvm``."""

    name: ClassVar[str] = "tvm"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("apache-tvm",)
    variants: ClassVar[tuple[str, ...]] = ("fp32",)
    static_shapes: ClassVar[tuple[str, ...]] = ("cpu",)
    preload: ClassVar[tuple[str, ...]] = ("tvm.relax.frontend.onnx",)
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        "OPENBLAS_NUM_THREADS": "1",  # numpy's, which would start threads on import
        "TVM_THREAD_POOL_SPIN_COUNT": "0",  # runtime/thread_pool.cc: 300000 otherwise
    }

    def version(self) -> str:
        return str(_import().__version__)

    def devices(self) -> list[Device]:
        _import()
        with tempfile.TemporaryDirectory(prefix="bench-tvm-") as folder:
            path = Path(folder, "tiny.onnx")
            path.write_bytes(tiny.ONNX)
            shapes = {name: array.shape for name, array in tiny.FEEDS.items()}
            session = _make(path, "a tiny model", shapes)
        if not tiny.is_right(session.run(tiny.FEEDS)[0]):
            raise Unavailable("tvm:cpu is not available: its results on this CPU are incorrect.")
        return [cpu_device()]

    def compile(self, model: ModelFile, device: Device, options: Options) -> TvmSession:
        _import()
        target = f"{self.name}:{device.id}"
        if device.id != "cpu":
            raise Unavailable(f"{target} is not available: this adapter has only tvm:cpu.")
        read_extra(target, options.extra, {})
        path = require_onnx(model, target)
        where = f"{model.name} on {target}"
        _set_threads(options.threads, where)
        session = _make(path, where, options.shapes)
        session.static = model.static
        session.remade = lambda step: _make(step.path, where, {})
        return session


class TvmSession(Stepping):
    """A relax `VirtualMachine` on the CPU."""

    def __init__(
        self,
        tvm: ModuleType,
        executable: Any,
        kernels: int,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        where: str,
    ) -> None:
        self._tvm = tvm
        self.where = where
        self._place = tvm.cpu()
        self._main: Any = tvm.relax.VirtualMachine(executable, self._place)["main"]
        source = "tvm: the kernels of the compiled module, all for llvm, in a machine on the CPU"
        self._placement = Placement({"cpu": kernels}, source)
        self._results: list[Any] = []
        self.inputs = list(inputs)
        self.outputs = list(outputs)

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Copies into tensors of TVM's; the call makes new outputs, as it always does."""
        tensors, main = self._tensors(feeds), self._main
        results: list[Any] = []
        self._results = results

        def call() -> None:
            results[:] = (main(*tensors),)

        return call

    def fetch(self) -> list[Array]:
        if not self._results:
            raise BenchError(f"{self.where}: no output yet; bind inputs and call first.")
        return self._copied(self._results[0])

    def run(self, feeds: Feeds) -> list[Array]:
        values = self.step(self._tensors(feeds))
        return [self.take(value, spec) for value, spec in zip(values, self.outputs)]

    def put(self, array: Array) -> Any:
        return self._tvm.runtime.tensor(np.array(array, order="C"), self._place)

    def step(self, values: Sequence[Any]) -> Sequence[Any]:
        try:
            return self._several(self._main(*values))
        except Exception as error:
            raise _explain(error, self.where, "inference failed") from error

    def take(self, value: Any, spec: TensorSpec) -> Array:
        return np.array(value.numpy())

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        own = {name: array.copy() for name, array in feeds.items()}
        check_feeds(self.where, self.inputs, own)
        return lambda: self._copied(self._main(*self._tensors(own)))

    def placement(self) -> Placement:
        return self._placement

    def close(self) -> None:
        self._main = None
        self._results = []

    def _tensors(self, feeds: Feeds) -> list[Any]:
        return [self.put(array) for array in check_feeds(self.where, self.inputs, feeds)]

    def _copied(self, result: Any) -> list[Array]:
        return [np.array(tensor.numpy()) for tensor in self._several(result)]

    def _several(self, result: Any) -> list[Any]:
        return [result] if len(self.outputs) == 1 and hasattr(result, "numpy") else list(result)


def _import() -> ModuleType:
    try:
        import onnx  # noqa: F401
        import tvm
        import tvm.relax.frontend.onnx
    except (ImportError, OSError) as error:
        raise Unavailable(
            f"tvm is not available: {first_line(error)}.",
            "Install it: pip install 'infer-bench[tvm]'.",
        ) from error
    return tvm  # type: ignore[no-any-return]


def _set_threads(threads: int, where: str) -> None:
    global _pool_threads
    if _pool_threads not in (None, threads):
        raise Unsupported(
            f"{where}: tvm has one thread pool per process, and this one has {_pool_threads}; "
            f"{threads} need another process."
        )
    os.environ["TVM_NUM_THREADS"] = str(threads)
    _pool_threads = threads


def _make(path: Path, where: str, shapes: Shapes) -> TvmSession:
    tvm = _import()
    model = read_onnx(path)
    require_known_operators(model, where, "tvm")
    inputs = fix_shapes(model, where, "tvm", shapes)
    outputs = tuple(spec_of(value, where) for value in model.graph.output)
    sizes = {spec.name: list(spec.shape) for spec in inputs}
    try:
        module = tvm.relax.frontend.onnx.from_onnx(
            model, shape_dict=sizes, keep_params_in_input=False
        )
        lowered = tvm.relax.get_pipeline("zero")(module)  # fusion; what compiling begins with
        kernels = sum(isinstance(f, tvm.tirx.PrimFunc) for f in lowered.functions.values())
        return TvmSession(tvm, tvm.compile(module, _this_cpu(tvm)), kernels, inputs, outputs, where)
    except BenchError:
        raise
    except Exception as error:
        raise _explain(error, where, "it can't be compiled") from error


def _this_cpu(tvm: ModuleType) -> Any:
    """Code for the instructions of this CPU; plain ``llvm`` would mean any of its architecture."""
    return tvm.target.Target.from_device("cpu")


def _explain(error: Exception, where: str, what: str) -> BenchError:
    kind = OutOfMemory if is_out_of_memory(error) else Unsupported
    return kind(f"{where}: tvm: {what}: {type(error).__name__}: {first_line(error)[:300]}.")
