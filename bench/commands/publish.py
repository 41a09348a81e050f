"""``bench publish RUN... -o DIRECTORY``: published tables with the raw data behind them."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.output import warn
from bench.numbers import size


@click.command(name="publish")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write, e.g. results/NAME; an older publication there is replaced.",
)
@click.option("--title", help="Heading of the tables; default: the folder's name.")
def command(runs: tuple[Path, ...], output: Path, title: str | None) -> None:
    """Render the stored RUNS as Markdown, CSV and an HTML page, with a compact copy of their data.

    The same runs give the same bytes. `bench check-results` derives every number again.
    """
    from bench.present.publication.write import publish  # scipy: start-up
    from bench.store.find import find_runs
    from bench.store.run import read_run

    found = [read_run(run) for run in find_runs(runs)]
    problems = publish(found, output, title or output.resolve().name)
    for problem in problems:
        warn(problem)
    files = [path for path in output.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    click.echo(f"{output}: {len(found)} runs, {len(files)} files, {size(total)}.")
