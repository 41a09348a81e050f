"""Reference outputs: what a model computes where nothing is optimised, quantised or offloaded; and
who else is asked before a runtime is blamed for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.arrays import Array
from bench.backend import Device, Options
from bench.cards.numeric import computes_in, random_nodes
from bench.errors import BenchError
from bench.measure.plan import PlannedCell, model_forms
from bench.record.parity import Reference, parity
from bench.record.result import Parity
from bench.runtimes.declarations import independent_of, reference_backends
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import BackendReport, Place, probe_places
from bench.variants import held_to

#: An interpreter may be too slow for what was timed; then the next reference is asked. Three times
#: what a cell may take by default.
_PATIENCE_S = 60.0
#: So many independent runtimes are asked whose side they take.
_WITNESSES = 2


@dataclass(frozen=True)
class SecondLook:
    """What was found out before anybody is blamed: that chance is in the outputs, in words, or else
    what independent runtimes give."""

    chance: str = ""
    witnesses: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What outputs were held against, and what came of it; ``why_not`` where nothing did."""

    reference: Reference
    parity: Parity | None
    second: SecondLook = SecondLook()
    why_not: str = ""


class References:
    """Reference outputs for timed inputs, computed once for each model and input.

    The reference is the fp32 form of the model, run by the first backend that can among those that
    declare a `bench.capabilities.ReferenceRole`. Ours are the PyTorch original, then ONNX's own
    evaluator: implementations that no measured runtime shares code with; and where neither can (an
    operator of one runtime's own, a batch that takes it too long), a runtime with its optimisations
    off.
    """

    def __init__(self, reports: Mapping[str, BackendReport], launcher: Launcher) -> None:
        self._reports = dict(reports)
        self._launcher = launcher
        self._known: dict[tuple[str, str], Reference] = {}
        self._given: dict[tuple[str, str, str], Reference] = {}

    def of(self, planned: PlannedCell) -> Reference:
        key = _asked(planned)
        if key not in self._known:
            self._known[key] = self._compute(planned)
        return self._known[key]

    def judge(self, planned: PlannedCell, outputs: Sequence[Array], held: str = "") -> Judged:
        """How far outputs of a cell are from the reference's, and where that is too far, whether
        chance or the reference itself may be why. ``held`` is the variant whose tolerance holds,
        where it isn't that of the cell's file."""
        reference = self.of(planned)
        variant = held or held_to(planned.cell.variant, numeric(planned)).name
        found = parity(outputs, reference, variant)
        if found is None or found.ok:
            return Judged(reference, found, why_not=reference.why_not)
        second = self.second_look(planned)
        if second.chance:
            return Judged(reference, None, second, second.chance)
        return Judged(reference, parity(outputs, reference, variant, second.witnesses), second)

    def second_look(self, planned: PlannedCell) -> SecondLook:
        """Asked where outputs are not the reference's."""
        file = planned.model.file
        drawn = random_nodes(file.onnx) if file.onnx is not None else ()
        if drawn:
            return SecondLook(f"the model uses random numbers ({', '.join(drawn[:3])})")
        reference = self.of(planned)
        again = self._compute(planned)
        repeated = parity(again.outputs or (), reference)
        if again.name == reference.name and repeated is not None and not repeated.ok:
            return SecondLook(f"{reference.name} gives a different output each time")
        return SecondLook(witnesses=self._witnesses(planned, reference))

    def _witnesses(self, planned: PlannedCell, reference: Reference) -> tuple[Reference, ...]:
        """What the first runtimes give that share no code with the target or the reference."""
        parties = planned.cell.target, reference.name.partition(" ")[0]
        found: list[Reference] = []
        candidates = independent_of(parties, model_forms(planned.model.file))
        candidates.sort(key=lambda witness: witness.name not in self._reports)
        for witness in candidates:
            if len(found) == _WITNESSES:
                break
            key = (*_asked(planned), witness.name)
            if key not in self._given:
                self._given[key] = self._evaluate(witness.name, witness.options, planned)
            if self._given[key].outputs is not None:
                found.append(self._given[key])
        return tuple(found)

    def _compute(self, planned: PlannedCell) -> Reference:
        """The first reference that answers, or why the last that was tried did not."""
        missing = Reference("", None, "no backend that can serve as the reference is installed")
        for backend in reference_backends():
            name = backend.name
            if model_forms(planned.model.file).isdisjoint(backend.forms):
                continue
            if not self._has(name):
                report = self._reports.get(name)
                if report is not None and report.unavailable is not None:
                    missing = Reference(name, None, str(report.unavailable))
                continue
            found = self._evaluate(name, backend.role.options, planned)
            if found.outputs is not None:
                return found
            missing = found
        return missing

    def _evaluate(self, name: str, extra: Mapping[str, str], planned: PlannedCell) -> Reference:
        """What a backend's first real device gives for just the inputs that are timed."""
        runtime, device, version = self._place(name)
        if device is None:
            return Reference(name, None, f"{name} is not available")
        options = Options(shapes=planned.options.shapes, extra=extra)
        threads = planned.cell.threads
        try:
            with loaded_worker(
                self._launcher, runtime, device, planned.model.file, options, threads=threads
            ) as (worker, _):
                worker.timeout_s = min(worker.timeout_s, _PATIENCE_S)
                outputs = worker.evaluate(planned.feeds)
                if planned.last_logits:
                    outputs = [outputs[0][:, -1]]
        except BenchError as error:
            return Reference(name, None, str(error))
        return Reference(f"{name} {version}", tuple(outputs))

    def _place(self, name: str) -> tuple[Runtime | None, Device | None, str]:
        """Where a backend runs, probed when it is first asked for."""
        if name not in self._reports:
            (self._reports[name],) = probe_places([Place(name)], self._launcher)
        report = self._reports[name]
        return report.runtime, next(iter(report.devices), None), report.version

    def _has(self, name: str) -> bool:
        return name in self._reports and bool(self._reports[name].devices)


def _asked(planned: PlannedCell) -> tuple[str, str]:
    return planned.cell.model.sha256, planned.cell.input_sha256


def numeric(planned: PlannedCell) -> str:
    """What the model's own file computes in; empty where that isn't known."""
    file = planned.model.file
    return computes_in(file.onnx) if file.onnx is not None else planned.model.computes_in
