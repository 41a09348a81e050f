"""Operations and bytes of ONNX graphs against counts made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.cards.work.count import Work, work_of
from bench.cards.work.moved import Held
from bench.errors import Unsupported

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
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("acme", 1)]
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


def test_what_follows_from_constants_alone_is_no_part_of_a_query(tmp_path: Path) -> None:
    """A static int8 file dequantises its weights in the graph; for one sample that would be half as
    many operations as the product."""
    constants = [
        numpy_helper.from_array(np.ones((64, 32), np.int8), "q"),
        numpy_helper.from_array(np.float32(0.1), "scale"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
        helper.make_node("Neg", ["w"], ["v"]),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    assert graph(tmp_path, nodes, (1, 64), constants).operations == 2 * 64 * 32
    noise = helper.make_node("RandomNormalLike", ["q"], ["w"], dtype=FLOAT)
    assert graph(tmp_path, [noise, *nodes[1:]], (1, 64), constants).operations == 3 * 64 * 32


def table_of(dtype: Any = np.float32) -> Any:
    return numpy_helper.from_array(np.ones((1000, 64), dtype), "table")


def looked_up(*more: Any, table: str = "table") -> list[Any]:
    """Nodes that look 8 entries up, whose places follow from the input."""
    places = [
        helper.make_node("Cast", ["x"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", [table, "places"], ["y"]),
    ]
    return [*more, *places]


def test_of_a_table_only_the_entries_that_are_looked_up_are_moved(tmp_path: Path) -> None:
    x, entries = 4 * 8, 4 * 8 * 64
    assert graph(tmp_path, looked_up(), (8,), [table_of()]).bytes == x + 2 * entries
    scale = numpy_helper.from_array(np.float32(0.1), "scale")
    whole = helper.make_node("DequantizeLinear", ["table", "scale"], ["wide"])
    found = graph(tmp_path, looked_up(whole, table="wide"), (8,), [table_of(np.int8), scale])
    assert found.bytes == x + 8 * 64 + 4 + entries
    many = graph(tmp_path, looked_up(), (2000,), [table_of()])
    assert many.bytes == 4 * (2000 + 1000 * 64 + 2000 * 64), "each entry once"


def test_a_table_that_is_multiplied_by_too_is_moved_whole(tmp_path: Path) -> None:
    """The embedding of a language model that gives the logits as well."""
    nodes = [
        *looked_up()[:1],
        helper.make_node("Gather", ["table", "places"], ["hidden"]),
        helper.make_node("Transpose", ["table"], ["turned"]),
        helper.make_node("MatMul", ["hidden", "turned"], ["y"]),
    ]
    assert graph(tmp_path, nodes, (8,), [table_of()]).bytes == 4 * (8 + 64_000 + 8 * 1000)
    body = helper.make_graph(
        [helper.make_node("Identity", ["table"], ["z"])],
        "g",
        [],
        [helper.make_tensor_value_info("z", FLOAT, None)],
    )
    branch = helper.make_node("If", ["on"], ["z"], then_branch=body, else_branch=body)
    on = numpy_helper.from_array(np.array(True), "on")
    found = graph(tmp_path, [*looked_up(), branch], (8,), [table_of(), on])
    assert found.bytes == 4 * (8 + 64_000 + 8 * 64) + 1


def test_weights_are_moved_that_something_uses_however_they_are_written(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    expected = graph(tmp_path, [product], (2, 3), [weight])
    written = helper.make_node("Constant", [], ["w"], value=weight)
    assert graph(tmp_path, [written, product], (2, 3), []) == expected
    assert graph(tmp_path, [product], (2, 3), [weight, table_of()]) == expected, "none uses it"


def test_numbers_of_half_a_byte_are_no_larger(tmp_path: Path) -> None:
    constants = [
        helper.make_tensor("q", TensorProto.INT4, [64, 32], np.zeros((64, 32), np.int8)),
        numpy_helper.from_array(np.ones((2, 32), np.float32), "scale"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"], axis=0, block_size=32),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    found = graph(tmp_path, nodes, (1, 64), constants)
    assert found.bytes == 64 * 32 // 2 + 4 * 64 + 4 * (64 + 32)


def test_an_input_has_the_shape_that_is_fed_whatever_the_file_says_of_it(tmp_path: Path) -> None:
    takes = helper.make_tensor_value_info("x", FLOAT, None)  # not even how many dimensions
    gives = helper.make_tensor_value_info("y", FLOAT, None)
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [takes], [gives])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]), str(path))
    assert work_of(path, {"x": (3, 4)}) == Work(12, 4 * 24)


def test_sizes_that_lie_in_another_file_are_read(tmp_path: Path) -> None:
    sizes = numpy_helper.from_array(np.array([-1, 64]), "sizes")
    weight = numpy_helper.from_array(np.ones((64, 32), np.float32), "w")
    nodes = [
        helper.make_node("Reshape", ["x", "sizes"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    expected = graph(tmp_path, nodes, (4, 2, 32), [sizes, weight])
    path = tmp_path / "m.onnx"
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, size_threshold=0, location="m.data")
    found = work_of(path, {"x": (4, 2, 32)})
    assert found == expected
    assert found.operations == 2 * 4 * 64 * 32


def test_a_file_that_the_package_onnx_refuses_is_refused_in_words(tmp_path: Path) -> None:
    """ONNX Runtime runs it: to it, both ways to write ONNX's domain are one."""
    with pytest.raises(
        Unsupported, match=r"the operations in m\.onnx can't be counted: .*ai\.onnx"
    ):
        graph(tmp_path, [helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx")], (3,), [])


def test_an_operator_of_somebody_else_is_not_counted_under_the_name_of_onnx_s(
    tmp_path: Path,
) -> None:
    """Such as a function of the file's own."""
    nodes = [
        helper.make_node("Identity", ["x"], ["a"], domain="acme"),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    found = graph(tmp_path, nodes, (3, 3), [])
    assert found.unknown == {"Identity": 1}
    assert found.operations == 9


def test_weights_that_are_held_in_half_precision_take_half_as_much(tmp_path: Path) -> None:
    """A PyTorch module in bf16 is counted in its fp32 export; what it is fed stays fp32."""
    counted(tmp_path, "MatMul", (8, 3), (3, 4))
    found = work_of(tmp_path / "m.onnx", {"x": (8, 3)}, Held(float_bytes=2))
    assert found.bytes == 2 * (3 * 4) + 4 * (8 * 3 + 8 * 4)


def test_of_what_is_kept_from_step_to_step_only_the_new_part_is_written(tmp_path: Path) -> None:
    token = helper.make_node("Concat", ["past", "x"], ["present"], axis=0)
    takes = [helper.make_tensor_value_info(name, FLOAT, ["n", 64]) for name in ("x", "past")]
    gives = helper.make_tensor_value_info("present", FLOAT, None)
    made = helper.make_graph([token], "g", takes, [gives])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)]), str(path))
    shapes, state = {"x": (1, 64), "past": (200, 64)}, {"present": "past"}
    assert work_of(path, shapes).bytes == 4 * 64 * (1 + 200 + 201)
    assert work_of(path, shapes, Held(state=state)).bytes == 4 * 64 * (1 + 200 + 1)
    halved = work_of(path, shapes, Held(2, state))
    assert halved.bytes == 4 * 64 + 2 * 64 * (200 + 1)
