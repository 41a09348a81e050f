"""How many operations an operator of ONNX makes, from the shapes of what it takes and gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operator with the shapes of what it takes and gives; those that aren't known, or of which
    there is nothing, are None."""

    op: str
    names: Sequence[str]  #: of what it takes; empty where it is left out
    takes: Sequence[Shape | None]
    gives: Sequence[Shape | None]
    attributes: Mapping[str, Any]


class NotKnown(Exception):
    """A shape that a formula needs is not known."""


def takes(node: Node, place: int) -> Shape:
    shape = node.takes[place] if place < len(node.takes) else None
    if shape is None:
        raise NotKnown
    return shape


def gives(node: Node) -> Shape:
    if not node.gives or node.gives[0] is None:
        raise NotKnown
    return node.gives[0]


def product(node: Node) -> int:
    """[..., m, k] x [..., k, n]: a multiply-add for each element of the result and of k."""
    return 2 * math.prod(gives(node)) * takes(node, 0)[-1]


def gemm(node: Node) -> int:
    rows = takes(node, 0)
    inner = rows[0] if node.attributes.get("transA") else rows[1]
    added = math.prod(gives(node)) if has(node, 2) else 0
    return 2 * math.prod(gives(node)) * inner + added


def convolution(weights: int) -> Callable[[Node], int]:
    """[out, in / group, kernel...]: a multiply-add for each element of the result and of a
    filter."""

    def count(node: Node) -> int:
        result = math.prod(gives(node))
        added = result if node.op in ("Conv", "FusedConv") and has(node, 2) else 0
        return 2 * result * math.prod(takes(node, weights)[1:]) + added

    return count


def _transposed_convolution(node: Node) -> int:
    """[in, out / group, kernel...]: each element of the input meets a filter."""
    added = math.prod(gives(node)) if has(node, 2) else 0
    return 2 * math.prod(takes(node, 0)) * math.prod(takes(node, 1)[1:]) + added


def _recurrent(node: Node) -> int:
    """Each step and sample meets both matrices, [directions, gates x hidden, input or hidden]; what
    the gates themselves take is left out."""
    steps, samples = takes(node, 0)[:2]
    return 2 * steps * samples * (math.prod(takes(node, 1)) + math.prod(takes(node, 2)))


def _pooling(node: Node) -> int:
    return math.prod(gives(node)) * math.prod(map(int, node.attributes["kernel_shape"]))


def einsum(node: Node) -> int:
    """Every combination of the indices: a product, if there are two factors, and where one of the
    indices is summed over, an addition. In which order three factors are multiplied, and so how
    often, is for the runtime to choose."""
    equation = bytes(node.attributes["equation"]).decode().replace(" ", "")
    left = equation.partition("->")[0]
    terms = left.split(",")
    if "." in equation or len(terms) > 2:  # which sizes the dots stand for follows from other rules
        raise NotKnown
    sizes = {
        index: size
        for place, term in enumerate(terms)
        for index, size in zip(term, takes(node, place), strict=True)
    }
    products, sums = len(terms) - 1, int(math.prod(gives(node)) < math.prod(sizes.values()))
    return (products + sums) * math.prod(sizes.values())


def attended(batch: int, heads: int, queries: int, keys: int, size: int, value: int) -> int:
    """Each query with all keys, whatever is masked; 5 an element for the softmax; the values."""
    return batch * heads * queries * keys * (2 * size + 5 + 2 * value)


def _attention(node: Node) -> int:
    """ONNX's own, opset 23: heads are an axis, or side by side in the last one."""
    query, key, value = (takes(node, place) for place in range(3))
    past = takes(node, 4)[2] if has(node, 4) else 0
    if len(query) == 4:
        batch, heads, queries, size = query
        return attended(batch, heads, queries, key[2] + past, size, value[3])
    heads, shared = node.attributes["q_num_heads"], node.attributes["kv_num_heads"]
    size, value_size = query[2] // heads, value[2] // shared
    return attended(query[0], heads, query[1], key[1] + past, size, value_size)


def of_result(each: int) -> Callable[[Node], int]:
    return lambda node: each * math.prod(gives(node))


def of_input(node: Node) -> int:
    return math.prod(takes(node, 0))


def nothing(node: Node) -> int:
    return 0


def has(node: Node, place: int) -> bool:
    """Whether it is given its so-many-th input."""
    return place < len(node.names) and bool(node.names[place])


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
FORMULAS: Mapping[str, Callable[[Node], int]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), of_result(1)),
    **dict.fromkeys(_MOVES.split(), nothing),
    **dict.fromkeys(_REDUCES.split(), of_input),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul", "MatMulNBits"), product),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pooling),
    "Gemm": gemm,
    "Einsum": einsum,
    "Attention": _attention,
    "RotaryEmbedding": of_result(3),
    # The largest, the least, a quotient and rounding.
    "DynamicQuantizeLinear": lambda node: 4 * of_input(node),
    "Conv": convolution(1),
    "ConvInteger": convolution(1),
    "QLinearConv": convolution(3),
    "ConvTranspose": _transposed_convolution,
    # The largest, a difference, an exponential, their sum, a quotient.
    "Softmax": of_result(5),
    "LogSoftmax": of_result(5),
    # Mean (1), difference (1), square and its mean (2), quotient (1), scale and bias (2).
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), of_result(7)),
    "InstanceNormalization": of_result(7),
    # Square and its mean (2), quotient (1), scale (1).
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), of_result(4)),
    # In inference: one scale, one bias.
    "BatchNormalization": of_result(2),
}
