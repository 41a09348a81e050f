"""``bench results attach-energy RUN --wall-csv FILE``: a meter's readings, exported after the run."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.chosen import run_argument
from bench.commands.flags import OFFSET
from bench.commands.output import print_drawing
from bench.numbers import counted


@click.command(name="attach-energy")
@run_argument()
@click.option(
    "--wall-csv",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help="The meter's CSV file, time and watts.",
)
@click.option("--wall-zone", default="UTC", help="Time zone of its times; default UTC.")
@click.option(
    "--wall-offset",
    "wall_offset_s",
    type=OFFSET,
    default=0.0,
    help="Shift its times, e.g. -90s; default 0s.",
)
def command(run: Path, file: Path, wall_zone: str, wall_offset_s: float) -> None:
    """Add the readings of a wall meter to the energy windows of RUN, by the time of day.

    For a meter whose file can only be exported after the run. RUN is a path or a label; without it,
    the latest run. It needs energy windows: it was made with --energy and any meter, or with
    --energy --wall-csv FILE before FILE existed.
    """
    from bench.machine.wall import MeterFile, zone_of  # zoneinfo: start-up
    from bench.measure.energy.attach import attach  # numpy: start-up
    from bench.present.energy import energy_table  # rich: start-up

    zone_of(wall_zone)
    found = attach(run, MeterFile(file, wall_offset_s, wall_zone))
    print_drawing(lambda width: energy_table(found.records, width))
    lost = sum(found.invalid.values())
    click.echo(f"{found.windows - lost} of {counted(found.windows, 'window')} have an energy.")
    for why, count in found.invalid.items():
        click.echo(f"{counted(count, 'window')}: {why}")
