"""What a reader has to know of the figures' inputs and data, in sentences that every output shows:
sizes that were asked for or guessed, and labelled data that is not in the accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from bench.numbers import NAME_LIMIT, printable
from bench.record.result import Record

_LIMIT = 400


def told(records: Sequence[Record]) -> list[str]:
    """All of it, each once."""
    return [*_inputs(records), *_data(records)]


def _inputs(records: Sequence[Record]) -> list[str]:
    """The sizes that were asked for, and what of the inputs was guessed."""
    found: dict[str, None] = {}
    for record in records:
        sizes = ", ".join(f"{dim}={size}" for dim, size in record.sizes.items())
        for words in (f"measured at {sizes}" if sizes else "", *record.assumed):
            if words:
                found[f"{_name(record)}: {printable(words, limit=_LIMIT)}."] = None
    return list(found)


def _data(records: Sequence[Record]) -> list[str]:
    """What of the labelled data is not in the accuracy."""
    found = {
        f"accuracy of {_name(record)}: {printable(words, limit=_LIMIT)}."
        for record in records
        if record.accuracy is not None
        for words in record.accuracy.notes
    }
    return sorted(found)


def _name(record: Record) -> str:
    return printable(record.cell.model.name, limit=NAME_LIMIT)
