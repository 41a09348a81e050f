"""Reference outputs: what a model computes where nothing is optimised, quantised or offloaded."""

from __future__ import annotations

from bench.arrays import Array
from bench.backend import ModelFile, Options
from bench.errors import BenchError
from bench.measure.plan import PlannedCell, for_batch, model_forms
from bench.record.parity import Reference
from bench.runtimes.declarations import ReferenceBackend, reference_backends
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.runtimes.targets import BackendReport

#: The reference interpreter is slow: so many samples are compared at most.
REFERENCE_SAMPLES = 4


class References:
    """Reference outputs for timed inputs, computed once for each model and batch.

    The reference is the fp32 form of the model, run by the first backend that can among those that
    declare a `bench.capabilities.ReferenceRole`. Ours are the PyTorch original, then ONNX's own
    evaluator: implementations that no measured runtime shares code with; and where neither can (an
    operator of one runtime's own), a runtime with its optimisations off.
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
        """The first reference that answers, or why the last that was tried did not."""
        file = planned.model.file
        missing = Reference("", None, "no backend that can be the reference is installed")
        for backend in reference_backends():
            name = backend.name
            if model_forms(file).isdisjoint(backend.forms):
                continue
            if not self._has(name):
                report = self._reports.get(name)
                if report is not None and report.unavailable is not None:
                    missing = Reference(name, None, str(report.unavailable))
                continue
            found = self._evaluate(backend, file, planned)
            if found.outputs is not None:
                return found
            missing = found
        return missing

    def _evaluate(
        self, backend: ReferenceBackend, file: ModelFile, planned: PlannedCell
    ) -> Reference:
        name, report = backend.name, self._reports[backend.name]
        inputs = first_samples(planned.feeds, planned.cell.batch)
        rows = next((len(a) for a in inputs.values() if a.ndim), 0)
        options = for_batch(planned, rows) if rows != planned.cell.batch else planned.options
        options = Options(shapes=options.shapes, extra=backend.role.options)
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
