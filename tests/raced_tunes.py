"""Tunes whose processes and scores are made up, for tests of what a tune decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
from fake_records import a_cell
from made_up_field import Clock

from bench.errors import WorkerCrashed
from bench.measure.scoring import Score
from bench.record.result import Invocation
from bench.spec import Suite
from bench.trials.tune.found import Costs
from bench.trials.tune.kept import Asked, Entrant, Tune
from bench.trials.tune.measuring import Tuning, calls_for_a_percentile
from bench.trials.tune.objective import find_objective
from bench.trials.tune.race import Budget, Pace
from bench.variants import DEFAULT

#: What a process of a configuration measures in ns; ``confirming``: the choice is made.
Truth = Callable[[int, bool], float]


class Raced(Tuning):
    """A tune whose processes measure what the test says, with 1% of noise, and take a second."""

    def __init__(
        self,
        truth: Truth,
        count: int,
        *,
        forms: Mapping[int, str] = MappingProxyType({}),
        **asked: Any,
    ) -> None:
        """``forms``: the variants of those that aren't the model as it is."""
        cells = [
            a_cell(threads=n + 1, target=f"x:cpu?n={n}", variant=forms.get(n, DEFAULT))
            for n in range(count)
        ]
        self.place = {cell.id: n for n, cell in enumerate(cells)}
        self.truth, self.rng = truth, np.random.default_rng(3)
        self.wrong: set[str] = set()
        self.generations: list[list[int]] = []
        self.interrupted = -1  #: at this generation
        #: configurations that crash in a process of the confirmation, by its number from 1
        self.crashes: dict[int, int] = {}
        self.tune = Tune(
            asked=Asked(objective="latency", target="x:cpu", **asked),
            entrants=tuple(Entrant(cell_id=cell.id) for cell in cells),
        )
        self.objective = find_objective("latency", None)
        self.suite = Suite()
        self.clock = Clock()
        self.kept: list[str] = []
        self.listener: Any = SimpleNamespace(note=self.kept.append, phase=lambda words: None)
        self.store: Any = SimpleNamespace(write_atomically=lambda name, text: None)
        context = SimpleNamespace(rng=np.random.default_rng(5))
        self._group: Any = SimpleNamespace(generation=7, context=context)
        self._windows, self._canary = [], None  # type: ignore[assignment]
        self._told, self._looked_at = {}, set()
        self._looked_into, self._profile_s = set(), 0.0
        self._unscored, self._worse_by, self.original = set(), {}, None
        self._recorded_before, self._measured_now, self._not_kept = set(), set(), {}
        self.outcome: Any = SimpleNamespace(records=[])
        self.states = {
            cell.id: SimpleNamespace(
                cell=cell, invocations=[], failure=None, planned=None, profiles=False
            )
            for cell in cells
        }  # type: ignore[assignment]
        self.within(1e9)

    def within(self, seconds: float, spent_s: float = 0.0) -> None:
        """Give it so much time, of which some is spent."""
        self.budget = Budget(seconds, spent_s, clock=self.clock)
        turns = self.tune.turns_s, self.tune.turns
        self.pace = Pace(self.budget, 0, 0.0, *turns, counted=self._keep)
        self._until_s = seconds
        asked = self.tune.asked.model_copy(update={"max_time_s": seconds})
        self.tune = self.tune.model_copy(update={"asked": asked})

    def against(self, *places: int) -> None:
        named = tuple(self.tune.entrants[place] for place in places)
        self.tune = self.tune.model_copy(update={"against": named})

    def resumed(self, max_time_s: float) -> Raced:
        """The same tune in a new process, which has what was measured and kept."""
        again = type(self)(self.truth, len(self.states))
        again.tune, again.states, again.place = self.tune, self.states, self.place
        again.original = self.original
        again._group.generation = self._group.generation
        again.within(max_time_s, self.tune.spent_s)
        return again

    @property
    def confirming(self) -> bool:
        return any(one.end is None for one in self.tune.confirmations)

    def _take_blocks(self, names: Sequence[str]) -> None:
        if self._group.generation == self.interrupted:
            raise KeyboardInterrupt
        self.clock.now += len(names)
        self.generations.append(sorted(self.place[name] for name in names))
        for name in names:
            place = self.place[name]
            true = self.truth(place, self.confirming)
            median_ns = true * float(np.exp(self.rng.normal(0, 0.01)))
            told = Invocation.model_construct(index=self._group.generation, median_ns=median_ns)
            if self._crashes_now(place):
                self.states[name].failure = WorkerCrashed("it died of SIGSEGV.")
            else:
                self.states[name].invocations.append(told)
        self._group.generation += 1

    def _crashes_now(self, place: int) -> bool:
        if not self.confirming or place not in self.crashes:
            return False
        self.crashes[place] -= 1
        return self.crashes[place] == 0

    def _throw_out_wrong(self, cell_id: str) -> bool:
        is_wrong = self.confirmed(cell_id) and cell_id in self.wrong
        if is_wrong:
            self._throw_out(cell_id, "it is WRONG (parity)")
        return is_wrong

    def confirmed(self, cell_id: str) -> bool:
        return cell_id in {one.cell_id for one in self.tune.confirmations}

    def confirmations(self) -> list[tuple[int, int]]:
        """Of which pick, and of how many generations, each was."""
        return [
            (self.place[one.cell_id], (one.end or self._next) - one.first)
            for one in self.tune.confirmations
        ]


