"""From the tests of operators to models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from bench.errors import SpecError
from bench.trials.portability.cases import Case, NodeTests
from bench.trials.portability.outcomes import TestResult
from bench.trials.portability.predict import ModelNode, OperatorKey, model_nodes, predict
from bench.trials.portability.restate import cases_for

RELU: OperatorKey = ("Relu", "", 18, ())
NODE = ModelNode(RELU, "act", "FLOAT")


def case(name: str, kind: str = "FLOAT", restated: bool = False) -> Case:
    return Case(name, "Relu", "", 14, 1e-3, 1e-7, ("x",), (kind,), restated=restated)


def found(**outcomes: str) -> dict[str, TestResult]:
    return {n: TestResult(test=n, outcome=o, detail="why") for n, o in outcomes.items()}  # type: ignore[arg-type]


def test_a_node_fails_where_no_test_like_it_passes() -> None:
    forecast = predict([NODE], {RELU: [case("a"), case("b")]}, found(a="crash", b="wrong"))
    assert forecast.expected == "fails"
    assert forecast.detail == "Relu 'act' (FLOAT): 0 of 2 tests pass; a: why"


def test_a_node_is_doubtful_where_some_do_not() -> None:
    forecast = predict([NODE], {RELU: [case("a"), case("b")]}, found(a="pass", b="wrong"))
    assert forecast.expected == "doubtful"


def test_tests_of_another_type_say_nothing_unless_all_fail() -> None:
    cases = {RELU: [case("a", "INT8"), case("b", "DOUBLE")]}
    forecast = predict([NODE], cases, found(a="pass", b="unsupported"))
    assert (forecast.expected, forecast.untested) == ("unknown", (NODE,))
    assert "no test is like Relu (FLOAT)" in forecast.detail
    assert predict([NODE], cases, found(a="wrong", b="unsupported")).expected == "fails"


def test_the_type_of_a_node_decides_which_tests_count() -> None:
    cases = {RELU: [case("a"), case("b", "INT8")]}
    assert predict([NODE], cases, found(a="pass", b="unsupported")).expected == "runs"


def test_a_restated_test_that_is_wrong_is_no_evidence() -> None:
    cases = {RELU: [case("a@18", restated=True)]}
    assert predict([NODE], cases, found(**{"a@18": "wrong"})).expected == "unknown"
    assert predict([NODE], cases, found(**{"a@18": "unsupported"})).expected == "fails"


def test_alike_nodes_are_told_once() -> None:
    nodes = [ModelNode(RELU, f"act{n}", "FLOAT") for n in range(50)]
    forecast = predict(nodes, {RELU: [case("a")]}, found(a="wrong"))
    assert len(forecast.failing) == 50
    assert forecast.detail.count("Relu") == 1


def save(path: Path, nodes: list[onnx.NodeProto], opset: int = 17) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [2, 2]), value("c", TensorProto.BOOL, [])],
        [value("y", TensorProto.FLOAT, [2, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_nodes_carry_name_version_and_type_and_those_of_branches_are_found(tmp_path: Path) -> None:
    def branch(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 2])
        return helper.make_graph([helper.make_node(op, ["a"], ["z"])], op, [], [out])

    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="act"),
        helper.make_node(
            "If", ["c"], ["y"], then_branch=branch("Neg"), else_branch=branch("Softplus")
        ),
    ]
    read = model_nodes(save(tmp_path / "m.onnx", nodes))
    assert sorted(node.key[0] for node in read) == ["If", "Neg", "Relu", "Softplus"]
    assert read[0] == ModelNode(("Relu", "", 17, ()), "act", "FLOAT")
    assert read[0].words == "Relu 'act'"


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\xff\xffnothing")
    with pytest.raises(SpecError, match="not an ONNX model"):
        model_nodes(path)


def test_onnx_tests_as_they_are_serve_the_opset_that_they_are_for(onnx_tests: NodeTests) -> None:
    cases = cases_for(onnx_tests, "Relu", "", 18)
    assert cases
    assert not any(case.restated or case.expanded for case in cases)


def test_a_test_is_restated_for_an_opset_where_it_says_the_same(onnx_tests: NodeTests) -> None:
    cases = cases_for(onnx_tests, "Conv", "", 17)
    assert cases
    for each in cases:
        assert each.restated
        assert each.opset == 11
        model = onnx.load(str(onnx_tests.model_file(each)))
        assert model.opset_import[0].version == 17
        assert onnx_tests.arrays(each)[1]


def test_a_test_is_not_restated_for_an_opset_that_cannot_say_it(onnx_tests: NodeTests) -> None:
    # Until version 17 the axes of ReduceMean were an attribute, since then they are an input.
    old = cases_for(onnx_tests, "ReduceMean", "", 13)
    assert all("default_axes" in each.name for each in old)
    assert cases_for(onnx_tests, "ReduceMean", "", 18)
    assert cases_for(onnx_tests, "NoSuchOperator", "", 18) == ()


def test_inputs_that_are_constants_in_the_model_are_constants_in_the_tests(
    onnx_tests: NodeTests, tmp_path: Path
) -> None:
    axes = onnx.numpy_helper.from_array(np.array([0]), "axes")
    nodes = [
        helper.make_node("Constant", [], ["axes"], value=axes),
        helper.make_node("Unsqueeze", ["x", "axes"], ["y"]),
    ]
    _, node = model_nodes(save(tmp_path / "m.onnx", nodes))
    assert node.key == ("Unsqueeze", "", 17, (1,))
    cases = cases_for(onnx_tests, *node.key)
    assert cases
    for each in cases:
        model = onnx.load(str(onnx_tests.model_file(each)))
        assert [tensor.name for tensor in model.graph.initializer] == ["axes"]
        feeds, expected = onnx_tests.arrays(each)
        assert set(feeds) == {"x"}
        onnx.checker.check_model(model, full_check=True)
        found = ReferenceEvaluator(model).run(None, feeds)
        assert np.array_equal(found[0], expected[0])


def test_constants_do_not_touch_the_tests_themselves(onnx_tests: NodeTests) -> None:
    assert {case.constant for case in onnx_tests.cases} == {()}
    plain = cases_for(onnx_tests, "Relu", "", 18, (0,))
    assert plain == cases_for(onnx_tests, "Relu", "", 18)
