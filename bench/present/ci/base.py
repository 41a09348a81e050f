"""What a format is made from, and what each is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.cell import Cell
from bench.judge.alike import READABLE, settings_in_words, settings_of
from bench.judge.gate import Judgement
from bench.numbers import NAME_LIMIT, printable
from bench.record.result import Record
from bench.store.run import StoredRun


@dataclass(frozen=True)
class Subject:
    """A run, and the gate's judgement where one was asked for.

    ``link`` leads to all of it, for a format that has to cut; ``markdown_limit`` is in bytes.
    """

    run: StoredRun
    judgement: Judgement | None = None
    link: str = ""
    markdown_limit: int | None = None


class Format(Protocol):
    """One kind of file (or of folder) that a CI service reads."""

    def write(self, subject: Subject, path: Path) -> None:
        """Write it at ``path``. Raises `SpecError` where that can't be done."""
        ...


def names(records: Sequence[Record]) -> dict[str, str]:
    """A name for each cell, by its id, that stays the same from run to run and that no other cell
    of this run has."""
    plain = {record.cell_id: name(record.cell) for record in records}
    counts = Counter(plain.values())
    detailed = {
        record.cell_id: _detailed(record.cell)
        for record in records
        if counts[name(record.cell)] > 1
    }
    again = Counter(detailed.values())
    return {
        cell_id: text
        if counts[text] == 1
        else detailed[cell_id]
        if again[detailed[cell_id]] == 1
        else f"{detailed[cell_id]} {cell_id}"
        for cell_id, text in plain.items()
    }


def name(cell: Cell) -> str:
    """Model, precision, target, scenario and batch, in one line."""
    return printable(cell.label, limit=3 * NAME_LIMIT)


def _detailed(cell: Cell) -> str:
    """With what tells apart cells that are alike but for it."""
    in_label = ("tool",)
    beside = settings_of(cell, (kind for kind in READABLE if kind not in in_label))
    return ", ".join(filter(None, (name(cell), settings_in_words(beside))))
