"""Sentences that differ in their numbers alone, as one sentence with the ranges of these."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: A number that is a word of its own, not part of a name (``x86-64``, ``cuda:0``, ``conv_1``).
_NUMBER = re.compile(r"(?<![\w.:/-])\d+(?:\.\d+)?(?=%?(?:[\s,;.)]|$))")

_ALL = re.compile(r"\b(\d+) of \1\b")


def form_of(text: str) -> str:
    """What sentences have in common that differ in numbers alone."""
    return _NUMBER.sub("#", text)


def in_ranges(texts: Sequence[str]) -> str:
    """``3–5 of 5 blocks waited 38–95% of the time``, of sentences of one form; ``all 24–36 blocks``
    where it is each time as many as there are."""
    if all(_ALL.search(text) for text in texts):
        texts = [_ALL.sub(r"all \1", text, count=1) for text in texts]
    columns = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    ranges = iter([_range(column) for column in columns])
    return _NUMBER.sub(lambda _: next(ranges), texts[0])


def _range(numbers: Sequence[str]) -> str:
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if low == high else f"{low}–{high}"
