"""Sonos tract, an inference engine in Rust, on the CPU.

It has no options behind ``?``. A symbolic dimension that keeps its symbol costs a factor of five
on a convolutional network, so the symbols become the sizes that the session is given; such a
session takes no other shapes. tract computes an inference in one thread, however many there are
(of its operators attention alone is split); its C API has no setting for that.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping, Sequence

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, Unsupported, without_stop

from .shared.checks import (
    Array,
    check_feeds,
    check_shapes,
    first_line,
    is_out_of_memory,
    read_extra,
    require_onnx,
)
from .shared.host import cpu_device
from .shared.static_steps import Stepping

#: `tract.DatumType`, as numpy calls it. Others (complex, symbolic dimensions) have no equal there.
_TYPES = {
    0x01: "bool",
    **{0x10 + size: f"uint{8 * size}" for size in (1, 2, 4, 8)},
    **{0x20 + size: f"int{8 * size}" for size in (1, 2, 4, 8)},
    **{0x30 + size: f"float{8 * size}" for size in (2, 4, 8)},
}
#: Nodes of a plan that compute nothing.
_STILL_NODES = ("Const", "Source")


class Tract:
    """Adapter to the package ``tract``."""

    name: ClassVar[str] = "tract"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("tract",)
    # It runs QDQ models (int8-static) too, but dequantises the weights when loading and computes in
    # fp32, so that isn't offered; fp16 models made by ONNX Runtime's converter fail on Gemm.
    variants: ClassVar[tuple[str, ...]] = ("fp32", "int8-dynamic")
    static_shapes: ClassVar[tuple[str, ...]] = ("cpu",)
    preload: ClassVar[tuple[str, ...]] = ("tract",)
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        "RUST_BACKTRACE": "0",  # a backtrace is taken for every error, into its message
        "OPENBLAS_NUM_THREADS": "1",  # numpy's, which would start threads on import
    }

    def version(self) -> str:
        return str(_import().bindings.lib.tract_version().decode())

    def devices(self) -> list[Device]:
        _import()
        return [cpu_device()]

    def compile(self, model: ModelFile, device: Device, options: Options) -> TractSession:
        tract = _import()
        target = f"{self.name}:{device.id}"
        if device.id != "cpu":
            raise Unavailable(f"{target} is not available: this adapter has only tract:cpu.")
        read_extra(target, options.extra, {})
        path = require_onnx(model, target)
        where = f"{model.name} on {target}"
        # Read once, when the pool for attention starts with the first inference that needs it.
        os.environ["RAYON_NUM_THREADS"] = str(options.threads)
        session = _make(tract, path, where, options.shapes)
        session.static = model.static
        session.remade = lambda step: _make(tract, step.path, where, {})
        return session


class TractSession(Stepping):
    """A `Runnable`, which makes a fresh state for each inference, as a stateless model needs."""

    def __init__(
        self, tract: ModuleType, runnable: Any, inputs: list[str], outputs: list[str], where: str
    ) -> None:
        self._tract = tract
        self._runnable = runnable
        self.where = where
        self._bound: _Call | None = None
        self.inputs = [_spec(n, f, where) for n, f in zip(inputs, runnable.input_facts())]
        self.outputs = [_spec(n, f, where) for n, f in zip(outputs, runnable.output_facts())]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Copies into tensors of tract's own; the call makes new outputs, as it always does."""
        tensors = self._tensors(feeds)
        self._bound = _Call(self._tract, self._runnable, tensors, len(self.outputs), self.where)
        return self._bound

    def fetch(self) -> list[Array]:
        arrays = self._bound.arrays() if self._bound is not None else []
        if not arrays:
            raise BenchError(f"{self.where}: no output yet; bind inputs and call first.")
        return arrays

    def run(self, feeds: Feeds) -> list[Array]:
        return [tensor.to_numpy() for tensor in self.step(self._tensors(feeds))]

    def put(self, array: Array) -> Any:
        return self._tract.Tensor.from_numpy(array)

    def step(self, values: Sequence[Any]) -> Sequence[Any]:
        try:
            return self._runnable.run(list(values))  # type: ignore[no-any-return]
        except Exception as error:
            raise _explain(error, self.where, f"{self.where}: inference failed") from error

    def take(self, value: Any, spec: TensorSpec) -> Array:
        return value.to_numpy()  # type: ignore[no-any-return]

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        own = [array.copy() for array in check_feeds(self.where, self.inputs, feeds)]
        run = self._runnable.run
        return lambda: [tensor.to_numpy() for tensor in run(own)]

    def placement(self) -> Placement:
        nodes = json.loads(self._runnable.profile_json(None))["nodes"]
        count = sum(node["op_name"] not in _STILL_NODES for node in nodes)
        return Placement({"cpu": count}, "tract: its optimised plan, made for its CPU runtime")

    def close(self) -> None:
        self._bound = None
        self._runnable = None

    def _tensors(self, feeds: Feeds) -> list[Any]:
        return [self.put(array) for array in check_feeds(self.where, self.inputs, feeds)]


