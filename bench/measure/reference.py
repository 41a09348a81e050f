"""Reference outputs: what a model computes where nothing is optimised, quantised or offloaded."""

from __future__ import annotations

from bench.arrays import Array
from bench.backend import ModelFile, Options
from bench.errors import BenchError
from bench.measure.plan import PlannedCell, for_batch
from bench.record.parity import Reference
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.runtimes.targets import BackendReport

#: The reference interpreter is slow: so many samples are compared at most.
REFERENCE_SAMPLES = 4

#: Backends whose outputs can be the reference, the best first: the PyTorch original, ONNX's own
#: evaluator, and where that lacks an operator ONNX Runtime with its optimisations off. They are
#: probed even when they are not measured.
REFERENCES = ("torch", "onnx-reference", "onnxruntime")
_EXTRA = {"onnxruntime": {"graph_optimization": "disabled"}}


class References:
    """Reference outputs for timed inputs, computed once for each model and batch.

    The reference is the fp32 form of the model: the PyTorch original where it can run, else ONNX's
    own reference evaluator: implementations that no measured runtime shares code with. Where
    neither can (an operator of ONNX Runtime's own), ONNX Runtime with optimisations off.
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
        """The first of `REFERENCES` that answers, or why the last that was tried did not."""
        file = planned.model.file
        missing = Reference("", None, f"none of {', '.join(REFERENCES)} is installed")
        for name in REFERENCES:
            form = "torch" if name == "torch" else "onnx"
            if getattr(file, form) is None:
                continue
            if not self._has(name):
                report = self._reports.get(name)
                if report is not None and report.unavailable is not None:
                    missing = Reference(name, None, str(report.unavailable))
                continue
            found = self._evaluate(name, file, planned)
            if found.outputs is not None:
                return found
            missing = found
        return missing

    def _evaluate(self, name: str, file: ModelFile, planned: PlannedCell) -> Reference:
        report = self._reports[name]
        inputs = first_samples(planned.feeds, planned.cell.batch)
        rows = next((len(a) for a in inputs.values() if a.ndim), 0)
        options = for_batch(planned, rows) if rows != planned.cell.batch else planned.options
        options = Options(shapes=options.shapes, extra=_EXTRA.get(name, {}))
        try:
            with loaded_worker(
                self._launcher,
                report.runtime,
                report.devices[0],
                file,
                options,
                threads=planned.cell.threads,
            ) as (worker, _):
                outputs = worker.evaluate(inputs)
        except BenchError as error:
            return Reference(name, None, str(error))
        return Reference(f"{name} {report.version}", tuple(outputs))

    def _has(self, name: str) -> bool:
        return name in self._reports and bool(self._reports[name].devices)


def first_samples(feeds: dict[str, Array], batch: int) -> dict[str, Array]:
    """At most `REFERENCE_SAMPLES` of the timed samples, where the first axis is the batch."""
    if batch <= REFERENCE_SAMPLES or any(a.shape[:1] != (batch,) for a in feeds.values()):
        return feeds
    return {name: array[:REFERENCE_SAMPLES] for name, array in feeds.items()}
