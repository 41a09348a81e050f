"""Set-up scripts: what they make of the variables, and how they fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.errors import Unavailable
from bench.runtimes.environments import setup_script
from bench.runtimes.environments.interpreter import Interpreter, shell_variables
from bench.runtimes.environments.setup_script import variables_after

MEND = "Correct [environments.npu] in bench.toml."


def after(path: Path, text: str, before: dict[str, str] | None = None) -> dict[str, str]:
    path.write_text(text)
    return variables_after(path, before or dict(os.environ), "npu", MEND)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(setup_script, "_known", {})
    return tmp_path / "set env.sh"  # a blank in its name is no trouble


def test_what_a_script_exports_is_taken_and_what_it_prints_is_not(script: Path) -> None:
    text = """
    echo "LOUD=1"
    printf 'A=B\\n' >&2
    export TOOLKIT="/opt/x y" PATH="/opt/bin:$PATH"
    export LINES_OF_TEXT='one
two=2'
    hidden=1
    unset HOME
    """
    found = after(script, text, {**os.environ, "HOME": "/h", "KEPT": "yes"})
    assert found["TOOLKIT"] == "/opt/x y"
    assert found["PATH"].startswith("/opt/bin:")
    assert found["LINES_OF_TEXT"] == "one\ntwo=2"
    assert found["KEPT"] == "yes"
    assert not {"LOUD", "A", "hidden", "HOME", "SHLVL"} & set(found)


def test_a_script_finds_its_own_folder_and_no_arguments(script: Path) -> None:
    found = after(script, 'export COUNT=$# WHERE="$(dirname "${BASH_SOURCE:-$0}")"\n')
    assert found["COUNT"] == "0"
    assert found["WHERE"] == str(script.parent)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo no driver here >&2\nreturn 3\n", "failed with exit code 3 (no driver here)"),
        ("exit 0\n", "left its shell"),
        ("exit 4\n", "failed with exit code 4"),
        ("if then\n", "failed with exit code"),
    ],
)
def test_a_script_that_fails_is_named_with_its_last_words(
    script: Path, text: str, words: str
) -> None:
    with pytest.raises(Unavailable) as caught:
        after(script, text)
    assert f"the environment npu: its set-up script {script} {words}" in str(caught.value)
    assert str(caught.value).endswith(MEND)
    assert "\n" not in str(caught.value)


def test_a_script_that_is_not_there_or_hangs_is_told(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        variables_after(script, dict(os.environ), "npu", MEND)
    monkeypatch.setattr(setup_script, "_TIMEOUT_S", 0.2)
    with pytest.raises(Unavailable, match="did not end within"):
        after(script, "exec sleep 60\n")


def test_a_script_is_sourced_once_for_the_same_variables(script: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    text = f"echo x >> '{count}'\nexport DONE=1\n"
    for _ in range(3):
        assert after(script, text)["DONE"] == "1"
    assert count.read_text() == "x\n"


def test_configured_variables_are_set_before_the_script_runs(script: Path) -> None:
    script.write_text('export SEEN="$FLAVOUR" FLAVOUR=changed\n')
    place = Interpreter("npu", "python3", MEND, {"FLAVOUR": "mine"}, script)
    found = place.start_variables()
    assert found["SEEN"] == "mine"
    assert found["FLAVOUR"] == "changed"


def test_what_belongs_to_the_interpreter_of_bench_does_not_reach_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sysconfig

    own = sysconfig.get_path("purelib")
    monkeypatch.setenv("PYTHONHOME", "/somewhere")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([own, f"{own}/sub", str(tmp_path), ""]))
    found = shell_variables()
    assert "PYTHONHOME" not in found
    assert found["PYTHONPATH"] == str(tmp_path)
