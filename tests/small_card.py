"""The smallest model card that is whole, and the model that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

GOOD = """
name = "mine"
task = "raw"
[source]
onnx = "m.onnx"
[[inputs]]
name = "x"
shape = ["batch", 4]
"""


def save_model(path: Path, inputs: tuple[Any, ...] = ("batch", 4), nodes: bool = True) -> None:
    value = helper.make_tensor_value_info
    relu = [helper.make_node("Relu", ["x"], ["y"])] if nodes else []
    outputs = [value("y" if nodes else "x", TensorProto.FLOAT, inputs)]
    graph = helper.make_graph(relu, "g", [value("x", TensorProto.FLOAT, inputs)], outputs)
    onnx.save(helper.make_model(graph, ir_version=10), str(path))
