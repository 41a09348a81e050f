"""What the fork server of torch-compile has ready for its workers, with and without triton."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch")

#: As the fork server does it; then a worker compiles, and tells what it had to look for itself.
_SERVER = """
import importlib, os, sys
from bench.backends.torch.compile import TorchCompile
os.environ.update(TorchCompile.environment)
for name in (*TorchCompile.preload, *TorchCompile.imports_to_load):
    importlib.import_module(name)
print(sum(name.startswith("torch._inductor") for name in sys.modules) > 0, "triton" in sys.modules)
print(len(os.listdir("/proc/self/task")))
sys.stdout.flush()
if os.fork() == 0:
    import subprocess, torch
    programs, run = [], subprocess.run
    subprocess.run = lambda command, **given: programs.append(command) or run(command, **given)
    def double(values):
        return 2 * values
    with torch.inference_mode():
        result = torch.compile(double, dynamic=False)(torch.ones(3))
    print(result.tolist(), len(programs))
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


def _served(cache: Path, path: Path | None = None) -> list[str]:
    folder = [] if path is None else [str(path)]
    code = f"import sys; sys.path[:0] = {folder!r}\n{_SERVER}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={"PATH": "/usr/bin:/bin", "BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
    )
    return done.stdout.splitlines()


def test_where_triton_is_installed_no_fork_server_imports_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("__version__ = '3.6.0'\n")

    assert _served(tmp_path / "cache", tmp_path)[0] == "False False"


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_workers_find_the_compiler_ready_and_no_thread_started(tmp_path: Path) -> None:
    if find_spec("triton"):
        pytest.skip("triton is installed here")

    _served(tmp_path)
    # Once nothing is new to the cache on the disk, no program is started for a model.
    imported, threads, compiled = _served(tmp_path)

    assert (imported, threads) == ("True False", "1")
    assert compiled == "[2.0, 2.0, 2.0] 0"
