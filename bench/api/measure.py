"""Measuring from Python: the engine of ``bench run``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from bench.api import given
from bench.api.stored import Run
from bench.api.wording import RENAMED, SWITCHES, says_python, told_in_python
from bench.discover import nearest
from bench.errors import SpecError
from bench.folders import cache_folder
from bench.measure.listener import Listener
from bench.measure.prepare import prepare
from bench.measure.run import start
from bench.numbers import as_name
from bench.present.notebook import NotebookProgress, notebook_output
from bench.present.progress import choose_listener
from bench.spec import ARGUMENTS, AUTO, PRESETS, Suite, asked_suite
from bench.store.latest import RESULTS
from bench.store.run import read_run

#: A model: its name, its file, its folder, or its card.
Model = str | Path
Preset = Literal["quick", "thorough"]


class Settings(TypedDict, total=False):
    """The fields of a suite (`bench.spec.Suite`) that `run` takes by name."""

    name: str
    inputs: str | Sequence[str]
    variants: str | Sequence[str]
    scenarios: str | Sequence[str]
    batch: int | Sequence[int] | Literal["auto"]
    latency_bound: str
    ttft_bound: str
    tpot_bound: str
    bounds: str
    prompt: int | Sequence[int]
    answer: int | Sequence[int]
    depth: int | Sequence[int]
    draft: int | Sequence[int]
    shapes: Mapping[str, int]
    batch_axis: str | int
    threads: int
    lane: Literal["prepared", "api", "native"]
    driver: Literal["bench", "loadgen"]
    loadgen: Mapping[str, object]
    precision: float | str
    confidence: float
    max_time_s: float
    goal: Literal["precision", "rank", "overview"]
    budget_s: float
    margin: float | str
    min_invocations: int
    max_invocations: int
    cell_timeout_s: float
    seed: int
    allow_fallback: bool
    accuracy: bool
    energy: bool
    energy_window_s: float
    wall_command: str
    wall_csv: str
    wall_zone: str
    wall_offset_s: float
    roofline: bool


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C; ``run`` holds what was measured before, which is stored."""

    def __init__(self, run: Run) -> None:
        super().__init__(
            f"finished measurements are kept: bench.open({str(run.path)!r}), or resume it with "
            f"`bench run --resume {run.path}`"
        )
        self.run = run


@says_python
def run(
    models: Model | Sequence[Model] | None = None,
    targets: str | Sequence[str] | None = None,
    *,
    suite: Path | str | None = None,
    preset: Preset | None = None,
    label: str = "",
    results: Path | str = RESULTS,
    quiet: bool = False,
    **settings: Unpack[Settings],
) -> Run:
    """Measure models on targets, and return the stored run.

    ``models`` are names (``"fashion-student"``), files (``"model.onnx"``, a card) or folders
    (a checkpoint); ``targets`` are written as at the terminal (``"onnxruntime:cpu"``), and without
    them every one that is present is measured. Without models and without ``suite``, a TOML file,
    the default suite is measured. ``preset`` is ``"quick"`` or ``"thorough"``.

    Further keywords are the fields of a suite: ``variants``, ``scenarios``, ``batch``, ``threads``,
    ``precision``, ``accuracy``, ... They win over the preset, which wins over the suite. Times are
    in seconds: ``max_time_s=5`` is at most 5 s per cell. The run is stored below ``results``, where
    the commands find it too; ``label`` is a name for it. Progress is shown on standard error or
    below a notebook's cell, unless ``quiet``.

    Workers are processes of their own that never run your script, so it needs no guard around its
    main part, and notebooks work. Raises `bench.BenchError` for what is asked for wrongly and where
    nothing can be measured; a cell that fails is in the run (`Run.ok`). After Ctrl-C it raises
    `bench.Interrupted`, which has the run with what was measured until then.
    """
    asked = _suite(suite, preset, _fields(models, targets, settings))
    called, folder = _called(label), given.a_path("results", results)
    with (
        closing(_listener(quiet=quiet)) as listener,
        prepare(asked, listener, cache_folder()) as prepared,
    ):
        outcome = start(prepared, folder, listener, label=called, command=_command(asked, suite))
    found = Run(read_run(outcome.path))
    if outcome.interrupted:
        raise Interrupted(found)
    return found


def _suite(path: Path | str | None, preset: Preset | None, fields: dict[str, Any]) -> Suite:
    """What is asked for: a file's suite or the default one, a preset over it, and the rest over
    both."""
    named = None if preset is None else given.one_of("preset", preset, PRESETS)
    file = None if path is None else given.a_path("suite", path)
    return asked_suite(file, named, fields, source=ARGUMENTS)


#: Those that may be given as one value or several.
_SEVERAL = (
    *("models", "targets", "inputs", "variants", "scenarios", "prompt", "answer", "depth", "draft"),
    "batch",
)


def _fields(
    models: Model | Sequence[Model] | None,
    targets: str | Sequence[str] | None,
    settings: Settings,
) -> dict[str, Any]:
    """The fields that were given, as a suite has them."""
    every: dict[str, Any] = {"models": models, "targets": targets, **settings}
    found = {name: value for name, value in every.items() if value is not None}
    for name in found:
        if name not in Suite.model_fields:
            raise TypeError(_unknown(name))
    for name in _SEVERAL:
        if name in found and not (isinstance(found[name], str) and found[name] == AUTO):
            found[name] = given.several(name, found[name])
    if "batch_axis" in found:
        found["batch_axis"] = str(found["batch_axis"])
    return found


def _unknown(name: str) -> str:
    """What to say of a keyword that there is not; the terminal's name of one leads to it."""
    option = name.replace("_", "-")
    known = [*inspect.signature(run).parameters, *Suite.model_fields]
    meant = RENAMED.get(option) or SWITCHES.get(option)
    close = [meant] if meant else nearest(name, (one for one in known if one != "settings"))
    hint = f"Did you mean {' or '.join(close)}?" if close else "help(bench.run) names its keywords."
    return f"bench.run() has no keyword {name!r}. {hint}"


def _called(label: object) -> str:
    try:
        return as_name(given.a_text("label", label))
    except ValueError as error:
        raise SpecError(f"label: {error}.") from error


def _command(asked: Suite, path: Path | str | None) -> str:
    """The call, as the run stores it."""
    fields = asked.model_dump(exclude_unset=True)
    told = [repr(list(fields.pop("models", ())))]
    told += [f"suite={str(path)!r}"] if path is not None else []
    told += [f"{name}={value!r}" for name, value in fields.items()]
    return f"bench.run({', '.join(told)})"


def _listener(*, quiet: bool) -> Listener:
    """Where progress is shown: nowhere, below a notebook's cell, or on standard error."""
    output = None if quiet else notebook_output()
    shown = choose_listener(quiet=quiet) if output is None else NotebookProgress(output)
    return told_in_python(shown)
