"""Models on targets: tried for real, and held against what their operators' tests had foretold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.backend import Options, Placement
from bench.errors import BenchError, Unsupported
from bench.measure.plan import PlannedCell
from bench.measure.reference import References
from bench.numbers import printable, significant
from bench.record.portability import ModelOutcome, ModelRow
from bench.runtimes.loaded import worker_to_load
from bench.runtimes.processes import Launcher
from bench.trials.portability.outcomes import TestOutcome, outcome_of
from bench.trials.portability.predict import Forecast, ModelNode

_NODES_NAMED = 20


@dataclass(frozen=True)
class Tried:
    """What came of a model on a target."""

    outcome: ModelOutcome
    detail: str = ""
    nodes: tuple[str, ...] = ()


def try_model(planned: PlannedCell, launcher: Launcher, references: References) -> Tried:
    """Run a model once, on inputs of its data set or seeded ones, and compare with the reference.

    Where the target refuses some nodes, once more with fallback allowed.
    """
    if planned.refused is not None:
        outcome, detail = outcome_of(planned.refused, alive=True)
        return Tried(_model_outcome(outcome), detail)
    tried = _once(planned, planned.options, launcher, references)
    if tried.outcome != "unsupported" or planned.options.allow_fallback:
        return tried
    again = replace(planned.options, allow_fallback=True)
    fallen_back = _once(planned, again, launcher, references)
    return fallen_back if fallen_back.outcome in ("fallback", "wrong") else tried


def _once(
    planned: PlannedCell, options: Options, launcher: Launcher, references: References
) -> Tried:
    choice = planned.choice
    assert choice.runtime is not None
    assert choice.device is not None
    worker = None
    try:
        worker = worker_to_load(launcher, choice.runtime, options.threads, planned.file)
        worker.load(planned.file, choice.device, options)
        bound = worker.bind(planned.feeds)
        outputs = worker.fetch()
    except BenchError as error:
        outcome, detail = outcome_of(
            error, alive=worker is not None and worker.alive, file=planned.file.onnx
        )
        detail = detail.removeprefix(f"{planned.file.name} on {choice.target}: ")
        return Tried(_model_outcome(outcome), detail)
    finally:
        if worker is not None:
            worker.end()
    return _judge(planned, outputs, bound.placement, references)


def _judge(
    planned: PlannedCell, outputs: list[Any], placement: Placement, references: References
) -> Tried:
    """Right or wrong, and where its nodes ran."""
    off_device = placement.off_device
    judged = references.judge(planned, outputs)
    found = judged.parity
    if found is None:
        # It ran; that nothing can vouch for its numbers is said.
        why = judged.why_not or "the shapes differ from the reference's"
        detail = f"its outputs could not be compared: {printable(why, limit=200)}"
        return Tried("fallback" if off_device else "runs", detail, off_device[:_NODES_NAMED])
    detail = ""
    if not found.ok:
        error = "not finite" if found.max_abs_error is None else significant(found.max_abs_error)
        detail = f"largest error {error} against {found.reference}; allowed: {found.tolerance}"
        if not found.doubted_by:
            return Tried("wrong", detail, off_device[:_NODES_NAMED])
        by = " and ".join(found.doubted_by)
        detail = f"{found.reference} is in doubt, because {by} agrees with this: {detail}"
    if off_device:
        total = sum(placement.nodes.values())
        moved = f"{len(off_device)} of {total} nodes ran elsewhere"
        detail = "; ".join(filter(None, (moved, detail)))
        return Tried("fallback", detail, off_device[:_NODES_NAMED])
    return Tried("runs", detail)


def _model_outcome(outcome: TestOutcome) -> ModelOutcome:
    return "runs" if outcome == "pass" else outcome


def model_row(
    planned: PlannedCell,
    graph: Sequence[ModelNode],
    forecast: Forecast | None,
    attempt: Callable[[], Tried] | None,
) -> ModelRow:
    """The row of a model (``graph`` are its nodes) and a target; without ``attempt`` it is not
    tried."""
    tried = Tried("not-tried") if attempt is None else attempt()
    nodes = tried.nodes
    if tried.outcome not in ("runs", "fallback", "unavailable"):
        nodes = nodes or _suspects(graph, forecast, tried.detail)
    return ModelRow(
        model=planned.cell.model.name,
        variant=planned.cell.variant,
        target=planned.cell.target,
        outcome=tried.outcome,
        detail=tried.detail,
        nodes=nodes,
        predicted="unknown" if forecast is None else forecast.expected,
        predicted_detail="" if forecast is None else forecast.detail,
        prediction_held=_held(forecast, tried.outcome),
    )


def _suspects(
    graph: Sequence[ModelNode], forecast: Forecast | None, message: str
) -> tuple[str, ...]:
    """The nodes that the runtime's message is about: by name, else by operator; where it names
    none, those that were surely expected to fail."""
    surely = [] if forecast is None else [each.node for each in forecast.failing]
    choices = (
        [node for node in graph if f"'{node.name}'" in message],
        [node for node in graph if re.search(rf"\b{re.escape(node.key[0])}\b", message)],
        surely,
    )
    found = next((nodes for nodes in choices if nodes), [])
    return tuple(node.words for node in found[:_NODES_NAMED])


def _held(forecast: Forecast | None, outcome: ModelOutcome) -> bool | None:
    """Whether a definite prediction came true. Nodes that fall back were foretold to fail there."""
    if forecast is None or outcome in ("not-tried", "unavailable"):
        return None
    if forecast.expected == "fails":
        return outcome != "runs"
    if forecast.expected == "runs":
        return outcome == "runs"
    return None


def refused_row(model: str, variant: str, target: str, error: BenchError) -> ModelRow:
    """The row of a model that could not even be made ready."""
    outcome = "unsupported" if isinstance(error, Unsupported) else "unavailable"
    return ModelRow(
        model=model,
        variant=variant,
        target=target,
        outcome=outcome,
        detail=printable(str(error), limit=300),
    )
