"""``bench show RUN``: the tables of a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.text import Text

    from bench.fidelity_report import Titled
    from bench.pairs import Pair
    from bench.record import Record
    from bench.store import StoredRun


@click.command(name="show")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON.")
def command(run: Path, as_json: bool) -> None:
    """Print the tables of the stored run in the directory RUN."""
    from bench.store import read_run

    print_run(read_run(run), as_json)


def print_run(stored: StoredRun, as_json: bool) -> None:
    """Results, pairs, likeness, the deal and orders on standard output: as tables, or as one JSON
    object."""
    from bench.fidelity_run import Fidelities
    from bench.ranking import ranking_sentences

    pairs, unreadable = _pairs(stored)
    fidelities = Fidelities(stored)
    likeness = fidelities.first_of_each()
    orders = ranking_sentences(stored)
    warnings = [f"skipped {text}" for text in stored.skipped]
    warnings += dict.fromkeys([*unreadable, *fidelities.problems])
    if as_json:
        _print_json(stored, pairs, likeness, orders, warnings)
    else:
        answers = [*orders, *_deal(stored, pairs)]
        print_tables(stored.records, pairs, likeness, answers, warnings)


def print_tables(
    records: list[Record],
    pairs: list[Pair],
    likeness: list[Titled],
    answers: list[str],
    warnings: list[str],
) -> None:
    """The result table, the pair table, how like its original each distilled model is, the answers
    in words, and what could not be read."""
    from rich.console import Console
    from rich.text import Text

    from bench.fidelity_report import fidelity_text
    from bench.numbers import printable
    from bench.pair_report import pair_table
    from bench.table import result_table, wrap

    console = Console(highlight=False, markup=False, emoji=False)
    width = console.width
    parts = [result_table(records, width)]
    if pairs:
        parts.append(pair_table(pairs, width))
    parts += [fidelity_text(found, width) for found in likeness]
    parts += [Text(wrap(answer, width, indent=2) + "\n") for answer in answers]
    for place, part in enumerate(parts):
        if place:
            console.print()
        _print(console, part)
    for warning in warnings:
        click.echo(f"bench: {printable(warning, limit=500)}", err=True)


def _print(console: Any, text: Text) -> None:
    """Lines that were laid out already: the console must not wrap them again."""
    console.print(text, soft_wrap=True, end="")


def _print_json(
    stored: StoredRun,
    pairs: list[Pair],
    likeness: list[Titled],
    orders: list[str],
    warnings: list[str],
) -> None:
    import json

    from bench.fidelity_report import fidelity_row
    from bench.pair_report import pair_rows
    from bench.table import result_rows

    value = {
        "run": str(stored.path),
        "results": result_rows(stored.records),
        "pairs": pair_rows(pairs),
        "fidelity": [fidelity_row(found) for found in likeness],
        "orders": orders,
        "facts": stored.header.facts,
        "skipped": warnings,
    }
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def _pairs(stored: StoredRun) -> tuple[list[Pair], list[str]]:
    """All pairs; where predictions are lost the accuracies stay uncompared, and it is said."""
    from bench.changes import Changes
    from bench.pairs import compare

    changes = Changes(stored)
    return compare(stored.records, changes), changes.problems


def _deal(stored: StoredRun, pairs: list[Pair]) -> list[str]:
    """What to take, in one sentence; `bench deal` weighs it in full. Nothing for a run without an
    original and what was made of it."""
    from bench.changes import Changes
    from bench.deal import make_deal
    from bench.deal_report import answer
    from bench.errors import SpecError

    if not any(pair.relation == "original" for pair in pairs):
        return []
    try:
        deal = make_deal(stored.records, Changes(stored).at)
    except SpecError:  # nothing was both measured and scored
        return []
    return [answer(deal)]
