"""`bench run`: what stands beside its flags, its help, and what shells complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.testing import CliRunner
from compared_runs import in_memory
from fake_records import a_run

from bench.cell import Driver, Lane
from bench.commands import cli
from bench.commands import run as run_module
from bench.commands.given import sort_given
from bench.commands.run import command
from bench.discover import suite_paths
from bench.errors import SpecError
from bench.record.resumption import CHANGES
from bench.spec import Suite


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Suite]:
    """The suites that `bench run` would measure; it stops before it measures one."""
    suites: list[Suite] = []

    def prepare(suite: Suite, *_: Any) -> Any:
        suites.append(suite)
        raise SpecError("stop here.")

    monkeypatch.setattr("bench.measure.prepare.prepare", prepare)
    return suites


def run(*arguments: str) -> None:
    with pytest.raises(SpecError, match="stop here"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_models_stand_beside_the_flags_and_are_joined_with_them(asked: list[Suite]) -> None:
    run(
        "a.onnx",
        "checkpoint/",
        "net.py:make",
        "--quick",
        "-m",
        "b.gguf,a.onnx",
        "-t",
        "x:cpu,y:cpu",
    )
    assert asked[0].models == ("a.onnx", "checkpoint/", "net.py:make", "b.gguf")
    assert asked[0].targets == ("x:cpu", "y:cpu")


def test_a_suite_is_told_from_a_card_by_what_it_says(tmp_path: Path, asked: list[Suite]) -> None:
    card, suite = tmp_path / "card.toml", tmp_path / "mine.toml"
    card.write_text('name = "m"\ntask = "raw"\ninputs = []\n[source]\nonnx = "m.onnx"\n')
    suite.write_text('models = ["of-the-suite"]\nseed = 7\n')
    run(str(suite))
    run(str(suite), str(card))
    assert [(s.seed, s.models) for s in asked] == [(7, ("of-the-suite",)), (7, (str(card),))]


def test_an_installed_suite_is_known_by_its_name(asked: list[Suite]) -> None:
    assert sort_given(["default"]).suite == suite_paths()["default"]
    run("default")
    run()
    assert asked[0] == asked[1]


def test_a_run_has_one_suite() -> None:
    with pytest.raises(SpecError, match=r"a\.toml and b\.toml"):
        sort_given(["a.toml", "m.onnx", "b.toml"])


def test_lists_times_and_shares_are_read_alike(asked: list[Suite]) -> None:
    run("m", "--variant", "fp32,fp16", "--scenario", "offline,single-stream", "--max-time", "2m")
    run(
        "m",
        "--precision",
        "1%",
        "--margin",
        "0.03",
        "--wall-offset",
        "-1m",
        "--energy",
        "--energy-window",
        "4s",
    )
    assert asked[0].variants == ("fp32", "fp16")
    assert asked[0].scenarios == ("offline", "single-stream")
    assert asked[0].max_time_s == 120
    assert (asked[1].precision, asked[1].margin) == (0.01, 0.03)
    assert (asked[1].wall_offset_s, asked[1].energy_window_s) == (-60, 4)


@pytest.mark.parametrize(
    ("name", "known"),
    [("lane", get_args(Lane)), ("driver", get_args(Driver)), ("allow", tuple(CHANGES))],
)
def test_the_choices_of_a_flag_are_all_that_there_are(name: str, known: tuple[str, ...]) -> None:
    (option,) = [each for each in command.params if each.name == name]
    assert isinstance(option.type, click.Choice)
    assert sorted(option.type.choices) == sorted(known)


def test_a_value_that_is_no_choice_is_refused_with_those_that_are() -> None:
    result = CliRunner().invoke(cli.cli, ["run", "--goal", "speed"])
    assert result.exit_code == 2
    assert "'precision', 'rank'" in result.output


def test_the_help_has_sections_and_holds_to_80_columns() -> None:
    shown = CliRunner().invoke(cli.cli, ["run", "--help"]).output
    titles = [line for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles[:3] == ["What to measure:", "Inputs:", "How long:"]
    assert titles[-2:] == ["Files for CI:", "Other:"]
    assert shown.count("--junit") == shown.count("--quick") == 1
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("flag", "incomplete", "wanted"),
    [
        ("models", "fashion-st", "fashion-student"),
        ("models", "a.onnx,fashion-st", "a.onnx,fashion-student"),
        ("targets", "openvino:cpu,onnxrun", "openvino:cpu,onnxruntime"),
        ("scenarios", "off", "offline"),
        ("variants", "int8-d", "int8-dynamic"),
        ("what", "defau", "default"),
    ],
)
def test_shells_complete_values(flag: str, incomplete: str, wanted: str) -> None:
    (parameter,) = [each for each in command.params if each.name == flag]
    found = parameter.shell_complete(click.Context(command), incomplete)
    assert wanted in [item.value for item in found]
    if flag in ("models", "what"):
        assert found[-1].type == "file"


def test_the_last_lines_are_the_next_commands_and_they_parse() -> None:
    blank, *lines = run_module._next(in_memory(a_run()))
    assert blank == ""
    commands = [line.partition("#")[0].split() for line in lines]
    assert [words[:-1] for words in commands] == [
        ["bench", "report"],
        ["bench", "show", "--deal"],
        ["bench", "show"],
    ]
    for _, name, *arguments in commands:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        command.make_context(name, arguments)


def test_the_choices_of_goal_are_those_of_a_suite() -> None:
    (option,) = [each for each in run_module.command.params if each.name == "goal"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == get_args(Suite.model_fields["goal"].annotation)
