"""How tables call the pairs that they compare: by a heading, and a label that no other row has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from bench.judge.alike import UNUSUAL, Alike, settings_in_words, settings_of
from bench.judge.matching import Match, Side
from bench.numbers import NAME_LIMIT, printable
from bench.scenarios import find_scenario


class Compared(Protocol):
    """Whatever was found of a pair."""

    @property
    def match(self) -> Match: ...


_Found = TypeVar("_Found", bound=Compared)


def by_heading(found: Sequence[_Found]) -> dict[str, list[_Found]]:
    """What was found by the models, and by what A is where the two are not one cell of two runs."""
    variants = {one.cell.variant for each in found for one in (each.match.a, each.match.b)}
    grouped: dict[str, list[_Found]] = {}
    for each in found:
        heading = _heading(each.match, several_variants=len(variants) > 1)
        grouped.setdefault(heading, []).append(each)
    return grouped


def _heading(match: Match, *, several_variants: bool) -> str:
    a, b = match.a.cell, match.b.cell
    subject, against = (
        " ".join([_name(cell.model.name), *([cell.variant] if several_variants else [])])
        for cell in (b, a)
    )
    if subject == against:
        return subject if a.target == b.target else f"{subject}, against {_name(a.target)}"
    return f"{subject}, against {against} {_name(a.target)}"


def labels(found: Sequence[Compared], label: Callable[[Side], str]) -> list[str]:
    """A label for each row of one heading: that of its B, and what tells the row from others that
    are called the same."""
    plain = [label(each.match.b) for each in found]
    grouped: dict[str, list[Match]] = {}
    for text, each in zip(plain, found, strict=True):
        grouped.setdefault(text, []).append(each.match)
    apart = {text: _Apart(matches) for text, matches in grouped.items()}
    return [
        ", ".join(filter(None, (text, apart[text].words(each.match))))
        for text, each in zip(plain, found, strict=True)
    ]


class _Apart:
    """What tells matches apart that are called the same: the settings of B, and of A where those
    are others."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._a, self._b = (
            Alike((side.cell for side in sides), _all_the_same)
            for sides in ([match.a for match in matches], [match.b for match in matches])
        )

    def words(self, match: Match) -> str:
        before = settings_in_words(self._a.apart(match.a.cell))
        now = settings_in_words(self._b.apart(match.b.cell))
        return now if before in ("", now) else f"{now} against {before}".lstrip()


def _all_the_same(_: object) -> str:
    return ""


def row_label(one: Side, *, several_batches: bool, several_machines: bool) -> str:
    """The target and the load of one side, and what is unusual in how it was measured."""
    cell = one.cell
    parts = [target_label(one, several_machines=several_machines)]
    parts.append(find_scenario(cell.scenario).label)
    if several_batches:
        parts.append(f"batch {cell.batch}")
    parts.append(settings_in_words(settings_of(cell, UNUSUAL)))
    return ", ".join(filter(None, parts))


def target_label(one: Side, *, several_machines: bool) -> str:
    """The target of one side, and its machine where there are more than two."""
    target = _name(one.cell.target)
    return f"{_name(one.machine)}: {target}" if several_machines else target


def _name(text: str) -> str:
    return printable(text, limit=NAME_LIMIT)
