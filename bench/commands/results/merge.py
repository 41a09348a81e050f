"""``bench results merge DIR... -o OUT``: the runs of several machines in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from bench.commands.chosen import runs_argument
from bench.commands.flags import read_name
from bench.commands.output import warn

if TYPE_CHECKING:
    from bench.store.merge import Merge


@click.command(name="merge")
@runs_argument(latest=False, metavar="RUN...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write.",
)
@click.option("--label", default="", callback=read_name, help="What to call the merged run.")
@click.option(
    "--keep",
    type=click.Choice(["newest"]),
    help="Which measurement to keep if one machine measured a cell twice.",
)
def command(
    runs: tuple[Path, ...], output: Path, label: str, keep: Literal["newest"] | None
) -> None:
    """Put the runs at or below each RUN together in one folder: a merged run.

    RUN is a run directory, a folder that contains some at any depth (CI artifacts, copies from
    other machines), a merged run or a label. Copies count once. Every command that reads runs can
    read the
    result.
    """
    if not runs:
        raise click.UsageError("name the runs, or the folders of them, to merge.")
    from bench.store.merge import merge  # numpy: start-up

    done = merge(runs, output, label or None, keep)
    for note in done.notes:
        warn(note)
    click.echo(_summary(done, output))


def _summary(done: Merge, output: Path) -> str:
    machines = done.merged.machines
    runs = sum(len(machine.runs) for machine in machines)
    what = f"{_count(runs, 'run')} of {_count(len(machines), 'machine')}"
    names = ", ".join(machine.name for machine in machines)
    if not done.written:
        return f"{output} already holds the same: {what} ({names})"
    return f"wrote {output}: {what} ({names})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
