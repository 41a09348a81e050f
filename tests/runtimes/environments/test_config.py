"""The configuration file: where it is, and one sentence for what is wrong in it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import config
from bench.config import load_config, machine_name
from bench.errors import SpecError
from bench.runtimes.environments import find


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("BENCH_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.delenv("BENCH_CONFIG", raising=False)
    monkeypatch.setattr(config, "check_trusted", lambda path, scripts: None)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_a_file_nothing_is_configured() -> None:
    assert load_config().environments == {}


def test_a_machine_is_called_what_the_file_says_else_by_the_name_of_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "red")
    assert machine_name() == "red"
    write(tmp_path / "bench.toml", '[machine]\nname = " gpu-server "\n')
    assert machine_name() == "gpu-server"


def test_the_variable_wins_over_the_folder_and_the_folder_over_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> list[str]:
        return list(load_config().environments)

    write(tmp_path / "xdg/infer-bench/config.toml", '[environments.home]\npython = "p"\n')
    assert names() == ["home"]
    write(tmp_path / "bench.toml", '[environments.here]\npython = "p"\n')
    assert names() == ["here"]
    chosen = write(tmp_path / "other.toml", '[environments.chosen]\npython = "p"\n')
    monkeypatch.setenv("BENCH_CONFIG", str(chosen))
    assert names() == ["chosen"]
    monkeypatch.setenv("BENCH_CONFIG", "nowhere.toml")
    with pytest.raises(SpecError, match=r"BENCH_CONFIG names nowhere.toml"):
        load_config()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[environments.a\n", "not valid TOML"),
        ("[environment.a]\n", "Did you mean `environments`"),
        ('[environments.a]\npyton = "p"\n', "Did you mean `python`"),
        ('[machine]\nname = "a\\nb"\n', "can't be a name: use one line of at most 60 characters"),
        ('[machine]\nnam = "a"\n', "Did you mean `name`"),
        ("[environments.a]\npython = 3\n", "environments.a.python"),
        ('[environments."a b"]\npython = "p"\n', "not a valid environment name"),
        ('[environments.a]\npython = "p"\nvariables = {X = 1}\n', "environments.a.variables.X"),
        ('[environments.a]\npython = "p"\nvariables = {"X=Y" = "1"}\n', "can't be the name"),
        ("environments = 7\n", "`environments` is 7"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_in_one_sentence_that_names_it(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = write(tmp_path / "bench.toml", text)
    with pytest.raises(SpecError) as caught:
        load_config()
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(path.name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[environments.a]\nbackend = "onnxruntimee"\npython = "p"\n', "Did you mean onnxruntime"),
        ('[environments.a]\npython = "p"\n', "needs the key `backend`"),
        ('[environments.a]\nbackend = "onnxruntime"\n', "needs the key `python`"),
    ],
)
def test_an_environment_that_says_too_little_or_names_no_backend_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    write(tmp_path / "bench.toml", text)
    with pytest.raises(SpecError, match=complaint) as caught:
        find.all_environments()
    assert "[environments.a]" in str(caught.value)


def test_paths_start_beside_the_file_and_a_bare_name_is_looked_for_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
    [environments.beside]
    backend = ["onnxruntime", "openvino"]
    python = "venv/bin/python"
    setup = "set_env.sh"
    [environments.named]
    backend = "onnxruntime"
    python = "python3"
    """
    monkeypatch.setenv("BENCH_CONFIG", str(write(tmp_path / "etc/bench.toml", text)))
    beside, named = find.existing_environments()
    assert beside.interpreter is not None
    assert named.interpreter is not None
    assert beside.interpreter.python == str(tmp_path / "etc/venv/bin/python")
    assert beside.interpreter.setup == tmp_path / "etc/set_env.sh"
    assert beside.backends == ("onnxruntime", "openvino")
    assert named.interpreter.python == "python3"


@given(st.text(max_size=40))
def test_a_name_that_is_accepted_is_a_plain_folder_and_reads_back_from_a_target(name: str) -> None:
    from bench.runtimes.targets import parse_target

    if config.ENVIRONMENT_NAME.fullmatch(name):
        assert "/" not in name
        assert not name.startswith(".")
        assert parse_target(f"onnxruntime@{name}:cpu").environment == name
