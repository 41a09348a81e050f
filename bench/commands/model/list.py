"""``bench model list``: the installed models, read without importing any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.commands.doctor import backends
from bench.commands.output import Row, print_json, print_rows
from bench.discover import card_paths


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--with-backends", is_flag=True, hidden=True, help="As `bench model list` was.")
def command(*, as_json: bool, with_backends: bool) -> None:
    """List the installed models: name, task, and the model each was made from."""
    rows = {"models": models()}
    if with_backends:
        rows["backends"] = backends()
    if as_json:
        print_json(rows if with_backends else rows["models"])
        return
    for position, (kind, found) in enumerate(rows.items()):
        if position:
            click.echo()
        if with_backends:
            click.echo(f"{kind}:")
        print_rows(found, f"no {kind} found", indent="  " if with_backends else "")


def models() -> list[Row]:
    """Name and role of every model card; a card that can't be read says so."""
    return [{"name": name, "about": _about(path)} for name, path in card_paths().items()]


def _about(path: Path) -> str:
    import tomllib  # start-up: models alone

    try:
        with open(path, "rb") as file:
            card = tomllib.load(file)
    except (OSError, ValueError) as error:
        return f"card can't be read: {path.name}: {error}"
    return ", ".join(filter(None, (str(card.get("task", "")), _role(card), _absence(card))))


def _absence(card: dict[str, Any]) -> str:
    """How to get the files that packages bring, where they are not here."""
    from bench.cards.packages import PREFIX, in_packages  # start-up: models alone

    named = [str(name) for name in card.get("source", {}).values()]
    named.append(str(card.get("dataset", {}).get("path", "")))
    named += card.get("provenance", {}).get("sha256", {})
    brought = [name.removeprefix(PREFIX) for name in named if name.startswith(PREFIX)]
    if all(in_packages(name).exists() for name in brought):
        return ""
    return f"not installed: {card.get('provenance', {}).get('install', '')}"


def _role(card: dict[str, Any]) -> str:
    if card.get("distilled_from"):
        return f"distilled from {card['distilled_from']}"
    if card.get("variant_of"):
        return f"a form of {card['variant_of']}"
    if card.get("control_of"):
        return f"control of {card['control_of']}"
    return ""
