"""``bench show --history``: one cell over many runs, and where it stepped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bench.commands.completing import (
    complete_models,
    complete_scenarios,
    complete_targets,
    complete_variants,
)
from bench.commands.flags import SHARE, SHARE_ABOVE_ZERO
from bench.commands.output import print_drawing, print_json, warn
from bench.defaults import CONFIDENCE, MARGIN

#: The options of a history, which `bench show` has beside others.
OPTIONS = (
    click.Option(
        ["--cell"],
        default="",
        metavar="CELL",
        help="Its id, or model@target[/scenario].",
    ),
    click.Option(
        ["--model", "-m"],
        shell_complete=complete_models,
        default="",
        metavar="NAME",
        help="Only this model.",
    ),
    click.Option(
        ["--target", "-t"],
        shell_complete=complete_targets,
        default="",
        metavar="TARGET",
        help="Only there.",
    ),
    click.Option(
        ["--scenario"],
        shell_complete=complete_scenarios,
        default="",
        metavar="NAME",
        help="Only this scenario.",
    ),
    click.Option(
        ["--variant"],
        shell_complete=complete_variants,
        default="",
        metavar="NAME",
        help="Only this variant.",
    ),
    click.Option(
        ["--margin"],
        type=SHARE,
        default=f"{MARGIN:.0%}",
        show_default=True,
        help="Ignore smaller steps.",
    ),
    click.Option(
        ["--confidence"],
        type=SHARE_ABOVE_ZERO,
        default=f"{CONFIDENCE:.0%}",
        show_default=True,
        help="Confidence that no reported step is false.",
    ),
)


def print_history(
    paths: Sequence[Path], *, confidence: float, margin: float, as_json: bool, **selection: str
) -> None:
    """Show cells over many runs in the order of time, and where their figure stepped.

    Only runs of the same machine are joined, so another machine is never taken for a regression.
    """
    from bench.judge.history import Selection, history  # numpy: start-up
    from bench.present.history import history_json, history_text
    from bench.store.run import no_collection

    with no_collection():
        found, skipped = history(paths, Selection(**selection), confidence, margin)
    for warning in skipped:
        warn(warning)
    if as_json:
        print_json(history_json(found, skipped))
    else:
        print_drawing(lambda width: history_text(found, width))
