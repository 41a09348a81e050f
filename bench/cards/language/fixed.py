"""A decoder's graph for one step of fixed sizes, for what takes no other shapes.

The dynamic graph stays the one form that is checked; this one is derived from it for a number of
new tokens and a length of the past. All sizes are known then, so what computes sizes, positions and
masks of them becomes constants: compilers for fixed shapes have no kernels for most of that.
Tensors without an element (an empty past) are taken out, inputs and outputs too, since few of them
know such a thing; so are inputs that nothing reads any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.bodies import bodies
from bench.errors import Unsupported, kind_and_line
from bench.randomness import is_random

#: Constants of more elements than a mask of 4096 by 4096 are weights, and what only they decide is
#: left to the runtime: our choice.
_MOST = 4096**2
#: Weights of more elements are not looked at: no size or position is computed from so many.
_WEIGHT = 2**16
#: Each round learns the shapes of what the last one folded; decoders need three or four.
_ROUNDS = 12
#: What weights are stored for in fewer bits: computing it now would undo that.
_QUANTISED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulNBits"}
_QUANTISED |= {"DequantizeBFP", "GatherBlockQuantized"}

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Output:
    """An output of the dynamic graph, at the sizes that were fixed."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True)
class Fixed:
    """A graph for one set of shapes: the inputs that are left, and all outputs that the dynamic
    graph has, of which those without an element are gone."""

    model: Any
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]


def fixed(model: Any, shapes: Mapping[str, Shape], where: str) -> Fixed:
    """``model`` (an ONNX `ModelProto`, which is changed) for inputs of ``shapes``.

    Raises `Unsupported` where an output's size doesn't follow from the inputs' sizes alone.
    """
    from onnx import helper  # onnx: start-up

    outputs = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        for value in model.graph.output
    }
    _set_inputs(model.graph, shapes)
    weights = _set_aside(model.graph)
    try:
        for _ in range(_ROUNDS):
            sizes = _infer(model, where)
            if not _Folding(model, sizes).run():
                break
    finally:
        model.graph.initializer.extend(weights.values())
    told = []
    for name, dtype in outputs.items():
        size = sizes.get(name)
        if size is None:
            raise Unsupported(
                f"{where}: the size of its output {name!r} doesn't follow from those of its "
                "inputs, so it has no static form."
            )
        told.append(Output(name, dtype, size))
    _sort_what_may_be_in_any_order(model.graph)
    _keep_outputs(model.graph, told)
    _drop_unread(model.graph)
    return Fixed(model, tuple(value.name for value in model.graph.input), tuple(told))


def _set_inputs(graph: Any, shapes: Mapping[str, Shape]) -> None:
    """Sizes in place of symbols; an input without an element becomes a constant."""
    from onnx import helper, numpy_helper  # onnx: start-up

    weights = {tensor.name for tensor in graph.initializer}
    kept = []
    for value in graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        shape = shapes.get(value.name)
        if shape is not None and 0 in shape:
            empty = np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))
            graph.initializer.append(numpy_helper.from_array(empty, value.name))
            continue
        for dim, size in zip(kind.shape.dim, shape or (), strict=False):
            dim.dim_value = size
        kept.append(value)
    del graph.input[:]
    graph.input.extend(kept)


def _set_aside(graph: Any) -> dict[str, Any]:
    """Take large weights out, which shape inference would copy, and declare them as inputs."""
    from onnx import TensorProto, helper  # onnx: start-up

    large, small = {}, []
    for tensor in graph.initializer:
        outside = tensor.data_location == TensorProto.EXTERNAL
        if outside or np.prod(tensor.dims, dtype=np.int64) > _WEIGHT:
            large[tensor.name] = type(tensor).FromString(tensor.SerializeToString())
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(value)
        else:
            small.append(type(tensor).FromString(tensor.SerializeToString()))
    del graph.initializer[:]
    graph.initializer.extend(small)
    return large


