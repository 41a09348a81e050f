"""Values that are one where nobody changed them: what is published, and what follows again.

A number in full precision agrees within 1e-9 of its size: the last digits of a logarithm or of a
beta quantile differ between builds of numpy and of C's mathematics. Numbers that are all but zero
agree within 1e-14: the difference of two numbers of size one has lost its digits below that, and a
processor that multiplies and adds in one step rounds them otherwise (seen between two machines:
2.51e-9, 4e-16 apart). Everything else has to be equal, to the character.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.cell import Frozen
from bench.numbers import printable

TOLERANCE = 1e-9
#: Some 50 roundings (2^-52) of a number of size one.
ABSOLUTE = 1e-14
_SHOWN = 400


@dataclass(frozen=True)
class Problem:
    """One difference: in which file, which row and column, and the two values."""

    file: str
    row: str
    column: str
    published: str
    derived: str

    def __str__(self) -> str:
        row, column = printable(self.row, _SHOWN), printable(self.column, _SHOWN)
        where = ", ".join(filter(None, (self.file, row, column)))
        return f"{where}: published {_quoted(self.published)}, derived {_quoted(self.derived)}"


def compare(
    file: str, row: str, mine: Frozen, other: Frozen, problems: list[Problem]
) -> dict[str, object]:
    """Name each plain value in which the two differ; those of the first by their dotted paths."""
    one, two = (dict(leaves(value.model_dump(mode="json"))) for value in (mine, other))
    for column in dict.fromkeys([*one, *two]):
        a, b = one.get(column), two.get(column)
        if not same(a, b):
            problems.append(Problem(file, row, column, str(a), str(b)))
    return one


def is_number(value: object) -> bool:
    """Whether it is one, which neither True nor False is."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of nested objects, by its dotted path; of an empty one that it is empty."""
    if value in ({}, []):
        yield path, "empty"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{place}]")
    else:
        yield path, value


def same(a: Any, b: Any) -> bool:
    """Whether two plain values agree."""
    if is_number(a) and is_number(b):
        return a == b or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=ABSOLUTE)
    return type(a) is type(b) and bool(a == b)


def _quoted(value: str) -> str:
    return printable(value, _SHOWN) or "nothing"
