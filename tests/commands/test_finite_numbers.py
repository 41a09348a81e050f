"""No command takes NaN or infinity for a number: they are within every range that is compared."""

from __future__ import annotations

import math
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from click.types import FloatParamType

from bench.commands.cli import cli, command_paths
from bench.commands.flags import FiniteRange
from bench.errors import SpecError

#: Of `bench run` and `bench tune`: the suite's schema refuses them.
BY_THE_SUITE = {"max_time_s", "cell_timeout_s", "energy_window_s", "wall_offset_s"}


def numbers() -> Iterator[tuple[str, click.Parameter]]:
    return ((n, p) for n, p in parameters() if isinstance(p.type, FloatParamType))


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    context = click.Context(cli)
    for path in command_paths():
        _, command, _ = cli.resolve_command(context, list(path))
        if len(path) > 1:
            assert isinstance(command, click.Group)
            _, command, _ = command.resolve_command(context, list(path[1:]))
        assert command is not None
        for each in getattr(command, "commands", {"": command}).values():
            for parameter in each.params:
                yield path[-1], parameter


def test_every_number_of_a_command_is_read_by_what_refuses_them() -> None:
    found = [(name, p.name) for name, p in numbers() if not isinstance(p.type, FiniteRange)]
    assert {parameter for _, parameter in found} <= BY_THE_SUITE
    assert {("certify", "margin"), ("show", "temperature")} <= {
        (name, p.name) for name, p in numbers()
    }


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN"])
def test_it_is_refused_as_a_number_out_of_range_is(value: str) -> None:
    for name, parameter in numbers():
        if parameter.name not in BY_THE_SUITE:
            with pytest.raises(click.BadParameter):
                parameter.type_cast_value(click.Context(click.Command(name)), value)


@pytest.mark.parametrize("form", ["{}", "{}%", "{}ms", "{}mJ", "name={}", "name={}%"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_no_text_is_read_as_one_either(value: str, form: str) -> None:
    """What is read when the command line is parsed: limits with a name or a unit."""
    taken = []
    for name, parameter in parameters():
        given: object = form.format(value)
        context = click.Context(click.Command(name))
        try:
            given = parameter.type_cast_value(context, [given] if parameter.multiple else given)
            if parameter.callback is not None:
                given = parameter.callback(context, parameter, given)
        except click.ClickException:
            continue
        if any(not math.isfinite(number) for number in _numbers_in(given)):
            taken.append((name, parameter.name))
    assert not taken


def _numbers_in(value: object) -> list[float]:
    if isinstance(value, dict):
        value = tuple(value.values())
    found = value if isinstance(value, tuple) else (value,)
    return [each for each in found if isinstance(each, float)]


TOO_MUCH = ["--threads", "--seed", "--batch", "--cell-timeout", "--max-time", "--budget"]


@pytest.mark.parametrize("flag", TOO_MUCH)
def test_a_number_that_nothing_can_count_to_is_one_sentence(flag: str) -> None:
    asked = [
        "run",
        "-m",
        "fashion-student",
        "-t",
        "onnxruntime:cpu",
        "--dry-run",
        flag,
        str(10**20),
    ]
    done = CliRunner().invoke(cli, asked)
    refused = isinstance(done.exception, SpecError) or "Invalid value" in done.output
    assert refused, done.exception
