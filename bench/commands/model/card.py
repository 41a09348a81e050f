"""``bench model card MODEL -o x.toml``: a model card to edit."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.completing import complete_models
from bench.errors import SpecError


@click.command(name="init-card")
@click.argument("model", shell_complete=complete_models)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the card; default: standard output.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(model: str, output: Path | None, *, force: bool) -> None:
    """Write a card for MODEL: an .onnx file, file.py:factory, or a checkpoint folder.

    Fills in what the model file contains; its labelled data are comments for you to complete.
    """
    from bench.cards.catalog import find_model  # numpy: start-up
    from bench.cards.text import card_toml

    if output is not None and output.exists() and not force:
        raise SpecError(f"{output} already exists. Use --force to replace it.")
    if output is not None and not output.parent.is_dir():
        raise SpecError(f"{output.parent} is not a folder. Create it, or write somewhere else.")
    card = find_model(model)
    text = card_toml(card, output.parent if output is not None else Path())
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{output} can't be written: {error.strerror}.") from error
    click.echo(f"wrote {output}; try it: bench run -m {output}")
