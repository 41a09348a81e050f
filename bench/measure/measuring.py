"""The cells of one run on their way to records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.language.requests import RequestTimes, request_times
from bench.cards.tasks import find_task
from bench.cell import Cell
from bench.errors import BenchError, OutOfMemory, SpecError, WorkerCrashed
from bench.machine.quiet import Cores
from bench.measure.energy.found import may_be_read
from bench.measure.energy.passes import EnergyPass, has_energy
from bench.measure.group import group_class
from bench.measure.language.answers import behind_its_text
from bench.measure.language.pasts import footprint, names_to_fill, too_large, with_held, with_past
from bench.measure.language.steps import tokenizer_of
from bench.measure.listener import Forecast, Listener
from bench.measure.member import Context, told_placement, try_out
from bench.measure.pace.account import Account
from bench.measure.pace.budget import Allowance, Budget
from bench.measure.pace.forecast import Forecaster
from bench.measure.pace.stops import overdraft_words
from bench.measure.plan import Plan, PlannedCell
from bench.measure.prepare import Prepared
from bench.measure.profiled import profiled_placement
from bench.measure.reference import References, SecondLook, numeric
from bench.measure.rooflines import Rooflines
from bench.measure.scoring import Score, Turn, in_turns, prediction_name, score, stored_score
from bench.measure.starting import Room
from bench.measure.state import CellState
from bench.measure.static_form import in_static_form
from bench.measure.sweep import larger_batches, next_cells, to_share
from bench.measure.taken import as_answered
from bench.record.assemble import OTHER_SHAPES, Evidence, assemble
from bench.record.facts import CellFacts, ToldPlacement, Witness
from bench.record.parity import Reference
from bench.record.result import (
    EnvironmentFact,
    Failure,
    Footprint,
    Record,
    SweepEnd,
)
from bench.record.steps import steps_checked
from bench.record.sweeps import Swept, swept
from bench.runtimes.targets import Choice, default_threads
from bench.scenarios import find_scenario
from bench.store.derive import derived
from bench.store.raw import read_raw
from bench.store.run import StoredRun, read_run
from bench.store.write import RunStore


@dataclass
class Outcome:
    """What a run came to."""

    path: Path
    account: Account
    records: list[Record] = field(default_factory=list)
    interrupted: bool = False

    @property
    def failed(self) -> bool:
        """Whether any cell has no figures that count."""
        return any(record.standing != "ok" for record in self.records)


@dataclass(frozen=True)
class OpenRun:
    """A run that is being carried out."""

    prepared: Prepared
    store: RunStore
    stored: StoredRun | None  #: what an earlier, interrupted part of it left
    listener: Listener
    outcome: Outcome


class Measuring:
    """The cells of one run on their way to records."""

    def __init__(self, run: OpenRun) -> None:
        prepared, stored, outcome = run.prepared, run.stored, run.outcome
        self.prepared = prepared
        self.suite = prepared.plan.suite
        self.store = run.store
        self.stored = stored
        self.listener = run.listener
        self.outcome = outcome
        self.account = prepared.account
        self.references = References(prepared.reports, prepared.launcher)
        self.scores: dict[ScoredOnce, Score | BenchError] = {}
        self.requests: dict[tuple[str, str, int], RequestTimes | None] = {}
        self.placements: dict[tuple[object, ...], ToldPlacement | None] = {}
        self.rooflines = Rooflines(self.suite.roofline, self.listener, self.account)
        self._overdrawn_s: list[float] = []  #: what each of these cells spent
        self._under_way: Sequence[CellState] = ()  #: the group that is measured, or was last
        done = {record.cell_id for record in outcome.records}
        self.todo = [p for p in prepared.plan.cells if p.cell.id not in done]
        self._planned = {planned.cell.id for planned in prepared.plan.cells}
        self._total = len(self._planned | done)  # larger batches of sweeps are not planned
        taken = [one.index for one in stored.invocations] if stored is not None else []
        # Of all cells: the samples of a generation are one file, and a new one must not replace it.
        self._first_generation = max(taken, default=-1) + 1
        self._room: Room | None = None  #: what is known of the workers of the group under way
        cells = prepared.plan.cells
        self.cpus = Cores(
            {planned.cores for planned in cells}, near={planned.near_cpus for planned in cells}
        )
        self._at_once = default_threads()
        todo = {planned.cell.id for planned in self.todo}
        metered = todo | self._unmetered() if self.store.keeps_raw else set()
        self.forecaster = forecaster_of(prepared, todo, metered)
        shared = to_share([*self.todo, *next_cells(prepared.plan, outcome.records)])
        self.run_budget = Budget(self.suite.budget_s, shared, self._measuring_s)

    def run(self) -> None:
        # An earlier part of this run may have begun sweeps that go on.
        due = [*self.todo, *next_cells(self.prepared.plan, self.outcome.records)]
        self.listener.run_started([planned.cell for planned in due], self.store.path)
        self.listener.forecast(self._expected())
        for words in (*self._crowded(), *self.forecaster.too_short()):
            self.listener.note(words)
        todo = {planned.cell.id for planned in self.todo}
        unmetered = self._unmetered()
        self._score_late()
        for planned in self.todo:
            if planned.refused is not None:
                self.finish(CellState(planned, failure=planned.refused, stop="failed"))
        for group in self.prepared.plan.groups():
            self._together([p for p in group if p.cell.id in todo | unmetered], todo)
        for group in larger_batches(self.prepared.plan, self.outcome.records, unmetered):
            self._together(group, todo)
        while further := next_cells(self.prepared.plan, self.outcome.records):
            if self.run_budget.is_spent(self._apart_s()):
                self.listener.note(
                    f"the budget of {self.suite.budget_s:g} s is spent, so no larger batches are "
                    "measured. Resume the run, or give a longer --budget, to go further."
                )
                break
            self._total += len(further)
            self._together(further, {planned.cell.id for planned in further})
        self._check_sums()
        if self._overdrawn_s:
            self.listener.note(overdraft_words(self._overdrawn_s, self.suite))

    def _measuring_s(self) -> float:
        """How long the run has taken, without scoring and energy."""
        return self.account.total_s - self.account.scoring_s - self.account.metering_s

    def _apart_s(self, states: Sequence[CellState] = ()) -> float:
        """What scoring and the energy took so far, and will still take."""
        taken_s = self.account.scoring_s + self.account.metering_s
        return taken_s + self.forecaster.to_score_s + self.forecaster.to_meter_s(states)

    def _to_score(self) -> int:
        """How many models are still to be scored on a target."""
        recorded = {record.cell_id for record in self.outcome.records}
        left = [p for p in self.todo if not p.refused and p.cell.id not in recorded]
        scored = {_scored(p) for p in left if p.model.dataset is not None} - self.scores.keys()
        return len(scored) if self.suite.accuracy else 0

    def _expected(self, waiting: Sequence[CellState] = ()) -> Forecast:
        """How long the run takes, of which ``waiting`` cells are being measured."""
        return self.forecaster.expected(waiting)

    def _measured(
        self, taken: Sequence[CellState], waiting: Sequence[CellState], seconds: float
    ) -> None:
        """One more invocation of the cells that were taken: how long the run takes is known
        better."""
        self.forecaster.measured(taken, seconds)
        self.listener.forecast(self._expected(waiting))

    def _together(self, group: Sequence[PlannedCell], todo: Collection[str]) -> None:
        """Measure cells in turn that are of one load, but for those that are known not to fit.

        Those that are not of ``todo`` lack their energy alone.
        """
        fitting = [
            p
            for p in group
            if p.refused is None
            and not self._refused_as_too_big(p)
            and not self._refused_as_foretold(p)
        ]
        self._room = None
        with contextlib.ExitStack() as held:
            there = [p for p in fitting if self._has_inputs(p, held)]
            for name in names_to_fill(there):
                self.listener.phase(f"filling the cache of {name}")
            ready = [found for p in there if (found := self._with_past(p)) is not None]
            new = [planned for planned in ready if planned.cell.id in todo]
            self._is_next([p for p in group if p.cell.id in todo], new)
            if new:
                self._measure([self._state(planned) for planned in new])
            self._measure_energy(ready)
        self.forecaster.energy.ended()

    def _is_next(self, planned: Sequence[PlannedCell], new: Sequence[PlannedCell]) -> None:
        """What was planned of a group, of which only the ``new`` can be measured: what the others
        would have taken is left to the rest of the run."""
        cell_ids = {one.cell.id for one in new}
        dropped = to_share([p for p in planned if p.cell.id not in cell_ids])
        self.run_budget.without(dropped)
        if new or dropped:
            self.forecaster.began()

    def _unmetered(self) -> set[str]:
        """Cells that an earlier part of this run measured, but for their energy."""
        if not self.suite.energy or not self.store.keeps_raw:
            return set()
        return {r.cell_id for r in self.outcome.records if r.status == "ok" and not r.energy}

    def _measure_energy(self, ready: Sequence[PlannedCell]) -> None:
        """Windows of those that could be measured, and their records with what came of it."""
        works = {r.cell_id for r in self.outcome.records if r.status == "ok"}
        cells = _with_energy(p for p in ready if p.cell.id in works)
        if not self.suite.energy or not self.store.keeps_raw or not cells:
            return
        self.forecaster.energy.began(len(cells))
        context = self._context(cells[0])
        metered = EnergyPass(cells, context, self._first_energy_round(), self._room)
        with self.account.metering():
            found = metered.run(self.forecaster.rounds, self._took_a_round)
        if found:
            self._record_again({planned.cell.id for planned in cells})
        else:
            self.forecaster.energy.unread()

    def _took_a_round(self, seconds: float) -> None:
        """How long the run takes is known better."""
        self.forecaster.energy.took(seconds)
        self.listener.forecast(self._expected())

    def _first_energy_round(self) -> int:
        windows = read_raw(read_run(self.store.path)).energy
        return max((window.index for window in windows), default=-1) + 1

    def _check_sums(self) -> None:
        """New records of whole queries whose steps were measured too."""
        records = self.outcome.records
        for place, found in enumerate(steps_checked(records)):
            if found != records[place]:
                self.store.append_record(found)
                records[place] = found

    def _has_inputs(self, planned: PlannedCell, held: contextlib.ExitStack) -> bool:
        """Make a cell's inputs for as long as its group is measured, or finish it untried."""
        try:
            held.enter_context(planned.inputs.held())
        except BenchError as error:
            self.finish(CellState(planned, failure=error, stop="failed"))
            return False
        return True

    def _with_past(self, planned: PlannedCell) -> PlannedCell | None:
        """A language model's cell with what its cache has to hold, and in the form that its target
        takes; None, and finished, where these can't be had."""
        if planned.model.decoder is None:
            return planned
        with self.account.useful():
            try:
                return in_static_form(with_past(planned, self.references))
            except BenchError as error:
                self.finish(CellState(planned, failure=error, stop="failed"))
                return None

    def _crowded(self) -> list[str]:
        """More threads than CPUs that the process may use, in words; their rows are marked too."""
        asked = {p.cell.threads: len(self.cpus[p.cores]) for p in self.todo if p.refused is None}
        return [
            f"{threads} threads take turns on {count} CPU{'s' * (count != 1)}, all that this "
            f"process may use: --threads {count} is the most that can run at once."
            for threads, count in sorted(asked.items())
            if threads > count
        ]

    def _refused_as_too_big(self, planned: PlannedCell) -> bool:
        """Finish a cell untried where a smaller batch of the same model did not fit the device."""
        cell = planned.cell
        smaller = _too_big(self.outcome.records, cell)
        if smaller is None:
            return False
        failure = OutOfMemory(
            f"{cell.model.name} on {cell.target}: not tried, because its batch {smaller} ran out "
            "of memory. Free memory, or use a smaller batch or model."
        )
        self.finish(CellState(planned, failure=failure, stop="failed"))
        return True

    def _refused_as_foretold(self, planned: PlannedCell) -> bool:
        """Finish a cell untried whose weights, cache and logits alone are more than there is."""
        failure = too_large(planned)
        if failure is not None:
            self.finish(CellState(planned, failure=failure, stop="failed"))
        return failure is not None

    def _measure(self, states: Sequence[CellState]) -> None:
        allowance = self.run_budget.allowance(len(states), self._apart_s(states))
        simulated = [s for s in states if _simulated(s.planned)]
        for state in simulated:
            try_out(state, self._context(state.planned))
        real = [s for s in states if not _simulated(s.planned)]
        if real:
            cell = real[0].cell
            name = f"{cell.scenario} batch {cell.batch}"
            kind = group_class(cell)
            self._under_way = real
            group = kind(name, real, self._context(real[0].planned, allowance))
            self._room = group.room
            group.run()

    def keep_partial(self) -> None:
        """After an interrupt: records of the cells that were being measured, from what is on the
        disk of their invocations. Whoever interrupts waits, so no worker starts any more: nothing
        is scored or compared."""
        if not self.store.keeps_raw:  # they could not be derived again
            return
        self.stored = stored = read_run(self.store.path)
        recorded = {record.cell_id for record in self.outcome.records}
        known = {(record.cell_id, len(record.invocations)) for record in stored.records}
        for state in self._under_way:
            if state.cell.id in recorded:
                continue
            found = self._state(state.planned)
            found.stop, found.placement, found.group = "interrupted", state.placement, state.group
            if state.failure is not None:  # in the generation that was interrupted
                found.stop, found.failure = "failed", state.failure
            # Nothing new since an earlier interrupt: that record stays.
            nothing_new = (state.cell.id, len(found.invocations)) in known
            if found.failure is not None:
                self.finish(found)
            elif found.invocations and not nothing_new:
                self._write(found)
        recorded = {record.cell_id for record in self.outcome.records}
        self.outcome.records += [r for r in stored.records if r.cell_id not in recorded]
        self._check_sums()

    def _first_seen(self, states: Sequence[CellState]) -> None:
        """Score what was measured once: the first figures don't wait for that."""
        ran = [s.planned for s in states if s.ran]
        left = {_scored(planned): planned for planned in ran if self._to_be_scored(planned)}
        for turn in in_turns(list(left.values()), self._at_once):
            self._score_turn(turn, lambda: self.listener.forecast(self._expected(states)))

    def _finish_tried(self, state: CellState) -> None:
        """Write the record of a cell that a worker had; most are scored by now. A model that never
        ran on its target has no accuracy there, and trying could take as long again."""
        if state.ran:
            self._score(state.planned)
        self.finish(state)
        self.forecaster.left_to_score(self._to_score())

    def _context(self, planned: PlannedCell, allowance: Allowance | None = None) -> Context:
        return Context(
            suite=self.suite,
            launcher=self.prepared.launcher,
            store=self.store,
            listener=self.listener,
            account=self.account,
            # What is resumed draws anew: a search that begins at the same places, with queries at
            # the same moments, would be no other sample. Seeded with 0 behind it is as without.
            rng=np.random.default_rng([self.suite.seed, self._first_generation]),
            cpus=self.cpus,
            finish=self._finish_tried,
            first_generation=self._first_generation,
            at_once=self._at_once,
            measured=self._measured,
            first_seen=self._first_seen,
            allowance=allowance or Allowance(),
        )

    def _state(self, planned: PlannedCell) -> CellState:
        """A cell with what an earlier, interrupted run measured of it."""
        state = CellState(planned)
        if self.stored is not None:
            mine = [i for i in self.stored.invocations if i.cell_id == planned.cell.id]
            if mine:
                state.samples = self.stored.samples(planned.cell.id)
                state.ttft = self.stored.ttft_samples(planned.cell.id)
                state.gaps = self.stored.gap_samples(planned.cell.id)
                state.invocations = [i for i in mine if i.index in state.samples]
                state.ran = True
        return state

    def _score(self, planned: PlannedCell) -> None:
        """Accuracy once for each model, variant and target."""
        if self._to_be_scored(planned):
            self._score_turn(Turn([planned], 1))

    def _to_be_scored(self, planned: PlannedCell) -> bool:
        """Whether the model has to be scored on its target: it can be, and wasn't before."""
        key = _scored(planned)
        if not self.suite.accuracy or planned.model.dataset is None or key in self.scores:
            return False
        try:
            if not find_task(planned.model.card.task).scored:
                return False
        except BenchError as error:
            self._not_scorable(planned, error)
            return False
        stored = self._stored_score(planned)
        if stored is not None:
            self.scores[key] = stored
        return stored is None

    def _score_known(self, planned: PlannedCell) -> Score | BenchError | None:
        """What scoring the cell's model on its target came to; None where that wasn't tried, or was
        not waited for."""
        return self.scores.get(_scored(planned))

    def _scoring_left_s(self) -> float | None:
        """The time for what is being scored; None where it may take as long as it does."""
        return None

    def _score_turn(self, turn: Turn, scored: Callable[[], None] = lambda: None) -> None:
        """Score several, each of which is told when it is ``scored``; nothing is timed then. What
        runs out of memory beside others is scored once more when these have ended."""
        alone = len(turn.cells) == 1
        again: list[PlannedCell] = []
        with self.account.scoring():
            pool = ThreadPoolExecutor(turn.at_once, "score")
            try:
                left = {pool.submit(self._score_of, p, alone=alone): p for p in turn.cells}
                while left:
                    names = (f"{p.cell.model.name} on {p.cell.target}" for p in left.values())
                    self.listener.phase(f"scoring {', '.join(islice(names, turn.at_once))}")
                    began_s = self.account.total_s
                    limit_s = self._scoring_left_s()
                    done = wait(left, limit_s, return_when=FIRST_COMPLETED).done
                    if not done:
                        break
                    self.forecaster.scored(len(done), self.account.total_s - began_s)
                    for one in done:
                        planned = left.pop(one)
                        if isinstance(one.exception(), OutOfMemory) and turn.beside:
                            again.append(planned)
                        else:
                            self._take_score(planned, one)
                    scored()
            finally:
                # One that hangs in a worker, or has no time, ends when that is killed; nobody waits
                # for it here.
                pool.shutdown(wait=False, cancel_futures=True)
        for planned in again:
            self._score_turn(Turn([planned], 1), scored)

    def _take_score(self, planned: PlannedCell, found: Future[Score]) -> None:
        try:
            self.scores[_scored(planned)] = found.result()
        except BenchError as error:
            self._not_scorable(planned, error)

    def _score_of(self, planned: PlannedCell, *, alone: bool) -> Score:
        """The score, on the cores of the cell, or on any where others are scored beside it."""
        context = self._context(planned)
        cpus = context.cpus[planned.cores] if alone else ()
        with as_answered(planned.cell.target):
            return score(planned, context, cpus)

    def _not_scorable(self, planned: PlannedCell, error: BenchError) -> None:
        """Keep why there is no score, and with the run where that came from."""
        self.scores[_scored(planned)] = error
        if error.log_tail:
            log = self.store.logs / f"{prediction_name(planned)}-scoring.log"
            with contextlib.suppress(OSError):
                log.write_text(f"{error.log_tail}\n", errors="replace")

    def _score_late(self) -> None:
        """Score what an earlier part of this run measured and could not score, for example because
        the disk was full when the predictions were to be written."""
        facts = self._not_scored()
        late = {p.cell.id: p for p in self.prepared.plan.cells if p.cell.id in facts}
        found: list[str] = []
        for cell_id, planned in late.items():
            self._score(planned)
            scores = self.scores.get(_scored(planned))
            if isinstance(scores, Score):
                update = {"scored": scores.scored, "not_scored": ""}
                self.store.append_facts(facts[cell_id].model_copy(update=update))
                found.append(cell_id)
        if found:
            self._record_again(found)
            for cell_id in found:
                self.listener.note(f"{late[cell_id].cell.label} is scored now.")

    def _not_scored(self) -> dict[str, CellFacts]:
        """What is known of the measured cells that have no accuracy and ought to, by their ids."""
        if self.stored is None or not self.stored.header.keeps_raw:
            return {}
        known = read_raw(self.stored).cells
        measured = {r.cell_id for r in self.outcome.records if r.status == "ok"}
        return {n: facts for n, facts in known.items() if n in measured and facts.not_scored}

    def _record_again(self, cell_ids: Collection[str]) -> None:
        """New records of cells whose facts are new, from what is stored of them."""
        again = {r.cell_id: r for r in derived(read_run(self.store.path)).run.records}
        records = self.outcome.records
        for place, old in enumerate(records):
            if old.cell_id in cell_ids:
                self.store.append_record(again[old.cell_id])
                records[place] = again[old.cell_id]

    def _stored_score(self, planned: PlannedCell) -> Score | None:
        """What an earlier, interrupted part of this run predicted; None where that is not there."""
        if self.stored is None:
            return None
        with contextlib.suppress(SpecError):
            return stored_score(self.stored, planned)
        return None

    def finish(self, state: CellState) -> None:
        """Write the record of a cell that stopped; a larger batch than memory holds ends its sweep
        instead, and is no failure."""
        if self._ends_sweep(state):
            self._end_sweep(state)
            return
        if state.overdrawn:
            self._overdrawn_s.append(state.spent_s)
        facts, record = self._write(state)
        if record.status == "ok" and facts.not_scored:
            self.listener.note(f"{record.cell.label} has no accuracy: {facts.not_scored}")
        self.listener.cell_finished(record, len(self.outcome.records), self._total)

    def _write(self, state: CellState) -> tuple[CellFacts, Record]:
        """What is known of a cell, and its record, on the disk."""
        evidence, record = self._recorded(state)
        facts = self._write_facts(evidence, record)
        self.store.append_record(record)
        self.outcome.records.append(record)
        return facts, record

    def _write_facts(self, evidence: Evidence, record: Record) -> CellFacts:
        """What is known of a cell, from which its record follows, on the disk."""
        facts = evidence.facts
        if not facts.outputs and not facts.not_compared:  # too large to be kept
            why = OTHER_SHAPES if evidence.reference and record.parity is None else ""
            facts = facts.model_copy(update={"parity": record.parity, "not_compared": why})
        self.store.append_facts(facts)
        return facts

    def _ends_sweep(self, state: CellState) -> bool:
        is_further = state.planned.sweeps and state.cell.id not in self._planned
        return is_further and isinstance(state.failure, OutOfMemory) and not state.invocations

    def _end_sweep(self, state: CellState) -> None:
        """The record of the largest batch that fits tells which one didn't, and why."""
        assert state.failure is not None
        end = SweepEnd(batch=state.cell.batch, failure=_failure(state.failure))
        records = self.outcome.records
        last = swept(records)[Swept.key_of(state.cell)].largest
        known = read_raw(read_run(self.store.path)).cells.get(last.cell_id)
        if known is not None:
            self.store.append_facts(known.model_copy(update={"sweep_end": end}))
        told = last.model_copy(update={"sweep_end": end})
        self.store.append_record(told)
        records[records.index(last)] = told
        self._total -= 1
        self.listener.note(
            f"{state.cell.label} doesn't fit in memory, which ends its sweep: {state.failure}"
        )

    def _recorded(self, state: CellState) -> tuple[Evidence, Record]:
        """The record of a cell; a failed one where none can be made of what its workers answered,
        first without the outputs, then without the invocations."""
        for outputs, taken in (
            (state.outputs, state.invocations),
            (None, state.invocations),
            (None, []),
        ):
            tried = replace(state, outputs=outputs, invocations=taken)
            try:
                with as_answered(state.cell.target):
                    evidence = self._evidence(tried)
                    return evidence, assemble(evidence, self.suite.confidence)
            except WorkerCrashed as error:
                state.failure, state.stop = state.failure or error, "failed"
        assert state.failure is not None
        raise state.failure

    def _evidence(self, state: CellState) -> Evidence:
        """What was measured and found out of a cell."""
        planned = state.planned
        found = self.scores.get(_scored(planned))
        scored = found if isinstance(found, Score) else None
        outputs, reference, second = self._outputs(state)
        names, witnesses = self._kept(outputs, reference, second.witnesses)
        request = self._request(planned)
        roofline, no_roofline = self.rooflines.of(state, self._context)
        facts = CellFacts(
            cell_id=planned.cell.id,
            stop=state.stop or "failed",
            failure=_failure(state.failure) if state.failure else None,
            simulated=_simulated(planned),
            device_name=planned.choice.device.name if planned.choice.device else "",
            runtime_version=planned.choice.version,
            environment=_environment_fact(planned.choice),
            variant_method=planned.form.method,
            group=state.group,
            finished_at=now(),
            placement=state.placement,
            profiled=self._profiled(state),
            computes_in=numeric(planned),
            outputs=names[0],
            reference=reference.name if reference else "",
            reference_outputs=names[1],
            witnesses=witnesses,
            not_compared=second.chance
            or (reference.why_not if reference and reference.outputs is None else ""),
            scored=scored.scored if scored else None,
            not_scored=str(found) if isinstance(found, BenchError) else "",
            tokenizing_ns=request.ns if request else (),
            templated=request is not None and request.templated,
            footprint=self._footprint(state),
            roofline=roofline,
            no_roofline=no_roofline,
            sizes=dict(planned.sizes),
            assumed=planned.assumed,
        )
        return Evidence(
            cell=planned.cell,
            facts=facts,
            invocations=state.invocations,
            samples=state.samples,
            ttft=state.ttft,
            gaps=state.gaps,
            outputs=outputs,
            reference=reference,
            witnesses=second.witnesses,
            scores=scored.judged.scores if scored else (),
            doubts=scored.judged.doubts if scored else (),
            least=self.suite.min_invocations,
        )

    def _request(self, planned: PlannedCell) -> RequestTimes | None:
        """What a whole query's text takes before the model sees it, once for each model and load;
        queries that wait for others count from their arrival and have no such part."""
        tokenizer = tokenizer_of(planned.model)
        scenario = find_scenario(planned.cell.scenario)
        if planned.prompts is None or tokenizer is None or scenario.bounded:
            return None
        key = planned.cell.model.name, scenario.name, planned.cell.batch
        if key not in self.requests:
            with self.account.useful():
                self.requests[key] = request_times(tokenizer, planned.prompts)
        return self.requests[key]

    def _footprint(self, state: CellState) -> Footprint | None:
        """What was foretold; and what the bound state takes, where the cell got that far."""
        told = footprint(state.planned)
        unknown = state.failure is not None or state.stop == "interrupted"
        return told if unknown else with_held(told, state.planned)

    def _profiled(self, state: CellState) -> ToldPlacement | None:
        """What a session of its own finds out further: once for each model, variant and target
        while all is on the device; where it isn't, the shares depend on the batch and threads."""
        if state.placement is None or not state.profiles:
            return None
        planned, cell = state.planned, state.cell
        key: tuple[object, ...] = _scored(planned)
        if state.placement.off_device:
            key = (*key, cell.batch, cell.threads)
        if key not in self.placements:
            with self.account.useful():
                plain = profiled_placement(planned, self._context(planned))
                self.placements[key] = None if plain is None else told_placement(plain)
        return self.placements[key]

    def _outputs(self, state: CellState) -> tuple[list[Array] | None, Reference | None, SecondLook]:
        """What the last timed call put out, what it ought to be, and what others say where the two
        differ. Outputs that chance is in are compared with nothing."""
        if not state.outputs:  # not taken, or none of them is a tensor of numbers
            return None, None, SecondLook()
        with self.account.useful():
            asked, outputs = behind_its_text(state.planned, state.outputs)
            judged = self.references.judge(asked, outputs)
        if judged.second.chance:
            return None, None, judged.second
        return list(outputs), judged.reference, judged.second

    def _kept(
        self,
        outputs: Sequence[Array] | None,
        reference: Reference | None,
        witnesses: Sequence[Reference],
    ) -> tuple[tuple[str, str], tuple[Witness, ...]]:
        """The files of both and of all witnesses, or none of any."""
        nothing: tuple[tuple[str, str], tuple[Witness, ...]] = (("", ""), ())
        if outputs is None or reference is None or reference.outputs is None:
            return nothing
        theirs = self.store.write_outputs(reference.outputs)
        mine = self.store.write_outputs(outputs) if theirs else ""
        told = [
            Witness(name=w.name, outputs=self.store.write_outputs(w.outputs or ()))
            for w in witnesses
        ]
        if not mine or not all(each.outputs for each in told):
            return nothing
        return (mine, theirs), tuple(told)


