"""Flags that several commands have."""

from __future__ import annotations

import click


def read_sizes(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    """``batch=8,seq=128`` as a mapping."""
    sizes: dict[str, int] = {}
    for item in ",".join(values).split(","):
        if not item.strip():
            continue
        name, _, size = item.partition("=")
        if not size.strip().isdigit() or int(size) < 1:
            raise click.BadParameter(f"{item!r} is not of the form name=size, for example seq=128")
        sizes[name.strip()] = int(size)
    return sizes
