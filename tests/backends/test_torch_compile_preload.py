"""What the fork server imports for torch-compile, with and without triton."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch")

_PRELOAD = """
import importlib, sys
from bench.backends.torch.compile import TorchCompile
for name in TorchCompile.preload:
    importlib.import_module(name)
print("torch._inductor.compile_fx" in sys.modules, "triton" in sys.modules)
"""


def _after_preloading(path: Path | None) -> list[str]:
    folder = "" if path is None else str(path)
    code = f"import sys; sys.path[:0] = {[folder] if folder else []!r}\n{_PRELOAD}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.split()


def test_where_triton_is_installed_no_fork_server_imports_it(tmp_path: Path) -> None:
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("__version__ = '3.6.0'\n")

    assert _after_preloading(tmp_path) == ["False", "False"]


def test_elsewhere_the_compiler_is_imported_once_for_all_workers() -> None:
    if find_spec("triton"):
        pytest.skip("triton is installed here")

    assert _after_preloading(None) == ["True", "False"]
