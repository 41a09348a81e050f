"""The page of a publication: its tables in the style of all pages, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.numbers import printable
from bench.present.ci.tables import Table, filled_columns
from bench.present.page.template import rendered

Part = tuple[str, list[tuple[str, str]], Table, "Table | None", list[str]]
_LIMIT = 1000
_NAMED = {"✅": "✅ ok"}  #: a sign that says nothing to who can't see it


@dataclass(frozen=True)
class _Shown:
    """A table in printable words; ``kept`` are the columns in which some row has something."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kept: tuple[int, ...]
    numbers: frozenset[int]
    names: frozenset[int]


@dataclass(frozen=True)
class _Part:
    name: str
    facts: tuple[tuple[str, str], ...]
    results: _Shown
    pairs: _Shown | None
    sentences: tuple[str, ...]


def page(title: str, parts: Sequence[Part]) -> str:
    """The whole page, one table row a line; the template escapes every text."""
    return rendered("publication.html.jinja", title=_text(title), parts=[_part(p) for p in parts])


def _part(part: Part) -> _Part:
    name, facts, results, pairs, sentences = part
    return _Part(
        _text(name),
        tuple((_text(key), _text(value)) for key, value in facts),
        _shown(results),
        _shown(pairs) if pairs is not None else None,
        tuple(map(_text, sentences)),
    )


def _shown(table: Table) -> _Shown:
    rows = tuple(tuple(_text(_NAMED.get(cell, cell)) for cell in row) for row in table.rows)
    return _Shown(
        tuple(map(_text, table.header)), rows, filled_columns(table), table.numbers, table.names
    )


def _text(words: str) -> str:
    return printable(words, limit=_LIMIT)
