"""A small decoder whose state has a tensor of each kind, as ONNX, as PyTorch and as plain numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from bench.backend import ModelFile, TorchSource
from bench.decoding import METADATA_KEY, Decoder, Length, StateTensor

NETS = Path(__file__).with_name("nets.py")
VOCABULARY, WIDTH, WINDOW, GROUP = 11, 4, 3, 4
#: The state before the first token, where it isn't empty.
FIRST = -1.0
DECODER = Decoder(
    "Made",
    vocabulary=VOCABULARY,
    state=(
        StateTensor("past_keys", "present_keys", "float32", ("batch", "past", WIDTH)),
        StateTensor("past_near", "present_near", "float32", ("batch", "window", WIDTH)),
        StateTensor("past_last", "present_last", "float32", ("batch", WIDTH), FIRST),
        StateTensor("past_rest", "present_rest", "float32", ("batch", "rest", WIDTH)),
        StateTensor("past_groups", "present_groups", "float32", ("batch", "groups", WIDTH)),
    ),
    lengths={
        "past": Length("grows"),
        "window": Length("slides", WINDOW),
        "rest": Length("rest", GROUP),
        "groups": Length("groups", GROUP),
    },
    mask="attention_mask",
    positions="position_ids",
)


@dataclass(frozen=True)
class DecoderExample:
    """A decoder with its description, and the table of its tokens."""

    file: ModelFile
    decoder: Decoder
    table: np.ndarray

    def right(self, tokens: np.ndarray) -> np.ndarray:
        """The logits of the last of ``tokens`` [batch, count], from all of them at once."""
        count = tokens.shape[1]
        x = self.table[tokens] + np.arange(count, dtype=np.float32)[:, None] / 10
        before = x[:, -2] if count > 1 else np.full_like(x[:, -1], FIRST)
        whole = x[:, : count // GROUP * GROUP].reshape(len(x), -1, GROUP, WIDTH)
        hidden = x[:, -1] + x.mean(axis=1) + x[:, -WINDOW - 1 :].sum(axis=1) + before
        return np.asarray((hidden + whole.mean(axis=2).sum(axis=1)) @ self.table.T)


def write_decoder(folder: Path) -> DecoderExample:
    table = np.random.default_rng(3).standard_normal((VOCABULARY, WIDTH), np.float32)
    onnx.save(_model(table), folder / "decoder.onnx")
    save_file({"table": table}, folder / "decoder.safetensors")
    source = TorchSource(NETS, "Decoding", folder / "decoder.safetensors")
    file = ModelFile("decoder", folder / "decoder.onnx", source)
    return DecoderExample(file, DECODER, table)


def _model(table: np.ndarray) -> onnx.ModelProto:
    numbers = {
        "ten": np.array(10, np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "last": np.array([-1]),
        "before_last": np.array([-2]),
        "far": np.array([2**31 - 1]),
        "near": np.array([-WINDOW - 1]),
        "window": np.array([-WINDOW]),
        "group": np.array([GROUP]),
        "width": np.array([WIDTH]),
        "in_group": np.array([2]),
        "table": table,
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["embedded"]),
        node("Cast", ["position_ids"], ["places"], to=TensorProto.FLOAT),
        node("Div", ["places", "ten"], ["tenths"]),
        node("Unsqueeze", ["tenths", "last"], ["shift"]),
        node("Add", ["embedded", "shift"], ["x"]),
        node("Slice", ["x", "last", "far", "one"], ["x_last"]),
        # all tokens, their number taken from the mask
        node("Concat", ["past_keys", "x"], ["present_keys"], axis=1),
        node("ReduceSum", ["present_keys", "one"], ["sum"], keepdims=1),
        node("ReduceSum", ["attention_mask", "one"], ["total"], keepdims=1),
        node("Cast", ["total"], ["seen"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["seen", "last"], ["seen_3d"]),
        node("Div", ["sum", "seen_3d"], ["mean"]),
        # the last few, the new one among them
        node("Concat", ["past_near", "x"], ["around"], axis=1),
        node("Slice", ["around", "near", "far", "one"], ["seen_near"]),
        node("ReduceSum", ["seen_near", "one"], ["near_sum"], keepdims=1),
        node("Slice", ["around", "window", "far", "one"], ["present_near"]),
        # the one before
        node("Unsqueeze", ["past_last", "one"], ["past_last_3d"]),
        node("Concat", ["past_last_3d", "x"], ["two"], axis=1),
        node("Slice", ["two", "before_last", "last", "one"], ["before"]),
        node("Squeeze", ["x_last", "one"], ["present_last"]),
        # groups: their means
        node("Concat", ["past_rest", "x"], ["loose"], axis=1),
        node("Shape", ["loose"], ["loose_length"], start=1, end=2),
        node("Div", ["loose_length", "group"], ["whole"]),
        node("Mul", ["whole", "group"], ["taken"]),
        node("Slice", ["loose", "zero", "taken", "one"], ["full"]),
        node("Slice", ["loose", "taken", "far", "one"], ["present_rest"]),
        node("Shape", ["full"], ["batch"], start=0, end=1),
        node("Concat", ["batch", "whole", "group", "width"], ["in_groups"], axis=0),
        node("Reshape", ["full", "in_groups"], ["by_group"], allowzero=1),
        node("ReduceMean", ["by_group", "in_group"], ["means"], keepdims=0),
        node("Concat", ["past_groups", "means"], ["present_groups"], axis=1),
        node("ReduceSum", ["present_groups", "one"], ["group_sum"], keepdims=1),
        # all together
        node("Add", ["x", "mean"], ["h1"]),
        node("Add", ["h1", "near_sum"], ["h2"]),
        node("Add", ["h2", "before"], ["h3"]),
        node("Add", ["h3", "group_sum"], ["hidden"]),
        node("Transpose", ["table"], ["head"], perm=[1, 0]),
        node("MatMul", ["hidden", "head"], ["logits"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "decoder",
            [
                _value("input_ids", TensorProto.INT64, ("batch", "seq")),
                _value("attention_mask", TensorProto.INT64, ("batch", "total")),
                _value("position_ids", TensorProto.INT64, ("batch", "seq")),
                *(_value(t.input, TensorProto.FLOAT, t.shape) for t in DECODER.state),
            ],
            [
                _value("logits", TensorProto.FLOAT, ("batch", "seq", VOCABULARY)),
                *(_value(t.output, TensorProto.FLOAT, _next(t.shape)) for t in DECODER.state),
            ],
            [numpy_helper.from_array(array, name) for name, array in numbers.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    helper.set_model_props(model, {METADATA_KEY: DECODER.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _value(name: str, kind: int, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _next(shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(f"{d}_next" if isinstance(d, str) and d != "batch" else d for d in shape)
