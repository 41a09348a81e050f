"""``bench results export RUN... -o FILE``: results for other tools and tables."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.chosen import runs_argument
from bench.commands.output import warn

FORMATS = ("pytest-benchmark", "csv", "json", "parquet")


@click.command(name="export-results")
@runs_argument()
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write."
)
@click.option(
    "--format",
    "name",
    type=click.Choice(FORMATS),
    help="Default: by the file's ending (.csv, .json, .parquet).",
)
def command(runs: tuple[Path, ...], output: Path, name: str | None) -> None:
    """Write the results of runs to one file.

    \b
    csv, json, parquet   one row per record, with the columns of bench.load
    pytest-benchmark     for `pytest-benchmark compare`, with all samples

    RUN is a run directory, a folder that contains some at any depth, or a label; without any, the
    latest run.
    """
    chosen = name or output.suffix.removeprefix(".").lower()
    if chosen not in FORMATS:
        raise click.UsageError(f"{output}: unknown ending; give --format ({', '.join(FORMATS)}).")
    from bench.store.frames import read_runs  # numpy: start-up
    from bench.store.interchange.formats import WRITERS
    from bench.store.run import remarks_of

    found, skipped = read_runs(runs)
    data, left_out = WRITERS[chosen](found)
    skipped += remarks_of(found)
    for warning in (*skipped, *(f"left out: {text}" for text in left_out)):
        warn(warning)
    output.write_bytes(data)
    click.echo(f"wrote {output}")
