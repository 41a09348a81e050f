"""bash as CI services run a step, with `bench` on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


def service_shell(folder: Path, programs: Path, environment: Mapping[str, str]) -> Shell:
    """Runs scripts in ``folder``, each with further variables; ``programs`` is made, and is put
    first on the path."""
    programs.mkdir()
    (programs / "bench").write_text(f'#!/bin/sh\nexec {sys.executable} -m bench "$@"\n')
    (programs / "bench").chmod(0o755)

    def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
            cwd=folder,
            env={**environment, "PATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
