"""Alibaba's MNN, on the CPU.

It has no options behind ``?``. MNN runs models of its own form, into which its converter turns the
ONNX file whenever a session is made (0.1 s for a small model). A session takes the shapes that it
was made for and no others. Whole numbers are 32 bits wide in MNN.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping, Sequence

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, Unsupported

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
from ..shared.onnx_file import fix_shapes, read_onnx, spec_of
from ..shared.static_steps import Stepping
from .convert import convert

#: The type that MNN computes in for each type of an ONNX model.
_TYPES = {
    "float32": "float32",
    "int64": "int32",
    "int32": "int32",
    "bool": "int32",
    "uint8": "uint8",
}


class Mnn:
    """Adapter to the package ``MNN``."""

    name: ClassVar[str] = "mnn"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("MNN",)
    variants: ClassVar[tuple[str, ...]] = ("fp32",)
    static_shapes: ClassVar[tuple[str, ...]] = ("cpu",)
    preload: ClassVar[tuple[str, ...]] = ("MNN", "onnx")
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        "OPENBLAS_NUM_THREADS": "1",  # numpy's, which would start threads on import
    }

    def version(self) -> str:
        return str(_import().version())

    def devices(self) -> list[Device]:
        mnn = _import()
        with tempfile.TemporaryDirectory(prefix="bench-mnn-") as folder:
            path = Path(folder, "tiny.onnx")
            path.write_bytes(tiny.ONNX)
            shapes = {name: array.shape for name, array in tiny.FEEDS.items()}
            session = _make(mnn, path, "a tiny model", Options(shapes=shapes))
        if not tiny.is_right(session.run(tiny.FEEDS)[0]):
            raise Unavailable("mnn:cpu is not available: its results on this CPU are incorrect.")
        return [cpu_device()]

    def compile(self, model: ModelFile, device: Device, options: Options) -> MnnSession:
        mnn = _import()
        target = f"{self.name}:{device.id}"
        if device.id != "cpu":
            raise Unavailable(f"{target} is not available: this adapter has only mnn:cpu.")
        read_extra(target, options.extra, {})
        path = require_onnx(model, target)
        where = f"{model.name} on {target}"
        session = _make(mnn, path, where, options)
        session.static = model.static
        session.remade = lambda step: _make(mnn, step.path, where, replace(options, shapes={}))
        return session


class MnnSession(Stepping):
    """An `Interpreter`; each bound call has a session of MNN's of its own."""

    def __init__(
        self,
        mnn: ModuleType,
        interpreter: Any,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        threads: int,
        where: str,
    ) -> None:
        self._mnn = mnn
        self._interpreter = interpreter
        self._threads = threads
        self.where = where
        self.inputs = list(inputs)
        self._bound: _Bound | None = None
        self._checked: _Bound | None = None
        self._spare: _Bound | None = None
        self._spare = made = self._prepare()
        shapes = {name: tuple(tensor.getShape()) for name, tensor in made.outputs.items()}
        self.outputs = [TensorSpec(o.name, o.dtype, shapes[o.name]) for o in outputs]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Copies into tensors of the host; outputs are the session's, written in place."""
        arrays = check_feeds(self.where, self.inputs, feeds)
        self._bound = bound = self._prepare()
        bound.take(self.inputs, arrays)
        return bound

    def fetch(self) -> list[Array]:
        if self._bound is None or not self._bound.ran:
            raise BenchError(f"{self.where}: no output yet; bind inputs and call first.")
        return self._bound.read(self.outputs)

    def run(self, feeds: Feeds) -> list[Array]:
        return self.step(check_feeds(self.where, self.inputs, feeds))

    def put(self, array: Array) -> Any:
        """MNN's tensors belong to a session, so what goes from one to another is an array."""
        return array

    def step(self, values: Sequence[Any]) -> list[Array]:
        self._checked = session = self._checked or self._prepare()
        session.take(self.inputs, list(values))
        session()
        return session.read(self.outputs)

    def take(self, value: Any, spec: TensorSpec) -> Array:
        return value  # type: ignore[no-any-return]

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        """From numpy to numpy, in one session, as MNN's users write it."""
        own = {name: array.copy() for name, array in feeds.items()}
        arrays = check_feeds(self.where, self.inputs, own)
        session = self._prepare()

        def call() -> list[Array]:
            session.take(self.inputs, arrays)
            session()
            return session.read(self.outputs)

        return call

    def placement(self) -> Placement:
        """One more inference, with a note of each operator that runs."""
        session = self._bound or self._checked
        if session is None:
            session = self._checked = self._prepare()
            session.take(self.inputs, [np.zeros(spec.shape, spec.dtype) for spec in self.inputs])
        source = "mnn: operators that ran, in a session of its CPU"
        return Placement({"cpu": session.count_operators()}, source)

    def close(self) -> None:
        self._bound = self._checked = self._spare = self._interpreter = None

    def _prepare(self) -> _Bound:
        """A new session, but first the one that told the shapes: MNN releases none in Python."""
        spare, self._spare = self._spare, None
        return spare or _Bound(self._mnn, self._interpreter, self.inputs, self._threads, self.where)


