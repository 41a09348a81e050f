"""Write the model cards of the Fashion-MNIST family, and the ONNX files that they name.

The sentences and figures of a card come from the training run that made its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.cards.card import load_card
from bench.cards.export import export_module
from bench.unchanged import file_sha256

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


#: Training images that static quantisation takes the ranges of activations from.
CALIBRATION = 512


@dataclass(frozen=True)
class Trained:
    """What a card says of a trained model beyond its files."""

    name: str
    factory: str
    description: str
    relation: str  #: a line of TOML, or empty
    trained_on: str
    notes: str
    figures: dict[str, float | int]


def publish(trained: Trained, folder: Path, mean: float, std: float) -> Path:
    """Write ``folder/NAME.onnx`` from the weights beside it, and ``folder/NAME.toml``."""
    path = folder / f"{trained.name}.toml"
    onnx = folder / f"{trained.name}.onnx"
    onnx.unlink(missing_ok=True)
    path.write_text(_text(trained, folder, mean, std))
    card = load_card(path)
    source = card.model_file().torch
    assert source is not None
    export_module(card, source, onnx)
    path.write_text(_text(trained, folder, mean, std))
    load_card(path)
    return path


def _text(trained: Trained, folder: Path, mean: float, std: float) -> str:
    weights, onnx = f"{trained.name}.safetensors", f"{trained.name}.onnx"
    data, calibration = "data/fashion-mnist-test.npz", "data/fashion-mnist-calibration.npz"
    named = ("nets.py", weights, onnx, data, calibration)
    files = [name for name in named if (folder / name).is_file()]
    digests = "\n".join(f'"{name}" = "{file_sha256(folder / name)}"' for name in files)
    figures = "\n".join(f"{name} = {value!r}" for name, value in trained.figures.items())
    classes = ", ".join(f'"{name}"' for name in CLASSES)
    onnx_line = f'onnx = "{onnx}"\n' if onnx in files else ""
    return f'''# Written by models/recipes/fashion.py; run it again rather than edit this.
name = "{trained.name}"
task = "classification"
description = "{trained.description}"
{trained.relation}
[source]
torch = "nets.py:{trained.factory}"
weights = "{weights}"
{onnx_line}
[[inputs]]
name = "image"
dtype = "float32"
shape = ["batch", 1, 28, 28]

[[outputs]]
name = "logits"
dtype = "float32"
shape = ["batch", {len(CLASSES)}]

[dataset]
name = "fashion-mnist-test"
path = "{data}"
split = "test"
classes = [{classes}]

[dataset.preprocessing]
scale = {1 / 255!r}
mean = {mean!r}
std = {std!r}
shape = [1, 28, 28]

[calibration]
name = "fashion-mnist-calibration"
path = "{calibration}"
split = "train"
samples = {CALIBRATION}

[provenance]
licence = "weights: Apache-2.0; images: MIT (c) 2017 Zalando SE, see data/LICENSE-fashion-mnist"
recipe = "python models/recipes/fashion.py"
trained_by = "the infer-bench project"
trained_on = "{trained.trained_on}"
notes = "{trained.notes}"

[provenance.sha256]
{digests}

[provenance.figures]
{figures}
'''
