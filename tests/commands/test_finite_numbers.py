"""No command takes NaN or infinity for a number: they are within every range that is compared."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.types import FloatParamType

from bench.commands.cli import cli, command_paths
from bench.commands.flags import FiniteRange

#: Of `bench run` and `bench tune`: the suite's schema refuses them.
BY_THE_SUITE = {"max_time_s", "cell_timeout_s", "energy_window_s", "wall_offset_s"}


def numbers() -> Iterator[tuple[str, click.Parameter]]:
    context = click.Context(cli)
    for path in command_paths():
        _, command, _ = cli.resolve_command(context, list(path))
        if len(path) > 1:
            assert isinstance(command, click.Group)
            _, command, _ = command.resolve_command(context, list(path[1:]))
        assert command is not None
        for each in getattr(command, "commands", {"": command}).values():
            for parameter in each.params:
                if isinstance(parameter.type, FloatParamType):
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
