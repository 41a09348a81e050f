"""``bench check-results PATH``: does a publication say what its raw data says?"""

from __future__ import annotations

from pathlib import Path

import click

_MOST = 20


@click.command(name="check-results")
@click.argument("path", type=click.Path(path_type=Path))
def command(path: Path) -> int:
    """Derive the publications at or below PATH again from their raw data, and compare whole files.

    Exit code 0: all that can be derived agrees, and it is said how many numbers can't be; 1: some
    of it differs, and each difference is named.
    """
    from bench.present.publication.check import check, publications  # scipy: start-up

    differences = 0
    for folder in publications(path):
        account = check(folder)
        for problem in account.problems[:_MOST]:
            click.echo(f"{folder}/{problem}")
        if len(account.problems) > _MOST:
            click.echo(f"{folder}: {len(account.problems) - _MOST} more differences.")
        differences += len(account.problems)
        verdict = "all agree" if not account.problems else f"{len(account.problems)} differ"
        click.echo(
            f"{folder}: {account.numbers} numbers of {account.runs} runs derived again; {verdict}."
        )
        if account.problems and account.written_by:
            click.echo(
                f"{folder}: {account.written_by} wrote it, and its tables are compared with those "
                "of this one. Where only their words and columns differ, publish its runs again "
                "with `bench publish`."
            )
        if account.taken:
            click.echo(
                f"{folder}: {account.taken} further numbers could not be derived, because no raw "
                "data of them was kept (by an older bench load times, memory, parity and where the "
                "nodes ran; by any outputs that are too large, and another tool's figures): they "
                "are taken as published."
            )
    return 1 if differences else 0
