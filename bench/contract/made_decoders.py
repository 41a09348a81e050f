"""A decoder of one layer, written by hand in both forms: with a past that grows, and with buffers
that are written in place. Its sizes, positions and mask are computed as exporters do it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.decoding import METADATA_KEY, POSITION, Decoder, Length, StateTensor

VOCABULARY, WIDTH = 11, 4
DECODER = Decoder(
    "Made",
    vocabulary=VOCABULARY,
    state=tuple(
        StateTensor(f"past_{kind}", f"present_{kind}", "float32", ("batch", 1, "past", WIDTH))
        for kind in ("key", "value")
    ),
    lengths={"past": Length("grows")},
    context=64,
)
TABLE = np.random.default_rng(3).standard_normal((VOCABULARY, WIDTH)).astype(np.float32)


def right(tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The logits of every token of [batch, count], in plain numpy."""
    count = tokens.shape[1]
    x = TABLE[tokens] + np.arange(count, dtype=np.float32)[:, None] / 10
    scores = x @ x.swapaxes(1, 2)
    scores = np.where(np.tril(np.ones((count, count), bool)), scores, -1e9)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.asarray((weights @ (x / 2)) @ TABLE.T, np.float32)


def write_dynamic(path: Path) -> Path:
    """Any number of new tokens behind a past of any length, none included."""
    nodes = [
        _node("Shape", ["past_key"], ["past"], start=2, end=3),
        _node("Squeeze", ["past"], ["first"]),
        *_embedded(),
        _node("Concat", ["past_key", "k"], ["present_key"], axis=2),
        _node("Concat", ["past_value", "v"], ["present_value"], axis=2),
        *_attended(),
    ]
    past = ("batch", 1, "past", WIDTH)
    then = ("batch", 1, "past_next", WIDTH)
    model = _model(nodes, [("past_key", past), ("past_value", past)], then)
    helper.set_model_props(model, {METADATA_KEY: DECODER.to_json()})
    return _write(model, path)


def write_static(path: Path) -> Path:
    """The same with buffers of a fixed length and the position of the first new token."""
    nodes = [
        _node("Squeeze", [POSITION], ["first"]),
        *_embedded(),
        _node("Unsqueeze", ["places", "one"], ["indices"]),
        *_written("key", "k"),
        *_written("value", "v"),
        *_attended(),
    ]
    buffer = ("batch", 1, "capacity", WIDTH)
    model = _model(nodes, [("past_key", buffer), ("past_value", buffer)], buffer)
    model.graph.input.insert(1, helper.make_tensor_value_info(POSITION, TensorProto.INT64, [1]))
    return _write(model, path)


def _embedded() -> list[onnx.NodeProto]:
    """Tokens and their places, from ``first`` on, as queries, keys and values."""
    return [
        _node("Shape", ["input_ids"], ["seq"], start=1, end=2),
        _node("Squeeze", ["seq"], ["new"]),
        _node("Range", ["zero", "new", "step"], ["counted"]),
        _node("Add", ["counted", "first"], ["places"]),
        _node("Cast", ["places"], ["numbers"], to=TensorProto.FLOAT),
        _node("Div", ["numbers", "ten"], ["tenths"]),
        _node("Unsqueeze", ["tenths", "one"], ["shift"]),
        _node("Gather", ["table", "input_ids"], ["embedded"]),
        _node("Add", ["embedded", "shift"], ["x"]),
        _node("Unsqueeze", ["x", "one"], ["k"]),
        _node("Div", ["k", "two"], ["v"]),
    ]


def _attended() -> list[onnx.NodeProto]:
    """Each new token looks at itself and those before it."""
    return [
        _node("Shape", ["present_key"], ["total"], start=2, end=3),
        _node("Squeeze", ["total"], ["all"]),
        _node("Range", ["zero", "all", "step"], ["others"]),
        _node("Unsqueeze", ["places", "one"], ["rows"]),
        _node("LessOrEqual", ["others", "rows"], ["seen"]),
        _node("Where", ["seen", "nothing", "far"], ["mask"]),
        _node("Transpose", ["present_key"], ["turned"], perm=[0, 1, 3, 2]),
        _node("MatMul", ["k", "turned"], ["scores"]),
        _node("Add", ["scores", "mask"], ["masked"]),
        _node("Softmax", ["masked"], ["weights"], axis=-1),
        _node("MatMul", ["weights", "present_value"], ["mixed"]),
        _node("Squeeze", ["mixed", "one"], ["hidden"]),
        _node("MatMul", ["hidden", "head"], ["logits"]),
    ]


def _written(kind: str, new: str) -> list[onnx.NodeProto]:
    """New rows in their places of a buffer, as PyTorch's exporter writes `index_copy`."""
    turn = [2, 1, 0, 3]
    return [
        _node("Transpose", [f"past_{kind}"], [f"{kind}_rows"], perm=turn),
        _node("Transpose", [new], [f"{kind}_new"], perm=turn),
        _node("ScatterND", [f"{kind}_rows", "indices", f"{kind}_new"], [f"{kind}_written"]),
        _node("Transpose", [f"{kind}_written"], [f"present_{kind}"], perm=turn),
    ]


def _model(
    nodes: Sequence[onnx.NodeProto],
    state: Sequence[tuple[str, tuple[int | str, ...]]],
    then: tuple[int | str, ...],
) -> onnx.ModelProto:
    numbers = {
        "zero": np.array(0),
        "step": np.array(1),
        "one": np.array([1]),
        "ten": np.array(10, np.float32),
        "two": np.array(2, np.float32),
        "nothing": np.array(0, np.float32),
        "far": np.array(-1e9, np.float32),
        "table": TABLE,
        "head": np.ascontiguousarray(TABLE.T),
    }
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("batch", "seq"))
    outputs = [("logits", ("batch", "seq", VOCABULARY)), ("present_key", then)]
    outputs.append(("present_value", then))
    graph = helper.make_graph(
        list(nodes),
        "decoder",
        [ids, *(_value(*one) for one in state)],
        [_value(*one) for one in outputs],
        [numpy_helper.from_array(array, name) for name, array in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _write(model: onnx.ModelProto, path: Path) -> Path:
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _value(name: str, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


_node = helper.make_node
