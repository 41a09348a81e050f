"""Where things are kept between runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from bench.errors import BenchError
from bench.folders import cache_folder, config_file, data_folder, told
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
    heard: list[str] = []

    def started(*command: object, env: dict[str, str], **others: object) -> None:
        heard.append(env["BENCH_CACHE"])
        raise FileNotFoundError(2, "no such file")

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises((BenchError, OSError)):
        ForkServer(Runtime("a", "a:A", {}), {}, tmp_path / "log")
    assert heard == [named or str(cache_folder())]


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of macOS, where configuration and data are in one folder."""
    own = tmp_path / "Library" / "Application Support" / "infer-bench"
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "BENCH_CONFIG_FOLDERS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("user_config_path", "user_data_path"):
        monkeypatch.setattr(platformdirs, name, lambda *_, **__: own)
    return own


def test_each_file_is_where_the_system_keeps_such_files(mac: Path) -> None:
    assert config_file("config.toml") == mac / "config.toml"
    assert data_folder("environments") == mac / "environments"


def test_what_an_older_release_left_in_another_place_is_found_there(mac: Path) -> None:
    home = mac.parents[2]
    environments = home / ".local/share/infer-bench/environments"
    environments.mkdir(parents=True)
    assert data_folder("environments") == environments
    old = home / ".config/infer-bench/config.toml"
    old.parent.mkdir(parents=True)
    old.touch()
    mac.mkdir(parents=True)  # for something else
    assert config_file("config.toml") == old
    assert config_file("trusted") == mac / "trusted"
    (mac / "config.toml").touch()
    assert config_file("config.toml") == mac / "config.toml"


def test_the_variables_of_xdg_win_on_every_system(mac: Path, tmp_path: Path) -> None:
    given = {"XDG_CONFIG_HOME": str(tmp_path / "c"), "XDG_DATA_HOME": str(tmp_path / "d")}
    assert config_file("config.toml", given) == tmp_path / "c/infer-bench/config.toml"
    assert data_folder("environments", given) == tmp_path / "d/infer-bench/environments"


def test_a_worker_finds_a_file_of_the_configuration_without_platformdirs(
    mac: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of plugin providers is read there."""
    variables = told({})
    old = mac.parents[2] / ".config/infer-bench/onnxruntime-plugins.toml"
    old.parent.mkdir(parents=True)
    old.touch()
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert config_file("onnxruntime-plugins.toml", variables) == old
    assert config_file("other.toml", variables) == mac / "other.toml"


def test_folders_that_a_workers_own_variables_name_stay() -> None:
    mine = {"BENCH_CACHE": "/mine", "BENCH_CONFIG_FOLDERS": "/a:/b"}
    assert told(mine) == mine
