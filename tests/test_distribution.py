"""What is built holds every package that the sources have."""

from __future__ import annotations

import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def packages_of(folder: str, name: str) -> set[str]:
    """Each folder below that Python imports as a package, by its name when installed."""
    root = REPOSITORY / folder
    inside = (file.parent.relative_to(root).parts for file in root.rglob("__init__.py"))
    return {".".join((name, *parts)) for parts in inside}


def test_each_package_of_the_sources_is_installed() -> None:
    told = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    here = packages_of("bench", "bench")
    here |= packages_of("backends", "bench.backends") | packages_of("models", "bench.models")
    templates = {name for name in here if ".templates" in name}  # what `debug scaffold` copies
    assert set(told["tool"]["setuptools"]["packages"]) == here - templates
