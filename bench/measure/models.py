"""The models of a run, made ready. One whose own code or data fail costs its rows, not the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.backend import ModelFile
from bench.cards.card import Card
from bench.cards.catalog import find_model, is_factory, told_apart
from bench.cards.checkpoints import unmade_card
from bench.cards.ready import Loaded
from bench.cards.shaped import read_shapes
from bench.errors import BenchError, SpecError, every


@dataclass(frozen=True)
class Named:
    """A model that the run names; ``error`` says why its own code could not tell what it takes."""

    card: Card
    error: BenchError | None = None


def find_models(texts: Sequence[str], shapes: Sequence[str] = ()) -> list[Named]:
    """The models that ``texts`` name, in their order, called so that they can be told apart.

    ``shapes`` are of the inputs of those that are PyTorch modules. Raises `SpecError` for a name,
    a card or a file that isn't there or can't be read, and for shapes that no model takes.
    """
    read_shapes(shapes)
    if shapes and not any(map(is_factory, texts)):
        raise SpecError(
            f"--input {shapes[0]}: it says what a PyTorch module takes (file.py:factory), and no "
            "model of the run is one; other models say it themselves. --shape NAME=SIZE sets a "
            "dimension that they leave open."
        )
    found = every(partial(_find, shapes=shapes), texts)
    cards = told_apart([one.card for one in found])
    return [Named(card, one.error) for card, one in zip(cards, found, strict=True)]


def _find(text: str, shapes: Sequence[str]) -> Named:
    try:
        return Named(find_model(text, shapes))
    except BenchError as error:
        file = Path(text.rpartition(":")[0])
        if not is_factory(text) or not file.is_file():
            raise
        return Named(unmade_card(text), error)


def made_ready(named: Named, load: Callable[[Card], Loaded]) -> Loaded:
    """What ``load`` makes of a model, or that it can't be measured, and why."""
    error = named.error
    if error is None:
        try:
            return load(named.card)
        except BenchError as found:
            error = found
    return Loaded(named.card, ModelFile(named.card.name), None, unfit=error)
