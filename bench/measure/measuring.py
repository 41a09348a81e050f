"""The cells of one run on their way to records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.cards.tasks import find_task
from bench.cell import Cell
from bench.errors import BenchError, OutOfMemory
from bench.machine.cores import choose_cores
from bench.measure.account import Account
from bench.measure.group import group_class
from bench.measure.listener import Listener
from bench.measure.member import Context, try_out
from bench.measure.parity import parity
from bench.measure.plan import PlannedCell
from bench.measure.prepare import Prepared
from bench.measure.profiled import profiled_placement
from bench.measure.reference import References
from bench.measure.scoring import Score, score
from bench.measure.state import CellState
from bench.record import estimate
from bench.record.placement import placement_check, placement_fact
from bench.record.precision import precision_check
from bench.record.result import (
    Accuracy,
    Check,
    EnvironmentFact,
    Failure,
    Parity,
    PlacementFact,
    Record,
)
from bench.runtimes.targets import (
    Choice,
)
from bench.scenarios import find_scenario
from bench.store.run import StoredRun
from bench.store.write import RunStore
from bench.variants import held_to


@dataclass
class Outcome:
    """What a run came to."""

    path: Path
    account: Account
    records: list[Record] = field(default_factory=list)
    interrupted: bool = False

    @property
    def failed(self) -> bool:
        return any(record.status == "failed" for record in self.records)


class Measuring:
    """The cells of one run on their way to records."""

    def __init__(
        self,
        prepared: Prepared,
        store: RunStore,
        stored: StoredRun | None,
        listener: Listener,
        outcome: Outcome,
    ) -> None:
        self.prepared = prepared
        self.suite = prepared.plan.suite
        self.store = store
        self.stored = stored
        self.listener = listener
        self.outcome = outcome
        self.account = prepared.account
        self.references = References(prepared.reports, prepared.launcher)
        self.scores: dict[Scored, Score | BenchError] = {}
        self.placements: dict[tuple[object, ...], dict[str, Any] | None] = {}
        done = {record.cell_id for record in outcome.records}
        self.todo = [p for p in prepared.plan.cells if p.cell.id not in done]
        self._total = len(prepared.plan.cells)
        # Before the harness moves away: this reads the process's own affinity.
        counts = {planned.cores for planned in self.todo}
        self._cpus = {count: tuple(choose_cores(count)) for count in counts}
        self.cpus = {cpu for cpus in self._cpus.values() for cpu in cpus}

    def run(self) -> None:
        self.listener.run_started([planned.cell for planned in self.todo], self.store.path)
        todo = {planned.cell.id for planned in self.todo}
        for planned in self.todo:
            if planned.refused is not None:
                self.finish(CellState(planned, failure=planned.refused, stop="failed"))
        for group in self.prepared.plan.groups():
            wanted = [p for p in group if p.cell.id in todo and p.refused is None]
            fitting = [p for p in wanted if not self._refused_as_too_big(p)]
            if fitting:
                self._measure([self._state(planned) for planned in fitting])

    def _refused_as_too_big(self, planned: PlannedCell) -> bool:
        """Finish a cell untried where a smaller batch of the same model did not fit the device."""
        cell = planned.cell
        smaller = _too_big(self.outcome.records, cell)
        if smaller is None:
            return False
        failure = OutOfMemory(
            f"{cell.model.name} on {cell.target}: not tried, since batch {smaller} of it ran out "
            "of memory. Free memory, or use a smaller batch or model."
        )
        self.finish(CellState(planned, failure=failure, stop="failed"))
        return True

    def _measure(self, states: Sequence[CellState]) -> None:
        for state in states:
            self._score(state.planned)
        simulated = [s for s in states if _simulated(s.planned)]
        for state in simulated:
            try_out(state, self._context(state.planned))
        real = [s for s in states if not _simulated(s.planned)]
        if real:
            cell = real[0].cell
            name = f"{cell.scenario} batch {cell.batch}"
            kind = group_class(find_scenario(cell.scenario))
            kind(name, real, self._context(real[0].planned)).run()

    def _context(self, planned: PlannedCell) -> Context:
        return Context(
            suite=self.suite,
            launcher=self.prepared.launcher,
            store=self.store,
            listener=self.listener,
            account=self.account,
            rng=np.random.default_rng(self.suite.seed),
            cpus=self._cpus,
            finish=self.finish,
        )

    def _state(self, planned: PlannedCell) -> CellState:
        """A cell with what an earlier, interrupted run measured of it."""
        state = CellState(planned)
        if self.stored is not None:
            mine = [i for i in self.stored.invocations if i.cell_id == planned.cell.id]
            if mine:
                state.samples = self.stored.samples(planned.cell.id)
                state.invocations = [i for i in mine if i.index in state.samples]
        return state

    def _score(self, planned: PlannedCell) -> None:
        """Accuracy once for each model, variant and target."""
        key = _scored(planned)
        if not self.suite.accuracy or planned.model.dataset is None or key in self.scores:
            return
        if not find_task(planned.model.card.task).scored:
            return
        for record in self.outcome.records:
            same = (record.cell.model.sha256, record.cell.variant, record.cell.target) == key
            if same and record.accuracy is not None:
                self.scores[key] = Score(record.accuracy, _doubts_of(record))
                return
        self.listener.phase(f"scoring {planned.cell.model.name} on {planned.cell.target}")
        with self.account.useful():
            try:
                self.scores[key] = score(planned, self._context(planned))
            except BenchError as error:
                self.scores[key] = error

    def finish(self, state: CellState) -> None:
        """Write the record of a cell that stopped."""
        record = self._record(state)
        self.store.append_record(record)
        self.outcome.records.append(record)
        self.listener.cell_finished(record, len(self.outcome.records), self._total)

    def _record(self, state: CellState) -> Record:
        planned, confidence = state.planned, self.suite.confidence
        cell, choice = planned.cell, planned.choice
        taken = state.invocations
        checks = estimate.checks(taken) if taken else []
        placement = self._placement(state, checks)
        accuracy = self._accuracy(planned, checks)
        measured_parity = self._parity(state, placement, checks)
        failure = _failure(state.failure) if state.failure else None
        rates = estimate.figures(cell, taken) if cell.is_rate else np.empty(0)
        return Record(
            cell_id=cell.id,
            cell=cell,
            status="failed" if failure else "ok",
            failure=failure,
            stop=state.stop or "failed",
            simulated=_simulated(planned),
            device_name=choice.device.name if choice.device else "",
            runtime_version=choice.version,
            environment=_environment_fact(choice),
            latency=estimate.latency(taken, state.samples, confidence),
            throughput=estimate.estimate(rates, confidence),
            load_ns=estimate.estimate([i.load_ns for i in taken], confidence),
            first_inference_ns=estimate.estimate([i.first_inference_ns for i in taken], confidence),
            h2d_ns=estimate.estimate([i.h2d_ns for i in taken if i.h2d_ns is not None], confidence),
            d2h_ns=estimate.estimate([i.d2h_ns for i in taken if i.d2h_ns is not None], confidence),
            memory=estimate.memory(taken) if taken else None,
            accuracy=accuracy,
            parity=measured_parity,
            placement=placement,
            variant_method=planned.form.method,
            checks=tuple(checks),
            invocations=tuple(taken),
            canary_ns=estimate.estimate(
                [i.canary_ns for i in taken if i.canary_ns is not None], confidence
            ),
            group=state.group,
            finished_at=now(),
        )

    def _accuracy(self, planned: PlannedCell, checks: list[Check]) -> Accuracy | None:
        """The score, with what makes it doubtful among the ``checks``."""
        found = self.scores.get(_scored(planned))
        if found is None:
            return None
        if isinstance(found, BenchError):
            checks.append(Check(name="accuracy", ok=False, detail=str(found)))
            return None
        checks += [Check(name="sanity", ok=False, detail=text) for text in found.doubts]
        return found.accuracy

    def _placement(self, state: CellState, checks: list[Check]) -> PlacementFact | None:
        """Where the cell's nodes and their time were, what they compute in, and checks of both."""
        if state.placement is None:
            return None
        planned = state.planned
        facts = {**state.placement, **self._profiled(planned, state.placement)}
        if _simulated(planned):  # what a simulator spends on a node says nothing of the device
            facts["time_share"] = {}
        fact = placement_fact(facts, planned.choice.target.device)
        checks += [
            check
            for check in (
                placement_check(fact, planned.cell.target),
                precision_check(planned.cell.variant, fact.precision),
            )
            if check is not None
        ]
        return fact

    def _profiled(self, planned: PlannedCell, plain: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a session of its own finds out further: once for each model, variant and target
        while all is on the device; where it isn't, the shares depend on the batch and threads."""
        if not plain.get("profiles"):
            return {}
        cell = planned.cell
        key: tuple[object, ...] = _scored(planned)
        if plain["off_device"]:
            key = (*key, cell.batch, cell.threads)
        if key not in self.placements:
            with self.account.useful():
                self.placements[key] = profiled_placement(planned, self._context(planned))
        found = self.placements[key]
        if found is None:
            return {}
        known = ("precision", "time_share", "source", "off_device")
        return {name: found[name] for name in known if found.get(name)}

    def _parity(
        self, state: CellState, placement: PlacementFact | None, checks: list[Check]
    ) -> Parity | None:
        if state.outputs is None:
            return None
        with self.account.useful():
            reference = self.references.of(state.planned)
        held = held_to(state.cell.variant, placement.precision if placement else "")
        found = parity(state.outputs, reference, held.name)
        if found is None:
            why = reference.why_not or "the outputs have other shapes than the reference's"
            checks.append(Check(name="parity", ok=False, detail=f"not compared: {why}"))
        else:
            error = "NaN or Inf" if found.max_abs_error is None else f"{found.max_abs_error:.1e}"
            flips = f", {found.top1_flips} of {found.samples} top-1" if found.top1_flips else ""
            detail = f"largest difference from {found.reference}: {error}{flips}; {found.tolerance}"
            checks.append(Check(name="parity", ok=found.ok, detail=detail))
        return found


#: What is scored once: model, variant, target.
Scored = tuple[str, str, str]


def _doubts_of(record: Record) -> tuple[str, ...]:
    return tuple(check.detail for check in record.checks if check.name == "sanity")


def _scored(planned: PlannedCell) -> Scored:
    cell = planned.cell
    return cell.model.sha256, cell.variant, cell.target


def _too_big(records: Sequence[Record], cell: Cell) -> int | None:
    """The batch, no larger than the cell's, at which its model ran out of memory on its target."""
    batches = [
        record.cell.batch
        for record in records
        if record.failure is not None
        and record.failure.kind == OutOfMemory.kind
        and record.cell.batch <= cell.batch
        and (record.cell.model.sha256, record.cell.variant, record.cell.target)
        == (cell.model.sha256, cell.variant, cell.target)
    ]
    return min(batches, default=None)


def _simulated(planned: PlannedCell) -> bool:
    return planned.choice.device is not None and planned.choice.device.simulated


def _environment_fact(choice: Choice) -> EnvironmentFact | None:
    if not choice.target.environment or choice.greeting is None:
        return None
    greeting = choice.greeting
    return EnvironmentFact(
        name=choice.target.environment, python=greeting.python, numpy=greeting.numpy
    )


def _failure(error: BenchError) -> Failure:
    return Failure(kind=error.kind, message=str(error), log_tail=error.log_tail)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
