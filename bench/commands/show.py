"""``bench show RUN``: the tables of a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.text import Text

    from bench.pairs import Pair
    from bench.record import Record
    from bench.store import StoredRun


@click.command(name="show")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON; of several runs a list.")
def command(runs: tuple[Path, ...], as_json: bool) -> None:
    """Print the tables of stored runs, the oldest first.

    RUNS are run directories, or folders that hold some at any depth.
    """
    from bench.numbers import printable
    from bench.results import read_runs

    found, skipped = read_runs(runs)
    for warning in skipped:
        click.echo(f"bench: {printable(warning, limit=500)}", err=True)
    if len(found) == 1:
        print_run(found[0], as_json)
    elif as_json:
        _echo_json([_json(run) for run in found])
    else:
        for run in found:
            title = f"Run {printable(str(run.path))} {printable(run.header.created_at, limit=40)}"
            click.echo(f"{'' if run is found[0] else chr(10)}{title}\n")
            print_run(run, as_json)


def print_run(stored: StoredRun, as_json: bool) -> None:
    """Results, pairs and orders on standard output: as tables, or as one JSON object."""
    from bench.ranking import ranking_sentences

    if as_json:
        _echo_json(_json(stored))
        return
    pairs, warnings = _pairs(stored)
    print_tables(stored.records, pairs, ranking_sentences(stored), warnings)


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


def _json(stored: StoredRun) -> dict[str, object]:
    from bench.pair_report import pair_rows
    from bench.ranking import ranking_sentences
    from bench.table import result_rows

    pairs, warnings = _pairs(stored)
    return {
        "run": str(stored.path),
        "results": result_rows(stored.records),
        "pairs": pair_rows(pairs),
        "orders": ranking_sentences(stored),
        "facts": stored.header.facts,
        "skipped": warnings,
    }


def _echo_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=1, allow_nan=False))


def _pairs(stored: StoredRun) -> tuple[list[Pair], list[str]]:
    """All pairs, and what could not be read; where predictions are lost the accuracies stay
    uncompared."""
    from bench.changes import Changes
    from bench.pairs import compare

    changes = Changes(stored)
    pairs = compare(stored.records, changes)
    return pairs, [f"skipped {text}" for text in stored.skipped] + changes.problems
