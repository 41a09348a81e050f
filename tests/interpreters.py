"""Interpreters to run workers in, made without the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy


def bare_python(folder: Path) -> Path:
    """A virtual environment with nothing in it, not even pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def python_with_numpy(folder: Path) -> Path:
    """A virtual environment that has this one's numpy, and nothing else of it."""
    python = bare_python(folder)
    site = next(folder.glob("lib/python*/site-packages"))
    installed = Path(numpy.__file__).parents[1]
    for name in ("numpy", "numpy.libs", f"numpy-{numpy.__version__}.dist-info"):
        if (installed / name).exists():
            (site / name).symlink_to(installed / name)
    return python


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    os.chmod(path, 0o755)
    return path
