"""pip and uv: their command lines, and what their failures mean in one sentence."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.errors import SpecError, Unavailable, without_stop

#: How pip, uv and what they are made of word that the index can't be reached.
_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|Connection refused"
    r"|Temporary failure in name resolution|Name or service not known|Failed to establish"
    r"|Network is unreachable|No route to host|error sending request|dns error|tcp connect error"
    r"|Could not connect|Failed to fetch",
    re.IGNORECASE,
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Installer:
    """Makes virtual environments and installs into them."""

    name: str  #: ``pip`` or ``uv``
    program: str = ""  #: where uv is

    def venv_command(self, base: str, version: str, folder: Path) -> list[str]:
        """Make an empty environment from the interpreter ``base``."""
        if self.name == "uv":
            options = ["--no-project", "--allow-existing", "--python", base]
            return [self.program, "venv", *options, str(folder)]
        return [
            base,
            "-m",
            "venv",
            *(["--without-pip"] if _ours_fits(version) else []),
            str(folder),
        ]

    def install_command(self, python: Path, step: Sequence[str]) -> list[str]:
        """Carry out one step; an environment without a pip of its own is served by ours."""
        if self.name == "uv":
            options = ["--python", str(python), *_index_of_pip()]
            return [self.program, "pip", "install", *options, *step]
        has_its_own = any(python.parents[1].glob("lib/python*/site-packages/pip"))
        pip = [str(python), "-m", "pip"]
        if not has_its_own:
            pip = [sys.executable, "-m", "pip", "--python", str(python)]
        return [*pip, "install", "--no-input", "--progress-bar", "off", *step]


def _ours_fits(version: str) -> bool:
    """Whether the pip of the interpreter of `bench` can install for a Python of that version:
    putting another pip into each environment takes longer than all the rest."""
    ours = ".".join(map(str, sys.version_info[:2]))
    return version.startswith(f"{ours}.") and find_spec("pip") is not None


def choose_installer(name: str | None) -> Installer:
    """The installer called ``name``; without a name uv where it is on PATH, else pip.

    Raises `SpecError` for uv that is not there.
    """
    program = shutil.which("uv")
    if name == "uv" and program is None:
        raise SpecError("uv is not on PATH: install it, or leave out --installer to use pip.")
    return Installer("uv", program) if program is not None and name != "pip" else Installer("pip")


def _index_of_pip() -> list[str]:
    """uv doesn't read pip's variables; an index that is set for pip alone is meant for it too."""
    if any(os.environ.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")):
        return []
    index, extra = os.environ.get("PIP_INDEX_URL"), os.environ.get("PIP_EXTRA_INDEX_URL", "")
    options = ["--index-url", index] if index else []
    return options + [word for url in extra.split() for word in ("--extra-index-url", url)]


def failure(
    environment: str, wanted: str, lines: Sequence[str], code: int, log: Path
) -> Unavailable:
    """What an installer's output comes to: the index is out of reach, or its last complaint."""
    clean = [_ANSI.sub("", line).strip() for line in lines]
    subject = f"the environment {environment} could not be created"
    again = f"run `bench env create {environment}` again"
    unreachable = [line for line in clean if _UNREACHABLE.search(line)]
    if unreachable:
        return Unavailable(
            f"{subject}: the package index can't be reached ({_cause(unreachable[-1])}).",
            f"Check the network, proxies and PIP_INDEX_URL, then {again}: finished steps are kept.",
        )
    words = f"`{wanted}` can't be installed: " if wanted else ""
    return Unavailable(
        f"{subject}: {words}{_complaint(clean) or f'the installer ended with code {code}'}.",
        f"The full output is in {log}; fix the problem and {again}.",
    )


def _cause(line: str) -> str:
    """The words of the connection itself, at the end of what libraries wrap around it."""
    inner = re.findall(r"(?:Errno -?\d+\] )([^'\")]+)", line)
    return inner[-1].strip() if inner else without_stop(line[:160])


def _complaint(lines: Sequence[str]) -> str:
    """pip's last line that starts with ``ERROR:``, or uv's last ``error:`` or reason with its
    cause; else the last line that says anything."""
    errors = [line.partition(":")[2] for line in lines if re.match(r"error:", line, re.IGNORECASE)]
    reasons = [line.lstrip("×╰─▶ ") for line in lines if line.startswith(("×", "╰─▶"))]
    said = [line for line in lines if line]
    best = without_stop((errors or reasons or said or [""])[-1].strip())
    causes = [line.partition(":")[2].strip() for line in lines if line.startswith("cause:")]
    return f"{best}: {causes[-1]}" if errors and causes else best
