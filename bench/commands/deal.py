"""``bench deal RUN``: which model, precision and target is worth it, and is it the same model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.flags import FiniteRange
from bench.commands.output import print_drawing, print_json, warn
from bench.errors import SpecError

if TYPE_CHECKING:
    from bench.judge.deal import Cost, Deal
    from bench.judge.fidelity import Titled


@click.command(name="deal")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--by",
    "cost",
    type=click.Choice(["latency", "throughput", "energy", "memory", "size"]),
    default="latency",
    show_default=True,
    help="What accuracy is paid with.",
)
@click.option(
    "--loss",
    metavar="POINTS",
    help="Points of accuracy (steps of another metric) that count as nothing; default 0.5, or the "
    "metric's own.",
)
@click.option(
    "--temperature",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Of the distributions that the KL divergence compares.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the deal as JSON.")
def command(run: Path, cost: Cost, loss: str | None, temperature: float, *, as_json: bool) -> None:
    """Weigh the models of the stored run in the directory RUN.

    The Pareto front of accuracy against cost, with what the intervals leave open; how like its
    original each distilled model is; and the answer in words.
    """
    from bench.judge.changes import Changes  # scipy: start-up
    from bench.judge.deal import make_deal
    from bench.judge.drafting import draftings
    from bench.judge.fidelities import Fidelities
    from bench.store.run import no_collection, read_results

    with no_collection():
        stored = read_results(run)
        changes = Changes(stored)
        deal = make_deal(stored.records, changes.at, cost, _fraction(loss) if loss else None)
        deal = replace(deal, draftings=tuple(draftings(stored)))
    fidelities = Fidelities(stored, temperature)
    # --json has all targets and variants.
    found = list(fidelities.each()) if as_json else fidelities.first_of_each()
    warnings = stored.remarks
    warnings += dict.fromkeys([*changes.problems, *fidelities.problems])
    if as_json:
        _print_json(stored.path, deal, found, warnings)
    else:
        _print_text(deal, found, warnings)


def _fraction(text: str) -> float:
    """``0.5`` points are 0.005."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise SpecError(f"--loss {text}: give points of accuracy, for example 0.5.")
    return value / 100


def _print_text(deal: Deal, fidelities: list[Titled], warnings: list[str]) -> None:
    from bench.present.deal import deal_text  # scipy: start-up
    from bench.present.fidelity import fidelity_text

    print_drawing(lambda width: deal_text(deal, width))
    for found in fidelities:
        click.echo()
        print_drawing(partial(fidelity_text, found))
    for warning in warnings:
        warn(warning)


def _print_json(path: Path, deal: Deal, fidelities: list[Titled], warnings: list[str]) -> None:
    from bench.present.deal import deal_rows  # scipy: start-up
    from bench.present.fidelity import fidelity_row

    value = {
        "run": str(path),
        **deal_rows(deal),
        "fidelity": [fidelity_row(found) for found in fidelities],
        "skipped": warnings,
    }
    print_json(value)
