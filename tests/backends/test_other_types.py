"""Outputs that numpy has no type for: decoded where they are numbers, else left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench.backends.onnx_reference import OnnxReference
from bench.backends.onnxruntime.adapter import OnnxRuntime
from bench.backends.shared.values import decoded
from onnx import TensorProto, helper

from bench.backend import ModelFile, Options

FLOAT8 = ["float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"]


@pytest.mark.parametrize("name", FLOAT8)
def test_each_byte_of_a_float8_is_the_number_that_ml_dtypes_says(name: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    called = name.replace("float8e", "float8_e")
    every = np.arange(256, dtype=np.uint8)
    expected = every.view(getattr(ml_dtypes, called)).astype(np.float32)
    np.testing.assert_array_equal(decoded(every, name), expected)


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    numbers = np.array([0.0, -1.5, 3e38, np.inf], np.float32)
    upper = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    expected = (upper.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(decoded(upper.view(np.uint8), "bfloat16"), expected)


def cast(folder: Path, kind: int) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=kind)],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", 4])],
        [value("y", kind, ["batch", 4])],
    )
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "m.onnx")
    return folder / "m.onnx"


def zip_map(folder: Path) -> Path:
    """A classifier as scikit-learn's converter writes it: numbers, and a map for each row."""
    value, ml = helper.make_tensor_value_info, "ai.onnx.ml"
    maps = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"]),
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["p"], ["prob"], domain=ml, classlabels_int64s=[0, 1, 2, 3]),
    ]
    outputs = [
        helper.make_value_info("prob", helper.make_sequence_type_proto(maps)),
        value("label", TensorProto.INT64, ["batch"]),
    ]
    inputs = [value("x", TensorProto.FLOAT, ["batch", 4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ml, 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "m.onnx")
    return folder / "m.onnx"


def outputs(backend: Any, path: Path, feeds: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    """By the timed call, which has to agree with the checked one."""
    cpu = next(device for device in backend.devices() if device.id == "cpu")
    session = backend.compile(ModelFile("m", onnx=path), cpu, Options(threads=1))
    session.bind(feeds)()
    timed, checked = session.fetch(), session.run(feeds)
    assert len(session.outputs) == len(timed) == len(checked)
    for spec, a, b in zip(session.outputs, timed, checked, strict=True):
        assert spec.dtype == a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    session.close()
    return list(timed)


@pytest.mark.parametrize(
    "kind", [TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2]
)
def test_numbers_that_numpy_lacks_agree_between_runtime_and_reference(
    tmp_path: Path, kind: int
) -> None:
    pytest.importorskip("onnxruntime")
    path, feeds = cast(tmp_path, kind), {"x": np.float32([[-3.5, 0, 0.3, 100], [1, 2, 3, 4]])}
    (mine,), (theirs,) = (outputs(b, path, feeds) for b in (OnnxRuntime(), OnnxReference()))
    assert mine.dtype == np.float32
    np.testing.assert_array_equal(mine, theirs)


def test_a_map_is_computed_and_left_out_of_what_is_compared(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path, feeds = zip_map(tmp_path), {"x": np.float32([[1, 2, 3, 0], [9, 2, 3, 0]])}
    (label,) = outputs(OnnxRuntime(), path, feeds)
    assert label.tolist() == [2, 0]
