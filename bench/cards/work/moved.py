"""How many bytes a query moves at the least: weights, inputs and outputs, each once.

Of a table that is only looked up, these are the entries that a query takes; a weight that nothing
uses is not moved.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.cards.bodies import all_nodes, bodies, tensors_of
from bench.cards.work.formulas import Shape

#: Whose inputs, by their places, are tables: no more is read than what comes out.
_TABLES: Mapping[str, Collection[int]] = {
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "Slice"), (0,)),
    "EmbedLayerNormalization": (2, 3, 4),
}
#: What comes out is the table in another form, for whoever reads it.
_PASSES = ("Cast", "DequantizeLinear", "Identity")
#: Types of which a byte holds several; numpy has one in each byte.
_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


@dataclass(frozen=True)
class Held:
    """How a runtime holds a model, where the file doesn't say that.

    ``float_bytes`` is the most that a floating-point number of the weights and of the state takes.
    ``state`` has the inputs that are kept from step to step, by the outputs that are these with
    what a step adds, which alone has to be written.
    """

    float_bytes: int | None = None
    state: Mapping[str, str] = field(default_factory=dict)


#: A runtime that holds all as the file has it.
AS_WRITTEN = Held()


def bytes_moved(graph: Any, known: Mapping[str, Shape], held: Held) -> int:
    """Of weights, inputs and outputs, each once."""
    weights = dict(tensors_of(graph))
    uses = _Uses(graph, known)
    total = 0.0
    for name, tensor in weights.items():
        count = uses.entries(name, math.prod(tensor.dims))
        total += count * _item_bytes(tensor.data_type, held.float_bytes)
    kept = {*held.state, *held.state.values()}
    for value in (*graph.input, *graph.output):
        name = value.name
        if name in known and name not in weights:
            before = known.get(held.state.get(name, ""))
            count = math.prod(known[name]) - (math.prod(before) if before is not None else 0)
            most = held.float_bytes if name in kept else None
            total += max(0, count) * _item_bytes(value.type.tensor_type.elem_type, most)
    return math.ceil(total)


def _item_bytes(kind: int, most_of_float: int | None) -> float:
    from onnx import TensorProto, helper  # onnx: start-up

    bits = _BITS.get(TensorProto.DataType.Name(kind))
    if bits is not None:
        return bits / 8
    item = int(np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize)
    floating = kind in (TensorProto.FLOAT, TensorProto.DOUBLE)
    return min(item, most_of_float) if floating and most_of_float is not None else item


class _Uses:
    """Which nodes take a tensor, and how much."""

    def __init__(self, graph: Any, known: Mapping[str, Shape]) -> None:
        self._known = known
        self._by_name: dict[str, list[tuple[Any, int]]] = {}
        for node in graph.node:
            for place, name in enumerate(node.input):
                self._by_name.setdefault(name, []).append((node, place))
        inside = (body for node in graph.node for body in bodies(node))
        #: What leaves the graph, or is used in a branch or a loop, of which nothing is known.
        self._whole = {value.name for value in graph.output}
        self._whole.update(
            name for body in inside for node in all_nodes(body) for name in node.input
        )

    def entries(self, name: str, size: int) -> int:
        """How many numbers of a tensor of so many are used."""
        if name in self._whole:
            return size
        count = 0
        for node, place in self._by_name.get(name, ()):
            if place in _TABLES.get(node.op_type, ()):
                shape = self._known.get(node.output[0])
                count += size if shape is None else math.prod(shape)
            elif place == 0 and node.op_type in _PASSES:
                count += self.entries(node.output[0], size)
            else:
                return size
        return min(count, size)
