"""A model card as TOML to edit: what is known filled in, what is not as comments to fill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.cards.card import Card, Tensor
from bench.cards.files import relative_to
from bench.unchanged import file_sha256

_CLASSIFICATION = """\
# [dataset]                     # labelled data: without it the model is timed, not scored
# name = "my-test-set"
# path = "data/test.npz"        # or .csv, .tsv, .parquet, a folder of images by class, or a
#                               # data set that Hugging Face's save_to_disk wrote
# classes = ["cat", "dog"]      # in the order of the outputs
#
# [dataset.preprocessing]       # (x * scale - mean) / std
# scale = 0.00392156862745098
# mean = [0.485, 0.456, 0.406]
# std = [0.229, 0.224, 0.225]
# layout = "nchw"
#
# [calibration]                 # for int8-static: training samples, never test samples
# name = "my-training-samples"
# path = "data/calibration.npz"
"""
_EMBEDDING = """\
# [dataset]                     # labelled data: without it the model is timed, not scored
# name = "my-pairs"
# path = "data/pairs.csv"
# tokenizer = "tokenizer.json"
# pooling = "mean"
#
# [dataset.columns]
# text = ["sentence1", "sentence2"]
# score = "similarity"
"""


def card_toml(card: Card, folder: Path) -> str:
    """``card`` as the text of a card that lies in ``folder``; its files are named from there."""
    lines = [
        f"name = {toml_text(card.name)}",
        f"task = {toml_text(card.task)}  # classification, embedding or raw",
        'description = ""',
        '# distilled_from = "its-original"  # the name of another model of the run',
        "",
        "[source]",
        *_source(card, folder),
        "",
    ]
    lines += tensors_toml("inputs", card.inputs)
    lines += tensors_toml("outputs", card.outputs)
    data = _EMBEDDING if card.task == "embedding" else _CLASSIFICATION
    return "\n".join([*lines, ""]) + data + "\n" + _provenance(card, folder)


def _source(card: Card, folder: Path) -> list[str]:
    source = card.source
    found = []
    if source.onnx:
        found.append(f"onnx = {_path(card, source.onnx, folder)}")
    if source.torch:
        file, _, factory = source.torch.partition(":")
        found.append(f"torch = {toml_text(f'{_relative(card.file(file), folder)}:{factory}')}")
        found.append('# weights = "model.safetensors"  # where the factory does not load them')
    if source.pretrained:
        found.append(f"pretrained = {_path(card, source.pretrained, folder)}")
    if source.gguf:
        found.append(f"gguf = {_path(card, source.gguf, folder)}")
    return found


def tensors_toml(table: str, tensors: tuple[Tensor, ...]) -> list[str]:
    """Each of ``tensors`` as a table of the array ``table``."""
    lines = []
    for tensor in tensors:
        shape = ", ".join(toml_text(d) if isinstance(d, str) else str(d) for d in tensor.shape)
        lines += [
            f"[[{table}]]",
            f"name = {toml_text(tensor.name)}",
            f"dtype = {toml_text(tensor.dtype)}",
            f"shape = [{shape}]",
            "",
        ]
    return lines


def _provenance(card: Card, folder: Path) -> str:
    lines = ["[provenance]", 'licence = ""', 'trained_on = ""', "", "[provenance.sha256]"]
    for name in card.named_files():
        path = card.file(name)
        lines.append(f"{toml_text(_relative(path, folder))} = {toml_text(file_sha256(path))}")
    return "\n".join(lines) + "\n"


def _path(card: Card, name: str, folder: Path) -> str:
    return toml_text(_relative(card.file(name), folder))


def _relative(path: Path, folder: Path) -> str:
    return Path(relative_to(path, folder)).as_posix()


def toml_text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def table_toml(name: str, values: dict[str, Any]) -> str:
    """A TOML table with its tables."""
    if not values:
        return ""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    lines = [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items()), ""]
    text = "\n".join(lines) + "\n"
    for key, value in values.items():
        if isinstance(value, dict):
            text += table_toml(f"{name}.{key}", value)
    return text
