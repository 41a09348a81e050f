"""Which runs a command reads: those that are named, by path or by label; without any, the latest.

Labels and the latest are looked up in the folder that `bench run` writes to, when the command works
and not when its flags are read. Headers are read as plain JSON, for shells complete labels.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bench.commands.output import warn
from bench.discover import nearest
from bench.errors import SpecError

_Command = Callable[..., Any]
if TYPE_CHECKING:
    _PathType = click.ParamType[Path]
else:  # in click 8.1, which will do, it takes no parameter
    _PathType = click.ParamType

#: As `bench.store.files` and `bench.store.merged` have them, which import pydantic.
_RUN, _MERGED, _RECORDS, _LOCK = "run.json", "fleet.json", "records.jsonl", ".lock"


def default_results() -> Path:
    """Where `bench run` writes runs."""
    return Path("results") / "runs"


class RunType(_PathType):
    """The path of a run, of a folder of runs or of a bundle, or the label of a run."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        labels = dict.fromkeys(run.label for run in _kept() if run.label.startswith(incomplete))
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
    latest = _finished()[0]
    warn(f"no run is named: taking the latest, {latest.words}")
    return latest.path


def latest_two() -> tuple[Path, ...]:
    """The latest run behind the one before it of the same models and targets, if there is one."""
    latest, *earlier = _finished()
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
    _finished()
    warn(f"no run is named: taking all in {default_results()}")
    return (default_results(),)


@dataclass(frozen=True)
class _Kept:
    """What the header of a run says."""

    path: Path
    created_at: str
    label: str
    models: frozenset[str]
    targets: frozenset[str]

    @property
    def words(self) -> str:
        return f"{self.path} ({self.label})" if self.label else str(self.path)

    def is_like(self, other: _Kept) -> bool:
        return bool(self.models & other.models and self.targets & other.targets)


def _kept() -> list[_Kept]:
    """The runs and merged runs in the folder of runs, the latest first."""
    try:
        folders = sorted(path for path in default_results().iterdir() if path.is_dir())
    except OSError:
        return []
    found = [run for folder in folders if (run := _read(folder)) is not None]
    return sorted(found, key=lambda run: (run.created_at, run.path), reverse=True)


def _read(folder: Path) -> _Kept | None:
    for name in (_RUN, _MERGED):
        try:
            header = json.loads((folder / name).read_bytes())
            return _Kept(
                folder,
                str(header["created_at"])[:19],
                str(header.get("label", "")),
                frozenset(map(str, header.get("models", ()))),
                frozenset(map(str, header.get("targets", ()))),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def _finished() -> list[_Kept]:
    """Those that hold a result and that nobody is measuring now. Raises `SpecError`."""
    busy: list[Path] = []
    found = []
    for run in _kept():
        if _is_written_now(run.path):
            busy.append(run.path)
        elif _has_results(run.path):
            found.append(run)
    if not found:
        measured = f" ({busy[0]} is still being measured)" if busy else ""
        raise SpecError(
            f"there is no run with a result in {default_results()}{measured}. Measure one with "
            "`bench run`, or name the folder of a run."
        )
    return found


def _has_results(folder: Path) -> bool:
    records = [folder / _RECORDS, *folder.glob(f"machines/**/{_RECORDS}")]
    return any(path.is_file() and path.stat().st_size for path in records)


def _is_written_now(folder: Path) -> bool:
    """Whether another process holds the lock of a run (`bench.store.write.lock_folder`)."""
    import fcntl  # not on Windows

    try:
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return False


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
    if (default_results() / text).exists():
        return default_results() / text
    found = [run for run in _kept() if run.label == text]
    if len(found) > 1:
        warn(f"{len(found)} runs are labelled {text}: taking the latest, {found[0].path}")
    return found[0].path if found else None


def _unknown(text: str) -> str:
    known = [label for label in dict.fromkeys(run.label for run in _kept()) if label]
    words = f"{text}: not a run directory (there is no such file or folder)"
    close = nearest(text, known)
    if close:
        return f"{words}, and no run is labelled so. Did you mean {' or '.join(close)}?"
    return f"{words}, and no run in {default_results()} is labelled so."