class _Bound:
    """A session of MNN's for the shapes of ``inputs``; calling it makes one inference."""

    def __init__(
        self, mnn: ModuleType, interpreter: Any, inputs: list[TensorSpec], threads: int, where: str
    ) -> None:
        self._mnn = mnn
        self._where = where
        self._interpreter = interpreter
        self._run = interpreter.runSession
        self._copies: list[tuple[Callable[[Any], bool], Any]] = []
        self.ran = False
        # "high": fp32 is computed in fp32; "normal" may take fp16 where the CPU has it.
        config = {"backend": "CPU", "numThread": threads, "precision": "high"}
        self.session = interpreter.createSession(config)
        self._inputs = interpreter.getSessionInputAll(self.session)
        for spec in inputs:
            if spec.name in self._inputs:  # one that nothing uses is left out by the converter
                interpreter.resizeTensor(self._inputs[spec.name], spec.shape)
        interpreter.resizeSession(self.session)
        self.outputs = interpreter.getSessionOutputAll(self.session)

    def __call__(self) -> None:
        for copy, host in self._copies:
            copy(host)
        if self._run(self.session):
            raise BenchError(f"{self._where}: mnn: runSession failed; see its log.")
        self.ran = True

    def count_operators(self) -> int:
        """How many operators one inference runs; it leaves the outputs of an ordinary one."""
        ran: list[Any] = []
        for copy, host in self._copies:
            copy(host)

        def note(tensors: Any, info: Any) -> bool:
            ran.append(info)
            return True

        self._interpreter.runSessionWithCallBackInfo(self.session, lambda *_: True, note)
        return len(ran)

    def take(self, specs: list[TensorSpec], arrays: list[Array]) -> None:
        """What calls are fed from now on. Raises `SpecError` for a number that doesn't fit."""
        copies = []
        for spec, array in zip(specs, arrays):
            own = np.array(array, dtype=_TYPES[spec.dtype], order="C")
            if not np.array_equal(own, array, equal_nan=own.dtype.kind == "f"):
                raise SpecError(f"{self._where}: input {spec.name!r} has numbers beyond 32 bits.")
            if spec.name in self._inputs:
                copies.append((self._inputs[spec.name].copyFrom, self._host(own)))
        if not all(copy(host) for copy, host in copies):
            raise BenchError(f"{self._where}: mnn does not accept these inputs.")
        self._copies = copies

    def read(self, specs: list[TensorSpec]) -> list[Array]:
        """Copies of the outputs, in the model's types."""
        arrays = []
        for spec in specs:
            host = self._host(np.zeros(spec.shape, _TYPES[spec.dtype]))
            if not self.outputs[spec.name].copyToHostTensor(host):
                raise BenchError(f"{self._where}: mnn does not return the output {spec.name!r}.")
            array = np.array(host.getNumpyData()).reshape(spec.shape)
            arrays.append(array.astype(spec.dtype, copy=False))
        return arrays

    def _host(self, array: Array) -> Any:
        mnn = self._mnn
        kinds = {"float32": mnn.Halide_Type_Float, "int32": mnn.Halide_Type_Int}
        kind = kinds.get(array.dtype.name, mnn.Halide_Type_Uint8)
        return mnn.Tensor(array.shape, kind, array, mnn.Tensor_DimensionType_Caffe)


def _import() -> ModuleType:
    try:
        import MNN
        import onnx  # noqa: F401
    except (ImportError, OSError) as error:
        raise Unavailable(
            f"mnn is not available: {first_line(error)}.",
            "Install it: pip install 'infer-bench[mnn]'.",
        ) from error
    return MNN  # type: ignore[no-any-return]


def _make(mnn: ModuleType, path: Path, where: str, options: Options) -> MnnSession:
    model = read_onnx(path)
    with tempfile.TemporaryDirectory(prefix="bench-mnn-") as folder:
        converted = Path(folder, "model.mnn")
        convert(path, converted, where)
        inputs = fix_shapes(model, where, "mnn", options.shapes)
        outputs = tuple(spec_of(value, where) for value in model.graph.output)
        for spec in (*inputs, *outputs):
            if spec.dtype not in _TYPES:
                raise Unsupported(f"{where}: {spec.name!r} is {spec.dtype}, which mnn lacks.")
        try:
            interpreter = mnn.Interpreter(str(converted))
            return MnnSession(mnn, interpreter, inputs, outputs, options.threads, where)
        except BenchError:
            raise
        except Exception as error:
            kind = OutOfMemory if is_out_of_memory(error) else Unsupported
            raise kind(f"{where}: mnn can't load it: {first_line(error)}.") from error
