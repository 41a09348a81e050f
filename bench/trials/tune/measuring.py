"""Tuning as a run: its cells are the configurations, measured like those of any run, as long as the
race wants."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from bench.arrays import Array
from bench.capabilities import Tunable
from bench.errors import SpecError
from bench.measure.beats import equal_beats
from bench.measure.canary import Canary
from bench.measure.group import Group
from bench.measure.listener import Forecast
from bench.measure.measuring import OpenRun
from bench.measure.member import Context, Member
from bench.measure.pace.spending import ROUNDS
from bench.measure.pace.stops import P99
from bench.measure.plan import Plan, PlannedCell
from bench.measure.state import CellState
from bench.numbers import counted
from bench.record.assemble import Evidence
from bench.record.block import Block
from bench.record.facts import CellFacts
from bench.record.result import Record, StopReason
from bench.record.windows import Window
from bench.stats.interval import FEWEST_INVOCATIONS
from bench.stats.percentile import minimum_samples
from bench.stats.racing import ByRound, RacingRule, Standing
from bench.store.outputs import read_outputs
from bench.store.raw import read_raw
from bench.store.run import StoredRun
from bench.trials.tune.found import Costs, found_in, refuted
from bench.trials.tune.joules import FUTILE, RaceWindows, no_energy
from bench.trials.tune.kept import Confirmation, Found, Tune
from bench.trials.tune.objective import Objective, Tried
from bench.trials.tune.race import (
    CONFIRMATIONS,
    FIRST,
    LAST,
    SLACK,
    affordable,
    confirm,
    race,
)
from bench.trials.tune.scoring import Scoring

#: Of a bounded configuration: seconds of an invocation, as long as the last look can tell a p99 by
#: such where a quarter of the blocks is disturbed. Our choice.
_BOUNDED_S, _UNDISTURBED = 1.0, 0.75
#: A race stops its cells, not their own intervals or budgets.
_NEVER = {"precision": 1e-9, "max_time_s": 1e9, "max_invocations": 10**6, "goal": "precision"}


@dataclass(frozen=True)
class Racers(Plan):
    """A plan whose cells are all measured interleaved, of whatever batch and threads."""

    def groups(self) -> list[list[PlannedCell]]:
        return [list(self.cells)]


class RaceGroup(Group):
    """Generations of the cells that the race names."""

    def __init__(
        self,
        name: str,
        states: Sequence[CellState],
        context: Context,
        tunables: Mapping[str, Tunable],
        *,
        bounded: bool,
    ) -> None:
        super().__init__(name, states, context)
        self._lingers = tunables
        self._bounded = bounded
        self._latency_ns: dict[str, float] = {}
        self.part = 1

    def generation_of(self, states: Sequence[CellState], canary: Canary) -> None:
        """One more invocation of each; those that find no room in memory follow at once."""
        waiting = list(states)
        while waiting:
            had_room = self._generation(waiting, canary)
            waiting = [s for s in waiting if s not in had_room and s.stop is None]

    def rounds(self, members: list[Member], canary: Canary) -> list[Block]:
        # Whoever takes part, cells of one latency make equal numbers of calls.
        for member in members:
            latency_ns = float(member.warmup.latency_ns)
            self._latency_ns.setdefault(member.state.cell.id, latency_ns)
        self.beats = equal_beats(self._latency_ns)
        if self._bounded:
            for name, latency_ns in self._latency_ns.items():
                calls = max(self.beats[name].calls, calls_for_a_percentile(latency_ns))
                self.beats[name] = replace(self.beats[name], calls=calls)
        return super().rounds(members, canary)

    def block(self, member: Member, number: int, position: int) -> Block:
        """A block, and a pause for as long as the runtime's threads stay busy behind it."""
        found = super().block(member, number, position)
        options = member.state.planned.options.extra
        lingers = [t.lingers_s.get(options.get(name, ""), 0.0) for name, t in self._lingers.items()]
        time.sleep(max(lingers, default=0.0))
        return found


def calls_for_a_percentile(latency_ns: float) -> int:
    """Calls a block that make a p99 tellable at the first look, or as many as fit into a second of
    an invocation; enough for the last look in any case."""
    enough = math.ceil(minimum_samples(P99) / (FIRST * ROUNDS))
    fewest = math.ceil(minimum_samples(P99) / (LAST * ROUNDS * _UNDISTURBED))
    return min(enough, max(fewest, int(_BOUNDED_S * 1e9 / (ROUNDS * latency_ns))))


