"""Flags that several commands have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench.commands.completing import (
    Complete,
    complete_models,
    complete_scenarios,
    complete_targets,
    complete_variants,
)
from bench.defaults import LONGEST_S
from bench.discover import load_object
from bench.numbers import as_name, fraction_of
from bench.present.ci.formats import CiFormat, ci_formats

if TYPE_CHECKING:
    from bench.judge.gate import Judgement
    from bench.store.run import StoredRun

    _NumberType = click.ParamType[float]
else:  # in click 8.1, which will do, it takes no parameter
    _NumberType = click.ParamType


class FiniteRange(click.FloatRange):
    """A number within bounds. Comparisons let NaN through, and an open end infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


#: Of a flag's time; `bench.spec` reads bounds of latency, where a bare number would be ambiguous.
_SECONDS = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([+-]?\d+(?:\.\d+)?) ?(ms|s|m|h|)")


class Duration(_NumberType):
    """A time in seconds, written ``5s``, ``2m``, ``1h``, ``500ms`` or as plain seconds.

    Above zero, unless it is ``signed``.
    """

    name = "time"

    def __init__(self, *, signed: bool = False) -> None:
        self._signed = signed

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = _DURATION.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a time, for example 5s, 2m, 1h or 90.", param, ctx)
        seconds = float(found[1]) * _SECONDS[found[2]]
        if abs(seconds) > LONGEST_S:
            self.fail(f"{value} is too long a time; at most {LONGEST_S:.0f}s.", param, ctx)
        if seconds <= 0 and not self._signed:
            self.fail(f"{value} is not a time above zero, for example 5s, 2m or 1h.", param, ctx)
        return seconds


#: How long something takes, and by how much a clock is off.
DURATION, OFFSET = Duration(), Duration(signed=True)


class Share(_NumberType):
    """A fraction from ``least`` to below 1, written ``2%`` or ``0.02``; ``above_zero`` excludes
    0."""

    name = "share"

    def __init__(self, *, above_zero: bool = False, least: float = 0.0) -> None:
        self._above_zero, self._least = above_zero, least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value).strip()
        try:
            found = fraction_of(text)
        except ValueError:
            self.fail(f"{value!r} is not a number or a percentage, like 2%.", param, ctx)
        if not self._least <= found < 1 or (self._above_zero and found == 0):
            least = "above 0" if self._above_zero else f"at least {self._least:g}"
            self.fail(f"{value} must be {least} and below 1 (100%).", param, ctx)
        return found


#: A share that may be 0, one that may not, and how sure a verdict is that may be no coin's.
SHARE, SHARE_ABOVE_ZERO, SHARE_OF_TRUST = Share(), Share(above_zero=True), Share(least=0.5)


class Points(_NumberType):
    """Percentage points, written ``0.5``, ``0.5points`` or ``0.5%``, as points."""

    name = "points"

    def __init__(self, *, above_zero: bool = False) -> None:
        self._above_zero = above_zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(points?|%|)", str(value).strip())
        least = "above" if self._above_zero else "from"
        if found is None or float(found[1]) >= 100 or (self._above_zero and not float(found[1])):
            self.fail(
                f"{value!r} is not a number of points {least} 0 to below 100, like 0.5points.",
                param,
                ctx,
            )
        return float(found[1])


#: Points that may be 0, and those that may not.
POINTS, POINTS_ABOVE_ZERO = Points(), Points(above_zero=True)


#: How energy is read: what `meter_options` calls each value, its flag, and the rest of its option.
_METERS: dict[str, tuple[str, dict[str, Any]]] = {
    "energy_window_s": (
        "--energy-window",
        {"type": DURATION, "help": "Length of an energy window; default 3s."},
    ),
    "wall_command": (
        "--wall-command",
        {"metavar": "COMMAND", "help": "Energy: a command that prints the watts drawn."},
    ),
    "wall_csv": (
        "--wall-csv",
        {"metavar": "FILE", "help": "Energy: a meter's CSV file, time and watts."},
    ),
    "wall_zone": (
        "--wall-zone",
        {"metavar": "ZONE", "help": "Time zone of that file's times; default UTC."},
    ),
    "wall_offset_s": (
        "--wall-offset",
        {"type": OFFSET, "help": "Shift its times, e.g. -2s; default 0s."},
    ),
}
METERING = tuple(_METERS)


