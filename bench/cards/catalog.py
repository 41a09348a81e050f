"""From what a user calls a model to the card that describes it."""

from __future__ import annotations

from pathlib import Path

from bench.cards.card import Card, card_for_onnx, load_card
from bench.cards.checkpoints import card_for_checkpoint, card_for_factory, is_checkpoint
from bench.discover import card_paths, unknown
from bench.errors import SpecError


def find_model(text: str) -> Card:
    """The card for an installed model's name, a card, an ONNX file, ``file.py:factory`` or a
    checkpoint folder.

    Raises `SpecError` for a name that is not there, with the nearest names.
    """
    path = Path(text)
    if ".py:" in text:
        return card_for_factory(text)
    if path.suffix == ".onnx":
        return card_for_onnx(path)
    if path.suffix == ".toml":
        return load_card(path)
    installed = card_paths()
    if text in installed:
        return load_card(installed[text])
    if path.is_dir() and is_checkpoint(path):
        return card_for_checkpoint(path)
    if path.exists():
        raise SpecError(
            f"{text}: not a model that bench can read: give an .onnx file, a card (.toml), "
            "file.py:factory, a checkpoint folder with a config.json, or the name of an installed "
            "model (`bench list models`)."
        )
    raise unknown("model", text, installed)
