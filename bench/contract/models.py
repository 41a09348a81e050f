"""Small models that every backend has to run, each as ONNX, as PyTorch and as plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from bench.backend import ModelFile, TensorSpec, TorchSource

NETS = Path(__file__).with_name("nets.py")


@dataclass(frozen=True)
class Example:
    """A model, the specs that a session should give, inputs for a batch size, and what is right."""

    file: ModelFile
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    feeds: Callable[[int, int], dict[str, np.ndarray]]  #: (batch, seed)
    right: Callable[[dict[str, np.ndarray]], list[np.ndarray]]

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.feeds(batch, 0).items()}


def write_conv(folder: Path) -> Example:
    """A convolution, a mean over space, a linear head."""
    rng = np.random.default_rng(1)
    w: dict[str, np.ndarray] = {
        "conv.weight": rng.standard_normal((8, 3, 3, 3), np.float32) / 5,
        "conv.bias": rng.standard_normal(8, np.float32),
        "head.weight": rng.standard_normal((10, 8), np.float32) / 3,
        "head.bias": rng.standard_normal(10, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["m", "head.weight", "head.bias"], ["y"], transB=1),
    ]

    def right(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        x = np.pad(feeds["x"], ((0, 0), (0, 0), (1, 1), (1, 1)))
        patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
        conv = np.einsum("bchwij,ocij->bohw", patches, w["conv.weight"])
        relu = np.maximum(conv + w["conv.bias"][:, None, None], 0)
        return [relu.mean(axis=(2, 3)) @ w["head.weight"].T + w["head.bias"]]

    return Example(
        _write(folder, "conv", "Conv", nodes, w, {"x": (3, 16, 16)}, {"y": (10,)}),
        (TensorSpec("x", "float32", (-1, 3, 16, 16)),),
        (TensorSpec("y", "float32", (-1, 10)),),
        lambda batch, seed: {"x": _normal(seed, (batch, 3, 16, 16))},
        right,
    )


def write_embed(folder: Path) -> Example:
    """Seven int64 indices into a table of 50 rows."""
    rng = np.random.default_rng(2)
    w = {
        "table.weight": rng.standard_normal((50, 8), np.float32),
        "head.weight": rng.standard_normal((4, 8), np.float32),
        "head.bias": rng.standard_normal(4, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table.weight", "ids"], ["g"]),
        helper.make_node("ReduceMean", ["g"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["m", "head.weight", "head.bias"], ["y"], transB=1),
    ]
    return Example(
        _write(folder, "embed", "Embed", nodes, w, {"ids": (7,)}, {"y": (4,)}, TensorProto.INT64),
        (TensorSpec("ids", "int64", (-1, 7)),),
        (TensorSpec("y", "float32", (-1, 4)),),
        lambda batch, seed: {"ids": np.random.default_rng(seed).integers(0, 50, (batch, 7))},
        lambda feeds: [
            w["table.weight"][feeds["ids"]].mean(axis=1) @ w["head.weight"].T + w["head.bias"]
        ],
    )


def write_many(folder: Path) -> Example:
    """Two inputs, three outputs."""
    w = {"scale": np.array([1, 2, 3, 4], np.float32)}
    nodes = [
        helper.make_node("Add", ["a", "b"], ["total"]),
        helper.make_node("Mul", ["a", "b"], ["ab"]),
        helper.make_node("Mul", ["ab", "scale"], ["product"]),
        helper.make_node("Concat", ["total", "b"], ["both"], axis=1),
    ]
    outputs: dict[str, tuple[int, ...]] = {"total": (4,), "product": (4,), "both": (8,)}
    return Example(
        _write(folder, "many", "Many", nodes, w, {"a": (4,), "b": (4,)}, outputs),
        (TensorSpec("a", "float32", (-1, 4)), TensorSpec("b", "float32", (-1, 4))),
        tuple(TensorSpec(name, "float32", (-1, *shape)) for name, shape in outputs.items()),
        lambda batch, seed: {"a": _normal(seed, (batch, 4)), "b": _normal(seed + 99, (batch, 4))},
        lambda feeds: [
            feeds["a"] + feeds["b"],
            feeds["a"] * feeds["b"] * w["scale"],
            np.concatenate([feeds["a"] + feeds["b"], feeds["b"]], axis=1),
        ],
    )


def write_unknown_op(folder: Path) -> ModelFile:
    """A node that no runtime knows: ``example.nowhere.Frobnicate``."""
    path = folder / "unknown.onnx"
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="example.nowhere")
    onnx.save(_model([node], {}, {"x": (4,)}, {"y": (4,)}, TensorProto.FLOAT), path)
    return ModelFile("unknown", path)


def write_truncated(folder: Path, whole: ModelFile) -> ModelFile:
    """The first half of a model's files, as a broken download leaves them."""
    assert whole.onnx
    assert whole.torch
    assert whole.torch.weights
    half = {}
    for path in (whole.onnx, whole.torch.weights):
        half[path] = folder / f"truncated{path.suffix}"
        data = path.read_bytes()
        half[path].write_bytes(data[: len(data) // 2])
    source = TorchSource(NETS, whole.torch.factory, half[whole.torch.weights])
    return ModelFile("truncated", half[whole.onnx], source)


def _normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def _write(
    folder: Path,
    name: str,
    factory: str,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    input_type: int = TensorProto.FLOAT,
) -> ModelFile:
    model = _model(nodes, weights, inputs, outputs, input_type)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / f"{name}.onnx")
    save_file(weights, folder / f"{name}.safetensors")
    source = TorchSource(NETS, factory, folder / f"{name}.safetensors")
    return ModelFile(name, folder / f"{name}.onnx", source)


def _model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    input_type: int,
) -> onnx.ModelProto:
    """A model with a dynamic batch. Opset 17 and IR 8 are what every runtime still reads."""
    takes = [helper.make_tensor_value_info(n, input_type, ["batch", *s]) for n, s in inputs.items()]
    gives = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *s])
        for n, s in outputs.items()
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("example.nowhere", 1)]
    graph = helper.make_graph(nodes, "g", takes, gives, constants)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
