"""Operations and bytes of ONNX graphs against counts made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.cards.work.count import Work, work_of

FLOAT = TensorProto.FLOAT


def counted(
    folder: Path, op: str, x: tuple[int, ...], *weights: tuple[int, ...], **attributes: Any
) -> Work:
    """The work of one operator on ``x``, whose first size the file leaves open."""
    names = [f"w{place}" for place in range(len(weights))]
    constants = [
        numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in zip(names, weights, strict=True)
    ]
    return graph(folder, [helper.make_node(op, ["x", *names], ["y"], **attributes)], x, constants)


def graph(folder: Path, nodes: list[Any], x: tuple[int, ...], constants: list[Any]) -> Work:
    takes = helper.make_tensor_value_info("x", FLOAT, ["batch", *x[1:]])
    gives = helper.make_tensor_value_info("y", FLOAT, None)
    made = helper.make_graph(nodes, "g", [takes], [gives], constants)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("acme", 1)]
    path = folder / "m.onnx"
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), str(path))
    return work_of(path, {"x": x})


@pytest.mark.parametrize(
    ("op", "x", "weights", "attributes", "operations"),
    [
        ("MatMul", (8, 5, 3), [(3, 4)], {}, 8 * 5 * 4 * 3 * 2),
        ("Gemm", (8, 3), [(4, 3), (4,)], {"transB": 1}, 8 * 4 * 3 * 2 + 8 * 4),
        ("Gemm", (8, 3), [(3, 4)], {}, 8 * 4 * 3 * 2),
        # The first convolution of ResNet-50: 118 million multiply-adds at 224 x 224 (He et al.
        # 2015, table 1, whose total is 3.8 billion).
        (
            "Conv",
            (1, 3, 224, 224),
            [(64, 3, 7, 7)],
            {"strides": [2, 2], "pads": [3, 3, 3, 3]},
            2 * 118_013_952,
        ),
        ("Conv", (2, 8, 6, 6), [(8, 1, 3, 3), (8,)], {"group": 8}, 2 * 8 * 16 * (2 * 9 + 1)),
        ("ConvTranspose", (2, 4, 5, 5), [(4, 3, 2, 2)], {"strides": [2, 2]}, 200 * 12 * 2),
        ("MaxPool", (1, 2, 6, 6), [], {"kernel_shape": [2, 2], "strides": [2, 2]}, 18 * 4),
        ("GlobalAveragePool", (2, 3, 4, 4), [], {}, 96),
        ("Relu", (3, 7), [], {}, 21),
        ("Add", (3, 7), [(7,)], {}, 21),
        ("Softmax", (3, 7), [], {}, 105),
        ("LayerNormalization", (3, 7), [(7,), (7,)], {}, 147),
        ("BatchNormalization", (3, 7), [(7,), (7,), (7,), (7,)], {}, 42),
        ("Transpose", (3, 7), [], {}, 0),
        ("LSTM", (9, 2, 5), [(1, 16, 5), (1, 16, 4)], {"hidden_size": 4}, 2 * 9 * 2 * 16 * 9),
    ],
)
def test_operations_are_those_counted_by_hand(
    tmp_path: Path,
    op: str,
    x: tuple[int, ...],
    weights: list[tuple[int, ...]],
    attributes: dict[str, Any],
    operations: int,
) -> None:
    found = counted(tmp_path, op, x, *weights, **attributes)
    assert found.operations == operations
    assert not found.unknown


def test_bytes_are_weights_inputs_and_outputs_each_once(tmp_path: Path) -> None:
    found = counted(tmp_path, "MatMul", (8, 5, 3), (3, 4))
    assert found.bytes == 4 * (8 * 5 * 3 + 3 * 4 + 8 * 5 * 4)


def test_a_larger_batch_is_more_work_on_the_same_weights(tmp_path: Path) -> None:
    one, many = (counted(tmp_path, "MatMul", (n, 5, 3), (3, 4)) for n in (1, 10))
    assert many.operations == 10 * one.operations
    assert many.bytes - 48 == 10 * (one.bytes - 48)


def test_operators_that_no_formula_knows_are_named_and_counted_as_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Twist", ["x"], ["a"], domain="acme"),
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),  # whose shapes nobody knows then
    ]
    found = graph(tmp_path, nodes, (3, 3), [])
    assert found.operations == 9
    assert found.unknown == {"Twist": 1, "MatMul": 1}
