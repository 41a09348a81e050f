"""``bench show RUN``: the tables of stored runs, what to pick of them, or their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands import deal, history
from bench.commands.chosen import all_runs, latest_run, runs_argument
from bench.commands.flags import (
    given_flags,
    output_names,
    output_options,
    unchecked_option,
    write_outputs,
)
from bench.commands.output import print_drawing, print_json, warn
from bench.commands.sections import SectionCommand
from bench.errors import SpecError
from bench.numbers import printable

if TYPE_CHECKING:
    from bench.store.run import StoredRun


#: What can be shown instead of the tables, and the options of each.
_VIEWS = {"deal": deal.OPTIONS, "history": history.OPTIONS}
_SECTIONS = {
    **dict.fromkeys(("view", "as_json", "unchecked"), "What to print"),
    **dict.fromkeys(output_names(), "Files for CI"),
    **{
        option.name or "": f"With --{view}"
        for view, options in _VIEWS.items()
        for option in options
    },
}


@click.command(name="show", cls=SectionCommand, others=_SECTIONS)
@runs_argument(latest=False)
@click.option(
    "--deal",
    "view",
    flag_value="deal",
    help="Instead of tables: accuracy against cost, and which model, precision and target to pick.",
)
@click.option(
    "--history",
    "view",
    flag_value="history",
    help="Instead of tables: each cell over all runs, and where its figure stepped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; of several runs a list.")
@unchecked_option
@output_options
@click.pass_context
def command(
    context: click.Context,
    /,
    runs: tuple[Path, ...],
    *,
    view: str | None,
    as_json: bool,
    unchecked: bool,
    **given: Any,
) -> None:
    """Print the tables of stored runs, the oldest first.

    RUN is a run directory, a bundle, a folder that contains some at any depth, or the label of a
    run; without any, the latest run. CI files can only be written for one run.

    With --deal: the Pareto front of accuracy against cost, how similar each distilled model is to
    its original, and the answer in words. With --history: cells in order of time, by default of
    all runs; only runs of the same machine are joined.
    """
    from bench.store.bundle.opened import look_anyway  # numpy: start-up
    from bench.store.run import no_collection

    _refuse_others(context, view)
    if not runs:
        runs = all_runs() if view == "history" else (latest_run(),)
    paths = look_anyway(runs) if unchecked else runs
    if view == "deal":
        deal.print_deal(paths, **_of(deal.OPTIONS, given), as_json=as_json)
    elif view == "history":
        history.print_history(paths, **_of(history.OPTIONS, given), as_json=as_json)
    else:
        with no_collection():
            _show(paths, {name: given[name] for name in output_names()}, as_json=as_json)


def _of(options: Sequence[click.Option], given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in {o.name for o in options}}


command.params += [option for options in _VIEWS.values() for option in options]


def _refuse_others(context: click.Context, view: str | None) -> None:
    """Raises `click.UsageError` for a flag that means nothing for what is shown."""
    outputs = output_names()
    for name, flag in given_flags(context).items():
        of = next((v for v, options in _VIEWS.items() if name in (o.name for o in options)), view)
        if of != view:
            raise click.UsageError(f"{flag} is for --{of}.", context)
        if view is not None and name in outputs:
            raise click.UsageError(f"{flag} writes the tables: leave out --{view}.", context)


def _show(runs: Sequence[Path], outputs: dict[str, Any], *, as_json: bool) -> None:
    from bench.store.frames import read_runs  # numpy: start-up

    found, skipped = read_runs(runs)
    for warning in skipped:
        warn(warning)
    if len(found) > 1 and any(value is not None for value in outputs.values()):
        raise SpecError(
            f"there are {len(found)} runs; CI files can only be written for one: name its folder."
        )
    if len(found) == 1:
        print_run(found[0], as_json=as_json)
        write_outputs(outputs, found[0])
    elif as_json:
        print_json([_json(run) for run in found])
    else:
        _print_several(found)


def _print_several(found: list[StoredRun]) -> None:
    """Each run below its title; of several machines machine by machine."""
    from bench.store.machines import by_machine, told_apart  # numpy: start-up

    machines = by_machine(found)
    for sentence in told_apart(machines):
        warn(sentence)
    for machine, runs in machines.items():
        if len(machines) > 1:
            gap = "" if runs[0] is found[0] else "\n"
            click.echo(f"{gap}Machine {printable(machine.name)}")
        for run in runs:
            gap = "\n" if len(machines) > 1 or run is not found[0] else ""
            title = f"Run {printable(run.shown)} {printable(run.header.created_at, limit=40)}"
            label = f"{printable(run.header.label)}\n" if run.header.label else ""
            click.echo(f"{gap}{title}\n{label}")
            print_run(run, as_json=False)


def print_run(stored: StoredRun, *, as_json: bool) -> None:
    """Results, pairs, likeness, and then in words what they come to on standard output; or one JSON
    object."""
    if as_json:
        print_json(_json(stored))
    else:
        _print_text(stored)


def _print_text(stored: StoredRun) -> None:
    from bench.present.reading import read_out  # numpy: start-up
    from bench.present.shown import parts

    found = read_out(stored)
    for place, part in enumerate(parts(stored, found)):
        if place:
            click.echo()
        print_drawing(part)
    for warning in found.warnings:
        warn(warning)


def _json(stored: StoredRun) -> dict[str, object]:
    from bench.present.fidelity import fidelity_row  # numpy: start-up
    from bench.present.pairs import pair_rows
    from bench.present.reading import read_out
    from bench.store.machines import machine_of
    from bench.store.rows import result_rows

    found, machine = read_out(stored), machine_of(stored).name
    return {
        "run": str(stored.path),
        "machine": machine,
        "label": stored.header.label,
        "results": [{"machine": machine, **row} for row in result_rows(stored.records)],
        "pairs": pair_rows(found.pairs),
        "fidelity": [fidelity_row(likeness) for likeness in found.likeness],
        "orders": [*found.orders, *found.knees],
        "answer": found.answer,
        "facts": stored.header.facts,
        "skipped": list(found.warnings),
    }
