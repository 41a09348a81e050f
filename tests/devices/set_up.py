"""A Python with bench, PyTorch and ONNX Runtime for CUDA, in the time that there is for it."""

from __future__ import annotations

import os
import re
import site
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from in_time import HERE, Command, Ended, read, run

ROOT = HERE.parents[1]
PACKAGES = {
    "bench": ["--editable", f"{ROOT}[torch,hf,cuda,contract]"],
    "onnxruntime-gpu": ["onnxruntime-gpu"],
}
#: Without a network it is known at once: pip otherwise tries five times.
_PIP = "-m pip install --quiet --disable-pip-version-check --no-input --retries 1 --timeout 15"
_HAS_CUDA = "import torch; raise SystemExit(not torch.cuda.is_available())"
_HAS_BENCH = "import bench.commands.cli, bench.backends, numpy, onnx"

#: Kept for finding out what can be used, whatever pip took.
_FINDING_S = 40.0


@dataclass
class SetUp:
    """The Python to use (empty: there is none), and what is to be said of how it was found."""

    python: str = ""
    notes: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)  #: that its commands need


def set_up(folder: Path, logs: Path, until: float) -> SetUp:
    """Install into an environment in ``folder``; where that fails, what is installed is used."""

    def step(name: str, words: Sequence[str], until: float = until) -> Ended:
        return run([Command(words, logs / f"set-up-{name}.txt")], until)[0]

    found = SetUp()
    own = folder / "bin" / "python"
    installed_by = until - min(_FINDING_S, (until - time.monotonic()) / 2)
    if not own.exists():
        making = [sys.executable, "-m", "venv", str(folder)]
        _note(found, "venv", step("venv", making, installed_by))
    if own.exists():
        if step("torch", [sys.executable, "-c", _HAS_CUDA], installed_by).status == 0:
            lent = _lend_packages(folder)
            found.variables = _libraries(lent)
            found.notes.append(f"the PyTorch of {sys.executable} is used")
        for name, packages in PACKAGES.items():
            installing = [str(own), *_PIP.split(), *packages]
            _note(found, f"pip ({name})", step(name, installing, installed_by))
    for number, python in enumerate((str(own), sys.executable)):
        if step(f"python-{number}", [python, "-c", _HAS_BENCH]).status == 0:
            found.python = python
            break
    if found.python == sys.executable:
        found.notes.append(f"{sys.executable} is used, with what is installed there")
    return found


def _note(found: SetUp, name: str, ended: Ended) -> None:
    """Say of a step that it failed, and why."""
    if ended.cut:
        found.notes.append(f"{name} took longer than the {ended.seconds:.0f} s that it has")
    elif ended.status != 0:
        errors = re.findall(r"ERROR: (.+)", read(ended.log))  # pip's last line tells nothing
        found.notes.append(f"{name} failed: {errors[-1] if errors else ended.last_words}")


def _lend_packages(folder: Path) -> list[str]:
    """Let the environment see what the Python that runs this has, behind its own packages.

    (``--system-site-packages`` would skip the packages of an environment that this runs in.)
    """
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    lent = [*site.getsitepackages(), *user]
    lines = [f"import site; site.addsitedir({path!r})\n" for path in lent]
    for packages in folder.glob("lib/python*/site-packages"):
        (packages / "lent.pth").write_text("".join(lines), encoding="utf-8")
    return lent


def _libraries(packages: Sequence[str]) -> dict[str, str]:
    """Where the CUDA libraries of PyTorch's packages are: ONNX Runtime looks for them beside itself
    only, and then where the system does."""
    found = [str(path) for folder in packages for path in Path(folder).glob("nvidia/*/lib")]
    known = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": ":".join([*found, *([known] if known else [])])} if found else {}
