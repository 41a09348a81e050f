"""``bench results pack RUN...``: runs and certificates as one file that checks itself."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.chosen import runs_argument
from bench.numbers import size


@click.command(name="pack")
@runs_argument()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("."),
    help="The file to write, or a folder for a file named by label, date and id; default: the "
    "current folder.",
)
@click.option("--machine", default="", help="Name of the machine, if it has none.")
@click.option("--with-names", is_flag=True, help="Keep host names, user names, paths, commands.")
@click.option("--with-logs", is_flag=True, help="Keep what the workers printed.")
def command(
    runs: tuple[Path, ...], output: Path, machine: str, *, with_names: bool, with_logs: bool
) -> None:
    """Pack stored runs, and any certificates given, into one file for others.

    RUN is a run directory, a folder with several, a bundle, a label, or what `bench certify` wrote;
    without any, the latest run. Names of hosts and users, paths, command lines and logs are left
    out unless you ask for them. Every command that reads runs reads the file, and derives each
    number again before using any.
    """
    from bench.present.publication.pack import Choices, pack  # numpy: start-up
    from bench.store.certificates import is_certificate
    from bench.store.find import find_runs
    from bench.store.run import read_run

    certificates = [path for path in runs if is_certificate(path)]
    stored = [read_run(run) for run in find_runs(r for r in runs if r not in certificates)]
    choices = Choices(names=with_names, logs=with_logs, machine=machine)
    file = pack(stored, certificates, output, choices)
    counted = [_count(len(stored), "run")] * bool(stored)
    counted += [_count(len(certificates), "certificate")] * bool(certificates)
    click.echo(f"wrote {file} ({' and '.join(counted)}, {size(file.stat().st_size)})")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