class Tuning(Scoring):
    """A race between the cells of a run, the confirmation of its pick, and what is kept of both."""

    def __init__(
        self,
        run: OpenRun,
        *,
        tune: Tune,
        objective: Objective,
        tunables: Mapping[str, Tunable],
        original: PlannedCell | None,
    ) -> None:
        super().__init__(run, tune, objective, original)
        self.objective = objective
        self.tunables = tunables
        self._recall()
        self._measured_now: set[str] = set()
        self._not_kept: dict[tuple[str, int], str] = {}  #: by cell and how often it was measured
        # What has a record may be measured again, where there is more time than there was.
        self._recorded_before = {r.cell_id for r in self.outcome.records if r.failure is None}
        failed = {r.cell_id for r in self.outcome.records} - self._recorded_before
        self.todo = [p for p in self.prepared.plan.cells if p.cell.id not in failed]

    def _recall(self) -> None:
        """What an earlier part of this run found out, by cell, and its windows."""
        self._told: dict[str, CellFacts] = {}
        self._windows: list[Window] = []
        if self.stored is not None:
            raw = read_raw(self.stored)
            self._told = raw.cells
            self._windows = raw.energy if self.objective.metered else []
        self._looked_at = set(self._told)  #: whose outputs were checked, now or before
        self._looked_into: set[str] = set()  #: those of which a session was profiled
        self._profile_s = 0.0  #: what the longest of these took

    def run(self) -> None:
        self._keep()
        super().run()

    def _expected(self, waiting: Sequence[CellState] = ()) -> Forecast:
        """At most what the tuning run may take."""
        return Forecast(self.account.total_s, max(0.0, self.budget.left_s))

    # -- what the race asks for (`bench.trials.tune.race.Field`) ----------------------------------

    def costs(self) -> Mapping[str, ByRound]:
        """Of those that may still be returned, from generations of the race."""
        return self._costs().raced(self.tune)

    def _costs(self) -> Costs:
        return Costs(self.objective.costs(self._tried_so_far(), self._windows))

    def _tried_so_far(self) -> list[Tried]:
        working = [state for state in self.states.values() if state.failure is None]
        return [(state.cell, state.invocations) for state in working]

    def doubtful(self) -> set[str]:
        return {name for name in self.costs() if self._doubt(name)}

    def measure(self, names: Sequence[str]) -> None:
        if self.objective.metered:
            # What it computes is looked at once; windows of seconds tell the rest.
            self._take_blocks([name for name in names if name not in self._looked_at])
            self._take_windows([name for name in names if self._can_run(name)])
        else:
            self._take_blocks(names)
        self._measured_now |= set(names)

    def _take_blocks(self, names: Sequence[str]) -> None:
        self._group.generation_of([self.states[name] for name in names], self._canary)
        for name in names:
            self._check(self.states[name])

    def _take_windows(self, names: Sequence[str]) -> None:
        """A round of windows of each; who gives none, or mostly none that count, is thrown out."""
        cells = [self.states[name].planned for name in names]
        self.listener.phase(f"energy of {counted(len(names), 'configuration')} in turn")
        self._windows += self._pass.windows(cells)
        without = no_energy([cell for cell, _ in self._tried_so_far()], self._windows)
        for name in names:
            why = self._pass.failed.get(name, without.get(name, ""))
            if why:
                self._throw_out(name, f"{_NO_ENERGY}: {why}")

    @property
    def _next(self) -> int:
        """The generation, or round of windows, that comes next."""
        return self._pass.next if self.objective.metered else self._group.generation

    def leave_out(self, names: Sequence[str]) -> None:
        # Whoever names a configuration has a reason to think that it is good.
        named = {one.cell_id for one in self.tune.against}
        names = [name for name in names if name not in named]
        if names:
            self._keep(not_tried={**self.tune.not_tried, **dict.fromkeys(names, self._no_time)})
            self.listener.note(
                f"not tried: {len(names)} of {counted(len(self.tune.entrants), 'configuration')}, "
                f"starting with those that depart most from the default: {self._no_time}. "
                "Give a longer --max-time."
            )

    @property
    def _no_time(self) -> str:
        """Why a configuration is not tried."""
        return f"no time in {self.tune.asked.max_time_s:g} s"

    # -- from the cells to what is found ----------------------------------------------------------

    def _refused_as_too_big(self, planned: PlannedCell) -> bool:
        """What an earlier part of this run measured is known to fit."""
        before = self.stored.invocations if self.stored is not None else []
        if any(one.cell_id == planned.cell.id for one in before):
            return False
        return super()._refused_as_too_big(planned)

    def _measure(self, states: Sequence[CellState]) -> None:
        self.states = {state.cell.id: state for state in states}
        if self.tune.found is None or self.budget.left_s > 0:
            context = replace(
                self._context(states[0].planned),
                suite=self.suite.model_copy(update=_NEVER),
            )
            bounded = self.objective.bound_ns is not None
            self._group = RaceGroup("race", states, context, self.tunables, bounded=bounded)
            with ExitStack() as held:
                self._canary = held.enter_context(Canary(context.launcher))
                if self.objective.metered:
                    cells = [state.planned for state in states]
                    first, room = self._first_energy_round(), self._group.room
                    self._pass = RaceWindows(cells, context, first, room, held)
                self._decide()
        self._finish_all()

    def _rule(self) -> RacingRule:
        return RacingRule(
            len(self.tune.racing), self.suite.confidence, self.suite.margin, FIRST, LAST
        )

    def _decide(self) -> None:
        """Score the forms of the model, race, and confirm picks until one holds."""
        self._keep(confirmations=self._ended())
        compared = 2 + len(self.tune.against)
        # Before, a session of each is profiled, which takes about as long as a process.
        reserve = self.pace.reserve(compared) + compared
        self._take_back(self._score_forms(), reserve)
        while True:
            pick = self._race(reserve)
            raced = self.costs().keys()
            if not pick:
                break
            if not self._is_accurate(pick):
                continue
            # A gain that can't be told would be too high a price.
            self._look_into(self._beside(pick), FEWEST_INVOCATIONS * (compared + self.pace.extra))
            if not self._can_run(pick):
                continue
            self._confirm(pick)
            if not self._holds(pick):
                continue
            others = [one.cell_id for one in self._found().best if one.cell_id != pick]
            self._are_accurate(others)
            self._look_into([*self._beside(pick), *others])
            # What was raced against it may be better than it seemed; what fell only against one
            # that has gone since is raced on; and net energies that turn out to be none make the
            # race one of gross ones.
            if self._found().pick == pick and self.costs().keys() == raced:
                break
        found = self._found()
        self._keep(found=found if found.processes else self._found_before() or found)

    def _found_before(self) -> Found | None:
        """What an earlier race found, as far as that may still be returned."""
        before = self.tune.found
        if before is None:
            return None
        answer = before.pick or (before.nearest.cell_id if before.nearest else "")
        best = tuple(one for one in before.best if self._can_run(one.cell_id))
        return before.model_copy(update={"best": best}) if self._can_run(answer) else None

    def _take_back(self, late: Mapping[str, str], reserve: int) -> None:
        """Race from the beginning where there is time for more configurations than were tried, but
        for those that come too ``late`` to be scored, with the reason.

        Those that were are measured again, too: what was measured at another time is nothing that
        others can be compared with fairly.
        """
        # Who failed since, or in a retry that there was no time for, has a record that says so.
        not_tried = {n: why for n, why in self.tune.not_tried.items() if n in self.states}
        with_less = {n for n, why in not_tried.items() if why != self._no_time}
        back = with_less - late.keys() - self.tune.thrown_out.keys()
        tried = len(self.costs())
        if back and not self.pace.turns:
            # An earlier part ended before its first round did: how many there is time for is not
            # known yet.
            self._keep(raced_from=self._next, not_tried=dict(late))
        elif back and affordable(self._rule(), self.pace, reserve) > tried:
            self._keep(raced_from=self._next, not_tried=dict(late))
            self.listener.note(
                f"there is time for more than the {tried} configurations that were raced before: "
                "all are raced again, from the beginning."
            )
        else:
            self._keep(not_tried={**dict.fromkeys(not_tried, self._no_time), **late})

    def _race(self, reserve: int) -> str:
        """Race as far as there is time, and look once more at what is left; the pick."""
        self.listener.phase(f"racing {counted(len(self.costs()), 'configuration')}")
        self.pace.apart_s = self._kept_to_score_s()
        rng = self._group.context.rng
        while True:
            standing = race(self._rule, self, self.pace, rng, {self.tune.default}, reserve)
            wrong = [name for name in standing.left if self._throw_out_wrong(name)]
            if not wrong:
                break
        self.pace.apart_s = 0.0
        return self._found().pick

    def _found(self) -> Found:
        """What is known now."""
        rule = self._rule()
        standing = rule.standing(self.costs(), {self.tune.default}, self.doubtful())
        return found_in(self.tune, standing, self._costs(), self._doubts(standing), rule)

    def _confirm(self, pick: str) -> None:
        """Measure it again, side by side with what it is compared with."""
        if len(self._beside(pick)) < 2:
            return
        self.listener.phase(f"confirming {self.tune.words(pick)}")
        begun = Confirmation(cell_id=pick, first=self._next)
        self._keep(confirmations=(*self._ended(), begun))
        confirm(
            self,
            partial(self._beside, pick),
            lambda names: self._costs().times_again(self.tune, names),
            self.pace,
            CONFIRMATIONS,
            futile=self._futile,
        )
        self._keep(confirmations=self._ended())

    def _beside(self, pick: str) -> list[str]:
        """The pick and what it is compared with, as far as these work; nothing where it doesn't."""
        compared = (one.cell_id for one in self.tune.against)
        names = dict.fromkeys([pick, self.tune.default, *compared])
        return [name for name in names if self._works(name)] if self._can_run(pick) else []

    def _works(self, name: str) -> bool:
        """Whether its costs say something, though it may not be returned: a default that breaks the
        bound is still what the pick gains over."""
        there = name in self.states and self.states[name].failure is None
        return there and not self.tune.thrown_out.get(name, "").startswith((_WRONG, _NO_ENERGY))

    def _ended(self) -> tuple[Confirmation, ...]:
        """The confirmations so far, none under way; those that measured nothing are none."""
        ended = (one.ended(self._next) for one in self.tune.confirmations)
        return tuple(one for one in ended if one.first != one.end)

    def _measure_energy(self, ready: Sequence[PlannedCell]) -> None:
        """The windows are there: new records with them."""
        there = {window.cell_id for window in self._windows}
        works = {r.cell_id for r in self.outcome.records if r.status == "ok"}
        due = {p.cell.id for p in ready if self._is_due(p.cell.id)}
        self._record_again(due & there & works)

    @property
    def _futile(self) -> int:
        """Rounds in a row that bring nothing to a confirmation: a process that fails does so again,
        but a window that was disturbed says nothing of the next."""
        return FUTILE if self.objective.metered else 1

    def _can_run(self, name: str) -> bool:
        return self._works(name) and name not in self.tune.thrown_out

    def _doubts(self, standing: Standing) -> dict[str, str]:
        """What is not shown to hold of those that are left."""
        return {name: doubt for name in standing.left if (doubt := self._doubt(name))}

    def _doubt(self, name: str) -> str:
        state = self.states[name]
        measured = name, len(state.invocations)
        if measured not in self._not_kept:  # a percentile's interval takes a while
            found = self.objective.not_shown_kept(state, self.suite.confidence)
            self._not_kept[measured] = found
        return self._not_kept[measured] or self._accuracy_doubt(name)

    def _check(self, state: CellState) -> None:
        """Throw out what computes something else, before the first look at its costs; and what
        surely breaks a condition."""
        cell_id = state.cell.id
        if state.failure is not None or cell_id in self.tune.thrown_out:
            return
        new = None if cell_id in self._looked_at else self._tried(state)
        why = _wrong(new[1]) if new else ""
        why = why or self.objective.surely_broken(state, self.suite.confidence)
        if why:
            self._throw_out(cell_id, why)
        if new and new[1].failure is None:
            # Only now: whose facts are on the disk counts as checked where this part is cut short.
            self._write_facts(*new)
            self._looked_at.add(cell_id)

    def _tried(self, state: CellState) -> tuple[Evidence, Record]:
        """What is known of it, and the record as it would be now."""
        profiles = state.cell.id in self._looked_into
        return self._recorded(replace(state, profiles=profiles, stop="max-time"))

    def _state(self, planned: PlannedCell) -> CellState:
        """With what an earlier part of this run found out: it may not be measured again."""
        state = super()._state(planned)
        told = self._told.get(planned.cell.id)
        if self.stored is not None and told is not None and state.invocations:
            state.placement, state.group = told.placement, told.group
            state.outputs = _kept_outputs(self.stored, told)
        return state

    def _holds(self, cell_id: str) -> bool:
        """Whether the pick is what it is taken for; else it is thrown out."""
        if not self._can_run(cell_id) or self._throw_out_wrong(cell_id):
            return False
        why = self._refuted(cell_id)
        if why:
            self._throw_out(cell_id, why)
        return not why

    def _refuted(self, pick: str) -> str:
        """Why it isn't the best after all; empty where it is. One that isn't the pick has not been
        looked at as closely, and refutes nothing before it is known that it can be returned."""
        possible = self.costs().keys() - self.doubtful()
        while found := refuted(self.tune, self._costs(), pick, possible, self.suite.margin):
            if not self._throw_out_wrong(found.by) and self._is_accurate(found.by):
                return found.why
            possible -= {found.by}
        return ""

    def _throw_out_wrong(self, cell_id: str) -> bool:
        """Look again at what the last process put out, and at what a profile told."""
        if cell_id in self.tune.thrown_out:  # with all of its form
            return True
        _, record = self._tried(self.states[cell_id])
        why = _wrong(record)
        if "precision" in record.wrong:
            self._throw_out_form(self.states[cell_id].planned, why)
        elif why:
            self._throw_out(cell_id, why)
        return bool(why)

    # -- profiles ---------------------------------------------------------------------------------

    def _look_into(self, names: Sequence[str], reserve: int = 0) -> None:
        """Have a session of each profiled, as far as there is time beside that for ``reserve``
        turns, and throw out what only that tells to be something else: of another precision, or in
        another place."""
        for name in names:
            if self._can_run(name):
                self._profile(name, reserve)
                if name in self._looked_into:
                    self._throw_out_wrong(name)

    def _profile(self, name: str, reserve: int = 0) -> None:
        state = self.states[name]
        longest_s = max(self.pace.each_s, SLACK * self._profile_s)
        left_s = self.budget.left_s - reserve * self.pace.each_s
        if not state.profiles or name in self._looked_into or left_s <= longest_s:
            return
        began_s = self.budget.spent_s
        self._profiled(state)
        self._looked_into.add(name)
        self._profile_s = max(self._profile_s, self.budget.spent_s - began_s)

    # -- records ----------------------------------------------------------------------------------

    def _profile_the_result(self) -> None:
        """Those that the result names and that had no profile yet, as far as there is time; no
        other has one for its record."""
        for name in self._in_the_result():
            self._profile(name)
        for name, state in self.states.items():
            state.profiles = name in self._looked_into

    def _in_the_result(self) -> list[str]:
        """The pick, what it is compared with, and the others that are returned."""
        returned = [one.cell_id for one in self.tune.found.best] if self.tune.found else []
        compared = [self.tune.default, *(one.cell_id for one in self.tune.against)]
        names = dict.fromkeys([*returned[:1], *compared, *returned[1:]])
        return [name for name in names if name in self.states]

    def _finish_all(self) -> None:
        """A record of each that was measured, and a new one where it was measured again."""
        found = self.tune.found
        stop: StopReason = "ranked" if found is not None and found.over else "max-time"
        self._profile_the_result()
        for name, state in self.states.items():
            if state.stop is None and state.invocations and self._is_due(name):
                records = self.outcome.records
                records[:] = [record for record in records if record.cell_id != name]
                state.stop = stop
                self.finish(state)

    def _is_due(self, name: str) -> bool:
        """Whether there is no record of all that was measured."""
        return name not in self._recorded_before or name in self._measured_now


#: Why what computes says nothing on how well it does.
_WRONG, _NO_ENERGY = "it is WRONG", "it has no energy"


def _kept_outputs(run: StoredRun, told: CellFacts) -> list[Array] | None:
    """What a timed call put out; None where that was too large to keep, or can't be read."""
    if not told.outputs:
        return None
    with suppress(SpecError):
        return read_outputs(run.path, told.outputs)
    return None


def _wrong(record: Record) -> str:
    """Why a record is of something else than was asked for; empty where it isn't."""
    if not record.wrong:
        return ""
    details = [check.detail for check in record.checks if check.name in record.wrong]
    return f"{_WRONG} ({', '.join(record.wrong)}): {'; '.join(details)}"
