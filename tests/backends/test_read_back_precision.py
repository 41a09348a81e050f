"""What a model computes in, as runtimes tell it: 8 bits are not always a quantised model's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench.backends.onnxruntime.adapter import OnnxRuntime
from bench.backends.onnxruntime.profile import computed_precision
from bench.backends.openvino import OpenVino
from onnx import TensorProto, helper, numpy_helper

from bench.backend import ModelFile, Options

FLOAT, UINT8, BOOL, INT64 = (
    TensorProto.FLOAT,
    TensorProto.UINT8,
    TensorProto.BOOL,
    TensorProto.INT64,
)
WEIGHTS: dict[str, np.ndarray[Any, Any]] = {
    "w": np.random.default_rng(0).standard_normal((4, 3), np.float32),
    "zero": np.zeros((2, 3), np.float32),
    "bytes": np.arange(20, dtype=np.uint8).reshape(5, 4),
    "half": np.arange(20, dtype=np.float16).reshape(5, 4),
    "axes": np.array([2, 3]),
}
X = ("x", FLOAT, [2, 4])
PRODUCT = helper.make_node("MatMul", ["f", "w"], ["y"])


def node(op: str, takes: str, gives: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, takes.split(), gives.split(), **attributes)


#: Float networks in which something else has 8 bits, or is stored in half precision.
FLOATS: dict[str, tuple[list[onnx.NodeProto], list[tuple[str, int, list[int]]]]] = {
    "a boolean input as a mask": (
        [node("MatMul", "x w", "a"), node("Where", "m a zero", "y")],
        [X, ("m", BOOL, [2, 3])],
    ),
    "comparisons and logic": (
        [
            node("MatMul", "x w", "a"),
            node("Greater", "a zero", "c"),
            node("Not", "c", "d"),
            node("And", "c d", "e"),
            node("Where", "e zero a", "y"),
        ],
        [X],
    ),
    "an image of bytes": ([node("Cast", "i", "f", to=FLOAT), PRODUCT], [("i", UINT8, [2, 4])]),
    "bytes that are pooled": (
        [
            node("MaxPool", "i", "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Squeeze", "p axes", "s"),
            node("Cast", "s", "f", to=FLOAT),
            PRODUCT,
        ],
        [("i", UINT8, [2, 4, 2, 2])],
    ),
    "a table of bytes": (
        [node("Gather", "bytes k", "g"), node("Cast", "g", "f", to=FLOAT), PRODUCT],
        [("k", INT64, [2])],
    ),
    "a table in half precision": (
        [node("Gather", "half k", "g"), node("Cast", "g", "f", to=FLOAT), PRODUCT],
        [("k", INT64, [2])],
    ),
}


def write(
    folder: Path, nodes: Sequence[onnx.NodeProto], takes: Sequence[tuple[str, int, list[int]]]
) -> ModelFile:
    used = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(*value) for value in takes],
        [helper.make_tensor_value_info("y", FLOAT, [2, 3])],
        [numpy_helper.from_array(a, name) for name, a in WEIGHTS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(folder / "m.onnx"))
    return ModelFile("m", folder / "m.onnx")


def feeds_for(takes: Sequence[tuple[str, int, list[int]]]) -> dict[str, np.ndarray[Any, Any]]:
    return {
        name: np.ones(shape, helper.tensor_dtype_to_np_dtype(kind)) for name, kind, shape in takes
    }


@pytest.mark.parametrize("case", FLOATS)
@pytest.mark.parametrize("backend", [OnnxRuntime, OpenVino])
def test_a_float_network_is_not_taken_for_a_quantised_or_a_half_one(
    tmp_path: Path, backend: Any, case: str
) -> None:
    nodes, takes = FLOATS[case]
    file = write(tmp_path, nodes, takes)
    adapter = backend()
    device = next(d for d in adapter.devices() if d.id == "cpu")
    shapes = {name: tuple(shape) for name, _, shape in takes}
    session = adapter.compile(file, device, Options(shapes=shapes))
    found = session.placement()
    if hasattr(session, "profiled_placement"):
        found = session.profiled_placement(feeds_for(takes))
    assert found.precision == "fp32"
    session.close()


def kernel(op: str, *kinds: str) -> Any:
    facts = {"op_name": op, "provider": "P", "input_type_shape": [{kind: [1]} for kind in kinds]}
    return {"cat": "Node", "name": f"{op}_kernel_time", "dur": 1, "args": facts}


@pytest.mark.parametrize(
    ("op", "kinds", "told"),
    [
        ("QLinearConv", ("uint8", "float"), "int8"),
        ("MatMulIntegerToFloat", ("float", "int8"), "int8"),
        ("DynamicQuantizeMatMul", ("float", "int8"), "int8"),
        ("DynamicQuantizeLSTM", ("float",), "int8"),
        ("ConvInteger", ("uint8",), "int8"),
        ("QGemm", ("uint8",), "int8"),
        ("Equal", ("uint8", "uint8"), ""),
        ("Max", ("uint8",), ""),
        ("MatMulNBits", ("float", "uint8"), "int4"),  # its weights; the packed ones hide their bits
        ("DynamicQuantizeLinear", ("float",), ""),
        ("Quick", ("float",), "fp32"),
    ],
)
def test_a_quantised_operator_tells_8_bits_and_no_other_does(
    op: str, kinds: tuple[str, ...], told: str
) -> None:
    assert computed_precision([kernel(op, *kinds)]) == told


@pytest.mark.parametrize(
    "fused",
    [
        "OpenVINO-EP-subgraph_1_0",
        "QNNExecutionProvider_6335802327293459800_1",
        "TRTKernel_graph_torch_jit_1",
    ],
)
def test_a_part_that_a_provider_compiled_leaves_the_precision_unknown(fused: str) -> None:
    assert computed_precision([kernel(fused, "float"), kernel("Conv", "float")]) == ""
    assert computed_precision([kernel(fused, "int8")]) == ""
