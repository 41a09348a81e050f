"""Writes the smallest models that show one thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.backend import ModelFile

Shapes = Mapping[str, Sequence[int | str | None]]


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Shapes,
    outputs: Shapes,
    weights: Mapping[str, np.ndarray] | None = None,
) -> ModelFile:
    """A model of float32 tensors in ``path``."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [value(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opset = [helper.make_opsetid("", 17)]  # and IR 8: what every runtime still reads
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return ModelFile(path.stem, path)
