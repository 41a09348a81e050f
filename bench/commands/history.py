"""``bench history PATHS...``: one cell over many runs, and where it stepped."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.compare import share
from bench.commands.output import print_drawing, print_json, warn
from bench.defaults import CONFIDENCE, MARGIN


@click.command(name="history")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--cell", default="", metavar="CELL", help="Its id, or model@target[/scenario].")
@click.option("--model", default="", metavar="NAME", help="Only cells of this model.")
@click.option("--target", "-t", default="", metavar="TARGET", help="Only cells on this target.")
@click.option("--scenario", default="", metavar="NAME", help="Only cells of this scenario.")
@click.option("--variant", default="", metavar="NAME", help="Only cells of this variant.")
@click.option(
    "--margin",
    default=f"{MARGIN:.0%}",
    show_default=True,
    metavar="SHARE",
    help="Smaller steps are not told.",
)
@click.option(
    "--confidence",
    default=f"{CONFIDENCE:.0%}",
    show_default=True,
    metavar="SHARE",
    help="That not even one step in all that is shown is false.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the series as JSON.")
def command(
    paths: tuple[Path, ...],
    cell: str,
    model: str,
    target: str,
    scenario: str,
    variant: str,
    margin: str,
    confidence: str,
    *,
    as_json: bool,
) -> None:
    """Show cells over many runs in the order of time, and where their figure stepped.

    PATHS are run directories, or folders that hold some at any depth. Only runs of the same
    machine are joined, so another machine is never taken for a regression. The exit code is 0
    whatever is found.
    """
    from bench.judge.history import Selection, history  # scipy: start-up
    from bench.present.history import history_json, history_text
    from bench.store.run import no_collection

    confidence_share = share(confidence, "--confidence")
    if confidence_share == 0:
        raise click.UsageError("--confidence has to lie between 0 and 1 (100%).")
    selection = Selection(cell, model, target, scenario, variant)
    with no_collection():
        found, skipped = history(paths, selection, confidence_share, share(margin, "--margin"))
    for warning in skipped:
        warn(warning)
    if as_json:
        print_json(history_json(found, skipped))
    else:
        print_drawing(lambda width: history_text(found, width))
