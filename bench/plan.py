"""From a suite to the ordered cells of a run. Nothing here runs a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.backend import ModelFile, Options
from bench.cards import Card
from bench.cell import Cell, ModelIdentity, Scenario
from bench.datasets import Dataset
from bench.errors import BenchError, SpecError, Unsupported
from bench.inputs import (
    draw_samples,
    fingerprint,
    index_limits,
    random_inputs,
    resolve_shape,
)
from bench.spec import Suite
from bench.targets import Choice

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Loaded:
    """A model made ready: its card, its files after export, and its data set if it has one."""

    card: Card
    file: ModelFile
    dataset: Dataset | None


@dataclass(frozen=True)
class PlannedCell:
    """A cell and what is needed to measure it."""

    cell: Cell
    model: Loaded
    choice: Choice
    options: Options
    feeds: dict[str, Array]
    refused: BenchError | None = None  #: known before measuring that it can't be had

    @property
    def streams(self) -> int:
        """Queries in flight at once: what the target's ``streams`` says, offline alone."""
        if self.cell.scenario != "offline":
            return 1
        text = self.options.extra.get("streams", "1")
        return int(text) if text.isdigit() else 1  # the backend will refuse what is no number

    @property
    def cores(self) -> int:
        """CPU cores that the cell computes on."""
        return self.cell.threads * max(1, self.streams)


@dataclass(frozen=True)
class Plan:
    """The cells of a run, in groups that are measured interleaved."""

    suite: Suite
    cells: tuple[PlannedCell, ...]
    left_out: tuple[str, ...] = ()  #: what a wildcard would have meant but can't be, in words

    def groups(self) -> list[list[PlannedCell]]:
        """Cells that will be compared: the same scenario, batch and thread count."""
        groups: dict[tuple[object, ...], list[PlannedCell]] = {}
        for planned in self.cells:
            cell = planned.cell
            groups.setdefault((cell.scenario, cell.batch, cell.threads), []).append(planned)
        return list(groups.values())


def make_plan(suite: Suite, models: Sequence[Loaded], choices: Sequence[Choice]) -> Plan:
    """Every model x variant x target x scenario x batch of ``suite``.

    Raises `SpecError` when there is nothing to run or an input's size is unknown.
    """
    if not models:
        raise SpecError("there is no model to run: name one with -m, or in the suite's `models`.")
    if not choices:
        raise SpecError(
            "no target is present: install a runtime, for example "
            "`pip install 'infer-bench[onnxruntime]'`; `bench doctor` tells what is missing."
        )
    _refuse_two_of_a_name(models)
    cells = [
        planned
        for scenario, batch in _loads(suite)
        for model in models
        for planned in _cells_of_model(suite, model, scenario, batch, _able(model, choices))
    ]
    left_out = tuple(
        f"{choice.target} is left out for {model.card.name}, which has no "
        f"{' or '.join(_forms(choice))} form."
        for model in models
        for choice in choices
        if choice not in _able(model, choices)
    )
    return Plan(suite, tuple(cells), left_out)


def _able(model: Loaded, choices: Sequence[Choice]) -> list[Choice]:
    """Without the targets that nobody named and that take no form that the model has."""
    forms = model_forms(model.file)
    return [c for c in choices if c.named or not forms.isdisjoint(_forms(c))]


def _forms(choice: Choice) -> tuple[str, ...]:
    return choice.runtime.forms if choice.runtime is not None else ("onnx",)


def model_forms(file: ModelFile) -> set[str]:
    """In which forms a model is there, in the words of `bench.backend.Backend.forms`."""
    found = {"onnx": file.onnx, "torch": file.torch}
    return {form for form, source in found.items() if source is not None}


#: Scenarios whose queries carry one sample each (MLPerf's meaning).
_ONE_SAMPLE = ("single-stream", "server")