class Bounded(Raced):
    """One whose 99th percentile is bounded. Each query takes what its configuration does, and
    ``slow`` of them ten times as long."""

    def __init__(self, truth: Truth, count: int, bound_ns: int = 500_000_000) -> None:
        super().__init__(truth, count)
        asked = Asked(objective="throughput", target="x:cpu", latency_bound_ns=bound_ns)
        self.tune = self.tune.model_copy(update={"asked": asked})
        self.objective = find_objective("throughput", bound_ns)
        self.slow: dict[int, float] = {}
        for state in self.states.values():
            state.samples = {}
        self.within(1e9)

    def _costs(self) -> Costs:
        return Costs(
            {
                name: {one.index: one.median_ns for one in state.invocations}
                for name, state in self.states.items()
                if state.failure is None
            }
        )

    def _check(self, state: Any) -> None:
        why = self.objective.surely_broken(state, self.suite.confidence)
        if why and state.cell.id not in self.tune.thrown_out:
            self._throw_out(state.cell.id, why)

    def _take_blocks(self, names: Sequence[str]) -> None:
        super()._take_blocks(names)
        for state in (self.states[name] for name in names):
            last = state.invocations[-1]
            queries = np.full(8 * calls_for_a_percentile(last.median_ns), last.median_ns)
            share = self.slow.get(self.place[state.cell.id], 0.0)
            queries[: round(share * queries.size)] *= 10
            state.samples[last.index] = queries
            self._check(state)


class Scored(Raced):
    """One whose accuracy is asked for: what scoring a target takes, whether it fails, and why what
    it gives isn't shown to be as accurate, are the test's."""

    def __init__(
        self,
        truth: Truth,
        count: int,
        *,
        forms: Mapping[int, str] = MappingProxyType({}),
        scoring_s: float = 0.0,
    ) -> None:
        super().__init__(truth, count, forms=forms, within=0.005)
        self.scoring_s = scoring_s
        self.worse: dict[int, str] = {}
        self.fails: set[int] = set()
        self.scores = {}
        self.stored: dict[int, Any] = {}
        self.scored: list[int] = []
        for name, state in self.states.items():
            state.planned = SimpleNamespace(cell=state.cell, place=self.place[name])
        self.original = next(iter(self.states.values())).planned

    def resumed(self, max_time_s: float) -> Raced:
        again = super().resumed(max_time_s)
        assert isinstance(again, Scored)
        again.stored, again.worse, again.scoring_s = self.scores, self.worse, self.scoring_s
        return again

    def _to_be_scored(self, planned: Any) -> bool:
        """What an earlier part of the run scored is looked for here."""
        if planned.place in self.stored:
            self.scores[planned.place] = self.stored[planned.place]
        return planned.place not in self.scores

    def _score_known(self, planned: Any) -> Any:
        return self.scores.get(planned.place)

    def _score(self, planned: Any) -> None:
        self.scored.append(planned.place)
        left_s = self._scoring_left_s()
        self.clock.now += min(left_s, self.scoring_s)
        if left_s >= self.scoring_s:
            failed = planned.place in self.fails
            self.scores[planned.place] = (
                WorkerCrashed("it died of SIGSEGV.") if failed else Score(None, None)  # type: ignore
            )

    def _worse(self, planned: Any) -> str:
        return self.worse.get(planned.place, "")
