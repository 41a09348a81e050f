"""What an ONNX graph tells of its inputs: which axis is the batch, which sizes fit, which indices
are in range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.cards.bodies import all_graphs, all_nodes, tensors_of

#: A size, the name of one, or None where nothing tells.
Dim = int | str | None
Dims = tuple[Dim, ...]

#: Constants of more numbers than this are weights, whose values decide no shape: our choice.
_WEIGHTS = 1024
#: Graphs that are out of order are walked again, so often at most.
_PASSES = 4

#: Operators whose first output holds values of the first input, or of all that are listed.
_KEEPS_VALUES: Mapping[str, Sequence[int]] = {
    "Cast": (0,),
    "Clip": (0,),
    "Expand": (0,),
    "Flatten": (0,),
    "Gather": (0,),
    "GatherElements": (0,),
    "Identity": (0,),
    "Pad": (0,),
    "Reshape": (0,),
    "Slice": (0,),
    "Split": (0,),
    "Squeeze": (0,),
    "Tile": (0,),
    "Transpose": (0,),
    "Unsqueeze": (0,),
    "Where": (1, 2),
    "Max": (0, 1),
    "Min": (0, 1),
}
#: Operators that index input 0 by input 1: along their attribute, or 0.
_INDEXES = {
    "Gather": "axis",
    "GatherElements": "axis",
    "Scatter": "axis",
    "ScatterElements": "axis",
    "GatherBlockQuantized": "gather_axis",
}
_INDEXES_SEVERAL = {"GatherND", "ScatterND"}
#: Operators whose first output has the shape of the first input.
_ELEMENTWISE = {"Abs", "Add", "Cast", "Clip", "Div", "Identity", "Mul", "Neg", "Pow", "Relu"}
_ELEMENTWISE |= {"DequantizeLinear", "QuantizeLinear", "Sigmoid", "Sqrt", "Sub", "Tanh"}
_KEEPS_SHAPE = {"BatchNormalization", "Imputer", "LayerNormalization", "Normalizer", "Scaler"}
_KEEPS_SHAPE |= _ELEMENTWISE
_RECURRENT = {"GRU", "LSTM", "RNN"}
#: Inputs of a recurrent operator, and their batch axis with ``layout`` 0 (ONNX's own words).
_RECURRENT_BATCH = {0: 1, 4: 0, 5: 1, 6: 1}


@dataclass(frozen=True)
class GraphFacts:
    """``batch_axes`` are those that recurrent operators take for the batch, ``sizes`` what
    operators insist on (input and axis -> size), ``limits`` the rows of the tables that an integer
    input indexes, ``outputs`` the shapes that follow from the inputs' (None: nothing tells)."""

    batch_axes: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[tuple[str, int], int] = field(default_factory=dict)
    limits: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    outputs: tuple[Dims | None, ...] = ()


NO_FACTS = GraphFacts()


def read_graph(path: Path, inputs: Mapping[str, Sequence[int | str]]) -> GraphFacts:
    """The facts of a file whose inputs' dimensions are called as ``inputs`` says."""
    named = tuple((name, tuple(dims)) for name, dims in inputs.items())
    return _read(path, path.stat().st_mtime_ns, named)


@lru_cache
def _read(
    path: Path, changed_ns: int, inputs: tuple[tuple[str, tuple[int | str, ...]], ...]
) -> GraphFacts:
    import onnx  # onnx: start-up

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:
        return NO_FACTS  # who runs it will say what is wrong
    graph = _Graph(model, dict(inputs))
    return GraphFacts(
        dict(graph.batch_axes()), graph.sizes(), graph.limits(), tuple(graph.output_shapes())
    )


