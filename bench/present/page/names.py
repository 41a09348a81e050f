"""How a page calls cells, and which colour and symbol each model and target has in all pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bench.cell import Cell
from bench.judge.alike import UNUSUAL, Setting, settings_in_words, settings_of
from bench.numbers import NAME_LIMIT, printable
from bench.record.result import Record
from bench.variants import suffix

#: After Okabe & Ito 2008 ("Color universal design"), the light ones darkened so that each has a
#: contrast of 3:1 or more with a white and with a nearly black background (WCAG 2.2, 1.4.11).
COLOURS = ("#1a7dc0", "#c77700", "#00936b", "#b8608f", "#d55e00", "#3c8fc2", "#7a7f87")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "x")
NEUTRAL = "#7a7f87"
SEVERAL = "pentagon"  #: the symbol of several targets that are alike


def shown(text: str) -> str:
    """A name from outside as one printable line of bounded length."""
    return printable(text, limit=NAME_LIMIT)


def in_picture(text: str) -> str:
    """Text for plotly, which reads a little HTML in labels: a name must stay a name.

    It knows the entities of the three signs that make markup and none for quotes. In some places
    it fills in ``%{...}`` as a template, so the percent sign is made inert too.
    """
    return escape(shown(text), quote=False).replace("%{", "%\u200b{")


def model_and_variant(cell: Cell) -> str:
    """``fashion-student int8-static``."""
    variant = suffix(cell.variant)
    return shown(f"{cell.model.name}{variant}")


def target_words(cell: Cell, apart: Iterable[Setting] = ()) -> str:
    """The target, what is unusual in how the cell was measured on it, and what sets the cell
    ``apart`` from others there."""
    settings = settings_in_words(settings_of(cell, UNUSUAL), apart)
    return ", ".join(filter(None, (shown(cell.target), settings)))


def lane_label(cell: Cell, apart: Iterable[Setting] = (), *, several_loads: bool = False) -> str:
    """``fashion-student int8-static · openvino:cpu``; with the load where that differs."""
    load = f" · {cell.scenario} batch {cell.batch}" if several_loads else ""
    return f"{model_and_variant(cell)} · {target_words(cell, apart)}{load}"


@dataclass(frozen=True)
class Palette:
    """The same colour for a model and the same symbol for a target in every picture."""

    models: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def of(cls, records: Iterable[Record]) -> Palette:
        """In the order of the records."""
        cells = [record.cell for record in records]
        return cls(
            tuple(dict.fromkeys(cell.model.name for cell in cells)),
            tuple(dict.fromkeys(cell.target for cell in cells)),
        )

    def colour(self, model: str) -> str:
        return _of(COLOURS, self.models, model)

    def place(self, target: str) -> int:
        """The number of a target in the order of the page."""
        return self.targets.index(target) if target in self.targets else 0

    def symbol(self, target: str) -> str:
        return _of(SYMBOLS, self.targets, target)


def _of(choices: Sequence[str], names: Sequence[str], name: str) -> str:
    return choices[names.index(name) % len(choices)] if name in names else choices[-1]
