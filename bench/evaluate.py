"""Scoring a model on its labelled data, and comparing timed outputs with the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.backend import Options, to_plain
from bench.errors import AccuracyFailed, BenchError
from bench.estimate import as_estimate
from bench.launch import Launcher
from bench.plan import PlannedCell, fixed_batch, for_batch
from bench.record import Accuracy, Parity
from bench.schedule import Context
from bench.stats.proportion import clopper_pearson
from bench.targets import BackendReport

Array = np.ndarray[Any, Any]

#: Examples in one query while scoring; divides the data sets that ship.
_EVALUATION_BATCH = 100
#: The reference interpreter is slow: so many samples are compared at most.
_REFERENCE_SAMPLES = 4

#: 1e-4 relative and absolute is what ONNX Runtime's own transformer tests allow at fp32.
FP32_TOLERANCE = 1e-4
_TOLERANCE_SOURCE = "rtol = atol = 1e-4 (ONNX Runtime's transformer tests, fp32)"


def outputs_on(
    planned: PlannedCell, inputs: dict[str, Array], batch: int, context: Context
) -> Array:
    """The model's first output for all ``inputs``, in chunks of ``batch``, in a worker."""
    options, choice = for_batch(planned, batch), planned.choice
    assert choice.runtime is not None
    worker = context.launcher.worker(choice.runtime, options.threads)
    try:
        worker.request(
            "load",
            model=to_plain(planned.model.file),
            device=to_plain(choice.device),
            options=to_plain(options),
            cpus=list(context.cpus[planned.cores]),
        )
        total = len(next(iter(inputs.values())))
        chunks = []
        for start in range(0, total, batch):
            chunk = [_padded(array[start : start + batch], batch) for array in inputs.values()]
            _, results = worker.request("evaluate", *chunk, names=list(inputs))
            chunks.append(results[0][: total - start])
        return np.concatenate(chunks)
    finally:
        worker.end()


def _padded(array: Array, batch: int) -> Array:
    """The last chunk at full size, by repeating its last row: a session may be static."""
    missing = batch - len(array)
    return array if not missing else np.concatenate([array, array[-1:].repeat(missing, axis=0)])


def score(planned: PlannedCell, context: Context) -> Accuracy:
    """Top-1 accuracy on the whole data set, predictions stored per example.

    Raises `AccuracyFailed` when outputs and labels don't fit.
    """
    dataset = planned.model.dataset
    assert dataset is not None
    batch = fixed_batch(planned.model.card) or _EVALUATION_BATCH
    outputs = outputs_on(planned, dataset.inputs, batch, context)
    name = planned.cell.model.name
    if outputs.ndim != 2 or len(outputs) != len(dataset.labels):
        raise AccuracyFailed(
            f"{name}: a classifier's output is (examples, classes), this one is {outputs.shape} "
            f"for {len(dataset.labels)} labels. Set the card's task to `raw`, or name the output."
        )
    if not np.isfinite(outputs).all():
        raise AccuracyFailed(f"{name} on {planned.cell.target}: its outputs contain NaN or Inf.")
    predicted = outputs.argmax(axis=1)
    correct = int((predicted == dataset.labels).sum())
    file = context.store.write_predictions(prediction_name(planned), dataset.labels, predicted)
    return Accuracy(
        metric="top-1",
        value=as_estimate(clopper_pearson(correct, len(predicted), context.suite.confidence)),
        correct=correct,
        examples=len(predicted),
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        predictions=file,
    )


def prediction_name(planned: PlannedCell) -> str:
    """A file name for the predictions of one model, variant and target."""
    target = "".join(c if c.isalnum() else "-" for c in planned.cell.target)
    return f"{planned.cell.model.sha256[:12]}-{planned.cell.variant}-{target}"


#: Backends whose outputs can be the reference, the best first: the PyTorch original, and ONNX's
#: own evaluator. They are probed even when they are not measured.
REFERENCES = ("torch", "onnx-reference")


