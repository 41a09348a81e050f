"""Cells that are called the same, and what tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.bounds import in_words
from bench.cell import Cell
from bench.numbers import counted


def _label(cell: Cell) -> object:
    return cell.label


class Alike:
    """The cells of one table or list, each called by its ``name``. ``apart(cell)`` is what that
    doesn't say and others of the same name have otherwise; empty where no other has it."""

    def __init__(self, cells: Iterable[Cell], name: Callable[[Cell], object] = _label) -> None:
        self._name = name
        self._cells: dict[object, list[Cell]] = {}
        for cell in cells:
            known = self._cells.setdefault(name(cell), [])
            if cell not in known:
                known.append(cell)

    def apart(self, cell: Cell) -> str:
        return _apart(cell, self._cells.get(self._name(cell), [cell]))


def _apart(cell: Cell, alike: Sequence[Cell]) -> str:
    """With the cell's id where nothing else tells it from another one."""
    details = [_details(each) for each in alike]
    mine = _details(cell)
    differing = [text for text, *others in zip(mine, *details, strict=True) if len(set(others)) > 1]
    ids = [] if details.count(mine) == 1 else [cell.id]
    return ", ".join(filter(None, (*differing, *ids)))


def _details(cell: Cell) -> tuple[str, ...]:
    threads, fallback = counted(cell.threads, "thread"), "fallback allowed"
    allowed = fallback if cell.allow_fallback else ""
    return threads, cell.lane, cell.through, in_words(cell), allowed
