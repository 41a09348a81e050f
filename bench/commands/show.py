"""``bench show RUN``: the tables of a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.flags import output_options, write_outputs

if TYPE_CHECKING:
    from rich.text import Text

    from bench.pairs import Pair
    from bench.record import Record
    from bench.store import StoredRun


@click.command(name="show")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON.")
@output_options
def command(run: Path, as_json: bool, **outputs: Any) -> None:
    """Print the tables of the stored run in the directory RUN."""
    from bench.store import read_run

    stored = read_run(run)
    print_run(stored, as_json)
    write_outputs(outputs, stored)


def print_run(stored: StoredRun, as_json: bool) -> None:
    """Results, pairs and orders on standard output: as tables, or as one JSON object."""
    from bench.ranking import ranking_sentences

    pairs, unreadable = _pairs(stored)
    orders = ranking_sentences(stored)
    warnings = [f"skipped {text}" for text in stored.skipped] + unreadable
    if as_json:
        _print_json(stored, pairs, orders, warnings)
    else:
        print_tables(stored.records, pairs, orders, warnings)


def print_tables(
    records: list[Record], pairs: list[Pair], orders: list[str], warnings: list[str]
) -> None:
    """The result table, the pair table, the orders, and what could not be read."""
    from rich.console import Console
    from rich.text import Text

    from bench.numbers import printable
    from bench.pair_report import pair_table
    from bench.table import result_table, wrap

    console = Console(highlight=False, markup=False, emoji=False)
    _print(console, result_table(records, console.width))
    if pairs:
        console.print()
        _print(console, pair_table(pairs, console.width))
    for order in orders:
        console.print()
        _print(console, Text(wrap(order, console.width, indent=2) + "\n"))
    for warning in warnings:
        click.echo(f"bench: {printable(warning, limit=500)}", err=True)


def _print(console: Any, text: Text) -> None:
    """Lines that were laid out already: the console must not wrap them again."""
    console.print(text, soft_wrap=True, end="")


def _print_json(
    stored: StoredRun, pairs: list[Pair], orders: list[str], warnings: list[str]
) -> None:
    import json

    from bench.pair_report import pair_rows
    from bench.table import result_rows

    value = {
        "run": str(stored.path),
        "results": result_rows(stored.records),
        "pairs": pair_rows(pairs),
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
