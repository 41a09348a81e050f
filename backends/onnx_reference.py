"""The reference evaluator of the package ``onnx``: what a model means, computed slowly by numpy.

Its outputs are the yardstick for other runtimes, so operators that it is known to get wrong are put
right or refused (`shared.onnx_corrections`); its latency means nothing, so its one device counts as
simulated. There are no options behind ``?``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping, Sequence

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.capabilities import ReferenceRole
from bench.errors import BenchError, Unavailable, Unsupported

from .shared.checks import Array, check_feeds, first_line, read_extra, require_onnx
from .shared.host import cpu_device
from .shared.onnx_corrections import evaluator_class, refusal
from .shared.onnx_file import read_onnx
from .shared.values import array_type, is_decoded


class OnnxReference:
    """Adapter to ``onnx.reference``."""

    name: ClassVar[str] = "onnx-reference"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("onnx",)
    #: The evaluator of the standard itself, which shares no code with any runtime.
    reference: ClassVar[ReferenceRole] = ReferenceRole(10)
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8-dynamic", "int8-static")
    preload: ClassVar[tuple[str, ...]] = ("onnx.reference",)
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1"}

    def version(self) -> str:
        return str(_import().__version__)

    def devices(self) -> list[Device]:
        _import()
        return [cpu_device(simulated=True)]

    def compile(self, model: ModelFile, device: Device, options: Options) -> ReferenceSession:
        onnx = _import()
        target = f"{self.name}:{device.id}"
        if device.id != "cpu":
            raise Unavailable(f"{target} is not available: it has only cpu.")
        read_extra(target, options.extra, {})
        path = require_onnx(model, target)
        where = f"{model.name} on {target}"
        graph = read_onnx(path)
        opsets = {entry.domain: entry.version for entry in graph.opset_import}
        wrong = refusal(graph.graph, opsets)
        if wrong:
            raise Unsupported(f"{where}: {wrong} by onnx.reference.")
        return ReferenceSession(onnx, _evaluator(onnx, graph, where), graph.graph, where)


class ReferenceSession:
    """A `ReferenceEvaluator`."""

    def __init__(self, onnx: ModuleType, evaluator: Any, graph: Any, where: str) -> None:
        self._evaluator = evaluator
        self._where = where
        self._nodes = len(graph.node)
        self._result: list[list[Any]] = []
        weights = {tensor.name for tensor in graph.initializer}
        self.inputs = [_spec(onnx, v, where) for v in graph.input if v.name not in weights]
        self._kinds = [_kind(onnx, value) for value in graph.output]
        self.outputs = [
            _spec(onnx, v, where) for v, kind in zip(graph.output, self._kinds) if array_type(kind)
        ]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        check_feeds(self._where, self.inputs, feeds)
        own = {name: np.array(array) for name, array in feeds.items()}
        run = self._evaluator.run
        result: list[list[Any]] = []
        self._result = result

        def call() -> None:
            result[:] = [run(None, own)]

        return call

    def fetch(self) -> list[Array]:
        if not self._result:
            raise BenchError(f"{self._where}: no output yet; bind inputs and call first.")
        return self._arrays(self._result[0])

    def run(self, feeds: Feeds) -> list[Array]:
        check_feeds(self._where, self.inputs, feeds)
        return self._arrays(self._evaluator.run(None, dict(feeds)))

    def _arrays(self, outputs: Sequence[Any]) -> list[Array]:
        """Copies of the outputs that are tensors of numbers, types that numpy lacks as float32."""
        return [
            np.array(value, dtype=np.float32 if is_decoded(kind) else None)
            for value, kind in zip(outputs, self._kinds)
            if array_type(kind)
        ]

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        return self.bind(feeds)

    def placement(self) -> Placement:
        """An interpreter in this process: there is nowhere else to run."""
        return Placement({"cpu": self._nodes}, "onnx.reference: interprets every node with numpy")

    def close(self) -> None:
        self._evaluator = None
        self._result = []


def _import() -> ModuleType:
    try:
        import onnx
        import onnx.reference
    except ImportError as error:
        raise Unavailable(
            f"onnx-reference is not available: {first_line(error)}.",
            "Install it: pip install onnx.",
        ) from error
    return onnx  # type: ignore[no-any-return]


def _evaluator(onnx: ModuleType, model: Any, where: str) -> Any:
    try:
        return evaluator_class(onnx)(model)
    except Exception as error:
        ops = sorted({_op_name(node) for node in model.graph.node if _lacks(node, model)})
        lacking = f"the operator {', '.join(ops)} is not supported" if ops else "it can't be read"
        raise Unsupported(f"{where}: {lacking}: {first_line(error)}.") from error


def _op_name(node: Any) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)


def _lacks(node: Any, model: Any) -> bool:
    """Whether the evaluator has no implementation of a node's operator."""
    import onnx.defs

    if any(f.domain == node.domain and f.name == node.op_type for f in model.functions):
        return False
    return not onnx.defs.has(node.op_type, node.domain)


def _kind(onnx: ModuleType, value: Any) -> str:
    """The type of a tensor by ONNX's name in small letters; empty for what is no tensor."""
    if not value.type.HasField("tensor_type"):
        return ""
    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


def _spec(onnx: ModuleType, value: Any, where: str) -> TensorSpec:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise Unsupported(f"{where}: {value.name!r} is not a tensor.")
    dtype = array_type(_kind(onnx, value))
    if not dtype:
        raise Unsupported(f"{where}: {value.name!r} is not a tensor of numbers.")
    dims = (d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
    return TensorSpec(value.name, dtype, tuple(dims))
