"""What `--help` says of options and commands is what the code does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import click
import pytest

from bench.cards.distilling.classifiers import Recipe
from bench.cards.distilling.language import LanguageRecipe
from bench.commands.cli import cli
from bench.commands.flags import METERING
from bench.commands.gate import DEFAULT_SLOWDOWN
from bench.commands.model.distill import _OF_CLASSIFIERS, _OF_LANGUAGE_MODELS
from bench.discover import suite_paths
from bench.spec import OVERVIEW, Suite, flag_of, load_suite

#: As narrow as a terminal usually is.
WIDTH = 80
#: Fields of a suite whose default is said in words, or belongs to LoadGen.
_IN_WORDS = {"targets", "goal", "loadgen"}


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group by its words."""
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))


COMMANDS = {" ".join(path): command for path, command in commands()}


def options(name: str) -> dict[str, click.Option]:
    return {p.name or "": p for p in COMMANDS[name].params if isinstance(p, click.Option)}


def shown(option: click.Option) -> str:
    """What the help says of an option, with what click adds."""
    record = option.get_help_record(click.Context(click.Command("x")))
    return "" if record is None else record[1]


def written(field: str, value: Any) -> set[str]:
    """How help may write the default of a field."""
    if isinstance(value, tuple):
        return {",".join(map(str, value))}
    if field.endswith("_s"):
        return {f"{value:g}s", f"{value / 60:g}m"}
    if isinstance(value, float):
        return {f"{100 * value:g}%", f"{value:g}", f"{value:.0e}".replace("e-0", "e-")}
    return {str(value)}


def states(text: str, values: set[str]) -> bool:
    words = text.replace("; ", " ").replace(". ", " ").replace(", ", " ").rstrip(".").split()
    return "default" in text and any(value in words for value in values)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    silent = [option.opts[-1] for option in options(name).values() if not option.help]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_default_of_an_option_is_shown(name: str) -> None:
    hidden = [
        option.opts[-1]
        for option in options(name).values()
        if not (option.is_flag and not option.secondary_opts)
        and isinstance(option.default, str | int | float | tuple)
        and option.default not in ("", ())
        and "default" not in shown(option).lower()
    ]
    assert hidden == []


@pytest.mark.parametrize("name", ["run", "compare"])
def test_a_flag_over_a_suite_says_the_suite_s_default(name: str) -> None:
    fields = {field: info.default for field, info in Suite.model_fields.items()}
    told = {
        field: (shown(option), written(field, fields[field]))
        for field, option in options(name).items()
        if fields.get(field) not in (None, (), {}, False, 0.0)
        and field not in _IN_WORDS
        and not option.show_default
    }
    assert len(told) >= 8
    assert {field: said for field, said in told.items() if not states(*said)} == {}


@pytest.mark.parametrize("field", ["energy_window_s", "wall_zone", "margin", "seed"])
def test_tuning_says_the_same_defaults(field: str) -> None:
    default = Suite.model_fields[field].default
    assert states(shown(options("tune")[field]), written(field, default))


@pytest.mark.parametrize("name", METERING)
def test_every_command_that_measures_energy_reads_meters_by_the_same_flags(name: str) -> None:
    found = [options(command)[name] for command in ("run", "tune", "compare")]
    assert {(tuple(one.opts), one.help) for one in found} == {((flag_of(name),), found[0].help)}
    assert name in Suite.model_fields


def test_the_help_says_when_a_run_is_an_overview() -> None:
    default = load_suite(suite_paths()["default"])
    goal, budget = shown(options("run")["goal"]), shown(options("run")["budget_s"])
    assert f"{OVERVIEW['goal']} for named models and the default suite" in goal
    assert default.goal == OVERVIEW["goal"]
    assert f"{Suite.model_fields['goal'].default} for other suites" in goal
    assert f"{default.budget_s:g}s for the default suite" in budget
    least = shown(options("run")["min_invocations"])
    assert f"{OVERVIEW['min_invocations']} for an overview or --goal rank" in least


def test_distilling_says_the_defaults_of_its_recipes() -> None:
    flags = options("model distill")
    recipes = ((Recipe, _OF_CLASSIFIERS), (LanguageRecipe, _OF_LANGUAGE_MODELS))
    checked = 0
    for recipe, own in recipes:
        for field in dataclasses.fields(recipe):
            is_told = field.name in own or field.name in ("seed", "temperature")
            if is_told and field.default and field.default is not dataclasses.MISSING:
                assert states(shown(flags[field.name]), written(field.name, field.default)), field
                checked += 1
    assert checked >= 8


def test_the_gate_says_its_default_slowdown() -> None:
    assert states(shown(options("gate")["max_slowdown"]), written("", DEFAULT_SLOWDOWN))


def test_a_listed_command_says_all_of_its_line() -> None:
    found = {}
    for name, command in {"": cli, **COMMANDS}.items():
        if isinstance(command, click.Group):
            formatter = click.HelpFormatter(width=WIDTH)
            command.format_commands(click.Context(command), formatter)
            found[name] = [line for line in formatter.getvalue().splitlines() if "..." in line]
    assert len(found) > 5
    assert not any(found.values()), found
