"""A decoder written by hand: one layer of attention with a cache, the head tied to the embedding.

Nothing masks what is to come, so a prompt is no sequence of tokens to it: shapes are what counts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.decoding import METADATA_KEY, Decoder, Length, StateTensor


def small_decoder(vocabulary: int = 64, width: int = 32, context: int | None = 256) -> Decoder:
    shape = ("batch", 1, "past", width)
    return Decoder(
        "Small",
        vocabulary=vocabulary,
        state=tuple(
            StateTensor(f"past_{name}", f"present_{name}", "float32", shape) for name in ("k", "v")
        ),
        lengths={"past": Length("grows")},
        context=context,
    )


def save_decoder(path: Path, vocabulary: int = 64, width: int = 32) -> Path:
    """An ONNX file of it with its description, as bench's export has."""
    decoder = small_decoder(vocabulary, width)
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape, np.float32) / np.sqrt(width)
        return numpy_helper.from_array(values.astype(np.float32), name)

    def node(op: str, takes: str, gives: str, **attributes: int | list[int]) -> onnx.NodeProto:
        return helper.make_node(
            op, takes.split(), gives.split(), name=f"make_{gives}", **attributes
        )

    nodes = [node("Gather", "embed input_ids", "x")]
    for letter in "qkv":
        nodes += [
            node("MatMul", f"x w{letter}", f"{letter}_flat"),
            node("Unsqueeze", f"{letter}_flat one", letter),
        ]
    nodes += [
        node("Concat", "past_k k", "present_k", axis=2),
        node("Concat", "past_v v", "present_v", axis=2),
        node("Transpose", "present_k", "turned", perm=[0, 1, 3, 2]),
        node("MatMul", "q turned", "scores"),
        node("Softmax", "scores", "shares", axis=-1),
        node("MatMul", "shares present_v", "mixed"),
        node("Squeeze", "mixed one", "attended"),
        node("Add", "x attended", "y"),
        node("Transpose", "embed", "head", perm=[1, 0]),
        node("MatMul", "y head", "logits"),
    ]
    float_, tokens = TensorProto.FLOAT, ["batch", "seq"]
    values = {
        "input_ids": (TensorProto.INT64, tokens),
        "logits": (float_, [*tokens, vocabulary]),
        **{tensor.input: (float_, tensor.shape) for tensor in decoder.state},
        **{tensor.output: (float_, ["batch", 1, "past_next", width]) for tensor in decoder.state},
    }
    given = {name: helper.make_tensor_value_info(name, *value) for name, value in values.items()}
    graph = helper.make_graph(
        nodes,
        "decoder",
        [given[name] for name in ("input_ids", "past_k", "past_v")],
        [given[name] for name in ("logits", "present_k", "present_v")],
        [
            weight("embed", vocabulary, width),
            *(weight(f"w{letter}", width, width) for letter in "qkv"),
            numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: decoder.to_json(), "bench.checked": "{}"})
    onnx.save(model, str(path))
    return path