def _loads(suite: Suite) -> list[tuple[Scenario, int]]:
    """Scenario and samples a query. MLPerf's single-stream sends one sample at a time."""
    return [
        (scenario, batch)
        for scenario in dict.fromkeys(suite.scenarios)
        for batch in ([1] if scenario in _ONE_SAMPLE else dict.fromkeys(suite.batch))
    ]


def _refuse_two_of_a_name(models: Sequence[Loaded]) -> None:
    names = [model.card.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"two models are called {name!r}; give each its own name.")


def _cells_of_model(
    suite: Suite, model: Loaded, scenario: Scenario, batch: int, choices: Sequence[Choice]
) -> list[PlannedCell]:
    card = model.card
    shapes = {
        spec.name: resolve_shape(card.name, spec.name, tuple(spec.shape), batch, suite.shapes)
        for spec in card.inputs
    }
    fixed = fixed_batch(card)
    refused: BenchError | None = None
    if fixed is not None and fixed != batch and scenario not in _ONE_SAMPLE:
        refused = Unsupported(
            f"{card.name}: its batch dimension is fixed at {fixed}, so batch {batch} can't be run. "
            "Export it with a dynamic batch dimension."
        )
    feeds = _feeds(model, shapes, batch, suite.seed)
    identity = ModelIdentity(
        name=card.name,
        sha256=card.content_sha256(),
        task=card.task,
        distilled_from=card.distilled_from,
        control_of=card.control_of,
        file_bytes=file_bytes(model.file),
    )
    input_sha256 = fingerprint(feeds)
    planned = []
    for variant in suite.variants:
        for choice in choices:
            cell = Cell(
                model=identity,
                variant=variant,
                target=str(choice.target),
                scenario=scenario,
                batch=batch if refused or fixed is None else fixed,
                shapes={name: tuple(array.shape) for name, array in feeds.items()},
                threads=threads_of(suite, choice),
                lane=suite.lane,
                input_sha256=input_sha256,
                allow_fallback=suite.allow_fallback,
                latency_bound_ns=suite.latency_bound_ns if scenario == "server" else None,
            )
            options = Options(
                threads=cell.threads,
                allow_fallback=suite.allow_fallback,
                shapes=cell.shapes,
                extra=dict(choice.target.options),
            )
            planned.append(
                PlannedCell(cell, model, choice, options, feeds, refused or choice.unavailable)
            )
    return planned


def _feeds(
    model: Loaded, shapes: dict[str, tuple[int, ...]], batch: int, seed: int
) -> dict[str, Array]:
    if model.dataset is not None:
        return draw_samples(model.dataset.inputs, batch, seed)
    dtypes = {spec.name: spec.dtype for spec in model.card.inputs}
    needs_limits = model.file.onnx is not None and any(
        np.dtype(dtype).kind in "iu" for dtype in dtypes.values()
    )
    limits = index_limits(model.file.onnx) if needs_limits and model.file.onnx else {}
    return random_inputs(shapes, dtypes, limits, seed)


def fixed_batch(card: Card) -> int | None:
    """The batch size that the model's file insists on; None when it is dynamic or has none."""
    first = [spec.shape[0] for spec in card.inputs if len(spec.shape) > 0]
    fixed = [dim for dim in first if isinstance(dim, int)]
    return fixed[0] if fixed else None


def threads_of(suite: Suite, choice: Choice) -> int:
    """Compute threads of a cell: the suite's, else every physical core that may be used."""
    if suite.threads is not None:
        return suite.threads
    from bench.targets import default_threads

    return default_threads()


def file_bytes(file: ModelFile) -> int:
    """Size of the ONNX file, or of the weights where there is no ONNX form."""
    if file.onnx is not None:
        return file.onnx.stat().st_size
    assert file.torch is not None
    assert file.torch.weights is not None
    return file.torch.weights.stat().st_size


def for_batch(planned: PlannedCell, batch: int) -> Options:
    """The cell's own options, with the shapes of another batch size."""
    shapes = {name: (batch, *shape[1:]) for name, shape in planned.options.shapes.items()}
    return replace(planned.options, shapes=shapes)
