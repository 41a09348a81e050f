"""The user's configuration: one TOML file, read when something in it is needed.

The first that exists of ``$BENCH_CONFIG``, ``bench.toml`` in the current folder, and
``infer-bench/config.toml`` where the system keeps configurations (`bench.folders`). Without any,
everything has its default.
"""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

import click
from pydantic import Field, ValidationError, field_validator

from bench.cell import Frozen
from bench.errors import SpecError
from bench.folders import config_file
from bench.numbers import as_name
from bench.trust import check_trusted
from bench.validation import first_problem, read_toml

CONFIG_VARIABLE = "BENCH_CONFIG"
#: Anybody may have put it there (`bench.trust`).
LOCAL = Path("bench.toml")

#: What stands behind the ``@`` of a target, and is the name of a folder.
ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class EnvironmentTable(Frozen):
    """``[environments.NAME]``: an interpreter that is there already, or more about one of ours."""

    backend: tuple[str, ...] = Field((), description="backends that run there")
    python: str | None = Field(None, min_length=1, description="its interpreter")
    variables: dict[str, str] = Field(default_factory=dict, description="set before anything else")
    setup: str | None = Field(None, min_length=1, description="a shell script to source")

    @field_validator("backend", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("variables")
    @classmethod
    def _can_be_set(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not name or "=" in name or "\0" in name + text:
                raise ValueError(f"{name!r} can't be the name of an environment variable")
        return value


class MachineTable(Frozen):
    """``[machine]``: what this machine is called."""

    name: str = Field("", description="shown where machines are compared")

    @field_validator("name")
    @classmethod
    def _fits_a_table(cls, value: str) -> str:
        return as_name(value)


class MachinesTable(Frozen):
    """``[machines.NAME]``: what an hour of a machine costs, for `bench matrix`."""

    price_per_hour: float = Field(gt=0, lt=1e9, description="of the whole machine")
    currency: str = Field("", max_length=8, description="written after prices, for example EUR")

    @field_validator("currency")
    @classmethod
    def _is_a_word(cls, value: str) -> str:
        return as_name(value)


class Config(Frozen):
    """A configuration file."""

    machine: MachineTable = MachineTable()
    machines: dict[str, MachinesTable] = Field(default_factory=dict)
    environments: dict[str, EnvironmentTable] = Field(default_factory=dict)

    @field_validator("environments")
    @classmethod
    def _named_well(cls, value: dict[str, EnvironmentTable]) -> dict[str, EnvironmentTable]:
        for name in value:
            if not ENVIRONMENT_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not a valid environment name: use letters, digits, '.', '_' and "
                    "'-'"
                )
        return value


def machine_name() -> str:
    """What the configuration calls this machine, else the host's name."""
    return load_config().machine.name or platform.node()


def config_path() -> Path | None:
    """The file that counts; None where there is none. Raises `SpecError` for ``$BENCH_CONFIG`` that
    names no file."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SpecError(f"{CONFIG_VARIABLE} names {named}, which does not exist.")
        return Path(named)
    return next((path for path in (LOCAL, config_file("config.toml")) if path.is_file()), None)


def load_config() -> Config:
    """The user's configuration. Raises `SpecError` that names the file and the key."""
    path = config_path()
    if path is None:
        return Config()
    try:
        config = Config.model_validate(read_toml(path, "configuration"))
    except ValidationError as error:
        tables = (Config, MachineTable, MachinesTable, EnvironmentTable)
        known = [name for table in tables for name in table.model_fields]
        raise SpecError(f"{path}: {first_problem(error, known)}") from error
    if config.environments and path == LOCAL and not os.environ.get(CONFIG_VARIABLE):
        check_trusted(path, setup_scripts(path, config))
        _say_once(path, tuple(config.environments))
    return config


def setup_scripts(path: Path, config: Config) -> list[Path]:
    """The scripts that a configuration sources."""
    found = (table.setup for table in config.environments.values())
    return [beside(path, text) for text in dict.fromkeys(found) if text is not None]


def beside(file: Path | None, text: str) -> Path:
    """A path as a file means it: ``~`` is the home, and a relative one starts beside the file."""
    folder = file.absolute().parent if file is not None else Path()
    return Path(os.path.normpath(folder / Path(text).expanduser()))


@cache
def _say_once(path: Path, names: tuple[str, ...]) -> None:
    click.echo(f"using {path} of this folder (environments: {', '.join(names)})", err=True)
