"""What another interpreter is given to import: all that an adapter needs, and nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import Unavailable
from bench.runtimes.environments import stage as staging
from bench.runtimes.environments.stage import stage


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "workers"


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def module(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_worker_and_the_adapters_of_bench_are_there_and_the_core_is_not() -> None:
    found = files(stage("bench.worker.canary:Canary"))
    shared = "bench/backends/shared/checks.py"
    assert {"bench/__init__.py", "bench/worker/hello.py", shared} <= found
    assert {"bench/measure/plan.py", "bench/commands/cli.py", "bench/config.py"}.isdisjoint(found)
    assert not any("__pycache__" in name or name.startswith("bench/models") for name in found)


@pytest.mark.parametrize(
    ("reference", "made", "wanted"),
    [
        ("lone:A", ["lone.py"], {"lone.py"}),
        (
            "whole.inner.adapter:A",
            [
                "whole/__init__.py",
                "whole/inner/adapter.py",
                "whole/inner/__init__.py",
                "whole/b.so",
            ],
            {"whole/__init__.py", "whole/inner/adapter.py", "whole/b.so"},
        ),
        (
            "space.part.adapter:A",
            ["space/part/__init__.py", "space/part/adapter.py"],
            {
                "space/part/adapter.py",
            },
        ),
    ],
)
def test_a_third_partys_adapter_comes_with_its_package(
    reference: str,
    made: list[str],
    wanted: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in made:
        module(tmp_path / "site" / name)
    module(tmp_path / "site" / "space" / "huge_neighbour.py")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = files(stage(reference))
    assert wanted <= found
    assert "space/huge_neighbour.py" not in found


def test_the_folder_is_named_after_its_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(tmp_path / "site" / "lone.py", "A = 1")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    first = stage("lone:A")
    assert stage("lone:A") == first
    module(tmp_path / "site" / "lone.py", "A = 2")
    second = stage("lone:A")
    assert second != first
    assert (second / "lone.py").read_text() == "A = 2"
    assert [p.name for p in first.parent.iterdir() if p.name.startswith(".")] == []


def test_folders_that_nobody_used_for_a_month_go(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = cache / "old", cache / "young"
    for folder, age_s in ((old, 40 * 86400), (young, 86400)):
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age_s,) * 2)
    stage("bench.worker.canary:Canary")
    assert not old.exists()
    assert young.exists()


def test_an_adapter_that_is_missing_or_sits_in_a_giant_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match="its file is not found"):
        stage("no_such_module_anywhere:A")
    module(tmp_path / "site" / "giant" / "__init__.py", "#" * 2000)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(staging, "_MOST_BYTES", 1000)
    with pytest.raises(Unavailable, match="too large"):
        stage("giant:A")


def test_what_is_staged_imports_with_numpy_alone() -> None:
    """Every adapter of ours, in a process that sees the folder, numpy and the standard library."""
    import numpy

    folder = stage("bench.worker.canary:Canary")
    files = (folder / "bench" / "backends").rglob("*.py")
    names = [".".join(p.relative_to(folder).with_suffix("").parts) for p in files]
    assert "bench.backends.onnxruntime.session" in names
    program = f"""
import sys
class NumpyAlone:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("numpy", "bench"):
            raise ImportError(name)
sys.meta_path.insert(0, NumpyAlone())
sys.path[:0] = [{str(folder)!r}, {str(Path(numpy.__file__).parents[1])!r}]
import bench.worker.__main__
assert bench.__file__.startswith({str(folder)!r}), bench.__file__
for name in {names!r}:
    __import__(name)
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
