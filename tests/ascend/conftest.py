"""Puts the stand-ins of `acl` and `atc` where the real ones would be, and checks what is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STAND_IN = Path(__file__).with_name("stand_in")


@pytest.fixture(scope="session")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that CANN's `set_env.sh` would set, for the stand-ins."""
    home = tmp_path_factory.mktemp("toolkit")
    (home / "version.cfg").write_text("toolkit_running_version=[0.0.0.1:0.0.stand-in]\n")
    (home / "bin").mkdir()
    atc = home / "bin" / "atc"
    atc.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN / "atc.py"} "$@"\n')
    atc.chmod(0o755)
    return {
        "ASCEND_TOOLKIT_HOME": str(home),
        "PATH": os.pathsep.join([str(home / "bin"), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(
            part for part in (str(STAND_IN), os.environ.get("PYTHONPATH", "")) if part
        ),
        # Shared, so that each model is compiled once.
        "BENCH_CACHE": str(tmp_path_factory.mktemp("cache")),
    }


@pytest.fixture
def acl(toolkit: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in, as fresh as in a new process; nothing may be done wrong, or left, in a test."""
    for name, value in toolkit.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(STAND_IN))
    import acl
    from bench.backends.ascend.device import PROCESS

    PROCESS.end()  # what tests that share a session began
    acl.reset()
    yield acl
    PROCESS.end()
    assert acl.machine.misuses == []
    assert acl.machine.leaks() == []
