"""``bench matrix RUNS...``: which hardware for which model."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.chosen import runs_argument
from bench.commands.flags import (
    LISTED_SCENARIOS,
    POINTS_ABOVE_ZERO,
    bound_ns,
    read_numbers,
    unchecked_option,
)
from bench.commands.output import print_drawing, print_json, warn
from bench.errors import SpecError

if TYPE_CHECKING:
    from bench.judge.matrix.answer import Answered
    from bench.judge.matrix.cells import Asked, By, Price
    from bench.store.run import StoredRun


def _read_prices(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """``gpu-box=2.90`` several times. A name may hold an equals sign, a price can't."""
    prices: dict[str, float] = {}
    for value in values:
        name, _, text = value.rpartition("=")
        try:
            price = float(text)
        except ValueError:
            price = math.nan
        if not name.strip() or not 0 < price < math.inf:
            raise click.BadParameter(
                f"{value!r}: give a machine and its price per hour, for example gpu-box=2.90."
            )
        prices[name.strip()] = price
    return prices


@click.command(name="matrix")
@runs_argument()
@click.option(
    "--by",
    type=click.Choice(["latency", "throughput", "energy", "price", "accuracy"]),
    default="latency",
    show_default=True,
    help="The figure of each cell.",
)
@click.option("--latency-bound", help="Only cells whose query p99 is below this, e.g. 5ms.")
@click.option("--within", type=POINTS_ABOVE_ZERO, help="Accuracy that may be lost, e.g. 0.5points.")
@click.option(
    "--price",
    "prices",
    multiple=True,
    callback=_read_prices,
    metavar="NAME=PRICE",
    help="Price of a machine per hour, e.g. gpu-box=2.90.",
)
@click.option("--currency", default="", help="Currency of --price.")
@click.option(
    "--scenario",
    "scenarios",
    **LISTED_SCENARIOS,
    help="Show these load patterns.",
)
@click.option(
    "--batch", multiple=True, metavar="N,...", callback=read_numbers, help="Show these batches."
)
@unchecked_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write Markdown.")
def command(
    runs: tuple[Path, ...],
    by: By,
    latency_bound: str | None,
    within: float | None,
    prices: dict[str, float],
    currency: str,
    scenarios: tuple[str, ...],
    batch: tuple[int, ...],
    markdown: Path | None,
    *,
    unchecked: bool,
    as_json: bool,
) -> None:
    """Compare machines and targets, model by model.

    RUN is a run directory, a bundle, a folder that contains some at any depth, such as a merged
    run, or the label of a run; without any, the latest. Figures are compared across machines as
    they are; how many times as fast one model is as another is measured within each machine.
    """
    from bench.judge.matrix.answer import answer  # numpy: start-up
    from bench.judge.matrix.cells import Asked
    from bench.store.bundle.opened import look_anyway
    from bench.store.frames import read_runs
    from bench.store.machines import by_machine
    from bench.store.run import no_collection

    with no_collection():
        found, skipped = read_runs(look_anyway(runs) if unchecked else runs)
        asked = Asked(
            by=by,
            scenarios=_known(scenarios),
            batches=batch,
            bound_ns=bound_ns(latency_bound),
            within=None if within is None else within / 100,
            prices=_prices(runs, [machine.name for machine in by_machine(found)], prices, currency),
        )
        answered = answer(found, asked)
    for text in _absent(found, asked):
        warn(text)
    for text in (*skipped, *(f"{run.shown}: {text}" for run in found for text in run.remarks)):
        warn(text)
    _print(answered, markdown, as_json=as_json)


def _absent(runs: Iterable[StoredRun], asked: Asked) -> list[str]:
    """What was asked for beside what there is, and no cell has."""
    cells = [record.cell for run in runs for record in run.records]
    return [
        f"{flag} {value}: no cell of these runs has it."
        for flag, values, there in (
            ("--scenario", asked.scenarios, {cell.scenario for cell in cells}),
            ("--batch", asked.batches, {cell.batch for cell in cells}),
        )
        for value in values
        if value not in there
    ]


def _print(answered: Answered, markdown: Path | None, *, as_json: bool) -> None:
    from bench.files import write_text  # rich: start-up
    from bench.present.matrix.markdown import matrix_markdown
    from bench.present.matrix.rows import matrix_rows
    from bench.present.matrix.text import matrix_text

    if markdown is not None:
        write_text(markdown, matrix_markdown(answered))
    if as_json:
        print_json(matrix_rows(answered))
    else:
        print_drawing(lambda width: matrix_text(answered, width))


def _known(scenarios: Collection[str]) -> tuple[str, ...]:
    """Raises `SpecError` for a scenario that there isn't."""
    from bench.scenarios import find_scenario  # start-up

    return tuple(find_scenario(name).name for name in scenarios)


def _prices(
    runs: Iterable[Path], names: list[str], given: Mapping[str, float], currency: str
) -> dict[str, Price]:
    """The prices that are known, and those that were given over them. Raises `SpecError` for one
    of a machine that isn't there."""
    from bench.discover import nearest  # start-up
    from bench.judge.matrix.cells import Price

    prices = known_prices(runs)
    for name, price in given.items():
        if name not in names:
            close = nearest(name, names) or names
            raise SpecError(
                f"--price {name}: these runs have no such machine. "
                f"Did you mean {' or '.join(close[:3])}?"
            )
        known = prices[name].currency if name in prices else ""
        prices[name] = Price(price, currency or known)
    return prices


def known_prices(runs: Iterable[Path]) -> dict[str, Price]:
    """What machines cost by their names: what the configuration says, else the fleet file that a
    merged run was made with."""
    from bench.config import load_config  # pydantic: start-up
    from bench.judge.matrix.cells import Price
    from bench.store.merged import read_merged

    recorded = {
        machine.name: Price(machine.price_per_hour, machine.currency)
        for merged in map(read_merged, runs)
        if merged is not None
        for machine in merged.machines
        if machine.price_per_hour is not None
    }
    return recorded | {
        name: Price(table.price_per_hour, table.currency)
        for name, table in load_config().machines.items()
    }
