"""The matrix at the terminal: across, or with models across where that fits the width better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from bench.judge.matrix.answer import Answered
from bench.judge.matrix.cells import Column, Entry, Matrix
from bench.judge.matrix.front import Front, FrontPoint, score_metric
from bench.numbers import common_scale, printable
from bench.present.columns import DEAL_COLUMNS
from bench.present.layout import MARKED, Figure, Line, clip, lay_out, pad, wrap
from bench.present.matrix.sentences import across_sentences, choice_sentences
from bench.present.matrix.words import (
    TITLES,
    Figures,
    machine_name,
    notes,
    place_name,
    row_name,
    target_name,
)

_GAP = 2
_MOST_LABEL = 34
_LEAST_HEAD = 12
_AT = ":?&,"  #: where the name of a target may be broken


def matrix_text(answered: Answered, width: int = 80) -> Text:
    """The table, the answer, the front, and the small print; no line wider than ``width``."""
    matrix = answered.matrix
    figures = Figures(matrix)
    text = Text()
    for mark in answered.unchecked:
        text.append(wrap(f"{MARKED} {printable(mark)}.", width, indent=2) + "\n", style="yellow")
    text.append(wrap(title_of(matrix, figures), width) + "\n", style="bold")
    text.append_text(_table(matrix, figures, width))
    for said in said_of(answered):
        text.append("\n" + wrap(said, width, indent=2))
    text.append("\n")
    for front in answered.fronts:
        text.append("\n")
        text.append_text(front_text(front, figures, width))
    text.append("\n")
    for note in notes(matrix, answered.machines, answered.problems):
        text.append(wrap(f"- {note}", width, indent=2) + "\n", style="dim")
    return text


def said_of(answered: Answered) -> list[str]:
    """The answer in sentences."""
    return [
        *choice_sentences(answered.matrix, answered.choices),
        *across_sentences(answered.across),
    ]


def title_of(matrix: Matrix, figures: Figures) -> str:
    """What the figures are, and their unit."""
    scenarios = ", ".join(dict.fromkeys(row.scenario for row in matrix.rows))
    unit = f", {figures.unit_name}" if figures.unit_name else ""
    return f"{TITLES[matrix.asked.by]}{unit} ({scenarios})"


# -- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """A table whose columns all have a head of several lines; ``over`` stands above groups of
    columns, ``heading`` above groups of lines."""

    over: tuple[str, ...]
    heads: tuple[tuple[str, ...], ...]
    lines: tuple[tuple[str, str, tuple[Text, ...]], ...]  #: heading, label, cells
    widths: tuple[int, ...]
    label: int

    @property
    def width(self) -> int:
        return self.label + sum(w + _GAP for w in self.widths)


def _table(matrix: Matrix, figures: Figures, width: int) -> Text:
    """Models down where all columns fit side by side, else machines and targets down where all
    models do, else models down in as many blocks of columns as it takes."""
    across = _across(matrix, figures, matrix.columns, width)
    if across.width <= width:
        return _drawn(across, width)
    turned = _turned(matrix, figures, width)
    if turned.width <= width:
        return _drawn(turned, width)
    text = Text()
    for block in _blocks(matrix, figures, width):
        text.append_text(_drawn(_across(matrix, figures, block, width), width))
        text.append("\n" if block[-1] is not matrix.columns[-1] else "")
    return text


def _across(matrix: Matrix, figures: Figures, columns: Sequence[Column], width: int) -> _Grid:
    names = [row_name(row) for row in matrix.rows]
    label = min(_MOST_LABEL, width // 3, max(map(cell_len, names)))
    cells = _cells([[matrix.entries[row, c] for c in columns] for row in matrix.rows], figures)
    widths, heads = _heads([target_name(c) for c in columns], cells)
    lines = tuple(("", n, tuple(some)) for n, some in zip(names, cells, strict=True))
    return _Grid(tuple(machine_name(c) for c in columns), heads, lines, widths, label)


def _turned(matrix: Matrix, figures: Figures, width: int) -> _Grid:
    names = [target_name(c) for c in matrix.columns]
    label = min(_MOST_LABEL, width // 2, 2 + max(map(cell_len, names)))
    turned = [[matrix.entries[row, c] for row in matrix.rows] for c in matrix.columns]
    cells = _cells(turned, figures)
    widths, heads = _heads([row_name(row) for row in matrix.rows], cells)
    lines = tuple(
        (machine_name(c), name, tuple(some))
        for c, name, some in zip(matrix.columns, names, cells, strict=True)
    )
    return _Grid((), heads, lines, widths, label)


def _blocks(matrix: Matrix, figures: Figures, width: int) -> list[list[Column]]:
    blocks: list[list[Column]] = [[]]
    for column in matrix.columns:
        wider = [*blocks[-1], column]
        if blocks[-1] and _across(matrix, figures, wider, width).width > width:
            blocks.append([column])
        else:
            blocks[-1] = wider
    return blocks


def _cells(entries: Sequence[Sequence[Entry]], figures: Figures) -> list[list[Text]]:
    """``12.5 ±1.2% *``: in each column numbers end below each other, and so do words."""
    columns = list(zip(*entries, strict=True))
    wide = [max((cell_len(figures.figure(e)[1]) for e in c), default=0) for c in columns]
    return [
        [_cell(entry, figures, room) for entry, room in zip(row, wide, strict=True)]
        for row in entries
    ]


def _cell(entry: Entry, figures: Figures, room: int) -> Text:
    number, interval = figures.figure(entry)
    if entry.word:
        return Text(number, style="dim" if entry.word == "-" else "red").append("  ")
    text = Text(number, style="bold green" if entry.leader else "green" if entry.best else "")
    text.append(f" {pad(interval, room)}", style="dim")
    return text.append(f" {figures.mark(entry) or ' '}")


def _heads(
    names: Sequence[str], cells: Sequence[Sequence[Text]]
) -> tuple[tuple[int, ...], tuple[tuple[str, ...], ...]]:
    """The width of each column and its head, which is broken to be no wider than need be."""
    widths, heads = [], []
    for place, name in enumerate(names):
        figures = max(row[place].cell_len for row in cells)
        pieces = _pieces(name)
        wide = max(_LEAST_HEAD, figures, min(max(map(cell_len, pieces)), 2 * _LEAST_HEAD))
        lines = _filled(pieces, wide)
        widths.append(max(figures, max(map(cell_len, lines))))
        heads.append(tuple(lines))
    return tuple(widths), tuple(heads)


def _pieces(name: str) -> list[str]:
    """A name cut in front of the signs at which it may be broken, and behind hyphens."""
    pieces = [""]
    for letter in name:
        if letter in _AT and pieces[-1]:
            pieces.append("")
        pieces[-1] += letter
        if letter in "- ":
            pieces.append("")
    return [piece for piece in pieces if piece] or [""]


def _filled(pieces: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for piece in pieces:
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += clip(piece, width)
    return lines


def _drawn(grid: _Grid, width: int) -> Text:
    text = Text()
    if grid.over:
        text.append(clip(_over(grid), width) + "\n", style="bold")
    for place in range(max(len(head) for head in grid.heads)):
        line = " " * grid.label
        for head, wide in zip(grid.heads, grid.widths, strict=True):
            text_of = head[place] if place < len(head) else ""
            line += " " * _GAP + " " * (wide - cell_len(text_of)) + text_of
        text.append(line.rstrip() + "\n", style="" if grid.over else "bold")
    for heading, some in groupby(grid.lines, key=lambda line: line[0]):
        if heading:
            text.append(clip(heading, width) + "\n", style="bold")
        for _, label, cells in some:
            text.append_text(_line(("  " if heading else "") + label, cells, grid))
    return text


def _over(grid: _Grid) -> str:
    """The machines above their columns, each once."""
    line = " " * grid.label
    places = zip(grid.over, grid.widths, strict=True)
    for name, some in groupby(places, key=lambda place: place[0]):
        room = sum(wide + _GAP for _, wide in some)
        line += " " * _GAP + pad(clip(name, room - _GAP), room - _GAP)
    return line.rstrip()


def _line(label: str, cells: Sequence[Text], grid: _Grid) -> Text:
    line = Text(pad(clip(label, grid.label), grid.label))
    for cell, wide in zip(cells, grid.widths, strict=True):
        room = wide - cell.cell_len
        line.append(" " * (_GAP + room)).append_text(cell)
    line.rstrip()
    return line.append("\n")


# -- the front ------------------------------------------------------------------------------------


def front_text(front: Front, figures: Figures, width: int) -> Text:
    """The points that nothing surely beats, the best first."""
    shown = [p for p in front.points if p.standing.state != "dominated"]
    scale = common_scale(score_metric(p.entry).scale for p in shown)
    units = {"cost": figures.unit_name} | ({"accuracy": scale.unit} if scale else {})
    text = Text(f"Pareto front over all machines, {front.dataset}\n", style="bold")
    lines = [Line(_point(p), " ", _point_figures(p, figures)) for p in shown]
    text.append_text(lay_out(DEAL_COLUMNS, units, lines, width))
    beaten = len(front.points) - len(shown)
    words = [f"{beaten} beaten" if beaten else ""]
    words.append(
        f"{front.left_out} further from the front by their estimates" * bool(front.left_out)
    )
    if any(words):
        text.append(f"  not shown: {', '.join(filter(None, words))}.\n", style="dim")
    return text


def _point(point: FrontPoint) -> str:
    return f"{row_name(point.entry.row)}, {place_name(point.entry.column)}"


def _point_figures(point: FrontPoint, figures: Figures) -> dict[str, Figure]:
    number, interval = figures.figure(point.entry)
    score, scale = point.score.value, point.metric.scale
    state = point.standing.state
    return {
        "cost": Figure(number, interval),
        "accuracy": Figure(scale.bare(score.value), scale.side(score.half_width)),
        "standing": Figure(state, style="green" if state == "front" else ""),
    }
