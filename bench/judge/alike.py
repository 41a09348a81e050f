"""Cells that are called the same, and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.bounds import in_words
from bench.cell import Cell
from bench.numbers import counted


class Alike:
    """The cells of one table or list. ``apart(cell)`` is what its label doesn't say and others with
    the same label have otherwise; empty where no other has it."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._cells: dict[str, list[Cell]] = {}
        for cell in cells:
            known = self._cells.setdefault(cell.label, [])
            if cell not in known:
                known.append(cell)

    def apart(self, cell: Cell) -> str:
        return _apart(cell, self._cells.get(cell.label, [cell]))


def _apart(cell: Cell, alike: Sequence[Cell]) -> str:
    """With the cell's id where nothing else tells it from another one."""
    details = [_details(each) for each in alike]
    mine = _details(cell)
    differing = [text for text, *others in zip(mine, *details, strict=True) if len(set(others)) > 1]
    ids = [] if details.count(mine) == 1 else [cell.id]
    return ", ".join(filter(None, (*differing, *ids)))


def _details(cell: Cell) -> tuple[str, ...]:
    fallback = "fallback allowed" if cell.allow_fallback else ""
    return counted(cell.threads, "thread"), cell.lane, in_words(cell), fallback
