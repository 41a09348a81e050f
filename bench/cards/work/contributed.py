"""Operators that ONNX Runtime contributes: what they give, and how many operations they make.

As documented in onnxruntime/docs/ContribOperators.md. ONNX's shape inference doesn't know them, so
each has a rule for its shapes, too. Attention is counted over all positions that its inputs have
room for, whatever is masked; a local window is kept to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import numpy as np

from bench.cards.work.formulas import (
    FORMULAS,
    Node,
    NotKnown,
    Shape,
    attended,
    convolution,
    gives,
    has,
    nothing,
    of_input,
    of_result,
    product,
    takes,
)

MICROSOFT = "com.microsoft"
#: Both ways in which ONNX's own domain is written.
_ONNX = ("", "ai.onnx")
Formula = Callable[[Node], int]
Rule = Callable[[Node], list[Shape]]


# -- products of matrices -------------------------------------------------------------------------


def _product_shape(a: Shape, b: Shape) -> Shape:
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def _turned(shape: Shape, turned: object) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if turned else shape


def _factors(node: Node, second: int = 1) -> tuple[Shape, Shape]:
    """Both factors, turned as the attributes say."""
    a, b = takes(node, 0), takes(node, second)
    if (
        len(a) < 2
        or len(b) < 2
        or {"transBatchA", "transBatchB"}
        & {name for name, value in node.attributes.items() if value}
    ):
        raise NotKnown
    return _turned(a, node.attributes.get("transA")), _turned(b, node.attributes.get("transB"))


def _fused_product(node: Node) -> int:
    return 2 * math.prod(gives(node)) * _factors(node)[0][-1]


def _fused_shape(node: Node) -> list[Shape]:
    return [_product_shape(*_factors(node))]


def _fused_gemm(second: int) -> Formula:
    def count(node: Node) -> int:
        added = math.prod(gives(node)) if node.op == "FusedGemm" and has(node, 2) else 0
        return 2 * math.prod(gives(node)) * _factors(node, second)[0][-1] + added

    return count


def _packed_shape(node: Node) -> list[Shape]:
    """Of `MatMulNBits`, whose weights are packed: their columns are an attribute."""
    return [(*takes(node, 0)[:-1], int(node.attributes["N"]))]


# -- attention ------------------------------------------------------------------------------------


def _projected(node: Node) -> tuple[int, int, int, int]:
    """Batch, tokens, and together the width of queries and of values, of `Attention`, which
    multiplies by its weights itself."""
    batch, tokens = takes(node, 0)[:2]
    width = takes(node, 1)[1]
    sizes = node.attributes.get("qkv_hidden_sizes")
    query, _, value = map(int, sizes) if sizes else (width // 3,) * 3
    return batch, tokens, query, value


def _with_projection(past: int) -> Formula:
    """``past`` is the place of the state: (2, batch, heads, positions, size)."""

    def count(node: Node) -> int:
        batch, tokens, query, value = _projected(node)
        heads, width = int(node.attributes["num_heads"]), takes(node, 1)[1]
        keys = tokens + (takes(node, past)[3] if has(node, past) else 0)
        projection = batch * tokens * width * (2 * takes(node, 1)[0] + 1)
        return projection + attended(batch, heads, tokens, keys, query // heads, value // heads)

    return count


def _projected_shape(node: Node) -> list[Shape]:
    batch, tokens, _, value = _projected(node)
    return [(batch, tokens, value)]


def _heads(node: Node) -> tuple[int, int, int, int, int]:
    """Batch, queries, keys, and the sizes of a query and a value, of `MultiHeadAttention`."""
    query, heads = takes(node, 0), int(node.attributes["num_heads"])
    past = takes(node, 6)[2] if has(node, 6) else 0
    if len(query) == 5:  # (batch, tokens, heads, 3, size)
        return query[0], query[1], query[1] + past, query[4], query[4]
    size, key = query[2] // heads, takes(node, 1)
    if len(key) == 5:  # (batch, tokens, heads, 2, size)
        return query[0], query[1], key[1] + past, size, key[4]
    value = takes(node, 2)
    if len(key) == 4:  # (batch, heads, tokens, size)
        return query[0], query[1], key[2] + past, size, value[3]
    return query[0], query[1], key[1] + past, size, value[2] // heads


def _multi_head(node: Node) -> int:
    batch, queries, keys, size, value = _heads(node)
    return attended(batch, int(node.attributes["num_heads"]), queries, keys, size, value)


def _multi_head_shape(node: Node) -> list[Shape]:
    batch, queries, keys, size, value = _heads(node)
    heads = int(node.attributes["num_heads"])
    states = [(batch, heads, keys, size), (batch, heads, keys, value)]
    return [(batch, queries, heads * value), *states]


def _grouped_sizes(node: Node) -> tuple[int, int, int, int]:
    """Batch, queries, keys and a head's size, of `GroupQueryAttention`, whose keys and values may
    be packed behind its queries."""
    batch, queries, width = takes(node, 0)
    heads, shared = (int(node.attributes[name]) for name in ("num_heads", "kv_num_heads"))
    size = width // (heads if has(node, 1) else heads + 2 * shared)
    past = takes(node, 3)[2] if has(node, 3) else 0
    return batch, queries, queries + past, size


def _grouped(node: Node) -> int:
    batch, queries, keys, size = _grouped_sizes(node)
    heads, shared = (int(node.attributes[name]) for name in ("num_heads", "kv_num_heads"))
    window = int(node.attributes.get("local_window_size", -1))
    seen = min(keys, window) if window > 0 else keys
    turned = 3 * batch * queries * (heads + shared) * size
    rotary = turned if node.attributes.get("do_rotary") else 0
    return attended(batch, heads, queries, seen, size, size) + rotary


def _grouped_shape(node: Node) -> list[Shape]:
    batch, queries, keys, size = _grouped_sizes(node)
    heads, shared = (int(node.attributes[name]) for name in ("num_heads", "kv_num_heads"))
    state = (batch, shared, keys, size)
    return [(batch, queries, heads * size), state, state]


# -- others ---------------------------------------------------------------------------------------


def _same(node: Node) -> list[Shape]:
    return [takes(node, 0)]


def _broadcast(node: Node) -> list[Shape]:
    """Of `QLinearAdd` and its kin: A, its scale and zero point, B."""
    return [tuple(map(int, np.broadcast_shapes(takes(node, 0), takes(node, 3))))]


def _pooled_to_one(node: Node) -> list[Shape]:
    shape = takes(node, 0)
    ones = (1,) * (len(shape) - 2)
    last = node.attributes.get("channels_last")
    return [(shape[0], *ones, shape[-1]) if last else (*shape[:2], *ones)]


def _convolved(node: Node) -> list[Shape]:
    """Of `FusedConv`, as of `Conv`."""
    if bytes(node.attributes.get("auto_pad", b"NOTSET")) != b"NOTSET":
        raise NotKnown
    x, filters = takes(node, 0), takes(node, 1)
    count = len(x) - 2
    pads = node.attributes.get("pads", [0] * 2 * count)
    strides = node.attributes.get("strides", [1] * count)
    dilations = node.attributes.get("dilations", [1] * count)
    sizes = [
        (x[2 + n] + pads[n] + pads[n + count] - dilations[n] * (filters[2 + n] - 1) - 1)
        // strides[n]
        + 1
        for n in range(count)
    ]
    return [(x[0], filters[0], *sizes)]


def _embedded(node: Node) -> list[Shape]:
    """Of `EmbedLayerNormalization`: token ids, segments, the words' vectors."""
    return [(*takes(node, 0), takes(node, 2)[1])]


