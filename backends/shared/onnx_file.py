"""What a runtime that can't tell types and shapes itself needs to know of an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

from bench.backend import TensorSpec
from bench.errors import SpecError, Unsupported

from .checks import check_shapes, first_line

Shapes = Mapping[str, Sequence[int]]


def read_onnx(path: Path) -> Any:
    """The model as onnx's `ModelProto`. Raises `SpecError` for a file that holds none."""
    import onnx

    try:
        model = onnx.load(str(path))
        if not model.graph.node:
            raise ValueError("it contains no graph")
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise SpecError(f"{path}: onnx can't read it: {reason}. Is the file whole?") from error
    return model


def require_known_operators(model: Any, where: str, runtime: str) -> None:
    """Raise `Unsupported` for what neither ONNX nor ONNX Runtime nor the model itself defines."""
    import onnx.defs

    own = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        known = (node.domain, node.op_type) in own or node.domain == "com.microsoft"
        if not known and not onnx.defs.has(node.op_type, node.domain):
            name = f"{node.domain}.{node.op_type}".strip(".")
            raise Unsupported(f"{where}: the operator {name} is not supported by {runtime}.")


def fix_shapes(model: Any, where: str, runtime: str, shapes: Shapes) -> tuple[TensorSpec, ...]:
    """Write the sizes to compile for into the model; the specs of its inputs.

    Raises `SpecError` for a size that doesn't fit, and for a dimension that is left without one.
    """
    values = inputs_of(model)
    check_shapes(where, [spec_of(value, where) for value in values], shapes)
    for value in values:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ())):
            dim.dim_value = size
    specs = tuple(spec_of(value, where) for value in values)
    for spec in specs:
        if -1 in spec.shape:
            raise SpecError(
                f"{where}: {runtime} compiles for fixed shapes, and input {spec.name!r} has a "
                "dimension without a size. Give it with --shape."
            )
    return specs


def inputs_of(model: Any) -> list[Any]:
    """The graph's inputs without its weights, which old files list among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def spec_of(value: Any, where: str) -> TensorSpec:
    """The spec of a graph's input or output; -1 where the file gives no size."""
    import onnx

    if not value.type.HasField("tensor_type"):
        raise Unsupported(f"{where}: {value.name!r} is not a tensor.")
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    dims = (d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
    return TensorSpec(value.name, dtype, tuple(dims))
