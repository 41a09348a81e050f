"""float16 forms of graphs inside of nodes compute what the file does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.cards.half import write_float16

RNG = np.random.default_rng(0)
WEIGHTS: dict[str, np.ndarray[Any, Any]] = {
    "w": RNG.standard_normal((4, 4), np.float32),
    "v": RNG.standard_normal((4, 3), np.float32),
    "u": RNG.standard_normal((4, 3), np.float32),
    "start": np.zeros((1, 4), np.float32),
    "three": np.array(3),
    "true": np.array(True),
    "one": np.array([1]),
    "from": np.array(0, np.float32),
    "to": np.array(4, np.float32),
    "by": np.array(1, np.float32),
}


def value(name: str, *shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def node(op: str, takes: str, gives: str, **attributes: Any) -> Any:
    return helper.make_node(op, takes.split(), gives.split(), **attributes)


def branch(name: str, gives: str, *nodes: Any, columns: int = 3, **weights: Any) -> Any:
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    return helper.make_graph(list(nodes), name, [], [value(gives, "n", columns)], held)


def choice(gives: str, then: Any, otherwise: Any) -> Any:
    return node("If", "c", gives, then_branch=then, else_branch=otherwise)


def body(*nodes: Any, gives: Sequence[Any]) -> Any:
    takes = [value("i", kind=TensorProto.INT64), value("go", kind=TensorProto.BOOL)]
    takes.append(value("state", "n", 4))
    return helper.make_graph([node("Identity", "go", "on"), *nodes], "body", takes, list(gives))


ON = value("on", kind=TensorProto.BOOL)
OTHER = branch("other", "b", node("MatMul", "x u", "b"))
STEP = [node("MatMul", "state w", "m"), node("Tanh", "m", "next")]
SCAN = helper.make_graph(
    [node("Add", "s xi", "a"), node("MatMul", "a w", "t"), node("Identity", "t", "o")],
    "scan",
    [value("s", 1, 4), value("xi", 1, 4)],
    [value("t", 1, 4), value("o", 1, 4)],
)
CASES: dict[str, list[Any]] = {
    "branches that alone take the input": [
        choice("y", branch("this", "a", node("MatMul", "x v", "a")), OTHER)
    ],
    "branches that take what comes from outside": [
        node("MatMul", "x w", "mid"),
        choice(
            "r",
            branch("this", "a", node("Add", "mid x", "a"), columns=4),
            branch("other", "b", node("Sub", "mid x", "b"), columns=4),
        ),
        node("MatMul", "r v", "y"),
    ],
    "values of one name in both branches": [
        choice(
            "y",
            branch("this", "o", node("MatMul", "x k", "q"), node("Relu", "q", "o"), k=WEIGHTS["v"]),
            branch(
                "other", "o", node("MatMul", "x k", "q"), node("Tanh", "q", "o"), k=WEIGHTS["u"]
            ),
        )
    ],
    "an operator that stays in float32 inside": [
        choice(
            "y",
            branch(
                "this",
                "a",
                node("Range", "from to by", "r"),
                node("Mul", "r x", "p"),
                node("MatMul", "p v", "a"),
            ),
            OTHER,
        )
    ],
    "a loop": [
        node("Loop", "three true x", "l", body=body(*STEP, gives=[ON, value("next", "n", 4)])),
        node("MatMul", "l v", "y"),
    ],
    "a loop inside a branch": [
        choice(
            "y",
            branch(
                "this",
                "a",
                node(
                    "Loop", "three true x", "l", body=body(*STEP, gives=[ON, value("next", "n", 4)])
                ),
                node("MatMul", "l v", "a"),
            ),
            OTHER,
        )
    ],
    "a scan": [
        node("Unsqueeze", "x one", "rows"),
        node("Scan", "start rows", "last all", body=SCAN, num_scan_inputs=1),
        node("Squeeze", "all one", "flat"),
        node("MatMul", "flat v", "y"),
    ],
}


def used(nodes: Sequence[Any]) -> set[str]:
    names = {name for one in nodes for name in one.input}
    inner = [a.g.node for one in nodes for a in one.attribute if a.HasField("g")]
    return names.union(*map(used, inner))


def write(path: Path, nodes: list[Any]) -> None:
    takes = [value("x", "n", 4), value("c", kind=TensorProto.BOOL)]
    weights = [numpy_helper.from_array(WEIGHTS[n], n) for n in WEIGHTS if n in used(nodes)]
    graph = helper.make_graph(nodes, "g", takes, [value("y", "n", 3)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


@pytest.mark.parametrize("case", CASES)
def test_the_half_form_computes_what_the_file_does_whichever_branch_is_taken(
    tmp_path: Path, case: str
) -> None:
    write(tmp_path / "m.onnx", CASES[case])
    write_float16(tmp_path / "m.onnx", tmp_path / "half.onnx")
    onnx.checker.check_model(str(tmp_path / "half.onnx"), full_check=True)
    before, after = (
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        for name in ("m.onnx", "half.onnx")
    )
    for taken in (True, False):
        feeds = {"x": RNG.standard_normal((2, 4), np.float32), "c": np.array(taken)}
        (right,), (found,) = before.run(None, feeds), after.run(None, feeds)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, right, rtol=0.02, atol=0.02)
        assert not np.array_equal(found, right), "it still computes in float32"
