"""What commands print: drawings and JSON on standard output, warnings on standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from bench.numbers import printable

if TYPE_CHECKING:
    from rich.text import Text

#: The name of something, and what it is.
Row = dict[str, str]


def print_drawing(draw: Callable[[int], Text]) -> None:
    """Print what ``draw`` lays out for the width of the terminal."""
    from rich.console import Console  # rich: start-up

    console = Console(highlight=False, markup=False, emoji=False)
    # The lines are laid out already: the console must not wrap them again.
    console.print(draw(console.width), soft_wrap=True, end="")


def print_marks(marks: Sequence[str]) -> None:
    """Say, beside figures that nobody can vouch for, that they are such."""
    from bench.present.layout import MARKED, paragraph  # rich: start-up

    for mark in marks:
        print_drawing(partial(paragraph, f"{MARKED} {printable(mark, limit=500)}."))


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def print_rows(rows: Sequence[Row], nothing: str, *, indent: str = "") -> None:
    """A line for each row; ``nothing`` where there is none."""
    if not rows:
        click.echo(indent + nothing)
        return
    names = [printable(row["name"], limit=40) for row in rows]
    width = max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        about = printable(row["about"], limit=200)
        click.echo(f"{indent}{name:<{width}}  {about}".rstrip())


def warn(text: str) -> None:
    click.echo(f"bench: {printable(text, limit=500)}", err=True)