def _infer(model: Any, where: str) -> dict[str, Shape]:
    """The shapes that are known whole, by the tensor's name."""
    from onnx import shape_inference  # onnx: start-up

    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:
        words = f"{where}: onnx can't infer its shapes: {kind_and_line(error)}."
        raise Unsupported(words) from error
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            found[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    found |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return found


@dataclass
class _Folding:
    """One walk through the nodes that replaces what is known by constants."""

    model: Any
    sizes: Mapping[str, Shape]
    known: dict[str, Array] = field(default_factory=dict)
    #: what a name stands for that a node only passed on
    same: dict[str, str] = field(default_factory=dict)

    def run(self) -> bool:
        """Whether something was replaced."""
        from onnx import numpy_helper  # onnx: start-up

        graph = self.model.graph
        self.known = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.types = _types(self.model)
        self.given = {value.name for value in graph.output}
        kept = []
        for node in graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = self.same.get(name, name)
            values = self._values(node)
            if values is None:
                values = self._passed_on(node)
            if values is None:
                kept.append(type(node).FromString(node.SerializeToString()))
        changed = len(kept) < len(graph.node)
        del graph.node[:]
        graph.node.extend(kept)
        _drop_dead(graph, self.known)
        return changed

    def _values(self, node: Any) -> list[Array] | None:
        """What the node gives where that is known; it is noted then."""
        values = self._sizes_of(node) or self._empty(node) or self._computed(node)
        if values is None:
            return None
        for name, value in zip(node.output, values, strict=False):
            if name:
                self.known[name] = value
        return values

    def _sizes_of(self, node: Any) -> list[Array] | None:
        from onnx import helper  # onnx: start-up

        if node.op_type not in ("Shape", "Size") or node.input[0] not in self.sizes:
            return None
        shape = self.sizes[node.input[0]]
        if node.op_type == "Size":
            return [np.array(np.prod(shape, dtype=np.int64))]
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        return [np.array(shape[given.get("start", 0) : given.get("end")], np.int64)]

    def _empty(self, node: Any) -> list[Array] | None:
        """Tensors without an element have no values to compute."""
        shapes = [self.sizes.get(name) for name in node.output]
        if not all(shape is not None and 0 in shape for shape in shapes):
            return None
        if not all(name in self.types for name in node.output):
            return None
        return [np.zeros(self.sizes[n], self.types[n]) for n in node.output]

    def _computed(self, node: Any) -> list[Array] | None:
        """By ONNX's own evaluator, where all inputs are known."""
        if node.op_type in _QUANTISED or any(True for _ in bodies(node)):
            return None
        if is_random(node, {}):
            return None
        if any(name and name not in self.known for name in node.input):
            return None
        size = sum(np.prod(self.sizes.get(n, (0,)), dtype=np.int64) for n in node.output)
        if size > _MOST:
            return None
        try:
            return _evaluated(self.model, node, self.known)
        except Exception:
            return None  # the runtime computes it

    def _passed_on(self, node: Any) -> list[Array] | None:
        """Nodes that give one of their inputs as it is; what gives an output of the graph stays."""
        if node.op_type == "Concat":
            full = [n for n in node.input if not (n in self.known and self.known[n].size == 0)]
            if 0 < len(full) < len(node.input):
                del node.input[:]
                node.input.extend(full)
            if len(node.input) == 1 and node.output[0] in self.given:
                node.op_type = "Identity"
                del node.attribute[:]
        shape = self.sizes.get(node.output[0])
        alike = shape is not None and shape == self.sizes.get(node.input[0] if node.input else "")
        through = (
            node.op_type == "Identity"
            or (node.op_type == "Concat" and len(node.input) == 1)
            or (node.op_type in ("Expand", "Reshape") and alike)
        )
        if not through or node.output[0] in self.given:
            return None
        self.same[node.output[0]] = node.input[0]
        return []


def _types(model: Any) -> dict[str, Any]:
    """The numpy type of every tensor, as far as inference tells."""
    from onnx import helper, shape_inference  # onnx: start-up

    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type
    }


def _evaluated(model: Any, node: Any, known: Mapping[str, Array]) -> list[Array]:
    from onnx import helper  # onnx: start-up
    from onnx.reference import ReferenceEvaluator  # onnx: start-up

    names = list(dict.fromkeys(filter(None, node.input)))
    taken = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(known[n].dtype), None)
        for n in names
    ]
    given = [helper.make_value_info(n, helper.make_tensor_type_proto(1, None)) for n in node.output]
    graph = helper.make_graph([node], "one", taken, given)
    one = helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    found = ReferenceEvaluator(one).run(None, {n: known[n] for n in names})
    return [np.asarray(value) for value in found]


def _drop_dead(graph: Any, known: Mapping[str, Array]) -> None:
    """Nodes that nothing needs any more; and what is left reads of constants, as initializers."""
    from onnx import numpy_helper  # onnx: start-up

    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.isdisjoint(node.output):
            continue
        needed.update(_read(node))
        kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    made = {name for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    del graph.initializer[:]
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(known[name]).reshape(known[name].shape), name)
        for name in sorted((needed | outputs) & known.keys() - made)
    )


def _read(node: Any) -> Iterator[str]:
    """The names that a node reads, also in graphs inside it."""
    yield from node.input
    for body in bodies(node):
        for inner in body.node:
            yield from _read(inner)


def _sort_what_may_be_in_any_order(graph: Any) -> None:
    """Ask for the largest in order: an order is as right as none, and TVM knows only that."""
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "TopK" and attribute.name == "sorted":
                attribute.i = 1


def _drop_unread(graph: Any) -> None:
    """Inputs and weights that nothing reads."""
    read = {name for node in graph.node for name in _read(node)}
    read |= {value.name for value in graph.output}
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [v for v in graph.input if v.name in read and v.name not in weights]
    initializers = [tensor for tensor in graph.initializer if tensor.name in read]
    _replace(graph.input, inputs)
    _replace(graph.initializer, initializers)


def _keep_outputs(graph: Any, outputs: Sequence[Output]) -> None:
    """Outputs with their sizes, those without an element left out; a constant one is passed through
    a node, since some runtimes want each output to come from one."""
    from onnx import helper  # onnx: start-up

    shapes = {out.name: out.shape for out in outputs}
    kept = []
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for value in graph.output:
        if 0 in shapes[value.name]:
            continue
        kind = value.type.tensor_type.elem_type
        kept.append(helper.make_tensor_value_info(value.name, kind, shapes[value.name]))
        if value.name in weights:
            weights[value.name].name = f"{value.name}.constant"
            made = helper.make_node("Identity", [f"{value.name}.constant"], [value.name])
            graph.node.append(made)
            for node in graph.node[:-1]:
                for place, name in enumerate(node.input):
                    if name == value.name:
                        node.input[place] = f"{value.name}.constant"
    _replace(graph.output, kept)
    del graph.value_info[:]


def _replace(repeated: Any, values: Sequence[Any]) -> None:
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del repeated[:]
    repeated.extend(copies)
