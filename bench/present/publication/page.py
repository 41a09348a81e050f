"""The page of a publication: its tables in the style of all pages, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.numbers import printable
from bench.present.ci.tables import CELL_LIMIT, Table, for_page
from bench.present.page.template import rendered

Part = tuple[str, list[tuple[str, str]], Table, "Table | None", list[str]]


@dataclass(frozen=True)
class _Part:
    name: str
    facts: tuple[tuple[str, str], ...]
    results: Table
    pairs: Table | None
    sentences: tuple[str, ...]


def page(title: str, parts: Sequence[Part]) -> str:
    """The whole page, one table row a line; the template escapes every text."""
    return rendered("publication.html.jinja", title=_text(title), parts=[_part(p) for p in parts])


def _part(part: Part) -> _Part:
    name, facts, results, pairs, sentences = part
    return _Part(
        _text(name),
        tuple((_text(key), _text(value)) for key, value in facts),
        for_page(results),
        for_page(pairs) if pairs is not None else None,
        tuple(map(_text, sentences)),
    )


def _text(words: str) -> str:
    return printable(words, limit=CELL_LIMIT)
