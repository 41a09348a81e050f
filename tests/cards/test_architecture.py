"""Of what kind a network is, read from graphs made for the purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.cards.architecture import Architecture, architecture_of


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, tuple[int, ...]],
    domains: tuple[str, ...] = ("",),
) -> Path:
    stored = [
        numpy_helper.from_array(np.zeros(shape, np.float32), name)
        for name, shape in weights.items()
    ]
    value = helper.make_tensor_value_info
    ends = [value(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    imports = [helper.make_opsetid(domain, 17 if not domain else 3) for domain in domains]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), str(path))
    return path


def test_a_network_is_its_operators_that_learn_and_the_number_of_its_weights(
    tmp_path: Path,
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"k": (4, 1, 3, 3), "w": (8, 10)})
    found = architecture_of(path)
    assert found == Architecture(frozenset({"convolution", "dense"}), 36 + 80)
    assert str(found) == "convolution, dense; 116 weights"


def test_a_quantised_network_is_of_the_architecture_of_its_original(tmp_path: Path) -> None:
    whole = save(
        tmp_path / "a.onnx", [helper.make_node("Gemm", ["x", "w"], ["y"])], {"w": (30, 10)}
    )
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("MatMulInteger", ["x", "d"], ["y"]),
    ]
    quantised = save(tmp_path / "b.onnx", nodes, {"w": (30, 10), "s": ()})
    assert architecture_of(quantised).like(architecture_of(whole))


def test_what_nodes_hold_in_attributes_and_branches_counts(tmp_path: Path) -> None:
    trees = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["y"], domain="ai.onnx.ml", nodes_values=[0.5] * 7
    )
    path = save(tmp_path / "t.onnx", [trees], {}, ("", "ai.onnx.ml"))
    assert architecture_of(path) == Architecture(frozenset({"trees"}), 7)

    constant = helper.make_node(
        "Constant", [], ["w"], value=numpy_helper.from_array(np.zeros((2, 3), np.float32))
    )
    product = helper.make_node("MatMul", ["x", "w"], ["z"])
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branch = helper.make_graph([constant, product], "branch", [], [out])
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    path = save(tmp_path / "i.onnx", [choice], {})
    assert architecture_of(path) == Architecture(frozenset({"dense"}), 12)


@pytest.mark.parametrize(
    ("families", "weights", "like"),
    [({"dense"}, 200, True), ({"dense"}, 201, False), ({"dense", "recurrent"}, 100, False)],
)
def test_one_architecture_is_the_same_families_and_a_size_within_two(
    families: set[str], weights: int, *, like: bool
) -> None:
    one, other = (
        Architecture(frozenset({"dense"}), 100),
        Architecture(frozenset(families), weights),
    )
    assert one.like(other) == like
    assert other.like(one) == like
