"""From what a user calls a model to the card that describes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench.cards.card import Card, card_for_onnx, load_card
from bench.cards.checkpoints import card_for_checkpoint, card_for_factory, is_checkpoint
from bench.cards.language.cards import card_for_decoder, completed
from bench.cards.language.causal import is_causal
from bench.cards.language.gguf import card_for_gguf, unpack
from bench.cards.pretrained import read_config
from bench.cards.unpacked import SUFFIX as GGUF
from bench.discover import beside, card_paths, no_such, unknown
from bench.errors import SpecError


def find_model(text: str, shapes: Sequence[str] = ()) -> Card:
    """The card for an installed model's name, a card, an ONNX file, ``file.py:factory`` (whose
    inputs have ``shapes``) or a checkpoint folder.

    Raises `SpecError` for a name that is not there, with the nearest names.
    """
    path = Path(text)
    _refuse_absent(text)
    if is_factory(text):
        return card_for_factory(text, shapes)
    if path.suffix == ".onnx":
        return completed(card_for_onnx(path))
    if path.suffix == GGUF:
        return card_for_gguf(path)
    if path.suffix == ".toml":
        return _written_card(path)
    installed = card_paths()
    if text in installed:
        return _written_card(installed[text])
    if path.is_dir() and is_checkpoint(path):
        return _card_for_checkpoint(path)
    if path.exists():
        raise SpecError(
            f"{text}: not a model that bench can read. Give an .onnx or .gguf file, a card "
            "(.toml), file.py:factory, a checkpoint folder with a config.json, or the name of an "
            "installed model (`bench model list`)."
        )
    near = [name for name in beside(path) if _may_be_model(Path(name))]
    raise unknown("model", text, [*installed, *near])


def _refuse_absent(text: str) -> None:
    """Raise for a file that isn't there; a broken link, and a card, are told by who reads them."""
    file, noun = (text.rpartition(":")[0], "Python file") if is_factory(text) else (text, "file")
    path = Path(file)
    if not os.path.lexists(path) and (is_factory(text) or path.suffix in (".onnx", GGUF)):
        raise no_such(noun, path)


def _may_be_model(path: Path) -> bool:
    return path.suffix in (".onnx", GGUF, ".toml") or is_checkpoint(path)


def is_factory(text: str) -> bool:
    """Whether a model is called by a PyTorch module's factory, ``file.py:factory``."""
    return ".py:" in text


def _written_card(path: Path) -> Card:
    """A card that somebody wrote, with what it need not say."""
    card = load_card(path)
    if card.source.gguf is not None:
        unpack(card.file(card.source.gguf))
    return completed(card)


def _card_for_checkpoint(path: Path) -> Card:
    """A card for whatever a checkpoint folder holds."""
    try:
        causal = is_causal(read_config(str(path)))
    except (OSError, ValueError):
        causal = False  # what is wrong with config.json is told there
    return card_for_decoder(path) if causal else card_for_checkpoint(path)


def wherever(text: str) -> str:
    """What calls the same model from every folder: its path, if it is one, from the root on, with
    the links in it as they were given."""
    file, colon, factory = text.rpartition(":") if is_factory(text) else (text, "", "")
    if not colon and not text.endswith((".onnx", ".toml", GGUF)) and text in card_paths():
        return text
    return f"{Path(file).absolute()}{colon}{factory}" if Path(file).exists() else text


def told_apart(cards: Sequence[Card]) -> list[Card]:
    """Cards of distinct names: those that were made from a file, and are called alike, are named
    with as many of its folders as it takes (``v1/model``, ``v2/model``).

    Two models that say their own name keep it, and so does the same file given twice.
    """
    return [_told_apart(card, [other for other in cards if other is not card]) for card in cards]


def _told_apart(card: Card, others: Sequence[Card]) -> Card:
    alike = [other for other in others if other.name == card.name]
    if not alike or card.path.suffix == ".toml":
        return card
    own, paths = _long_name(card), [_long_name(o) for o in alike if o.path.suffix != ".toml"]
    for length in range(2, len(own) + 1):
        name = own[-length:]
        if all(name != path[-length:] for path in paths):
            return card.model_copy(update={"name": "/".join(name)})
    return card


def _long_name(card: Card) -> tuple[str, ...]:
    """The folders above a model's file, and its name."""
    folder = card.path.parent
    if card.source.pretrained:
        folder = folder.parent
    if card.source.torch:
        folder = card.path.with_suffix("")
    return (*folder.parts[1:], card.name)
