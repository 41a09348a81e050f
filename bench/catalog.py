"""From what a user calls a model to the card that describes it."""

from __future__ import annotations

from pathlib import Path

from bench.cards import Card, card_for_onnx, load_card
from bench.discover import card_paths, unknown
from bench.errors import SpecError


def find_model(text: str) -> Card:
    """The card for an installed model's name, a card's path or an ONNX file's path.

    Raises `SpecError` for a name that is not there, with the nearest names.
    """
    path = Path(text)
    if path.suffix == ".onnx":
        return card_for_onnx(path)
    if path.suffix == ".toml":
        return load_card(path)
    installed = card_paths()
    if text in installed:
        return load_card(installed[text])
    if path.exists():
        raise SpecError(
            f"{text}: not a model that bench can read: give an .onnx file, a card (.toml) or the "
            "name of an installed model (`bench list models`)."
        )
    raise unknown("model", text, installed)
