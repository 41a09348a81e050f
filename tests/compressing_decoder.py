"""A decoder written by hand, causal token by token, in two forms. The state of one can't be cut: a
window, groups of tokens that are compressed once they are whole, the rest that waits for that, and
the token before. The other computes the same from all tokens, which it keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.contract.made_decoders import TABLE, VOCABULARY, WIDTH
from bench.decoding import METADATA_KEY, Decoder, Length, StateTensor

WINDOW, GROUP = 3, 4
COMPRESSING = Decoder(
    "Compressing",
    vocabulary=VOCABULARY,
    state=(
        StateTensor("past_near", "present_near", "float32", ("batch", "window", WIDTH)),
        StateTensor("past_rest", "present_rest", "float32", ("batch", "rest", WIDTH)),
        StateTensor("past_groups", "present_groups", "float32", ("batch", "groups", WIDTH)),
        StateTensor("past_last", "present_last", "float32", ("batch", 1, WIDTH)),
    ),
    lengths={
        "window": Length("slides", WINDOW),
        "rest": Length("rest", GROUP),
        "groups": Length("groups", GROUP),
    },
    context=64,
    mask="attention_mask",
)
GROWING = Decoder(
    "Growing",
    vocabulary=VOCABULARY,
    # The tokens are the last axis, so that the part for fewer of them doesn't lie in one piece.
    state=(StateTensor("past_x", "present_x", "float32", ("batch", WIDTH, "past")),),
    lengths={"past": Length("grows")},
    context=64,
    mask="attention_mask",
)
#: How much the three parts count: chosen so that greedy texts don't settle on one token.
NEAR, GROUPS, BEFORE = 0.7, 2.0, -1.1
HEAD = np.random.default_rng(8).standard_normal((WIDTH, VOCABULARY)).astype(np.float32)


def right_compressing(tokens: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """The logits of every token of [batch, count], in plain numpy."""
    count = tokens.shape[1]
    x = TABLE[tokens] + np.sin(np.arange(count, dtype=np.float32))[:, None]
    hidden = x.copy()
    for place in range(count):
        hidden[:, place] += NEAR * x[:, max(0, place - WINDOW) : place + 1].sum(axis=1)
        whole = x[:, : (place + 1) // GROUP * GROUP].reshape(len(x), -1, GROUP, WIDTH)
        hidden[:, place] += GROUPS * np.sin(scale * whole.mean(axis=2).sum(axis=1))
        if place:
            hidden[:, place] += BEFORE * x[:, place - 1]
    return np.asarray(hidden @ HEAD, np.float32)


def write_compressing(path: Path, scale: float = 1.0) -> Path:
    """Any number of new tokens behind any past. Another ``scale`` of the groups is another model,
    which often says the same."""
    return _write(path, COMPRESSING, _compressing_state(), scale)


def write_growing(path: Path, scale: float = 1.0) -> Path:
    """The same of a state that grows."""
    return _write(path, GROWING, _growing_state(), scale)


def _write(path: Path, decoder: Decoder, state: list[onnx.NodeProto], scale: float) -> Path:
    float_, int_ = TensorProto.FLOAT, TensorProto.INT64
    given = [
        helper.make_tensor_value_info("input_ids", int_, ("batch", "seq")),
        helper.make_tensor_value_info("attention_mask", int_, ("batch", "total")),
        *(helper.make_tensor_value_info(t.input, float_, t.shape) for t in decoder.state),
    ]
    gives = [
        helper.make_tensor_value_info("logits", float_, ("batch", "seq", VOCABULARY)),
        *(
            helper.make_tensor_value_info(
                t.output, float_, [d if d in ("batch", 1, WIDTH) else f"{d}_next" for d in t.shape]
            )
            for t in decoder.state
        ),
    ]
    nodes = [*_embedded(), *state, *_together()]
    graph = helper.make_graph(nodes, "decoder", given, gives, _numbers(scale))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: decoder.to_json(), "bench.checked": "{}"})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _embedded() -> list[onnx.NodeProto]:
    """New tokens, and their places."""
    node = helper.make_node
    return [
        node("Shape", ["attention_mask"], ["total"], start=1, end=2),
        node("Shape", ["input_ids"], ["new"], start=1, end=2),
        node("Sub", ["total", "new"], ["first"]),
        *_counted("places", "first", "total"),
        node("Cast", ["places"], ["numbers"], to=TensorProto.FLOAT),
        node("Sin", ["numbers"], ["waves"]),
        node("Unsqueeze", ["waves", "one"], ["shift"]),
        node("Gather", ["table", "input_ids"], ["embedded"]),
        node("Add", ["embedded", "shift"], ["x"]),
        node("Unsqueeze", ["places", "one"], ["rows"]),
    ]


def _compressing_state() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Concat", ["past_near", "x"], ["around"], axis=1),
        node("Slice", ["around", "minus_window", "far", "one"], ["present_near"]),
        node("Concat", ["past_rest", "x"], ["loose"], axis=1),
        *_grouped(),
        node("Slice", ["loose", "taken", "far", "one"], ["present_rest"]),
        node("Concat", ["past_groups", "means"], ["present_groups"], axis=1),
        node("Identity", ["present_groups"], ["all_groups"]),
        node("Concat", ["past_last", "x"], ["two_and_more"], axis=1),
        node("Slice", ["two_and_more", "zero", "minus_one", "one"], ["before"]),
        node("Slice", ["x", "minus_one", "far", "one"], ["present_last"]),
    ]


def _growing_state() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Transpose", ["past_x"], ["past_rows"], perm=[0, 2, 1]),
        node("Concat", ["past_rows", "x"], ["around"], axis=1),
        node("Transpose", ["around"], ["present_x"], perm=[0, 2, 1]),
        node("Identity", ["around"], ["loose"]),
        *_grouped(),
        node("Identity", ["means"], ["all_groups"]),
        node("Slice", ["around", "zero", "one", "one"], ["very_first"]),
        node("Sub", ["very_first", "very_first"], ["nothing"]),
        node("Concat", ["nothing", "around"], ["shifted"], axis=1),
        node("Slice", ["shifted", "first", "total", "one"], ["before"]),
    ]


def _grouped() -> list[onnx.NodeProto]:
    """The means of whole groups of ``loose``."""
    node = helper.make_node
    return [
        node("Shape", ["loose"], ["loose_length"], start=1, end=2),
        node("Div", ["loose_length", "group"], ["whole"]),
        node("Mul", ["whole", "group"], ["taken"]),
        node("Slice", ["loose", "zero", "taken", "one"], ["full"]),
        node("Shape", ["full"], ["batch"], start=0, end=1),
        node("Concat", ["batch", "whole", "group", "width"], ["in_groups"], axis=0),
        node("Reshape", ["full", "in_groups"], ["by_group"], allowzero=1),
        node("ReduceMean", ["by_group", "two"], ["means"], keepdims=0),
    ]


def _together() -> list[onnx.NodeProto]:
    """Logits from what lies around a token, the groups that are whole there, and what came before
    it."""
    node = helper.make_node
    return [
        node("Shape", ["around"], ["near"], start=1, end=2),
        node("Sub", ["total", "near"], ["begin"]),
        *_counted("columns", "begin", "total"),
        node("Sub", ["rows", "columns"], ["back"]),
        node("GreaterOrEqual", ["back", "zero"], ["came"]),
        node("LessOrEqual", ["back", "window"], ["close"]),
        node("And", ["came", "close"], ["seen"]),
        node("Cast", ["seen"], ["seen_f"], to=TensorProto.FLOAT),
        node("MatMul", ["seen_f", "around"], ["near_sum"]),
        node("Mul", ["near_sum", "near_scale"], ["near_part"]),
        node("Shape", ["all_groups"], ["groups"], start=1, end=2),
        *_counted("entries", "zero", "groups"),
        node("Add", ["entries", "one"], ["numbered"]),
        node("Mul", ["numbered", "group"], ["ends"]),
        node("Add", ["rows", "one"], ["counts"]),
        node("LessOrEqual", ["ends", "counts"], ["made"]),
        node("Cast", ["made"], ["made_f"], to=TensorProto.FLOAT),
        node("MatMul", ["made_f", "all_groups"], ["group_sum"]),
        node("Mul", ["group_sum", "scale"], ["scaled"]),
        node("Sin", ["scaled"], ["bent"]),
        node("Mul", ["bent", "group_scale"], ["group_part"]),
        node("Mul", ["before", "before_scale"], ["before_part"]),
        node("Add", ["x", "near_part"], ["h1"]),
        node("Add", ["h1", "group_part"], ["h2"]),
        node("Add", ["h2", "before_part"], ["hidden"]),
        node("MatMul", ["hidden", "head"], ["logits"]),
    ]


def _counted(name: str, begin: str, end: str) -> list[onnx.NodeProto]:
    """The integers from one to before the other."""
    return [
        helper.make_node("Squeeze", [begin], [f"{name}_begin"]),
        helper.make_node("Squeeze", [end], [f"{name}_end"]),
        helper.make_node("Range", [f"{name}_begin", f"{name}_end", "step"], [name]),
    ]


def _numbers(scale: float) -> list[onnx.TensorProto]:
    numbers = {
        "step": np.array(1),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "minus_one": np.array([-1]),
        "window": np.array([WINDOW]),
        "minus_window": np.array([-WINDOW]),
        "group": np.array([GROUP]),
        "width": np.array([WIDTH]),
        "far": np.array([2**31 - 1]),
        "scale": np.array(scale, np.float32),
        "near_scale": np.array(NEAR, np.float32),
        "group_scale": np.array(GROUPS, np.float32),
        "before_scale": np.array(BEFORE, np.float32),
        "table": TABLE,
        "head": HEAD,
    }
    return [numpy_helper.from_array(array, name) for name, array in numbers.items()]