def meter_options(
    option: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command that measures energy, each made by ``option``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, (flag, attributes) in reversed(_METERS.items()):
            command = option(flag, name, **attributes)(command)
        return command

    return decorate


unchecked_option = click.option(
    "--unchecked",
    is_flag=True,
    help="Also read bundles whose numbers don't follow, or were not derived again; they are "
    "marked.",
)


#: As a suite has it (`bench.spec.AUTO`, which imports what starts slowly).
_AUTO = "auto"


def read_numbers(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> tuple[int, ...]:
    """``1,8`` or several flags as a tuple of positive integers."""
    parts = [part.strip() for value in values for part in value.split(",")]
    if any(not part.isdigit() or int(part) < 1 for part in parts):
        alone = f", or {_AUTO} alone" if any(part == _AUTO for part in parts) else ""
        raise click.BadParameter(f"give whole numbers from 1, for example 1,8,32{alone}.")
    return tuple(int(part) for part in parts)


def read_batches(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> tuple[int, ...] | str:
    """``auto``, or ``1,8`` or several flags as a tuple of positive integers."""
    if [value.strip() for value in values] == [_AUTO]:
        return _AUTO
    return read_numbers(context, flag, values)


def read_list(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """``a,b`` or several flags as a tuple of names, each once."""
    return _each_once(part for value in values for part in value.split(","))


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    parts = [name.strip() for name in names]
    if not all(parts):
        raise click.BadParameter("a name is missing beside a comma; for example a,b")
    return tuple(dict.fromkeys(parts))


def read_models(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Models as `read_list` reads names; a path that exists keeps its commas."""
    found: list[str] = []
    for value in values:
        file, colon, _ = value.partition(".py:")
        whole = "," not in value or Path(f"{file}.py" if colon else value).exists()
        found += [value] if whole else read_list(context, flag, (value,))
    return tuple(dict.fromkeys(found))


def read_targets(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Targets as `read_list` reads names. Behind a ``?`` a comma ends a target where a letter
    follows: ``a:cpu?gears=1,2,b:cpu`` are two."""
    return _each_once(part for value in values for part in _targets(value))


def _targets(value: str) -> list[str]:
    found: list[str] = []
    for part in value.split(","):
        if found and "?" in found[-1] and not part.strip()[:1].isalpha():
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def _listed(metavar: str, callback: Callable[..., Any], complete: Complete) -> dict[str, Any]:
    return {
        "multiple": True,
        "metavar": f"{metavar},...",
        "callback": callback,
        "shell_complete": complete,
    }


def _only(read: Callable[..., tuple[str, ...]]) -> Callable[..., str | None]:
    """The one value of an option that other commands take a list of; more are refused, not left
    out."""

    def one(context: click.Context, flag: click.Parameter, values: tuple[str, ...]) -> str | None:
        found = read(context, flag, values)
        if len(found) > 1:
            raise click.BadParameter(f"one at a time, and these are {', '.join(found)}.")
        return found[0] if found else None

    return one


def _single(metavar: str, callback: Callable[..., Any], complete: Complete) -> dict[str, Any]:
    return {**_listed(metavar, _only(callback), complete), "metavar": metavar}


#: What an option has that takes one of these.
ONE_MODEL = _single("MODEL", read_models, complete_models)
ONE_TARGET = _single("TARGET", read_targets, complete_targets)
#: What every option has that takes several models, targets, variants or scenarios.
LISTED_MODELS = _listed("MODEL", read_models, complete_models)
LISTED_TARGETS = _listed("TARGET", read_targets, complete_targets)
LISTED_VARIANTS = _listed("NAME", read_list, complete_variants)
LISTED_SCENARIOS = _listed("NAME", read_list, complete_scenarios)


def read_name(context: click.Context, flag: click.Parameter, value: str) -> str:
    """The name of a run, as a table can show it."""
    try:
        return as_name(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def read_sizes(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    """``heads=8,seq=128`` as a mapping."""
    sizes: dict[str, int] = {}
    for item in ",".join(values).split(","):
        if not item.strip():
            continue
        name, _, size = item.partition("=")
        if not name.strip() or not size.strip().isdecimal():
            raise click.BadParameter(f"{item!r} is not of the form name=size, for example seq=128")
        if sizes.setdefault(name.strip(), int(size)) != int(size):
            raise click.BadParameter(
                f"{name.strip()} is given as {sizes[name.strip()]} and {int(size)}; a run has one "
                "size per name"
            )
    return sizes


def as_fraction(
    context: click.Context, flag: click.Parameter, points: float | None
) -> float | None:
    """0.5 points are 0.005."""
    return None if points is None else points / 100


def bound_ns(text: str | None) -> int | None:
    """A bound of a query's p99 such as ``5ms`` in ns. Raises `SpecError`."""
    from bench.spec import Suite, with_flags  # pydantic: start-up

    if text is None:
        return None
    flags = {"scenarios": ("server",), "latency_bound": text}
    return with_flags(Suite(), flags).latency_bound_ns


def read_settings(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """``min_duration=10000`` several times as a mapping; what the keys may be is for whoever takes
    it."""
    settings: dict[str, str] = {}
    for item in values:
        name, _, value = item.partition("=")
        if not name.strip() or not value.strip():
            raise click.BadParameter(f"{item!r} is not of the form KEY=VALUE")
        settings[name.strip()] = value.strip()
    return settings


def given_flags(context: click.Context) -> dict[str, str]:
    """The options on the command line: the name of the parameter -> how it is written."""
    return {
        param.name: param.opts[0]
        for param in context.command.params
        if isinstance(param, click.Option)
        and param.name is not None
        and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    }


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The files for CI that a command can write beside what it prints; see `write_outputs`."""
    options = [option for row in ci_formats() for option in _options_of(row)]
    for option in reversed(options):
        command = option(command)
    return command


def _options_of(row: CiFormat) -> Iterator[Callable[..., Any]]:
    path = click.Path(path_type=Path, dir_okay=row.folder, file_okay=not row.folder)
    shown = "DIRECTORY" if row.folder else None
    yield click.option(f"--{row.name}", row.field, type=path, metavar=shown, help=row.help)
    for further in row.options:
        kind = click.STRING if further.least is None else click.IntRange(min=further.least)
        flag = f"--{further.field.replace('_', '-')}"
        yield click.option(flag, type=kind, metavar=further.metavar, help=further.help)


def output_names() -> list[str]:
    """The parameters that `output_options` adds."""
    return [n for row in ci_formats() for n in (row.field, *(o.field for o in row.options))]


def write_outputs(
    outputs: Mapping[str, Any], run: StoredRun, judgement: Judgement | None = None
) -> None:
    """Write each file that was asked for. Raises `SpecError` where one can't be written."""
    given = {name: value for name, value in outputs.items() if value is not None}
    if not given:
        return
    from bench.present.ci.base import Format, Subject  # numpy: start-up

    rows = ci_formats()
    further = {o.field for row in rows for o in row.options}
    subject = Subject(run, judgement, **{k: v for k, v in given.items() if k in further})
    for row in rows:
        if row.field in given:
            writer: Format = load_object("CI format", row.name, row.writer)()
            writer.write(subject, given[row.field])
