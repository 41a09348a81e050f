"""Cards and models for data sets in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from bench.cards.card import Card, load_card
from bench.cards.datasets import Dataset, load_dataset

KINDS = {
    "bool": TensorProto.BOOL,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int8": TensorProto.INT8,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
}


def a_card(
    folder: Path,
    dataset: str,
    inputs: dict[str, tuple[str, tuple[Any, ...]]] | None = None,
    task: str = "classification",
) -> Card:
    """A card with ``dataset`` (TOML) and an ONNX file with these inputs: name to type and shape."""
    inputs = inputs or {"x": ("float32", ("batch", 3))}
    values = [
        helper.make_tensor_value_info(name, KINDS[kind], shape)
        for name, (kind, shape) in inputs.items()
    ]
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
    outputs = [
        helper.make_tensor_value_info(f"{name}_out", KINDS[kind], shape)
        for name, (kind, shape) in inputs.items()
    ]
    graph = helper.make_graph(nodes, "g", values, outputs)
    onnx.save(helper.make_model(graph, ir_version=10), str(folder / "m.onnx"))
    text = f'name = "mine"\ntask = "{task}"\n[source]\nonnx = "m.onnx"\n'
    for name, (kind, shape) in inputs.items():
        text += f'[[inputs]]\nname = "{name}"\ndtype = "{kind}"\nshape = {list(shape)}\n'
    path = folder / "mine.toml"
    path.write_text(text.replace("'", '"') + dataset)
    return load_card(path)


def loaded(folder: Path, dataset: str, **more: Any) -> Dataset:
    return load_dataset(a_card(folder, dataset, **more))
