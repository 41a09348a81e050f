"""``bench publish RUN... -o DIRECTORY``: tables with the raw data behind them, or --check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bench.commands.check_results import check_results
from bench.commands.chosen import latest_run, runs_argument
from bench.commands.output import warn
from bench.numbers import counted, size


@click.command(name="publish")
@runs_argument(latest=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write, e.g. results/NAME; an older publication there is replaced.",
)
@click.option("--title", help="Heading of the tables; default: the folder's name.")
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing: derive the publications, certificates, bundles and runs at or below RUN "
    "again, and name what differs (exit code 1).",
)
@click.option(
    "--history", is_flag=True, help="Write a trend site, or add the runs to the one there."
)
def command(
    runs: tuple[Path, ...],
    output: Path | None,
    title: str | None,
    *,
    check: bool,
    history: bool,
) -> int:
    """Render stored runs as Markdown, CSV and an HTML page, with a compact copy of their data.

    RUN is the path of a run or of a folder of runs, or a label; without any, the latest. The same
    runs give the same bytes. --check derives every number again from the raw data and
    compares whole files; it says how many numbers can't be derived.

    With --history the folder is a static site instead: a line for each cell over all runs, with
    the changes that `bench show --history` finds. It keeps what it needs of each run, so later
    runs are added to it, and without RUN its pages are written again.
    """
    if not runs and not history:
        runs = (latest_run(),)
    if check:
        if output is not None or title is not None or history:
            raise click.UsageError("--check writes nothing: leave out -o, --title and --history.")
        return 1 if sum([check_results(path) for path in runs]) else 0
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    if history:
        _trend(runs, output, title)
    else:
        _publish(runs, output, title)
    return 0


def _publish(runs: Sequence[Path], output: Path, title: str | None) -> None:
    from bench.present.publication.write import publish  # numpy: start-up
    from bench.store.find import find_runs
    from bench.store.run import read_run

    found = [read_run(run) for run in find_runs(runs)]
    problems = publish(found, output, title or output.resolve().name)
    for problem in problems:
        warn(problem)
    files = [path for path in output.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    click.echo(
        f"{output}: {counted(len(found), 'run')}, {counted(len(files), 'file')}, {size(total)}."
    )


def _trend(runs: tuple[Path, ...], output: Path, title: str | None) -> None:
    from bench.present.trend.site import write_site  # numpy: start-up
    from bench.store.find import find_runs
    from bench.store.run import read_results

    found = [read_results(run) for run in (find_runs(runs) if runs else ())]
    written = write_site(found, output, title or "Benchmark trends")
    for words in written.skipped:
        warn(words)
    click.echo(
        f"{output}: {counted(written.runs, 'run')} ({written.added} added), "
        f"{counted(written.cells, 'cell')}, "
        f"{counted(written.steps, 'change')}."
    )