@dataclass(frozen=True)
class Reference:
    """What the outputs ought to be: ``outputs`` is None where no reference could be had."""

    name: str
    outputs: tuple[Array, ...] | None
    why_not: str = ""


class References:
    """Reference outputs for timed inputs, computed once for each model and batch.

    The reference is the PyTorch original where it can run, else ONNX's own reference evaluator:
    two implementations that no measured runtime shares code with.
    """

    def __init__(self, reports: dict[str, BackendReport], launcher: Launcher) -> None:
        self._reports = reports
        self._launcher = launcher
        self._known: dict[tuple[str, str], Reference] = {}

    def of(self, planned: PlannedCell) -> Reference:
        key = (planned.cell.model.sha256, planned.cell.input_sha256)
        if key not in self._known:
            self._known[key] = self._compute(planned)
        return self._known[key]

    def _compute(self, planned: PlannedCell) -> Reference:
        original, evaluator = REFERENCES
        name = original if planned.model.file.torch and self._has(original) else evaluator
        if not self._has(name):
            report = self._reports.get(name)
            absent = report.unavailable if report else None
            return Reference(name, None, str(absent or f"{name} is not installed"))
        report = self._reports[name]
        assert report.runtime is not None
        inputs = first_samples(planned.feeds, planned.cell.batch)
        rows = len(next(iter(inputs.values()))) if inputs else 0
        try:
            worker = self._launcher.worker(report.runtime, planned.cell.threads)
            try:
                options = for_batch(planned, rows) if rows != planned.cell.batch else None
                worker.request(
                    "load",
                    model=to_plain(planned.model.file),
                    device=to_plain(report.devices[0]),
                    options=to_plain(Options(shapes=(options or planned.options).shapes)),
                    cpus=[],
                )
                _, outputs = worker.request("evaluate", *inputs.values(), names=list(inputs))
            finally:
                worker.end()
        except BenchError as error:
            return Reference(name, None, str(error))
        return Reference(f"{name} {report.version}", tuple(outputs))

    def _has(self, name: str) -> bool:
        return name in self._reports and bool(self._reports[name].devices)


def first_samples(feeds: dict[str, Array], batch: int) -> dict[str, Array]:
    """At most `_REFERENCE_SAMPLES` of the timed samples, where the first axis is the batch."""
    if batch <= _REFERENCE_SAMPLES or any(len(a) != batch for a in feeds.values()):
        return feeds
    return {name: array[:_REFERENCE_SAMPLES] for name, array in feeds.items()}


def parity(outputs: list[Array], reference: Reference) -> Parity | None:
    """How far the timed session's own outputs are from the reference's (all outputs together)."""
    if reference.outputs is None or len(outputs) != len(reference.outputs):
        return None
    pairs = [
        (mine[: len(theirs)] if theirs.ndim else mine, theirs)
        for mine, theirs in zip(outputs, reference.outputs, strict=True)
    ]
    if any(mine.shape != theirs.shape for mine, theirs in pairs):
        return None
    mine = np.concatenate([np.asarray(a, dtype=np.float64).ravel() for a, _ in pairs])
    theirs = np.concatenate([np.asarray(b, dtype=np.float64).ravel() for _, b in pairs])
    if not np.isfinite(mine).all():
        return Parity(
            reference=reference.name,
            max_abs_error=None,
            max_rel_error=None,
            cosine=None,
            tolerance=_TOLERANCE_SOURCE,
            ok=False,
        )
    difference = np.abs(mine - theirs)
    allowed = FP32_TOLERANCE + FP32_TOLERANCE * np.abs(theirs)
    relative = difference / np.maximum(np.abs(theirs), FP32_TOLERANCE)
    norms = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    return Parity(
        reference=reference.name,
        max_abs_error=float(difference.max(initial=0.0)),
        max_rel_error=float(relative.max(initial=0.0)),
        cosine=float(mine @ theirs) / norms if norms else None,
        tolerance=_TOLERANCE_SOURCE,
        ok=bool((difference <= allowed).all()),
    )
