"""What `pip install` does with a distribution's entry points, without the network."""

from __future__ import annotations

import tomllib
from pathlib import Path


def install(pyproject: str, folder: Path) -> None:
    """Make what a ``pyproject.toml`` names known where ``folder`` is on the path; the modules are
    put there by whoever calls."""
    project = tomllib.loads(pyproject)["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
