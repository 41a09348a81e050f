"""The reference evaluator, where onnx's own computes something else than ONNX says."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench.backends.onnx_reference import OnnxReference
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from bench.backend import Device, ModelFile, Options
from bench.errors import Unsupported
from bench.trials.portability.cases import Case, NodeTests
from bench.trials.portability.outcomes import outcome_of_outputs

RNG = np.random.default_rng(0)
CPU = Device("cpu", "", "")
#: What the evaluator gets wrong of ONNX's node tests after our corrections, and why.
WRONG = Path(__file__).with_name("onnx_reference_wrong.tsv")


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(nodes: list[Any], opset: int, inputs: dict[str, Any], outputs: list[str], **kept: Any):
    """A model of some nodes: what it is fed, and its constants."""
    kinds = {n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in inputs.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in kept.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: Any, feeds: dict[str, Any], folder: Path) -> list[Any]:
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    session = OnnxReference().compile(ModelFile("m", onnx=path), CPU, Options())
    return session.run(feeds)


NORM = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-3)


@pytest.mark.parametrize("opset", [7, 9, 13, 15])
def test_batch_normalization_is_computed_by_its_running_statistics_in_every_version(
    opset: int, tmp_path: Path
) -> None:
    x, s, b, m, v = floats(2, 3, 4), floats(3), floats(3), floats(3), abs(floats(3))
    model = model_of([NORM], opset, {"x": x}, ["y"], s=s, b=b, m=m, v=v)
    (found,) = run(model, {"x": x}, tmp_path)
    s, b, m, v = (one[:, np.newaxis] for one in (s, b, m, v))
    assert np.allclose(found, s * (x - m) / np.sqrt(v + 1e-3) + b, atol=1e-5)


def test_the_bodies_of_branches_are_computed_rightly_too(tmp_path: Path) -> None:
    x, cond = floats(2, 3, 4), np.array(True)
    values = {"s": floats(3), "b": floats(3), "m": floats(3), "v": abs(floats(3))}
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branch = helper.make_graph([NORM], "then", [], [y])
    node = helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch)
    plain = model_of([NORM], 9, {"x": x}, ["y"], **values)
    inside = model_of([node], 9, {"x": x, "c": cond}, ["out"], **values)
    (expected,) = run(plain, {"x": x}, tmp_path)
    (found,) = run(inside, {"x": x, "c": cond}, tmp_path)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_and_its_kin_work_on_rows_as_versions_before_13_say(
    operator: str, tmp_path: Path
) -> None:
    x = floats(2, 3, 4)
    node = helper.make_node(operator, ["x"], ["y"])
    (found,) = run(model_of([node], 11, {"x": x}, ["y"]), {"x": x}, tmp_path)
    newest = helper.make_node(operator, ["x"], ["y"], axis=1)
    flat = {"x": x.reshape(2, 12)}
    (rows,) = ReferenceEvaluator(model_of([newest], 13, flat, ["y"])).run(None, flat)
    assert np.allclose(found.reshape(2, 12), rows, atol=1e-6)
    (along_an_axis,) = run(model_of([newest], 13, {"x": x}, ["y"]), {"x": x}, tmp_path)
    assert not np.allclose(found, along_an_axis)


@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_each_sequence_of_a_recurrent_operator_ends_at_its_own_length(
    operator: str, direction: str, tmp_path: Path
) -> None:
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[operator]
    directions = 2 if direction == "bidirectional" else 1
    w, r = floats(directions, gates * 5, 3), floats(directions, gates * 5, 5)
    b = floats(directions, 2 * gates * 5)
    x, lengths = floats(6, 2, 3), np.array([6, 2], np.int32)
    outputs = ["y", "h", "c"][: 3 if operator == "LSTM" else 2]
    node = helper.make_node(
        operator, ["x", "w", "r", "b", "l"], outputs, hidden_size=5, direction=direction
    )
    feeds = {"x": x, "l": lengths}
    found = run(model_of([node], 14, feeds, outputs, w=w, r=r, b=b), feeds, tmp_path)
    # onnx's own evaluator, for each sequence alone and cut to its length.
    alone = helper.make_node(
        operator, ["x", "w", "r", "b"], outputs, hidden_size=5, direction=direction
    )
    for place, length in enumerate(lengths):
        one = {"x": x[:length, place : place + 1]}
        evaluator = ReferenceEvaluator(model_of([alone], 14, one, outputs, w=w, r=r, b=b))
        y, *ends = evaluator.run(None, one)
        assert np.allclose(found[0][:length, :, place : place + 1], y, atol=1e-5)
        assert not found[0][length:, :, place].any()
        for mine, theirs in zip(found[1:], ends, strict=True):
            assert np.allclose(mine[:, place : place + 1], theirs, atol=1e-5)


def test_a_recurrent_operator_has_the_activations_that_it_names(tmp_path: Path) -> None:
    w, r, x = floats(1, 5, 3), floats(1, 5, 5), floats(1, 2, 3)
    node = helper.make_node("RNN", ["x", "w", "r"], ["y"], hidden_size=5, activations=["Relu"])
    (found,) = run(model_of([node], 14, {"x": x}, ["y"], w=w, r=r), {"x": x}, tmp_path)
    assert np.allclose(found[0, 0], np.maximum(x[0] @ w[0].T, 0), atol=1e-5)


def test_a_loop_stacks_what_each_turn_gives(tmp_path: Path) -> None:
    x = floats(2, 3)
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c2"]),
            helper.make_node("Add", ["s", "s"], ["s2"]),
            helper.make_node("Identity", ["s2"], ["o"]),
        ],
        "body",
        [
            info("i", TensorProto.INT64, []),
            info("c", TensorProto.BOOL, []),
            info("s", TensorProto.FLOAT, [2, 3]),
        ],
        [
            info("c2", TensorProto.BOOL, []),
            info("s2", TensorProto.FLOAT, [2, 3]),
            info("o", TensorProto.FLOAT, [2, 3]),
        ],
    )
    node = helper.make_node("Loop", ["n", "", "x"], ["last", "all"], body=body)
    model = model_of([node], 16, {"x": x}, ["last", "all"], n=np.array(3))
    last, stacked = run(model, {"x": x}, tmp_path)
    assert np.allclose(last, 8 * x)
    assert np.allclose(stacked, np.stack([2 * x, 4 * x, 8 * x]))


@pytest.mark.parametrize(
    ("operator", "attributes", "outputs", "words"),
    [
        ("LSTM", {"clip": 1.0}, 1, "clip or input_forget"),
        ("LSTM", {"input_forget": 1}, 1, "clip or input_forget"),
        ("RNN", {"activations": ["ScaledTanh"]}, 1, "ScaledTanh"),
        ("RNN", {"activations": ["Tanh"], "activation_alpha": [1.0]}, 1, "scaled"),
        ("BatchNormalization", {}, 3, "training mode as defined in opset 9"),
    ],
)
def test_what_can_be_put_right_by_nobody_is_refused_so_that_the_next_reference_is_asked(
    operator: str, attributes: dict[str, Any], outputs: int, words: str, tmp_path: Path
) -> None:
    x = floats(2, 3, 4)
    names = [f"y{place}" for place in range(outputs)]
    size = {} if operator == "BatchNormalization" else {"hidden_size": 5}
    node = helper.make_node(operator, ["x", "x", "x", "x", "x"], names, **size, **attributes)
    with pytest.raises(Unsupported, match=words):
        run(model_of([node], 9, {"x": x}, names), {"x": x}, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the evaluator, on tests of overflows
def test_what_the_evaluator_gets_wrong_of_onnx_s_own_tests_is_known(
    onnx_tests: NodeTests,
) -> None:
    """After an update of onnx: correct the operator, or refuse it, or write down why not."""
    wrong = {}
    for case in onnx_tests.cases:
        if case.runnable and not case.expanded and not _slow(case):
            feeds, expected = onnx_tests.arrays(case)
            file = ModelFile(case.name, onnx=onnx_tests.model_file(case))
            try:
                outputs = OnnxReference().compile(file, CPU, Options()).run(feeds)
            except Exception as error:
                wrong[case.name] = f"raises {type(error).__name__}"  # so the next is asked
                continue
            outcome, detail, _ = outcome_of_outputs(outputs, expected, case.rtol, case.atol)
            if outcome != "pass":
                wrong[case.name] = detail
    with WRONG.open() as file:
        known = {row["test"]: row["why"] for row in csv.DictReader(file, delimiter="\t")}
    assert wrong == known


def _slow(case: Case) -> bool:
    """Whether it takes the evaluator seconds; they pool over three dimensions like over two."""
    return "pool_3d" in case.name and case.operator in ("AveragePool", "LpPool", "MaxPool")
