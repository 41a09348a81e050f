"""``bench show --deal``: which model, precision and target to pick, and is it the same model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.flags import POINTS, FiniteRange
from bench.commands.output import print_drawing, print_json, warn

if TYPE_CHECKING:
    from bench.judge.deal import Cost, Deal
    from bench.judge.fidelities import Fidelities
    from bench.judge.fidelity import Titled
    from bench.judge.joined import Joined
    from bench.store.run import StoredRun


#: The options of a deal, which `bench show` has beside others.
OPTIONS = (
    click.Option(
        ["--by", "cost"],
        type=click.Choice(["latency", "throughput", "energy", "memory", "size"]),
        default="latency",
        show_default=True,
        help="The cost, against accuracy.",
    ),
    click.Option(
        ["--loss"],
        type=POINTS,
        help="Ignore differences of up to so many points of accuracy (or steps of the "
        "metric); default 0.5, or the metric's own.",
    ),
    click.Option(
        ["--temperature"],
        type=FiniteRange(min=0, min_open=True),
        default=1.0,
        show_default=True,
        help="Temperature for the KL divergence.",
    ),
)


def print_deal(
    runs: Sequence[Path], *, cost: Cost, loss: float | None, temperature: float, as_json: bool
) -> None:
    """Weigh the models of stored runs against each other.

    The Pareto front of accuracy against cost, with what the intervals leave open; how like its
    original each distilled model is; and the answer in words. Of several machines every target on
    each of them takes part.
    """
    from bench.judge.fidelities import Fidelities  # numpy: start-up
    from bench.judge.joined import join, weigh
    from bench.store.frames import read_runs
    from bench.store.run import no_collection

    with no_collection():
        stored, skipped = read_runs(runs)
        joined = join(stored)
        deal, uncompared = weigh(joined, cost, None if loss is None else loss / 100)
    likenesses = [Fidelities(run, temperature) for run in stored]
    # --json has all targets and variants.
    found = (
        [one for each in likenesses for one in each.each()]
        if as_json
        else _first_of_each(likenesses)
    )
    problems = [text for each in likenesses for text in each.problems]
    remarks = [_of_run(run, text, stored) for run in stored for text in run.remarks]
    warnings = [*skipped, *joined.notes, *remarks]
    warnings += dict.fromkeys([*uncompared, *problems])
    if as_json:
        _print_json(stored, joined, deal, found, warnings)
    else:
        _print_text(deal, found, warnings)


def _first_of_each(likenesses: Iterable[Fidelities]) -> list[Titled]:
    """One for each distilled model and variant: machines differ no more than targets do."""
    found: dict[tuple[str, str, str], Titled] = {}
    for each in likenesses:
        for one in each.first_of_each():
            found.setdefault((one.student, one.original, one.variant), one)
    return list(found.values())


def _of_run(run: StoredRun, text: str, runs: Sequence[StoredRun]) -> str:
    return text if len(runs) == 1 else f"{run.path}: {text}"


def _print_text(deal: Deal, fidelities: list[Titled], warnings: list[str]) -> None:
    from bench.present.deal import deal_text  # numpy: start-up
    from bench.present.fidelity import fidelity_text

    print_drawing(lambda width: deal_text(deal, width))
    for found in fidelities:
        click.echo()
        print_drawing(partial(fidelity_text, found))
    for warning in warnings:
        warn(warning)


def _print_json(
    runs: Sequence[StoredRun],
    joined: Joined,
    deal: Deal,
    fidelities: list[Titled],
    warnings: list[str],
) -> None:
    from bench.present.deal import deal_rows  # numpy: start-up
    from bench.present.fidelity import fidelity_row

    paths = [str(run.path) for run in runs]
    value = {
        "run": paths[0] if len(paths) == 1 else paths,
        **deal_rows(deal, joined.places),
        "fidelity": [fidelity_row(found) for found in fidelities],
        "skipped": warnings,
    }
    print_json(value)