def _quantized_concat(node: Node) -> list[Shape]:
    """Scale and zero point of the result, then each tensor with its own."""
    axis = int(node.attributes["axis"])
    shapes = [takes(node, place) for place in range(2, len(node.names), 3)]
    result = list(shapes[0])
    result[axis] = sum(shape[axis] for shape in shapes)
    return [tuple(result)]


_SAME = """
    BiasGelu FastGelu Gelu QuickGelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax
    RotaryEmbedding SimplifiedLayerNormalization SkipLayerNormalization
    SkipSimplifiedLayerNormalization"""
#: By domain and operator: the shapes of what it gives.
SHAPED: Mapping[str, Mapping[str, Rule]] = {
    MICROSOFT: {
        **dict.fromkeys(_SAME.split(), _same),
        **dict.fromkeys(("QLinearAdd", "QLinearMul"), _broadcast),
        **dict.fromkeys(
            ("FusedMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"), _fused_shape
        ),
        "MatMulNBits": _packed_shape,
        "FusedGemm": _fused_shape,
        "QGemm": lambda node: [_product_shape(*_factors(node, 3))],
        "FusedConv": _convolved,
        "QLinearGlobalAveragePool": _pooled_to_one,
        "QLinearConcat": _quantized_concat,
        "EmbedLayerNormalization": _embedded,
        **dict.fromkeys(("Attention", "QAttention"), _projected_shape),
        "MultiHeadAttention": _multi_head_shape,
        "GroupQueryAttention": _grouped_shape,
    }
}
#: These give fp32, whatever they take.
GIVES_FLOATS: Collection[str] = (
    "DynamicQuantizeMatMul",
    "EmbedLayerNormalization",
    "MatMulIntegerToFloat",
    "QAttention",
)
_OPERATIONS: Mapping[str, Formula] = {
    "FusedMatMul": _fused_product,
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), product),
    "FusedGemm": _fused_gemm(1),
    "QGemm": _fused_gemm(3),
    "FusedConv": convolution(1),
    "Attention": _with_projection(4),
    "QAttention": _with_projection(8),
    "MultiHeadAttention": _multi_head,
    "GroupQueryAttention": _grouped,
    **dict.fromkeys(
        ("QLinearAdd", "QLinearMul", "QLinearLeakyRelu", "QLinearSigmoid"), of_result(1)
    ),
    "QLinearSoftmax": of_result(5),
    "QLinearGlobalAveragePool": of_input,
    "QLinearConcat": nothing,
    # The sum with what is skipped (1), and the normalisation.
    "SkipLayerNormalization": of_result(8),
    "SkipSimplifiedLayerNormalization": of_result(5),
    # Two sums, and the normalisation.
    "EmbedLayerNormalization": of_result(9),
}


def formulas_of(domain: str) -> Mapping[str, Formula]:
    """Those of a domain's operators. Somebody else's may do anything under ONNX's names."""
    if domain == MICROSOFT:
        return {**FORMULAS, **_OPERATIONS}
    return FORMULAS if domain in _ONNX else {}