#: What is scored once: a model by its name, its content, variant, target; through LoadGen also the
#: scenario. Two cards of one file may name other tasks and other labels.
ScoredOnce = tuple[str, str, str, str, str]


def _scored(planned: PlannedCell) -> ScoredOnce:
    """LoadGen's accuracy mode is a test of its own for each scenario."""
    cell = planned.cell
    scenario = cell.scenario if cell.loadgen is not None else ""
    return cell.model.name, cell.model.sha256, cell.variant, cell.target, scenario


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


def forecaster_of(
    prepared: Prepared, todo: Collection[str], metered: Collection[str]
) -> Forecaster:
    """What tells how long it takes to measure the cells ``todo``, and the energy of those of
    ``metered`` that can have one."""
    plan = prepared.plan
    suite = plan.suite
    cells = [p for p in plan.cells if p.cell.id in todo and p.refused is None]
    scored = {_scored(p) for p in cells if p.model.dataset is not None}
    due = [_with_energy(p for p in group if p.cell.id in metered) for group in plan.groups()]
    reads = suite.energy and may_be_read(suite, [p for group in due for p in group])
    return Forecaster(
        suite,
        prepared.account,
        _sizes(plan, todo),
        len(scored) if suite.accuracy else 0,
        [len(group) for group in due] if reads else (),
    )


def _sizes(plan: Plan, todo: Collection[str]) -> list[int]:
    """How many cells of each group are still to be measured."""
    sizes = [sum(p.cell.id in todo and p.refused is None for p in group) for group in plan.groups()]
    return [size for size in sizes if size]


def _with_energy(cells: Iterable[PlannedCell]) -> list[PlannedCell]:
    return [planned for planned in cells if planned.refused is None and has_energy(planned)]


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
