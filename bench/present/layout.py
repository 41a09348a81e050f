"""Laying out lines of figures: columns of one unit each that fit the width, and text that wraps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from bench.numbers import (
    MISSING,
)
from bench.present.columns import Column

INDENT = 2
GAP = 2


NARROWEST_LABEL = 18
TIED = "\u00a0"  #: a space at which `wrap` doesn't break


SHORT_MESSAGE = 48  #: what a failed row has room for at 80 columns
OK, MARKED, WRONG, FAILED, FOREIGN = "✓", "!", "≠", "✗", "·"


STYLES = {OK: "green", MARKED: "yellow", WRONG: "red", FAILED: "red"}


@dataclass(frozen=True)
class Figure:
    """What stands in one cell of a table: a number, its interval, and the note it refers to."""

    value: str
    interval: str = ""
    style: str = ""


NOTHING = Figure(MISSING, style="dim")


@dataclass(frozen=True)
class Line:
    """A heading (no mark), or a marked label with figures or with a message in their place."""

    label: str
    mark: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class _Width:
    value: int
    interval: int

    @property
    def total(self) -> int:
        return self.value + (1 + self.interval if self.interval else 0)


def lay_out(
    columns: Sequence[Column], units: Mapping[str, str], lines: Sequence[Line], width: int
) -> Text:
    """The header and the lines as text, no line wider than ``width``."""
    rows = [line for line in lines if line.figures]
    columns = [c for c in columns if _says_something(c, rows)]
    widths = {c.key: _column_width(c, units, rows) for c in columns}
    longest = max((cell_len(line.label) for line in lines if line.mark), default=0)
    label_width = max(NARROWEST_LABEL, min(longest, width))
    shown = _fitting(columns, widths, INDENT + label_width, width)
    figures_width = sum(widths[c.key].total + GAP for c in shown)
    label_width = max(1, min(label_width, width - INDENT - figures_width))
    text = _header(shown, units, widths, INDENT + label_width)
    for line in lines:
        text.append_text(_line(line, shown, widths, label_width, width))
    return text


def _says_something(column: Column, rows: Sequence[Line]) -> bool:
    return any(row.figures.get(column.key, NOTHING).value != MISSING for row in rows)


def _column_width(column: Column, units: Mapping[str, str], rows: Sequence[Line]) -> _Width:
    figures = [row.figures[column.key] for row in rows if column.key in row.figures]
    value = max((cell_len(f.value) for f in figures if f.interval), default=0)
    interval = max((cell_len(f.interval) for f in figures), default=0)
    whole = max((cell_len(f.value) for f in figures if not f.interval), default=0)
    whole = max(whole, cell_len(column.title), cell_len(units.get(column.key, "")))
    missing = whole - (value + (1 + interval if interval else 0))
    return _Width(value + max(0, missing), interval)


def _fitting(
    columns: Sequence[Column], widths: Mapping[str, _Width], used: int, width: int
) -> list[Column]:
    """The essential columns, and the others in order while they fit."""
    used += sum(widths[c.key].total + GAP for c in columns if c.essential)
    shown = [c for c in columns if c.essential]
    for column in columns:
        needed = widths[column.key].total + GAP
        if not column.essential and used + needed <= width:
            shown.append(column)
            used += needed
    return [c for c in columns if c in shown]


def _header(
    columns: Sequence[Column], units: Mapping[str, str], widths: Mapping[str, _Width], used: int
) -> Text:
    text = Text()
    for words in ({c.key: c.title for c in columns}, units):
        line = " " * used
        for column in columns:
            line += " " * GAP + words.get(column.key, "").rjust(widths[column.key].total)
        if line.strip():
            text.append(line.rstrip() + "\n", style="bold" if words is not units else "dim")
    return text


def _line(
    line: Line,
    columns: Sequence[Column],
    widths: Mapping[str, _Width],
    label_width: int,
    width: int,
) -> Text:
    if not line.figures and not line.message:
        heading = clip(line.label, width)
        return Text(heading + "\n", style="" if line.mark else "bold")
    text = Text().append(line.mark.ljust(INDENT), style=STYLES.get(line.mark, ""))
    if cell_len(line.label) <= label_width:
        text.append(pad(line.label, label_width))
    else:
        text.append(clip(line.label, width - INDENT) + "\n" + " " * (INDENT + label_width))
    if line.message:
        room = width - INDENT - label_width - GAP
        text.append(" " * GAP + clip(line.message, room), style="red")
    for column in () if line.message else columns:
        text.append(" " * GAP)
        text.append_text(_figure(line.figures.get(column.key), widths[column.key]))
    text.rstrip()
    return text.append("\n")


def _figure(figure: Figure | None, width: _Width) -> Text:
    if figure is None:
        return Text(" " * width.total)
    if not figure.interval:
        right = width.value if figure.value == MISSING else width.total
        value = " " * (right - cell_len(figure.value)) + figure.value
        return Text(pad(value, width.total), style=figure.style)
    value = " " * (width.value - cell_len(figure.value)) + figure.value
    text = Text().append(value, style=figure.style)
    return text.append(" " + pad(figure.interval, width.interval), style="dim")


def pad(text: str, width: int) -> str:
    """``text`` filled with spaces to ``width`` terminal cells."""
    return text + " " * (width - cell_len(text))


def clip(text: str, width: int) -> str:
    """``text`` cut to ``width`` terminal cells, with an ellipsis where something is lost."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def wrap(text: str, width: int, indent: int = 0) -> str:
    """``text`` as lines of at most ``width`` terminal cells, all but the first indented."""
    lines: list[str] = []
    lead = " " * (len(text) - len(text.lstrip(" ")))
    current = ""
    for word in filter(None, text.split(" ")):
        if current and cell_len(lead + current + " " + word) <= width:
            current += " " + word
            continue
        if current:
            lines.append(lead + current)
            lead = " " * indent
        current = clip(word, width - len(lead))
    return "\n".join([*lines, lead + current]).replace(TIED, " ")


def paragraph(text: str, width: int) -> Text:
    """``text`` by itself, all but its first line indented."""
    return Text(wrap(text, width, indent=INDENT) + "\n")
