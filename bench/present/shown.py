"""A stored run as people read it: tables, then sentences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rich.text import Text

from bench.present.energy import energy_table
from bench.present.fidelity import fidelity_text
from bench.present.loadgen import loadgen_records, loadgen_table
from bench.present.pairs import pair_table
from bench.present.reading import Reading, conclusion, conclusion_text
from bench.present.results import result_table
from bench.store.run import StoredRun


def parts(stored: StoredRun, found: Reading) -> list[Callable[[int], Text]]:
    """Results, pairs, likeness, and what they come to, each as what draws it for a width."""
    drawn: list[Callable[[int], Text]] = [partial(result_table, stored.records)]
    if any(record.energy for record in stored.records):
        drawn.append(partial(energy_table, stored.records))
    if loadgen_records(stored.records):
        drawn.append(partial(loadgen_table, stored.records))
    if found.pairs:
        drawn.append(partial(pair_table, found.pairs))
    drawn += [partial(fidelity_text, likeness) for likeness in found.likeness]
    return [*drawn, partial(conclusion_text, found)] if any(conclusion(found)) else drawn
