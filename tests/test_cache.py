"""Where things are kept between runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from bench.cache import cache_folder
from bench.errors import BenchError
from bench.runtimes.processes import ForkServer
from bench.runtimes.runtime import Runtime


def test_the_variable_names_the_folder_and_that_of_xdg_its_parent(tmp_path: Path) -> None:
    given = {"BENCH_CACHE": str(tmp_path / "mine"), "XDG_CACHE_HOME": str(tmp_path / "all")}
    assert cache_folder(given) == tmp_path / "mine"
    assert cache_folder({**given, "BENCH_CACHE": ""}) == tmp_path / "all" / "infer-bench"


def test_without_them_it_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder({}) == platformdirs.user_cache_path("infer-bench", appauthor=False)
    if sys.platform == "linux":
        assert cache_folder({}) == Path.home() / ".cache" / "infer-bench"


@pytest.mark.parametrize("named", [None, "", "mine"])
def test_a_worker_is_told_the_folder(
    named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its interpreter need not have what the folder is found with."""
    monkeypatch.delenv("BENCH_CACHE", raising=False)
    if named is not None:
        monkeypatch.setenv("BENCH_CACHE", named)
    told: list[str] = []

    def started(*command: object, env: dict[str, str], **others: object) -> None:
        told.append(env["BENCH_CACHE"])
        raise FileNotFoundError(2, "no such file")

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises((BenchError, OSError)):
        ForkServer(Runtime("a", "a:A", {}), {}, tmp_path / "log")
    assert told == [named or str(cache_folder())]
