"""Cards for models that come without one: a Hugging Face checkpoint folder, a module's factory."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.backend import TorchSource
from bench.cards import pretrained
from bench.cards.card import Card
from bench.cards.export import load_module, module_name
from bench.errors import SpecError
from bench.validation import first_problem

CONFIG = "config.json"


def is_checkpoint(path: Path) -> bool:
    """Whether ``path`` is a folder that `save_pretrained` wrote."""
    return (path / CONFIG).is_file()


def card_for_checkpoint(path: Path) -> Card:
    """Task, inputs and outputs as config.json tells them. Raises `SpecError`."""
    try:
        config = pretrained.read_config(str(path))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path / CONFIG}: can't be read: {error}.") from error
    if config.get("is_encoder_decoder"):
        raise SpecError(
            f"{path}: an encoder-decoder takes its own outputs as inputs, which bench can't feed. "
            "Export one half of it, and name the .onnx file."
        )
    data = {
        "name": path.resolve().name,
        "task": _task(config),
        "source": {"pretrained": "."},
        "inputs": _inputs(config, path),
        "outputs": [_output(config)],
        "path": path.resolve() / CONFIG,
    }
    return _validated(data, path)


def card_for_factory(text: str) -> Card:
    """A card for ``file.py:factory``, its inputs taken from an example.

    The file says what the module takes, by a function ``example_inputs()`` that returns a tensor
    or several, or the module does, by Lightning's attribute ``example_input_array``. The first
    axis of each is the batch. Raises `SpecError` where neither is there.
    """
    file, _, factory = text.rpartition(":")
    path = Path(file).resolve()
    module = load_module(TorchSource(path, factory))
    examples = _examples(module, path, text)
    names = list(inspect.signature(module.forward).parameters)[: len(examples)]
    if len(names) < len(examples):
        raise SpecError(
            f"{text}: `forward` takes {len(names)} inputs and the example has {len(examples)}."
        )
    data = {
        "name": factory.replace("_", "-"),
        "task": "raw",
        "source": {"torch": f"{path.name}:{factory}"},
        "inputs": [
            {
                "name": name,
                "dtype": str(example.dtype).removeprefix("torch."),
                "shape": ["batch", *example.shape[1:]],
            }
            for name, example in zip(names, examples, strict=True)
        ],
        "path": path,
    }
    return _validated(data, path)


def _examples(module: Any, path: Path, text: str) -> list[Any]:
    import torch  # torch: optional

    source = sys.modules[module_name(path)]
    made = getattr(module, "example_input_array", None)
    if made is None and hasattr(source, "example_inputs"):
        made = source.example_inputs()
    if made is None:
        raise SpecError(
            f"{text}: nothing says what it takes: define `example_inputs()` in {path.name}, which "
            "returns a tensor for each input, or write a card with [[inputs]]."
        )
    examples = [made] if isinstance(made, torch.Tensor) else list(made)
    if not all(isinstance(e, torch.Tensor) and e.ndim > 0 for e in examples) or not examples:
        raise SpecError(f"{text}: `example_inputs()` has to return tensors with a batch axis.")
    return examples


def _task(config: dict[str, Any]) -> str:
    head = pretrained.head_of(config)
    if head in ("ForSequenceClassification", "ForImageClassification"):
        return "classification"
    return "raw" if head else "embedding"


def _inputs(config: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    if pretrained.takes_pixels(config):
        size = config["image_size"]
        height, width = size if isinstance(size, list) else (size, size)
        shape = ["batch", config.get("num_channels", 3), height, width]
        return [{"name": "pixel_values", "dtype": "float32", "shape": shape}]
    if "vocab_size" not in config:
        raise SpecError(
            f"{path / CONFIG}: neither `vocab_size` nor `image_size` is there, so what the model "
            "takes is not known. Write a card with [[inputs]]."
        )
    return [
        {"name": name, "dtype": "int64", "shape": ["batch", "seq"]}
        for name in ("input_ids", "attention_mask")
    ]


def _output(config: dict[str, Any]) -> dict[str, Any]:
    if _task(config) == "classification":
        return {"name": "logits", "shape": ["batch", len(config.get("id2label", {})) or 2]}
    if pretrained.head_of(config) == "ForMaskedLM":
        return {"name": "logits", "shape": ["batch", "seq", config["vocab_size"]]}
    states: list[Any] = ["batch", "tokens", config.get("hidden_size", "width")]
    if not pretrained.takes_pixels(config):
        states[1] = "seq"
    return {"name": "last_hidden_state", "shape": states}


def _validated(data: dict[str, Any], path: Path) -> Card:
    try:
        return Card.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, [])}") from error
