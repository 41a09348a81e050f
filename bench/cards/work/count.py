"""How many operations a model makes in one query, and how many bytes it moves at the least: from
its ONNX graph, by shape inference.

A multiply-add is two operations. Other numbers are conventions, as operators of this kind are a
small part of what a model makes: one operation an element for elementwise functions, however hard
they are; those of a normalisation or a softmax as their formulas have them. What follows from
constants alone, such as weights that are dequantised, is no part of a query. Bytes are those that
cannot be saved: weights, inputs and outputs, each once; what lies between may stay in caches.
Operators that no formula here knows are named and counted as nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cards.bodies import bodies, tensors_of
from bench.cards.work.contributed import GIVES_FLOATS, SHAPED, Formula, formulas_of
from bench.cards.work.formulas import Node, NotKnown, Shape
from bench.cards.work.moved import AS_WRITTEN, Held, bytes_moved
from bench.errors import Unsupported
from bench.randomness import is_random

#: Constants of up to so many numbers may be sizes, which shapes follow from.
_SMALL = 1024
#: What formulas and rules for shapes raise on a node that isn't as its documentation says.
_UNFIT = (ArithmeticError, LookupError, TypeError, ValueError, NotKnown)


@dataclass(frozen=True)
class Work:
    """Of one query. ``unknown`` are operators that were not counted, by their number."""

    operations: int
    bytes: int
    unknown: Mapping[str, int] = field(default_factory=dict)


def work_of(path: Path, shapes: Mapping[str, Shape], held: Held = AS_WRITTEN) -> Work:
    """The work of one query of an ONNX file whose inputs have these shapes. Raises `Unsupported`
    where the package onnx can't read the file or infer its shapes."""
    try:
        model = _read(path, shapes)
        known = _inferred(model)
    except Exception as error:  # of many kinds; runtimes take files that the package refuses
        raise Unsupported(f"the operations in {path.name} can't be counted: {error}") from error
    made_once = _made_once(model.graph)
    operations, unknown = 0, Counter[str]()
    for node in model.graph.node:
        formula = formulas_of(node.domain).get(node.op_type)
        if formula is not None and not made_once.isdisjoint(node.output):
            continue
        counted = _counted(formula, _with_shapes(node, known)) if formula is not None else None
        if counted is None:
            unknown[node.op_type] += 1
        else:
            operations += counted
    return Work(operations, bytes_moved(model.graph, known, held), dict(unknown))


def _read(path: Path, shapes: Mapping[str, Shape]) -> Any:
    """The graph with inputs of these shapes, and its small constants, from which shapes follow."""
    import onnx  # onnx: start-up
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    model = onnx.load(str(path), load_external_data=False)
    for value in model.graph.input:
        if value.name in shapes:
            dims = value.type.tensor_type.shape.dim
            del dims[:]
            for size in shapes[value.name]:
                dims.add().dim_value = size
    for tensor in model.graph.initializer:
        if uses_external_data(tensor) and math.prod(tensor.dims) <= _SMALL:
            load_external_data_for_tensor(tensor, str(path.parent))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    # What the file says of tensors between is of its own sizes, not of these.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def _counted(formula: Formula, node: Node) -> int | None:
    """None where a formula doesn't fit the node: where a shape isn't known, or is of another form
    than the operator's documentation has."""
    try:
        return formula(node)
    except _UNFIT:
        return None


def _made_once(graph: Any) -> set[str]:
    """The tensors that follow from constants alone, so that runtimes make them when they load."""
    weights = dict(tensors_of(graph))
    found = set(weights)
    for node in graph.node:
        taken = [name for name in node.input if name]
        drawn = is_random(node, weights) or any(bodies(node))
        if taken and found.issuperset(taken) and not drawn:
            found.update(node.output)
    return found


def _inferred(model: Any) -> dict[str, Shape]:
    """The shapes of all tensors that can be told.

    ONNX's inference stops behind operators that others contributed; theirs are added by the rules
    of `bench.cards.work.contributed`, and it goes on from there, once for each of them that lies
    behind another. So that this is quick, it is done without the weights' numbers.
    """
    import onnx  # onnx: start-up

    known = _shapes(onnx.shape_inference.infer_shapes(model, data_prop=True).graph)
    light = _without_weights(model) if any(n.domain in SHAPED for n in model.graph.node) else None
    while light is not None:
        found = _further(light.graph, known)
        if not found:
            break
        light.graph.value_info.extend(found)
        known |= _shapes(onnx.shape_inference.infer_shapes(light, data_prop=True).graph)
    return known


def _further(graph: Any, known: Mapping[str, Shape]) -> list[Any]:
    """What contributed operators give, where that isn't known and what they take is."""
    from onnx import TensorProto, helper  # onnx: start-up

    types = {value.name: value.type.tensor_type.elem_type for value in _values(graph)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    found = []
    for node in graph.node:
        rule = SHAPED.get(node.domain, {}).get(node.op_type)
        if rule is None or node.output[0] in known:
            continue
        try:
            shapes = rule(_with_shapes(node, known))
        except _UNFIT:
            continue
        kind = types.get(node.input[0]) or TensorProto.FLOAT
        if node.op_type in GIVES_FLOATS:
            kind = TensorProto.FLOAT
        for name, shape in zip(node.output, shapes, strict=False):
            if name:
                found.append(helper.make_tensor_value_info(name, kind, shape))
    return found


def _without_weights(model: Any) -> Any:
    """The model with its larger constants as inputs of their shapes."""
    import onnx  # onnx: start-up
    from onnx import helper

    light = onnx.ModelProto()
    light.CopyFrom(model)
    kept = [t for t in light.graph.initializer if math.prod(t.dims) <= _SMALL]
    given = {value.name for value in light.graph.input}
    for tensor in light.graph.initializer:
        if math.prod(tensor.dims) > _SMALL and tensor.name not in given:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            light.graph.input.append(value)
    small = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del light.graph.initializer[:]
    light.graph.initializer.extend(small)
    return light


def _with_shapes(node: Any, known: Mapping[str, Shape]) -> Node:
    from onnx import helper  # onnx: start-up

    return Node(
        node.op_type,
        list(node.input),
        [known.get(name) for name in node.input],
        [known.get(name) for name in node.output],
        {a.name: helper.get_attribute_value(a) for a in node.attribute if not a.HasField("g")},
    )


def _shapes(graph: Any) -> dict[str, Shape]:
    """Of all tensors whose every size is known."""
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in _values(graph):
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = tuple(dim.dim_value for dim in dims)
    return found


def _values(graph: Any) -> list[Any]:
    return [*graph.input, *graph.value_info, *graph.output]