class _Call:
    """One inference by the C function below `Runnable.run`, whose Python costs 5 µs a call."""

    def __init__(
        self, tract: ModuleType, runnable: Any, tensors: list[Any], outputs: int, where: str
    ) -> None:
        lib = tract.bindings.lib
        self._run, self._destroy = lib.tract_runnable_run, lib.tract_tensor_destroy
        self._tract = tract
        self.where = where
        self._keep = (runnable, tensors)
        self._pointer = runnable.ptr
        self._inputs = (ctypes.c_void_p * len(tensors))(*(t.ptr.value for t in tensors))
        self._outputs = (ctypes.c_void_p * outputs)()
        size = ctypes.sizeof(ctypes.c_void_p)
        self._places = [ctypes.byref(self._outputs, index * size) for index in range(outputs)]

    def __call__(self) -> None:
        if self._outputs[0]:
            for place in self._places:
                self._destroy(place)  # sets it to null
        if self._run(self._pointer, self._inputs, self._outputs):
            raise self._failure()

    def _failure(self) -> BenchError:
        try:
            self._tract.bindings.check(1)
        except Exception as error:
            return _explain(error, self.where, f"{self.where}: inference failed")
        return BenchError(f"{self.where}: inference failed, and tract gave no reason.")

    def arrays(self) -> list[Array]:
        """Copies of the outputs of the last call; none before the first."""
        return [self._copy(value) for value in self._outputs if value]

    def _copy(self, pointer: int) -> Array:
        tensor = self._tract.Tensor(ctypes.c_void_p(pointer))
        try:
            return tensor.to_numpy()  # type: ignore[no-any-return]
        finally:
            tensor.ptr = None  # it is ours to release

    def __del__(self) -> None:
        for place, value in zip(self._places, self._outputs):
            if value:
                self._destroy(place)


def _import() -> ModuleType:
    try:
        import tract
    except (ImportError, OSError) as error:
        raise Unavailable(
            f"tract is not available: {first_line(error)}.",
            "Install it: pip install 'infer-bench[tract]'.",
        ) from error
    return tract  # type: ignore[no-any-return]


def _make(
    tract: ModuleType, path: Path, where: str, shapes: Mapping[str, tuple[int, ...]]
) -> TractSession:
    try:
        graph = tract.onnx().load(str(path))
    except Exception as error:
        raise _explain(error, where, f"{path}: tract can't read it") from error
    try:
        _name_sizes(graph, shapes)
        typed = graph.into_model()
        names = [typed.input_name(index) for index in range(typed.input_count())]
        inputs = [_spec(n, f, where) for n, f in zip(names, typed.input_facts())]
        check_shapes(where, inputs, shapes)
        _set_symbols(tract, typed, names, shapes)
        outputs = [typed.output_name(index) for index in range(typed.output_count())]
        runnable = typed.into_runnable()
    except BenchError:
        raise
    except Exception as error:
        raise _explain(error, where, f"{where}: it can't be compiled") from error
    return TractSession(tract, runnable, names, outputs, where)


def _name_sizes(graph: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give nameless dimensions of inputs their sizes, without which tract can't infer shapes.

    A named one keeps its name here: the file may hold shapes of intermediate values in its terms.
    """
    for index in range(graph.input_count()):
        *dims, dtype = graph.input_fact(index).dump().split(",")
        shape = shapes.get(graph.input_name(index), ())
        if "?" in dims and len(shape) == len(dims):
            known = [str(size) if dim == "?" else dim for dim, size in zip(dims, shape)]
            graph.set_input_fact(index, ",".join([*known, dtype]))


def _set_symbols(
    tract: ModuleType, typed: Any, names: list[str], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Put the sizes to compile for in place of the symbols."""
    sizes = {
        text: size
        for name, fact in zip(names, typed.input_facts())
        for text, size in zip((dim.dump() for dim in fact.dims()), shapes.get(name, ()))
        if text.isidentifier()
    }
    if sizes:
        typed.transform(tract.transform.SetSymbols(sizes))


def _spec(name: str, fact: Any, where: str) -> TensorSpec:
    dtype = _TYPES.get(fact.datum_type())
    if dtype is None:
        raise Unsupported(f"{where}: {name!r} has a type that numpy lacks: {fact.dump()}.")
    dims = (dim.dump() for dim in fact.dims())
    return TensorSpec(name, dtype, tuple(int(dim) if dim.isdigit() else -1 for dim in dims))


def _explain(error: Exception, where: str, what: str) -> BenchError:
    """What an error means to a user; ``what`` begins the sentence about a bad model."""
    if is_out_of_memory(error):
        return OutOfMemory(f"{where}: {first_line(error)}. Use a smaller batch or model.")
    reason = _reason(str(error))
    lacking = re.search(r"Unimplemented\((\w+)\)", reason)
    if lacking:
        return Unsupported(f"{where}: the operator {lacking[1]} is not supported: {reason}.")
    if "can't be compiled" in what:
        return Unsupported(f"{what}: {reason}.")
    return SpecError(f"{what}: {reason}.")


def _reason(text: str) -> str:
    """The first line, and the deepest cause where there is one, without the stack below them."""
    told, _, _ = text.partition("Stack backtrace:")
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    lines = [re.sub(r"^\d+: ", "", line) for line in lines if line != "Caused by:"]
    return without_stop(": ".join(dict.fromkeys([lines[0], lines[-1]]))) if lines else "no reason"
