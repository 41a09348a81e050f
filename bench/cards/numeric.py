"""What an ONNX file computes in, and where it draws random numbers: both as its graph tells."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cards.bodies import bodies
from bench.randomness import is_random

#: Quantised operators of ONNX and of ONNX Runtime (com.microsoft), as they are named.
_QUANTISED = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "QMoE")
#: Those whose weights have as many bits as an attribute says, by default 4.
_BY_BITS = ("MatMulNBits", "GatherBlockQuantized")
_QUANTISED_END = ("QuantizeLinear", "Integer", "IntegerToFloat")
_NARROW = {"FLOAT16": "fp16", "BFLOAT16": "bf16"}


@functools.lru_cache(maxsize=64)
def computes_in(path: Path) -> str:
    """The narrowest types of a file's graph, joined by ``+``, in the words of
    `bench.backend.Placement.precision`; ``fp32`` where all is at least that wide. Empty for a file
    that can't be read."""
    graphs = _graphs(path)
    found = {kind for nodes, tensors in graphs for kind in _kinds(nodes, tensors)}
    return "+".join(sorted(found)) or ("fp32" if graphs else "")


@functools.lru_cache(maxsize=64)
def random_nodes(path: Path) -> tuple[str, ...]:
    """The nodes that draw random numbers, in words: ``RandomNormal 'noise'``."""
    return tuple(
        f"{node.op_type} {node.name!r}" if node.name else str(node.op_type)
        for nodes, tensors in _graphs(path)
        for node in nodes
        if is_random(node, {tensor.name: tensor for tensor in tensors})
    )


def _graphs(path: Path) -> list[tuple[list[Any], list[Any]]]:
    """Nodes and constants of the graph, of each branch and loop, and of the file's functions."""
    import onnx  # onnx: start-up

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # whoever runs it says what is wrong with it
        return []
    found = list(_inner(model.graph))
    for function in model.functions:
        found.append((list(function.node), []))
        found += [p for node in function.node for body in bodies(node) for p in _inner(body)]
    return found


def _inner(graph: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    constants = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensor = type(attribute.t)()
                tensor.CopyFrom(attribute.t)
                tensor.name = node.output[0]
                constants.append(tensor)
    yield list(graph.node), constants
    for node in graph.node:
        for body in bodies(node):
            yield from _inner(body)


def _kinds(nodes: list[Any], tensors: list[Any]) -> Iterator[str]:
    from onnx import TensorProto  # onnx: start-up

    casts = [a.i for node in nodes for a in node.attribute if (node.op_type, a.name) == _CAST]
    for kind in (*casts, *(tensor.data_type for tensor in tensors)):
        name = TensorProto.DataType.Name(kind)
        if name in _NARROW:
            yield _NARROW[name]
        elif name.startswith(("FLOAT8", "FLOAT4")):
            yield "int8"  # as coarse
    for node in nodes:
        operator = node.op_type
        if operator in _BY_BITS:
            yield f"int{next((a.i for a in node.attribute if a.name == 'bits'), 4)}"
        elif operator.startswith(_QUANTISED) or operator.endswith(_QUANTISED_END):
            yield "int8"


_CAST = ("Cast", "to")
