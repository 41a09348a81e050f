"""How many operations a model makes in one query, and how many bytes it moves at the least: from
its ONNX graph, by shape inference.

A multiply-add is two operations. Other numbers are conventions, as operators of this kind are a
small part of what a model makes: one operation an element for elementwise functions, however hard
they are; those of a normalisation or a softmax as their formulas have them. Bytes are those that
cannot be saved: weights, inputs and outputs, each once; what lies between may stay in caches.
Operators that no formula here knows are named and counted as nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """Of one query. ``unknown`` are operators that were not counted, by their number."""

    operations: int
    bytes: int
    unknown: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Node:
    """One operator with the shapes of what it takes and gives; those that aren't known are None."""

    op: str
    takes: Sequence[Shape | None]
    gives: Sequence[Shape | None]
    attributes: Mapping[str, Any]


class _NotKnown(Exception):
    """A shape that a formula needs is not known."""


def _takes(node: _Node, place: int) -> Shape:
    shape = node.takes[place] if place < len(node.takes) else None
    if shape is None:
        raise _NotKnown
    return shape


def _gives(node: _Node) -> Shape:
    if not node.gives or node.gives[0] is None:
        raise _NotKnown
    return node.gives[0]


def _product(node: _Node) -> int:
    """[..., m, k] x [..., k, n]: a multiply-add for each element of the result and of k."""
    return 2 * math.prod(_gives(node)) * _takes(node, 0)[-1]


def _gemm(node: _Node) -> int:
    rows = _takes(node, 0)
    inner = rows[0] if node.attributes.get("transA") else rows[1]
    added = math.prod(_gives(node)) if _has(node, 2) else 0
    return 2 * math.prod(_gives(node)) * inner + added


def _convolution(weights: int) -> Callable[[_Node], int]:
    """[out, in / group, kernel...]: a multiply-add for each element of the result and of a
    filter."""

    def count(node: _Node) -> int:
        result = math.prod(_gives(node))
        added = result if node.op == "Conv" and _has(node, 2) else 0
        return 2 * result * math.prod(_takes(node, weights)[1:]) + added

    return count


def _transposed_convolution(node: _Node) -> int:
    """[in, out / group, kernel...]: each element of the input meets a filter."""
    added = math.prod(_gives(node)) if _has(node, 2) else 0
    return 2 * math.prod(_takes(node, 0)) * math.prod(_takes(node, 1)[1:]) + added


def _recurrent(node: _Node) -> int:
    """Each step and sample meets both matrices, [directions, gates x hidden, input or hidden]; what
    the gates themselves take is left out."""
    steps, samples = _takes(node, 0)[:2]
    return 2 * steps * samples * (math.prod(_takes(node, 1)) + math.prod(_takes(node, 2)))


def _pooling(node: _Node) -> int:
    return math.prod(_gives(node)) * math.prod(map(int, node.attributes["kernel_shape"]))


def _of_result(each: int) -> Callable[[_Node], int]:
    return lambda node: each * math.prod(_gives(node))


def _of_input(node: _Node) -> int:
    return math.prod(_takes(node, 0))


def _nothing(node: _Node) -> int:
    return 0


def _has(node: _Node, place: int) -> bool:
    return place < len(node.takes)


_ELEMENTWISE = """
    Abs Acos Add And BitShift Ceil Celu Clip Cos Div DequantizeLinear Elu Equal Erf Exp
    Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual
    Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round Selu
    Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Swish Tan Tanh Where Xor FastGelu BiasGelu
    QuickGelu"""
_MOVES = """
    Cast CastLike Compress Concat Constant ConstantOfShape DepthToSpace Dropout Expand EyeLike
    Flatten Gather GatherElements GatherND Identity NonZero OneHot Pad Range Reshape Scatter
    ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Trilu
    Unsqueeze"""
_REDUCES = """
    ArgMax ArgMin CumSum GlobalAveragePool GlobalMaxPool ReduceL1 ReduceL2 ReduceLogSum
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"""
_FORMULAS: Mapping[str, Callable[[_Node], int]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _of_result(1)),
    **dict.fromkeys(_MOVES.split(), _nothing),
    **dict.fromkeys(_REDUCES.split(), _of_input),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul", "MatMulNBits"), _product),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pooling),
    "Gemm": _gemm,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    # The largest, a difference, an exponential, their sum, a quotient.
    "Softmax": _of_result(5),
    "LogSoftmax": _of_result(5),
    # Mean (1), difference (1), square and its mean (2), quotient (1), scale and bias (2).
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), _of_result(7)),
    "InstanceNormalization": _of_result(7),
    # Square and its mean (2), quotient (1), scale (1).
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), _of_result(4)),
    # In inference: one scale, one bias.
    "BatchNormalization": _of_result(2),
}


def work_of(path: Path, shapes: Mapping[str, Shape]) -> Work:
    """The work of one query of an ONNX file whose inputs have these shapes."""
    import onnx  # onnx: start-up

    model = onnx.load(str(path), load_external_data=False)
    for value in model.graph.input:
        for place, size in enumerate(shapes.get(value.name, ())):
            value.type.tensor_type.shape.dim[place].dim_value = size
    # What the file says of tensors between is of its own sizes, not of these.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = _shapes(graph)
    operations, unknown = 0, Counter[str]()
    for node in graph.node:
        try:
            operations += _FORMULAS[node.op_type](_with_shapes(node, known))
        except (KeyError, _NotKnown):
            unknown[node.op_type] += 1
    return Work(operations, _bytes(graph, known), dict(unknown))


def _with_shapes(node: Any, known: Mapping[str, Shape]) -> _Node:
    from onnx import helper  # onnx: start-up

    return _Node(
        node.op_type,
        [known.get(name) for name in node.input if name],
        [known.get(name) for name in node.output],
        {a.name: helper.get_attribute_value(a) for a in node.attribute if not a.HasField("g")},
    )


def _shapes(graph: Any) -> dict[str, Shape]:
    """Of all tensors whose every size is known."""
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = tuple(dim.dim_value for dim in dims)
    return found


def _bytes(graph: Any, known: Mapping[str, Shape]) -> int:
    """Of weights, inputs and outputs, each once."""
    from onnx import helper  # onnx: start-up

    def size(kind: int, shape: Shape) -> int:
        return int(np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize) * math.prod(shape)

    weights = {
        tensor.name: size(tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer
    }
    moved = [
        size(value.type.tensor_type.elem_type, known[value.name])
        for value in (*graph.input, *graph.output)
        if value.name in known and value.name not in weights
    ]
    return sum(weights.values()) + sum(moved)
