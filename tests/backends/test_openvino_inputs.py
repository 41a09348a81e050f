"""Inputs that OpenVINO renames or drops are fed by the names in the file all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.backend import ModelFile, Options

pytest.importorskip("openvino")

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def run(path: Path, node: onnx.NodeProto, **feeds: np.ndarray) -> np.ndarray:
    from bench.backends.openvino import OpenVino

    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    inputs = [helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in feeds.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(path))
    backend = OpenVino()
    shapes = {name: array.shape for name, array in feeds.items()}
    session = backend.compile(
        ModelFile("m", onnx=path), backend.devices()[0], Options(shapes=shapes)
    )
    assert {spec.name for spec in session.inputs} == set(feeds)
    session.bind(feeds)()
    (bound,), (checked,) = session.fetch(), session.run(feeds)
    assert np.array_equal(bound, checked)
    session.close()
    return np.asarray(checked)


def test_an_input_that_is_passed_on_unchanged_keeps_its_name(tmp_path: Path) -> None:
    node = helper.make_node("Dropout", ["x"], ["y"])
    assert np.array_equal(run(tmp_path / "m.onnx", node, x=X), X)


def test_an_input_that_the_graph_has_no_use_for_may_be_fed(tmp_path: Path) -> None:
    node = helper.make_node("CastLike", ["x", "like"], ["y"])
    like = np.zeros(4, np.float32)
    assert np.array_equal(run(tmp_path / "m.onnx", node, x=X, like=like), X)
