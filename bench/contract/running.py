"""Runs the contract's tests on a target, with pytest in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from bench.contract.targets import find_targets
from bench.errors import SpecError, Unavailable

_NEEDED = ("pytest", "safetensors")


def run_contract(target: str) -> int:
    """Print what pytest prints; 0 if every promise is kept, else 1.

    Raises `Unavailable` where the target, or what the tests need, is not there.
    """
    absent = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise Unavailable(
            f"The contract's tests need {' and '.join(absent)}, which is not installed.",
            "Install the extra `contract` (pip install 'infer-bench[contract]').",
        )
    found = find_targets(target).targets
    if not found:
        raise SpecError(f"{target}: the backend lists no such device; `bench doctor` shows all.")
    if found[0].device is None:
        raise Unavailable(found[0].absent)
    tests = Path(__file__).with_name("test_contract.py")
    # The user's own pytest.ini, plug-ins' options and caches have no part in this.
    settings = ["-c", os.devnull, "--rootdir", str(tests.parent), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "-q", "-rs", "--tb=short",
         "--bench-target", target, str(tests)],
        check=False,
    )  # fmt: skip
    return 0 if done.returncode == 0 else 1
