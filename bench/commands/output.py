"""What commands print: drawings and JSON on standard output, warnings on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
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


def hint(text: str) -> None:
    """A next step, for somebody who sits at a terminal: a log can't type, and a CI job throws away
    the folders that it names."""
    if sys.stdout.isatty() and sys.stderr.isatty() and not _in_ci():
        click.echo(text, err=True)


def interrupted(command: str) -> None:
    """That it was, and what resumes it where its folder stays."""
    resume = "" if _in_ci() else f" Resume with: {command}"
    click.echo(f"Interrupted.{resume}", err=True)


def _in_ci() -> bool:
    """Services set the variable CI."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def warn(text: str) -> None:
    click.echo(f"bench: {printable(text, limit=500)}", err=True)
