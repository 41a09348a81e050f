"""``bench debug schema [NAME]``: the JSON Schema of the files of a run, and of a certificate."""

from __future__ import annotations

import click


@click.command(name="schema")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Print the JSON Schema of a file of a run, such as record, or of a certificate.

    Without NAME: list the names.
    """
    from bench.record.schema import MODELS, shipped, text  # pydantic: start-up

    if name is None:
        for known, (_, what) in MODELS.items():
            click.echo(f"{known:<12}{what}")
        return
    click.echo(text(shipped(name)), nl=False)
