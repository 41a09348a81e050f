"""Hand-made language models: what comes next depends on the last token alone, by a table of logits.

The state holds every token, so that depth and lengths are those of any decoder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

#: Of a byte-level tokenizer without merges: every byte, and the end of a text.
VOCABULARY = 257
END = 256


def tokenizer(path: Path, *, end: bool = True, merges: int = 0) -> Path:
    """A byte a token, or fewer tokens by the first ``merges`` pairs of an English text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=merges > 0)
    made.decoder = decoders.ByteLevel()
    if merges:
        trainer = trainers.BpeTrainer(
            vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False
        )
        made.train_from_iterator([genesis()], trainer)
    if end:
        made.add_special_tokens(["<|endoftext|>"])
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "tokenizer_config.json").write_text(
            json.dumps({"eos_token": "<|endoftext|>"})
        )
    made.save(str(path))
    return path


def genesis() -> str:
    import bench.cards.language as language

    return (Path(language.__file__).parent / "genesis.txt").read_text("utf-8")


def table(ids: Any, vocabulary: int = VOCABULARY, smoothing: float = 0.1) -> Any:
    """Logits of what comes next by the last id, from counts."""
    counts = np.full((vocabulary, vocabulary), smoothing)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    return np.log(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def save(path: Path, logits: Any) -> Path:
    """An ONNX file with a cache by the names that others use."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["logits"]),
        helper.make_node("Unsqueeze", ["input_ids", "axes"], ["column"]),
        helper.make_node("Cast", ["column"], ["new"], to=TensorProto.FLOAT),
        *(
            helper.make_node(
                "Concat",
                [f"past_key_values.0.{name}", "new"],
                [f"present.0.{name}"],
                axis=2,
            )
            for name in ("key", "value")
        ),
    ]
    state = [
        helper.make_tensor_value_info(
            f"past_key_values.0.{name}", TensorProto.FLOAT, ["batch", 1, "past", 1]
        )
        for name in ("key", "value")
    ]
    graph = helper.make_graph(
        nodes,
        "bigrams",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "seq"]), *state],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["batch", "seq", len(logits)]
            ),
            *(
                helper.make_tensor_value_info(
                    f"present.0.{name}", TensorProto.FLOAT, ["batch", 1, "total", 1]
                )
                for name in ("key", "value")
            ),
        ],
        [
            numpy_helper.from_array(np.asarray(logits, np.float32), "table"),
            numpy_helper.from_array(np.array([1, 3], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def card(folder: Path, name: str, data: Path, **more: str) -> Path:
    """A card of ``folder/model.onnx``, scored on ``data``."""
    lines = [
        f'name = "{name}"',
        'task = "text-generation"',
        *(f'{key} = "{value}"' for key, value in more.items()),
        "inputs = []",
        "[source]",
        'onnx = "model.onnx"',
        "[dataset]",
        'name = "held out"',
        f'path = "{data}"',
    ]
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path
