"""Which runs a command reads: those that are named, by path or by label; without any, the latest.

Labels and the latest are looked up in the folder that `bench run` writes to, when the command works
and not when its flags are read. Headers are read as plain JSON, for shells complete labels.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bench.commands.output import warn
from bench.discover import nearest
from bench.errors import SpecError
from bench.store.latest import RESULTS, finished_runs, kept_runs

_Command = Callable[..., Any]
if TYPE_CHECKING:
    _PathType = click.ParamType[Path]
else:  # in click 8.1, which will do, it takes no parameter
    _PathType = click.ParamType


def default_results() -> Path:
    """Where `bench run` writes runs."""
    return RESULTS


class RunType(_PathType):
    """The path of a run, of a folder of runs or of a bundle, or the label of a run."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        labels = dict.fromkeys(run.label for run in kept_runs() if run.label.startswith(incomplete))
        labels.pop("", None)
        return [*map(CompletionItem, labels), CompletionItem(incomplete, type="file")]


RUN = RunType()


def runs_argument(
    *, latest: bool = True, metavar: str = "[RUN]..."
) -> Callable[[_Command], _Command]:
    """The argument ``runs``; where none is named the ``latest`` run, or none."""
    argument = click.argument("runs", nargs=-1, type=RUN, metavar=metavar)
    return _taking(
        "runs", argument, lambda runs: named(runs) or ((latest_run(),) if latest else ())
    )


def run_argument(*, latest: bool = True) -> Callable[[_Command], _Command]:
    """The argument ``run``; where it isn't named the ``latest``, or None."""
    argument = click.argument("run", required=False, type=RUN, metavar="[RUN]")

    def take(run: Path | None) -> Path | None:
        if run is not None:
            return named([run])[0]
        return latest_run() if latest else None

    return _taking("run", argument, take)


def run_option(flag: str, name: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """An option whose value is a run, or (``multiple``) several."""
    option = click.option(flag, name, type=RUN, **attributes)
    if attributes.get("multiple"):
        return _taking(name, option, named)
    return _taking(name, option, lambda run: None if run is None else named([run])[0])


def _taking(
    name: str, declare: Callable[[_Command], _Command], take: Callable[[Any], Any]
) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def taking(*values: Any, **given: Any) -> Any:
            return command(*values, **{**given, name: take(given[name])})

        return declare(taking)

    return decorate


def named(runs: Sequence[Path]) -> tuple[Path, ...]:
    """The paths of runs that are named by path or label. Raises `SpecError` for what is neither."""
    return tuple(_named(run) for run in runs)


def latest_run() -> Path:
    """The run that was begun last of those that hold a result; it is said which one.

    Raises `SpecError` where there is none.
    """
    latest = finished_runs()[0]
    warn(f"no run is named: taking the latest, {latest.words}")
    return latest.path


def latest_two() -> tuple[Path, ...]:
    """The latest run behind the one before it of the same models and targets, if there is one."""
    latest, *earlier = finished_runs()
    before = next((run for run in earlier if run.is_like(latest)), None)
    if before is None:
        warn(
            f"no run is named: taking the latest, {latest.words}; no earlier one has its models "
            "and targets"
        )
        return (latest.path,)
    warn(f"no run is named: comparing the latest, {latest.words}, with {before.words} before it")
    return before.path, latest.path


def all_runs() -> tuple[Path, ...]:
    """The folder of runs as a whole; it is said."""
    finished_runs()
    warn(f"no run is named: taking all in {RESULTS}")
    return (RESULTS,)


def _named(path: Path) -> Path:
    found = named_or_none(path)
    if found is None:
        raise SpecError(_unknown(str(path)))
    return found


def named_or_none(path: Path) -> Path | None:
    """The path of what is named by path or label; None for what is neither."""
    text = str(path)
    if os.path.exists(path) or glob.glob(text, recursive=True):
        return path
    if (RESULTS / text).exists():
        return RESULTS / text
    found = [run for run in kept_runs() if run.label == text]
    if len(found) > 1:
        warn(f"{len(found)} runs are labelled {text}: taking the latest, {found[0].path}")
    return found[0].path if found else None


def _unknown(text: str) -> str:
    known = [label for label in dict.fromkeys(run.label for run in kept_runs()) if label]
    words = f"{text}: not a run directory (there is no such file or folder)"
    close = nearest(text, known)
    if close:
        return f"{words}, and no run is labelled so. Did you mean {' or '.join(close)}?"
    return f"{words}, and no run in {RESULTS} is labelled so."
