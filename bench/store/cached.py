"""How much a token really added to a language model's cache: from the states that were bound."""

from __future__ import annotations

from collections.abc import Sequence

from bench.record.result import Record
from bench.scenarios import find_scenario


def token_bytes_held(records: Sequence[Record]) -> float | None:
    """Bytes a token of one sample, of records of one model: the difference between the least and
    the greatest depth over the tokens between them; None where not two depths were measured.

    A state has parts of a fixed size too, so one depth alone doesn't tell.
    """
    held: dict[int, float] = {}
    for record in records:
        scenario = find_scenario(record.cell.scenario)
        if record.footprint is None or record.footprint.cache_held_bytes is None:
            continue
        depth = scenario.tokens - scenario.new_tokens
        held[depth] = record.footprint.cache_held_bytes / record.cell.batch
    if len(held) < 2:
        return None
    least, most = min(held), max(held)
    return (held[most] - held[least]) / (most - least)
