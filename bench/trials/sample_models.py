"""Small ONNX models with seeded weights, made on the spot, for `bench debug selftest`.

They grow from a few thousand multiplications to some ten million, use what most networks are made
of, and have a batch that is left open.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.arrays import Array
from bench.backend import ModelFile

#: Opset 17 and IR 8 are what every runtime of the last years reads.
_OPSET, _IR_VERSION = 17, 8


@dataclass(frozen=True)
class Sample:
    """A model on the disk, and the shape of one sample of its input ``x`` (float32)."""

    file: ModelFile
    shape: tuple[int, ...]

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {"x": (batch, *self.shape)}

    def feeds(self, batch: int) -> dict[str, Array]:
        """Seeded normal numbers, float32."""
        rng = np.random.default_rng(batch)
        return {"x": rng.standard_normal((batch, *self.shape), np.float32)}


def write_samples(folder: Path) -> list[Sample]:
    """A perceptron, a small residual network and an encoder layer, in order of size."""
    return [make(folder) for make in (write_perceptron, write_convnet, write_encoder)]


class _Graph:
    """A chain of nodes that is written down as it grows."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; the output's name."""
        output = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [output], output, **attributes))
        return output

    def weight(self, *shape: int) -> str:
        """Normal numbers, scaled so that sums over all but the first axis stay of order 1."""
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        scale = np.float32(1 / np.sqrt(fan_in))
        return self.constant(self._rng.standard_normal(shape, np.float32) * scale)

    def constant(self, array: Array) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def save(
        self, folder: Path, name: str, last: str, x: tuple[int, ...], y: tuple[int, ...]
    ) -> Sample:
        nodes = [*self._nodes, helper.make_node("Identity", [last], ["y"], "y")]
        takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *x])
        gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *y])
        graph = helper.make_graph(nodes, name, [takes], [gives], self._weights)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        path = folder / f"{name}.onnx"
        onnx.save(model, str(path))
        return Sample(ModelFile(name, path), x)


def write_perceptron(folder: Path) -> Sample:
    """64 numbers, 128 hidden, 10 classes: 9.5 thousand multiplications."""
    graph = _Graph(1)
    hidden = graph.add("Gemm", "x", graph.weight(128, 64), graph.weight(128), transB=1)
    hidden = graph.add("Relu", hidden)
    last = graph.add("Gemm", hidden, graph.weight(10, 128), graph.weight(10), transB=1)
    return graph.save(folder, "perceptron", graph.add("Softmax", last, axis=1), (64,), (10,))


def write_convnet(folder: Path) -> Sample:
    """3 x 32 x 32, two convolutions with a residual, pooling: 2.5 million multiplications."""
    graph = _Graph(2)
    first = graph.add("Conv", "x", graph.weight(16, 3, 3, 3), graph.weight(16), **_same(2))
    first = graph.add("Relu", first)
    second = graph.add("Conv", first, graph.weight(16, 16, 3, 3), graph.weight(16), **_same(1))
    second = graph.add("Relu", graph.add("Add", first, second))
    third = graph.add("Conv", second, graph.weight(32, 16, 3, 3), graph.weight(32), **_same(1))
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", third), axis=1)
    last = graph.add("Gemm", pooled, graph.weight(10, 32), graph.weight(10), transB=1)
    return graph.save(folder, "convnet", last, (3, 32, 32), (10,))


def _same(stride: int) -> dict[str, list[int]]:
    return {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [stride, stride]}


def write_encoder(folder: Path) -> Sample:
    """32 positions of 128 numbers, attention and a perceptron: 6.6 million multiplications."""
    graph = _Graph(3)
    query, key, value = (graph.add("MatMul", "x", graph.weight(128, 128)) for _ in range(3))
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 1]))
    scores = graph.add("Div", scores, graph.constant(np.array(np.sqrt(128), np.float32)))
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=2), value)
    mixed = _normalise(graph, graph.add("Add", "x", mixed))
    hidden = graph.add("Relu", graph.add("MatMul", mixed, graph.weight(128, 256)))
    hidden = graph.add("MatMul", hidden, graph.weight(256, 128))
    last = _normalise(graph, graph.add("Add", mixed, hidden))
    return graph.save(folder, "encoder", last, (32, 128), (32, 128))


def _normalise(graph: _Graph, name: str) -> str:
    """Layer normalisation from its parts, which older runtimes know too."""
    centred = graph.add("Sub", name, graph.add("ReduceMean", name, axes=[2]))
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=[2])
    spread = graph.add(
        "Sqrt", graph.add("Add", variance, graph.constant(np.array(1e-5, np.float32)))
    )
    return graph.add("Div", centred, spread)


def write_unknown_operator(folder: Path) -> ModelFile:
    """A node that no runtime knows."""
    return _one_node(folder, "unknown-operator", "Frobnicate", (4,), domain="example.nowhere")


def write_truncated(folder: Path, whole: ModelFile) -> ModelFile:
    """The first half of a model, as a broken download leaves it."""
    assert whole.onnx is not None
    path = folder / "truncated.onnx"
    content = whole.onnx.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return ModelFile("truncated", path)


def write_hungry(folder: Path, output_bytes: int) -> Sample:
    """A few numbers in, ``output_bytes`` out: more than the device has."""
    graph = _Graph(4)
    repeats = graph.constant(np.array([1, max(1, output_bytes // (4 * 1024))], np.int64))
    last = graph.add("Tile", "x", repeats)
    columns = 1024 * max(1, output_bytes // (4 * 1024))
    return graph.save(folder, "hungry", last, (1024,), (columns,))


def _one_node(folder: Path, name: str, op: str, shape: tuple[int, ...], domain: str) -> ModelFile:
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *shape])
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    graph = helper.make_graph([node], name, [takes], [gives])
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(domain, 1)]
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION), str(path))
    return ModelFile(name, path)
