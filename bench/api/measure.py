"""Measuring from Python: the engine of ``bench run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from bench.api.stored import Run
from bench.cache import cache_folder
from bench.errors import SpecError
from bench.measure.listener import Listener
from bench.measure.prepare import prepare
from bench.measure.run import start
from bench.numbers import as_name
from bench.present.notebook import NotebookProgress, notebook_output
from bench.present.progress import choose_listener
from bench.spec import PRESETS, Suite, asked_suite
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


def run(
    models: Model | Sequence[Model] = (),
    targets: str | Sequence[str] = (),
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
    ``precision``, ``max_time_s``, ``accuracy``, ... They win over the preset, which wins over the
    suite. The run is stored below ``results``, where the commands find it too; ``label`` is a name
    for it. Progress is shown on standard error or below a notebook's cell, unless ``quiet``.

    Workers are processes of their own that never run your script, so it needs no guard around its
    main part, and notebooks work. Raises `bench.BenchError` for what is asked for wrongly and where
    nothing can be measured; a cell that fails is in the run (`Run.ok`). After Ctrl-C it raises
    `bench.Interrupted`, which has the run with what was measured until then.
    """
    asked = _suite(suite, preset, _given(models, targets, settings))
    called = _called(label)
    with (
        closing(_listener(quiet=quiet)) as listener,
        prepare(asked, listener, cache_folder()) as prepared,
    ):
        outcome = start(
            prepared, Path(results), listener, label=called, command=_command(asked, suite)
        )
    found = Run(read_run(outcome.path))
    if outcome.interrupted:
        raise Interrupted(found)
    return found


def _suite(path: Path | str | None, preset: Preset | None, given: dict[str, Any]) -> Suite:
    """What is asked for: a file's suite or the default one, a preset over it, and the rest over
    both."""
    if preset is not None and preset not in PRESETS:
        raise SpecError(f"preset={preset!r}: choose {' or '.join(PRESETS)}.")
    return asked_suite(Path(path) if path is not None else None, preset, given)


def _given(
    models: Model | Sequence[Model], targets: str | Sequence[str], settings: Settings
) -> dict[str, Any]:
    """The fields that were given, as a suite has them."""
    found: dict[str, Any] = {"models": _several(models), "targets": _several(targets), **settings}
    unknown = [name for name in found if name not in Suite.model_fields]
    if unknown:
        raise TypeError(f"run() has no keyword {unknown[0]!r}; a suite's fields are its keywords")
    for name in ("inputs", "variants", "scenarios", "prompt", "answer", "depth", "draft", "batch"):
        if name in found and found[name] != "auto":
            found[name] = _several(found[name])
    if "batch_axis" in found:
        found["batch_axis"] = str(found["batch_axis"])
    return {name: value for name, value in found.items() if value not in (None, ())}


def _several(value: object) -> tuple[object, ...]:
    """One value or several, always as several; paths as text."""
    if isinstance(value, str | Path | int):
        value = (value,)
    assert isinstance(value, Sequence)
    return tuple(str(one) if isinstance(one, Path) else one for one in value)


def _called(label: str) -> str:
    try:
        return as_name(label)
    except ValueError as error:
        raise SpecError(f"label: {error}.") from error


def _command(asked: Suite, path: Path | str | None) -> str:
    """The call, as the run stores it."""
    given = asked.model_dump(exclude_unset=True)
    told = [repr(list(given.pop("models", ())))]
    told += [f"suite={str(path)!r}"] if path is not None else []
    told += [f"{name}={value!r}" for name, value in given.items()]
    return f"bench.run({', '.join(told)})"


def _listener(*, quiet: bool) -> Listener:
    """Where progress is shown: nowhere, below a notebook's cell, or on standard error."""
    output = None if quiet else notebook_output()
    return choose_listener(quiet=quiet) if output is None else NotebookProgress(output)