class _Graph:
    """One file's graph, its shapes inferred from what the inputs' dimensions are called."""

    def __init__(self, model: Any, inputs: Mapping[str, Dims]) -> None:
        self._constants: dict[str, Any] = {}
        self._shapes: dict[str, Dims] = {}
        self._inputs = inputs
        self._outputs = [value.name for value in model.graph.output]
        self._nodes = list(all_nodes(model.graph))
        for tensor in _all_constants(model.graph):
            self._constants[tensor.name] = tensor
            self._shapes[tensor.name] = tuple(tensor.dims)
        self._infer(model)
        self._origins = self._follow()

    def _infer(self, model: Any) -> None:
        """Shapes of all tensors, as far as ONNX's own inference gets. It changes ``model``."""
        from onnx import shape_inference  # onnx: start-up

        graph = model.graph
        for value in graph.input:
            for dim, name in zip(
                value.type.tensor_type.shape.dim, self._inputs.get(value.name, ()), strict=False
            ):
                if isinstance(name, str):
                    dim.dim_param = name
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")  # what is declared would hide what follows
        for value in list(graph.value_info):
            graph.value_info.remove(value)
        _without_weights(graph)
        try:
            graph = shape_inference.infer_shapes(model, data_prop=True).graph
        except Exception:
            return  # an operator that it doesn't know: the rest is walked without shapes
        for value in [*graph.input, *graph.value_info, *graph.output]:
            if value.type.tensor_type.HasField("shape"):
                dims = value.type.tensor_type.shape.dim
                self._shapes.setdefault(value.name, tuple(map(_dim, dims)))

    def _follow(self) -> dict[str, frozenset[str]]:
        """Of which inputs a tensor holds values."""
        found = {name: frozenset((name,)) for name in self._inputs}
        for _ in range(_PASSES):
            before = dict(found)
            for node in self._nodes:
                places: Sequence[int] = _KEEPS_VALUES.get(node.op_type, ())
                if node.op_type == "Concat":
                    places = range(len(node.input))
                kept = frozenset[str]().union(
                    *(found.get(node.input[p], ()) for p in places if p < len(node.input))
                )
                for name in node.output if kept else ():
                    found[name] = found.get(name, frozenset()) | kept
            if found == before:
                break
        return found

    def batch_axes(self) -> Iterator[tuple[str, int]]:
        """Inputs that a recurrent operator takes, as they are or turned, and their batch axis."""
        same = self._same_shape()
        turned = {
            node.output[0]: (same[node.input[0]], _attribute(node, "perm", ()))
            for node in self._nodes
            if node.op_type == "Transpose" and node.input[0] in same
        }
        for node in self._nodes:
            if node.op_type not in _RECURRENT or node.domain not in ("", "ai.onnx"):
                continue
            batch_first = _attribute(node, "layout", 0) == 1
            for place, axis in _RECURRENT_BATCH.items():
                name = node.input[place] if place < len(node.input) else ""
                counted = 0 if batch_first else axis
                if name in same:
                    yield same[name], counted
                elif name in turned and counted < len(turned[name][1]):
                    yield turned[name][0], turned[name][1][counted]

    def _same_shape(self) -> dict[str, str]:
        """Tensors that have the shape of an input: their name -> the input's."""
        found = {name: name for name in self._inputs}
        for _ in range(_PASSES):
            before = len(found)
            for node in self._nodes:
                origin = found.get(node.input[0]) if node.input else None
                if origin is not None and node.op_type in _KEEPS_SHAPE and node.output:
                    found.setdefault(node.output[0], origin)
            if len(found) == before:
                break
        return found

    def sizes(self) -> dict[tuple[str, int], int]:
        """Sizes of input axes without which an operator would refuse the input."""
        same = self._same_shape()
        found: dict[tuple[str, int], int] = {}
        for node in self._nodes:
            origin = same.get(node.input[0]) if node.input else None
            if origin is None:
                continue
            axis, size = self._insists(node)
            rank = len(self._inputs[origin])
            if size and -rank <= axis < rank:
                found.setdefault((origin, axis % rank), size)
        return found

    def _insists(self, node: Any) -> tuple[int, int]:
        """The axis of its first input whose size an operator's weights fix, and that size; the
        size is 0 where they don't."""
        weights = [self._shapes.get(n, ()) if n in self._constants else () for n in node.input]
        second: Sequence[Dim] = next(iter(weights[1:]), ())
        kind, sized = node.op_type, [d for d in second if isinstance(d, int)]
        if len(sized) != len(second) or not sized:
            return _by_attributes(node)
        if kind in ("MatMul", "MatMulInteger") and len(sized) > 1:
            return -1, sized[-2]
        if kind == "Gemm":
            transposed = _attribute(node, "transB", 0)
            return (0 if _attribute(node, "transA", 0) else 1), sized[1 if transposed else 0]
        if kind in ("Conv", "ConvInteger"):
            return 1, sized[1] * int(_attribute(node, "group", 1))
        if kind == "BatchNormalization":
            return 1, sized[0]
        if kind == "LayerNormalization":
            return -1, sized[-1]
        if kind in _RECURRENT and len(sized) > 2:
            return 2, sized[2]
        return 0, 0

    def limits(self) -> dict[str, tuple[int | str, ...]]:
        """Rows of the tables that each input indexes."""
        found: dict[str, set[int | str]] = {}
        for node in self._nodes:
            for indices, rows in self._indexed(node):
                for origin in self._origins.get(indices, ()):
                    found.setdefault(origin, set()).update(r for r in rows if r is not None)
        return {name: tuple(sorted(rows, key=str)) for name, rows in found.items() if rows}

    def _indexed(self, node: Any) -> Iterator[tuple[str, Dims]]:
        """Tensors that a node takes as indices, and the sizes of what they index."""
        kind, names = node.op_type, node.input
        if kind == "EmbedLayerNormalization":  # com.microsoft: ids and segments, then their tables
            for ids, table in ((0, 2), (1, 4)):
                if table < len(names):
                    yield names[ids], self._shapes.get(names[table], ())[:1]
        if len(names) < 2:
            return
        shape = self._shapes.get(names[0], ())
        if kind in _INDEXES and shape:
            axis = int(_attribute(node, _INDEXES[kind], 0))
            if -len(shape) <= axis < len(shape):
                yield names[1], (shape[axis],)
        if kind in _INDEXES_SEVERAL:
            last = self._shapes.get(names[1], (None,))[-1:]
            depth = last[0] if last and isinstance(last[0], int) else len(shape)
            yield names[1], shape[:depth]
        if kind in _RECURRENT and len(names) > 4:  # lengths: from 0 to the number of steps
            yield names[4], shape[:1]

    def output_shapes(self) -> Iterator[Dims | None]:
        """Of each output, as it follows from the inputs."""
        for name in self._outputs:
            yield self._shapes.get(name)


