"""Operations of operators that ONNX Runtime contributes, by hand; their shapes, as it has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.cards.work.count import Work, work_of

FLOAT, UINT8, INT32 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32
MS = "com.microsoft"
#: The shape of an input, of floats; or that with its type.
Given = Any


def one(
    folder: Path,
    op: str,
    inputs: Sequence[Given],
    domain: str = MS,
    gives: int = FLOAT,
    **attributes: Any,
) -> tuple[Path, dict[str, tuple[tuple[int, ...], int]]]:
    """A model of one operator, with an Abs behind what it gives, whose shape nobody has said; and
    its inputs."""
    given = {
        f"x{place}": told if isinstance(told[0], tuple) else (told, FLOAT)
        for place, told in enumerate(inputs)
    }
    node = helper.make_node(op, list(given), ["y"], domain=domain, **attributes)
    takes = [helper.make_tensor_value_info(n, kind, shape) for n, (shape, kind) in given.items()]
    z = helper.make_tensor_value_info("z", gives, None)
    made = helper.make_graph([node, helper.make_node("Abs", ["y"], ["z"])], "g", takes, [z])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    path = folder / "m.onnx"
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), str(path))
    return path, given


def work(path: Path, given: dict[str, Any]) -> Work:
    return work_of(path, {name: shape for name, (shape, _) in given.items()})


ATTENDED = 2 * 4 * 6 * 6 * (2 * 8 + 5 + 2 * 8)  # 2 samples, 4 heads of 8, 6 tokens
CASES: list[tuple[str, list[Given], dict[str, Any], tuple[int, ...], int]] = [
    # (op, inputs, attributes, what it gives, operations)
    ("FusedMatMul", [(2, 5, 3), (2, 5, 7)], {"transA": 1}, (2, 3, 7), 2 * 2 * 3 * 7 * 5),
    ("FusedMatMul", [(2, 5, 3), (7, 3)], {"transB": 1}, (2, 5, 7), 2 * 2 * 5 * 7 * 3),
    (
        "MultiHeadAttention",
        [(2, 6, 32), (2, 6, 32), (2, 6, 32)],
        {"num_heads": 4},
        (2, 6, 32),
        ATTENDED,
    ),
    ("MultiHeadAttention", [(2, 6, 4, 3, 8)], {"num_heads": 4}, (2, 6, 32), ATTENDED),
    (
        "MultiHeadAttention",  # of an image with 10 words
        [(2, 6, 32), (2, 10, 32), (2, 10, 32)],
        {"num_heads": 4},
        (2, 6, 32),
        ATTENDED // 6 * 10,
    ),
    (
        "Attention",
        [(2, 6, 24), (24, 96), (96,)],
        {"num_heads": 4},
        (2, 6, 32),
        2 * 6 * 96 * (2 * 24 + 1) + ATTENDED,
    ),
    (
        "GroupQueryAttention",  # one token behind 5, whose keys and values 2 heads share
        [
            (2, 1, 32),
            (2, 1, 16),
            (2, 1, 16),
            (2, 2, 5, 8),
            (2, 2, 5, 8),
            ((2,), INT32),
            ((1,), INT32),
        ],
        {"num_heads": 4, "kv_num_heads": 2},
        (2, 1, 32),
        ATTENDED // 6,
    ),
    ("SkipLayerNormalization", [(2, 6, 8), (2, 6, 8), (8,)], {}, (2, 6, 8), 8 * 96),
    ("FastGelu", [(2, 6)], {}, (2, 6), 12),
    (
        "DynamicQuantizeMatMul",
        [(2, 5, 3), ((3, 7), UINT8), (1,)],
        {},
        (2, 5, 7),
        2 * 2 * 5 * 7 * 3,
    ),
    (
        "MatMulNBits",
        [(2, 5, 32), ((7, 1, 16), UINT8), (7,)],
        {"K": 32, "N": 7, "bits": 4, "block_size": 32},
        (2, 5, 7),
        2 * 2 * 5 * 7 * 32,
    ),
    (
        "FusedConv",
        [(1, 3, 8, 8), (4, 3, 3, 3), (4,)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "activation": "Relu"},
        (1, 4, 4, 4),
        64 * (2 * 27 + 1),
    ),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "gives", "operations"), CASES)
def test_operations_are_those_counted_by_hand(
    tmp_path: Path,
    op: str,
    inputs: list[Given],
    attributes: dict[str, Any],
    gives: tuple[int, ...],
    operations: int,
) -> None:
    path, given = one(tmp_path, op, inputs, **attributes)
    found = work(path, given)
    assert found.unknown == {}, "not even what comes behind it"
    behind = int(np.prod(gives))  # of the Abs
    assert found.operations == operations + behind


@pytest.mark.parametrize(("op", "inputs", "attributes", "gives", "operations"), CASES)
def test_shapes_are_those_that_the_runtime_infers(
    tmp_path: Path,
    op: str,
    inputs: list[Given],
    attributes: dict[str, Any],
    gives: tuple[int, ...],
    operations: int,
) -> None:
    path, _ = one(tmp_path, op, inputs, **attributes)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the CPU has no kernel of it; its schema was checked
        pytest.skip(f"not on this CPU: {error}")
    (output,) = session.get_outputs()
    assert tuple(output.shape) == gives


def test_quantised_operators_are_counted(tmp_path: Path) -> None:
    scale, zero = (1,), ((1,), UINT8)
    path, given = one(
        tmp_path, "QLinearAdd",
        [((2, 6), UINT8), scale, zero, ((1, 6), UINT8), scale, zero, scale, zero],
        gives=UINT8,
    )  # fmt: skip
    found = work(path, given)
    assert (found.operations, found.unknown) == (12 + 12, {})
    path, given = one(
        tmp_path, "QLinearMatMul",
        [((5, 3), UINT8), scale, zero, ((3, 7), UINT8), scale, zero, scale, zero],
        domain="", gives=UINT8,
    )  # fmt: skip
    assert work(path, given).operations == 2 * 5 * 7 * 3 + 35


@pytest.mark.parametrize(
    ("equation", "inputs", "operations"),
    [
        ("bij, bjk -> bik", [(4, 5, 3), (4, 3, 7)], 2 * 4 * 5 * 3 * 7),
        ("ij->ji", [(5, 3)], 0),
        ("ij->i", [(5, 3)], 15),
        ("ij,ij->ij", [(5, 3), (5, 3)], 15),
        ("i,j->ij", [(5,), (3,)], 15),
        ("ij->", [(5, 3)], 15),
        ("bhqd,bhkd->bhqk", [(2, 4, 6, 8), (2, 4, 9, 8)], 2 * 2 * 4 * 6 * 9 * 8),
    ],
)
def test_einsum_counts_every_combination_of_its_indices(
    tmp_path: Path, equation: str, inputs: list[tuple[int, ...]], operations: int
) -> None:
    path, given = one(tmp_path, "Einsum", inputs, domain="", equation=equation)
    found = work(path, given)
    size = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph.output[0]
    behind = int(np.prod([d.dim_value for d in size.type.tensor_type.shape.dim]))
    assert found.operations == operations + behind


@pytest.mark.parametrize(
    ("equation", "inputs"),
    [
        # (ab, bc), cd takes 2 * 8 * 64 * 32 + 2 * 8 * 32 * 16; every combination 19 times as many.
        ("ab,bc,cd->ad", [(8, 64), (64, 32), (32, 16)]),
        ("...b,bc->...c", [(8, 64), (64, 32)]),
    ],
)
def test_an_einsum_whose_operations_are_the_runtime_s_choice_is_named(
    tmp_path: Path, equation: str, inputs: list[tuple[int, ...]]
) -> None:
    path, given = one(tmp_path, "Einsum", inputs, domain="", equation=equation)
    assert work(path, given).unknown == {"Einsum": 1}


def test_a_node_of_another_form_than_documented_is_named(tmp_path: Path) -> None:
    """Tokens without a batch, as kernels of others take them."""
    path, given = one(tmp_path, "GroupQueryAttention", [(6, 32)], num_heads=4, kv_num_heads=2)
    assert work(path, given).unknown == {"GroupQueryAttention": 1, "Abs": 1}


def test_onnx_s_own_attention_is_counted_with_shared_heads_and_a_past(tmp_path: Path) -> None:
    shapes = {
        "q": (2, 4, 1, 8), "k": (2, 2, 1, 8), "v": (2, 2, 1, 8),
        "pk": (2, 2, 5, 8), "pv": (2, 2, 5, 8),
    }  # fmt: skip
    node = helper.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"])
    takes = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in shapes.items()]
    gives = [helper.make_tensor_value_info(n, FLOAT, None) for n in ("y", "nk", "nv")]
    made = helper.make_graph([node], "g", takes, gives)
    path = tmp_path / "m.onnx"
    opsets = [helper.make_opsetid("", 23)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=11), str(path))
    found = work_of(path, shapes)
    assert found.operations == ATTENDED // 6
    assert found.unknown == {}


def test_shapes_are_followed_through_many_contributed_operators_and_weights(tmp_path: Path) -> None:
    """Layers of them with sizes that a constant gives, and weights of no small size."""
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    sizes = numpy_helper.from_array(np.array([2, -1, 64]), "s")
    nodes, name = [], "x"
    for layer in range(4):
        nodes += [
            helper.make_node("FusedMatMul", [name, "w"], [f"m{layer}"], domain=MS),
            helper.make_node("Reshape", [f"m{layer}", "s"], [f"r{layer}"]),
            helper.make_node("FastGelu", [f"r{layer}"], [f"g{layer}"], domain=MS),
        ]
        name = f"g{layer}"
    takes = helper.make_tensor_value_info("x", FLOAT, ["batch", "n", 64])
    gives = helper.make_tensor_value_info(name, FLOAT, None)
    made = helper.make_graph(nodes, "g", [takes], [gives], [weight, sizes])
    path = tmp_path / "m.onnx"
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), str(path))
    found = work_of(path, {"x": (2, 5, 64)})
    assert found.operations == 4 * (2 * 2 * 5 * 64 * 64 + 2 * 5 * 64)
    assert found.unknown == {}
    assert found.bytes == 4 * (2 * 5 * 64 * 2 + 64 * 64) + 8 * 3


def test_what_no_formula_knows_is_named_still(tmp_path: Path) -> None:
    path, given = one(tmp_path, "MoE", [(5, 8), (5, 2), (2, 8, 8)], k=1)
    assert work(path, given).unknown == {"MoE": 1, "Abs": 1}
