"""Which axis is the batch: as told, or as names and operators tell; else a call is one sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bench.cards.batch import BatchAxis, find_batch
from bench.cards.card import Card, card_for_onnx
from bench.cards.graph import read_graph

Value = tuple[str, Sequence[Any]] | tuple[str, Sequence[Any], int]


def saved(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    **weights: Any,
) -> Path:
    """An ONNX file; a value is a name, a shape, and a type where it isn't float."""

    def info(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        list(nodes),
        "g",
        [info(*value) for value in inputs],
        [info(*value) for value in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.float32)


def times(a: str, b: str, out: str) -> NodeProto:
    return helper.make_node("MatMul", [a, b], [out])


def batch_of(path: Path, asked: str | None = None, batches: Sequence[int] = ()) -> BatchAxis:
    card = card_for_onnx(path)
    facts = read_graph(path, {tensor.name: tensor.shape for tensor in card.inputs})
    return find_batch(card, facts, asked, batches)


def dense(folder: Path, shape: Sequence[Any], out: Sequence[Any]) -> Path:
    """x of ``shape`` times weights of 16 rows."""
    return saved(
        folder / "m.onnx", [times("x", "w", "y")], [("x", shape)], [("y", out)], w=floats(16, 4)
    )


@pytest.mark.parametrize(
    "name", ["batch", "batch_size", "Batch", "bs", "bsz", "N", "B", "num_batch"]
)
def test_a_name_that_says_batch_is_the_batch(tmp_path: Path, name: str) -> None:
    found = batch_of(dense(tmp_path, [name, 16], [name, 4]))
    assert found.axes == {"x": 0}
    assert found.samples(8) == 8


@pytest.mark.parametrize(
    "name", ["num_nodes", "H", "queries", "seq", "tokens", "frames", "batches_of_nodes"]
)
def test_a_first_axis_of_another_name_counts_no_samples(tmp_path: Path, name: str) -> None:
    found = batch_of(dense(tmp_path, [name, 16], [name, 4]))
    assert found.axes == {}
    assert found.samples(32) == 1
    assert "one sample" in found.why


def test_the_batch_is_found_by_name_behind_time(tmp_path: Path) -> None:
    assert batch_of(dense(tmp_path, ["seq", "batch", 16], ["seq", "batch", 4])).axes == {"x": 1}


def test_a_cloud_of_n_points_is_one_sample(tmp_path: Path) -> None:
    pooled = [times("x", "w", "f"), helper.make_node("ReduceMax", ["f", "zero"], ["y"], keepdims=0)]
    path = saved(
        tmp_path / "m.onnx", pooled, [("x", ["N", 3])], [("y", [8])], w=floats(3, 8), zero=[0]
    )
    assert batch_of(path).samples(32) == 1


def test_a_matrix_of_n_by_n_has_no_batch(tmp_path: Path) -> None:
    inputs = [("a", ["N", "N"]), ("x", ["N", 8])]
    path = saved(tmp_path / "m.onnx", [times("a", "x", "y")], inputs, [("y", ["N", 8])])
    assert batch_of(path).axes == {}


def test_an_unnamed_first_axis_is_the_batch_where_the_output_has_it_too(tmp_path: Path) -> None:
    found = batch_of(dense(tmp_path, [None, 16], [None, 4]))
    assert found.axes == {"x": 0}
    assert "x_dim0" in found.why


def test_what_meets_in_a_table_of_scores_is_no_batch(tmp_path: Path) -> None:
    nodes = [helper.make_node("Transpose", ["k"], ["kt"], perm=[1, 0]), times("q", "kt", "y")]
    inputs = [("q", [None, 16]), ("k", [None, 16])]
    path = saved(tmp_path / "m.onnx", nodes, inputs, [("y", [None, None])])
    assert batch_of(path).axes == {}


def rnn(folder: Path, *, turned: bool, shape: Sequence[Any] = (None, None, 16)) -> Path:
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2])] if turned else []
    taken = "t" if turned else "x"
    nodes.append(helper.make_node("GRU", [taken, "w", "r"], ["", "h"], hidden_size=8))
    weights = {"w": floats(1, 24, 16), "r": floats(1, 24, 8)}
    return saved(folder / "m.onnx", nodes, [("x", shape)], [("h", [1, None, 8])], **weights)


def test_a_recurrent_operator_tells_the_batch(tmp_path: Path) -> None:
    assert batch_of(rnn(tmp_path, turned=False)).axes == {"x": 1}
    assert batch_of(rnn(tmp_path, turned=True)).axes == {"x": 0}
    assert batch_of(rnn(tmp_path, turned=False, shape=["T", 1, 16])).fixed == 1


@pytest.mark.parametrize(
    ("shape", "out", "batches", "samples"),
    [
        ([1, 16], [1, 4], (), 1),
        ([50, 16], [50, 4], (), 1),  # 50 steps of something, as far as anyone knows
        ([50, 16], [50, 4], (50,), 50),  # the user says that it is a batch of 50
        ([8, 3, 2, 16], [8, 3, 2, 4], (), 8),  # images
        ([16, 16], [16, 4], (8,), 1),
    ],
)
def test_a_fixed_axis_is_a_batch_where_something_says_so(
    tmp_path: Path, shape: Sequence[int], out: Sequence[int], batches: Sequence[int], samples: int
) -> None:
    assert batch_of(dense(tmp_path, shape, out), batches=batches).samples(32) == samples


def test_a_second_of_sound_is_no_batch_of_16000(tmp_path: Path) -> None:
    nodes = [helper.make_node("Unsqueeze", ["wave", "zero"], ["u"]), times("u", "w", "y")]
    weights = {"zero": [0], "w": floats(16000, 4)}
    path = saved(tmp_path / "m.onnx", nodes, [("wave", [16000])], [("y", [1, 4])], **weights)
    assert batch_of(path, batches=(16000,)).samples(32) == 1


def test_the_user_says_which_axis_it_is(tmp_path: Path) -> None:
    path = dense(tmp_path, ["time", "people", 16], ["time", "people", 4])
    assert batch_of(path, "people").axes == {"x": 1}
    assert batch_of(path, "0").axes == {"x": 0}
    assert batch_of(path, "x_dim1").axes == {"x": 1}
    assert batch_of(dense(tmp_path, ["batch", 16], ["batch", 4]), "none").axes == {}


def test_a_card_says_which_axis_it_is_and_a_flag_wins(tmp_path: Path) -> None:
    card = card_for_onnx(dense(tmp_path, ["time", "people", 16], ["time", "people", 4]))
    told = Card.model_validate({**card.model_dump(), "batch_axis": 1})
    assert find_batch(told).axes == {"x": 1}
    assert find_batch(told, asked="0").axes == {"x": 0}


def test_another_batch_resizes_its_own_axis_alone(tmp_path: Path) -> None:
    found = batch_of(rnn(tmp_path, turned=False))
    assert found.resized({"x": (8, 8, 16)}, 3) == {"x": (8, 3, 16)}