def _by_attributes(node: Any) -> tuple[int, int]:
    """As `_Graph._insists`, of operators that hold their weights in attributes (ai.onnx.ml)."""
    features = _attribute(node, "nodes_featureids", ())
    coefficients = len(_attribute(node, "coefficients", ()))
    if node.op_type.startswith("TreeEnsemble") and len(features):
        return 1, 1 + max(features)
    if node.op_type == "LinearClassifier" and coefficients:
        classes = max(1, len(_attribute(node, "intercepts", ())))
        return 1, coefficients // classes
    if node.op_type == "LinearRegressor" and coefficients:
        return 1, coefficients // int(_attribute(node, "targets", 1))
    if node.op_type in ("Scaler", "Imputer"):
        values = _attribute(node, "offset", ()) or _attribute(node, "imputed_value_floats", ())
        return (1, len(values)) if len(values) > 1 else (0, 0)
    return 0, 0


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper  # onnx: start-up

    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def _dim(dim: Any) -> Dim:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None


def _all_constants(graph: Any) -> Iterator[Any]:
    """Initializers, and what Constant nodes hold, under the name of their output."""
    import onnx  # onnx: start-up

    for part in all_graphs(graph):
        for name, tensor in tensors_of(part):
            yield onnx.TensorProto(name=name, dims=tensor.dims)


def _without_weights(graph: Any) -> None:
    """Declare large initializers as inputs: inference wants their shapes, and copying hundreds of
    MB would take seconds."""
    from onnx import helper  # onnx: start-up

    declared = {value.name for value in graph.input}
    small = []
    for tensor in graph.initializer:
        size = 1
        for dim in tensor.dims:
            size *= dim
        if size <= _WEIGHTS:
            small.append(tensor)
        elif tensor.name not in declared:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            graph.input.append(value)
    kept = [type(tensor).FromString(tensor.SerializeToString()) for tensor in small]
    del graph.initializer[:]
    graph.initializer.extend(kept)
