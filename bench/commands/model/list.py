"""``bench list``: models, backends and targets by name, read without importing any of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.discover import backend_entry_points, card_paths
from bench.numbers import printable

Row = dict[str, str]


@click.command(name="list")
@click.argument("what", required=False, type=click.Choice(["models", "backends", "targets"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(what: str | None, *, as_json: bool) -> None:
    """List models, backends or targets; without a word, models and backends.

    Targets are found by touching each device, which takes seconds; the other two are read from
    the installed packages' metadata.
    """
    kinds = [what] if what else ["models", "backends"]
    rows = {kind: _READERS[kind]() for kind in kinds}
    if as_json:
        _print_json(rows[what] if what else rows)
        return
    for position, kind in enumerate(kinds):
        if position:
            click.echo()
        if not what:
            click.echo(f"{kind}:")
        _print_rows(rows[kind], f"no {kind} found", indent="" if what else "  ")


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


def backends() -> list[Row]:
    """Name and entry point of every backend, present or not."""
    return [{"name": name, "about": value} for name, value in backend_entry_points().items()]


def targets() -> list[Row]:
    """Every device that answered, as a target."""
    from bench.runtimes.targets import discover_backends  # numpy: start-up

    return [
        {
            "name": f"{report.label}:{device.id}",
            "about": f"{device.name}{' (simulated)' if device.simulated else ''}",
        }
        for report in discover_backends()
        for device in report.devices
    ]


_READERS = {"models": models, "backends": backends, "targets": targets}


def _print_rows(rows: Sequence[Row], nothing: str, indent: str) -> None:
    if not rows:
        click.echo(indent + nothing)
        return
    names = [printable(row["name"], limit=40) for row in rows]
    width = max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        about = printable(row["about"], limit=200)
        click.echo(f"{indent}{name:<{width}}  {about}".rstrip())


def _print_json(value: object) -> None:
    import json  # start-up: --json alone

    click.echo(json.dumps(value, indent=2))
