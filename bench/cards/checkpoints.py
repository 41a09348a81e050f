"""Cards for models that come without one: a Hugging Face checkpoint folder, a module's factory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.apart import apart
from bench.arrays import Array
from bench.backend import TorchSource
from bench.cards import pretrained
from bench.cards.card import Card
from bench.cards.modules import examples, make
from bench.cards.shaped import inputs_of, read_shapes
from bench.errors import SpecError, WorkerCrashed
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
    try:
        pretrained.head_of(config)
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from error
    folder = path.absolute()
    data = {
        "name": folder.name or folder.resolve().name,
        "task": _task(config),
        "source": {"pretrained": "."},
        "inputs": _inputs(config, path),
        "outputs": _outputs(config),
        "path": folder / CONFIG,
    }
    return _validated(data, path)


def card_for_factory(text: str, shapes: Sequence[str] = ()) -> Card:
    """A card for ``file.py:factory``, its inputs as ``shapes`` say, else taken from an example.

    The file says what the module takes, by a function ``example_inputs()`` that returns a tensor
    or several, or the module does, by Lightning's attribute ``example_input_array``. The first
    axis of each is the batch. Raises `SpecError` where nothing says it.
    """
    file, _, factory = text.rpartition(":")
    path = Path(file).absolute()
    given = read_shapes(shapes)

    def described() -> list[dict[str, Any]] | None:
        made = make(TorchSource(path, factory))
        own = examples(made)
        return inputs_of(made, given, own) if given else _as_inputs(own)

    try:
        inputs = apart(text, described)
    except WorkerCrashed as error:
        raise SpecError(str(error)) from error
    if inputs is None:
        raise SpecError(
            f"{text}: nothing says what it takes: give its shape, for example --input 1x3x224x224, "
            f"or define `example_inputs()` in {path.name}, which returns a tensor for each input, "
            "or write a card with [[inputs]]."
        )
    return _validated(_of_factory(path, factory, inputs), path)


def _as_inputs(given: Mapping[str, Array] | None) -> list[dict[str, Any]] | None:
    """Examples as a card has inputs; their first axis is the batch."""
    if given is None:
        return None
    return [
        {"name": name, "dtype": example.dtype.name, "shape": ["batch", *example.shape[1:]]}
        for name, example in given.items()
    ]


def unmade_card(text: str) -> Card:
    """A card that stands for a ``file.py:factory`` which can't say what it takes."""
    file, _, factory = text.rpartition(":")
    path = Path(file).absolute()
    return _validated(_of_factory(path, factory, []), path)


def _of_factory(path: Path, factory: str, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": factory.replace("_", "-"),
        "task": "raw",
        "source": {"torch": f"{path.name}:{factory}"},
        "inputs": inputs,
        "path": path,
    }


def checkpoint_limits(folder: Path) -> dict[str, int]:
    """Rows of the table that token ids index."""
    config = pretrained.read_config(str(folder))
    return {"input_ids": config["vocab_size"]} if "vocab_size" in config else {}


def _task(config: dict[str, Any]) -> str:
    head = pretrained.head_of(config)
    if head in ("ForSequenceClassification", "ForImageClassification"):
        return "classification"
    return "embedding" if head.endswith(("Model", "WithProjection")) else "raw"


def _inputs(config: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    if pretrained.takes_pixels(config):
        height, width = pretrained.image_size(str(path), config)
        shape = ["batch", config.get("num_channels", 3), height, width]
        return [{"name": "pixel_values", "dtype": "float32", "shape": shape}]
    if "vocab_size" not in config:
        raise SpecError(
            f"{path / CONFIG}: it has none of `vocab_size`, `image_size` and `num_channels`, so "
            "the model's inputs are unknown. Write a card with [[inputs]]."
        )
    return [
        {"name": name, "dtype": "int64", "shape": ["batch", "seq"]}
        for name in ("input_ids", "attention_mask")
    ]


def _outputs(config: dict[str, Any]) -> list[dict[str, Any]]:
    """What the head gives, with the shapes that config.json tells."""
    head = pretrained.head_of(config)
    classes = len(config.get("id2label", {})) or 2
    states = "tokens" if pretrained.takes_pixels(config) else "seq"
    shapes: dict[str, list[Any]] = {
        "ForSequenceClassification": ["batch", classes],
        "ForImageClassification": ["batch", classes],
        "ForTokenClassification": ["batch", "seq", classes],
        "ForQuestionAnswering": ["batch", "seq"],
        "ForMaskedLM": ["batch", "seq", config.get("vocab_size", "words")],
        "VisionModelWithProjection": ["batch", config.get("projection_dim", "width")],
        "TextModelWithProjection": ["batch", config.get("projection_dim", "width")],
        "Model": ["batch", "channels", "height", "width"]
        if "hidden_sizes" in config
        else ["batch", states, config.get("hidden_size", "width")],
    }
    return [{"name": name, "shape": shapes[head]} for name in pretrained.HEADS[head]]


def _validated(data: dict[str, Any], path: Path) -> Card:
    try:
        return Card.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, [])}") from error
