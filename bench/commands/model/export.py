"""``bench model export MODEL -o x.onnx``: a model as an ONNX file, checked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from bench.commands.completing import complete_models
from bench.errors import SpecError
from bench.folders import cache_folder


@click.command(name="export")
@click.argument("model", shell_complete=complete_models)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to write the ONNX file.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(model: str, output: Path, *, force: bool) -> None:
    """Write MODEL (a name, a card or an .onnx file) as an ONNX file, exported and checked."""
    from bench.cards.catalog import find_model  # numpy: start-up

    if output.exists() and not force:
        raise SpecError(f"{output} already exists. Use --force to replace it.")
    if not output.parent.is_dir():
        raise SpecError(f"{output.parent} is not a folder. Create it, or write somewhere else.")
    card = find_model(model)
    file = card.model_file()
    if file.onnx is None:
        from bench.apart import apart  # numpy: start-up
        from bench.cards.ready import exported

        onnx = apart(card.name, lambda: exported(card, cache_folder()))
    else:
        onnx = file.onnx
    from bench.cards.files import external_data  # onnx: start-up

    for part in external_data(onnx):
        beside = output.parent / part.relative_to(onnx.parent)
        if beside.exists() and not force and not beside.samefile(part):
            raise SpecError(f"{beside} already exists. Use --force to replace it.")
        beside.parent.mkdir(parents=True, exist_ok=True)
        _copy(part, beside)
    _copy(onnx, output)
    click.echo(f"wrote {output}")


def _copy(source: Path, output: Path) -> None:
    """Copy whole or not at all."""
    if output.exists() and output.samefile(source):
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        shutil.copyfile(source, partial)
        partial.replace(output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SpecError(f"{output} can't be written: {error.strerror}.") from error
