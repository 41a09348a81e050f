"""A tuning run's accuracy, within its time: what is scored when, and what isn't shown to be as
accurate as the model as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.arrays import Array
from bench.cards.tasks import bulky_columns, find_task
from bench.errors import AccuracyFailed, BenchError, as_sentence
from bench.measure.energy.lasting import IDLE_TURNS, turn_s
from bench.measure.measuring import Measuring, OpenRun
from bench.measure.plan import PlannedCell
from bench.measure.scoring import Score
from bench.measure.state import CellState
from bench.stats.equivalence import two_one_sided
from bench.store.files import TUNE
from bench.store.predictions import read_predictions
from bench.trials.tune.kept import Tune
from bench.trials.tune.objective import Objective
from bench.trials.tune.race import SLACK, Budget, Pace
from bench.variants import in_words

#: The share of the time left that scoring may take, be it of the forms of the model before any is
#: raced, or of the pick afterwards. Our choice.
_SCORING = 0.5


class Scoring(Measuring):
    """A tuning run as it is kept, and the accuracy of its configurations.

    ``original`` is the model as it is, on the target as it was named; None where accuracy isn't
    asked for.
    """

    def __init__(
        self, run: OpenRun, tune: Tune, objective: Objective, original: PlannedCell | None
    ) -> None:
        super().__init__(run)
        self.store.remedy = f"resume with `bench tune --resume {self.store.path}`"
        self.tune = tune
        self.original = original
        self.budget = Budget(tune.asked.max_time_s, tune.spent_s + self.account.startup_s)
        extra, least_s = (IDLE_TURNS, turn_s(self.suite)) if objective.metered else (0, 0.0)
        self.pace = Pace(self.budget, extra, least_s, tune.turns_s, tune.turns, counted=self._keep)
        self.states: dict[str, CellState] = {}
        self._unscored: set[str] = set()  #: configurations that there was no time for
        self._until_s = self.budget.total_s  #: the end of what is being scored
        self._worse_by: dict[str, str] = {}  #: why not as accurate, by the file of predictions

    # -- keeping ----------------------------------------------------------------------------------

    def _keep(self, **changed: object) -> None:
        """What is known now, on the disk."""
        times = {
            "spent_s": self.budget.spent_s,
            "turns": self.pace.turns,
            "turns_s": self.pace.seconds,
        }
        self.tune = self.tune.model_copy(update={**changed, **times})
        self.store.write_atomically(TUNE, self.tune.model_dump_json(indent=1).encode())

    def _throw_out(self, cell_id: str, why: str) -> None:
        self._keep(thrown_out={**self.tune.thrown_out, cell_id: why})
        self.listener.note(f"{self.tune.words(cell_id)} is eliminated: {as_sentence(why)}")

    def _throw_out_form(self, planned: PlannedCell, why: str) -> None:
        """All configurations of that form: what is tuned changes nothing that is computed."""
        names = self._forms()[planned.cell.variant]
        self._keep(thrown_out={**self.tune.thrown_out, **dict.fromkeys(names, why)})
        self.listener.note(f"{_form(planned)} is eliminated: {as_sentence(why)}")

    # -- when it is scored ------------------------------------------------------------------------

    def _score_late(self) -> None:
        """Nothing: what is scored depends on the race and on the time."""

    def _finish_tried(self, state: CellState) -> None:
        """A configuration that fails isn't scored for its record."""
        self.finish(state)

    def _scoring_left_s(self) -> float:
        return max(0.0, self._until_s - self.budget.spent_s)

    def _is_scored(self, planned: PlannedCell) -> bool:
        """Whether that was tried to its end, now or before."""
        return not self._to_be_scored(planned)

    def _score_by(self, planned: PlannedCell, until_s: float) -> None:
        """Score it, by then, where it isn't yet; and keep how long that took."""
        if self._is_scored(planned) or until_s <= self.budget.spent_s:
            return
        began_s, self._until_s = self.budget.spent_s, until_s
        self._score(planned)
        self._keep(score_s=max(self.tune.score_s, self.budget.spent_s - began_s))

    def _one_more_s(self) -> float:
        """What scoring one more may take."""
        return SLACK * self.tune.score_s

    def _kept_to_score_s(self) -> float:
        """What is kept for scoring the pick, with its options: nothing where that would be most of
        the time, and only configurations on the target as it was named can be picked."""
        one_more_s = self._one_more_s()
        return one_more_s if one_more_s < _SCORING * self.budget.left_s else 0.0

    def _score_original(self, until_s: float) -> None:
        """Raises `AccuracyFailed` where that can't be: nothing can be compared with it then."""
        assert self.original is not None
        self._score_by(self.original, until_s)
        found = self._score_known(self.original)
        if isinstance(found, Score):
            return
        limit = f"--max-time {self.tune.asked.max_time_s:g}s"
        why = found or f"it takes more than half of the time that is left of {limit}: give more."
        raise AccuracyFailed(
            f"--within can't be checked: {self.original.cell.label} can't be scored: {why}"
        )

    def _score_forms(self) -> dict[str, str]:
        """Score the original and the simplest configuration of each other form, and throw out the
        forms that aren't shown to be as accurate. The configurations whose form there is no time to
        score, with that reason."""
        if self.original is None:
            return {}
        until_s = self.budget.spent_s + _SCORING * self.budget.left_s
        self._score_original(until_s)
        late: dict[str, str] = {}
        for names in self._forms().values():
            planned = self.states[names[0]].planned
            if self.budget.spent_s + self._one_more_s() <= until_s:
                self._score_by(planned, self.budget.total_s)
            if not self._is_scored(planned):
                why = f"no time to score it in {self.tune.asked.max_time_s:g} s"
                late |= dict.fromkeys(names, why)
                self.listener.note(
                    f"{_form(planned)} is not tried: {why}. Give a longer --max-time."
                )
            elif why := self._worse(planned):
                self._throw_out_form(planned, why)
        return late

    def _forms(self) -> Mapping[str, list[str]]:
        """The configurations of each form, the simplest first."""
        found: dict[str, list[str]] = {}
        for one in self.tune.entrants:
            if one.cell_id in self.states and one.cell_id not in self.tune.thrown_out:
                found.setdefault(self.states[one.cell_id].cell.variant, []).append(one.cell_id)
        return found

    def _is_accurate(self, cell_id: str) -> bool:
        """Whether a configuration, with the options that it has, is shown to be as accurate as the
        original. Else it is thrown out, or in doubt where there is no time to score it."""
        if self.original is None:
            return True
        planned = self.states[cell_id].planned
        if self.budget.left_s > self._one_more_s():
            self._score_by(planned, self.budget.total_s)
        if not self._is_scored(planned):
            self._unscored.add(cell_id)
            return False
        if why := self._worse(planned):
            self._throw_out(cell_id, why)
        return not why

    def _are_accurate(self, cell_ids: Iterable[str]) -> None:
        for cell_id in cell_ids:
            self._is_accurate(cell_id)

    def _accuracy_doubt(self, cell_id: str) -> str:
        """The doubt about a configuration that there was no time to score; else empty."""
        return "no time to score it with these options" if cell_id in self._unscored else ""

    # -- what it says -----------------------------------------------------------------------------

    def _worse(self, planned: PlannedCell) -> str:
        """Why a cell that was scored is not shown to be as accurate as the original within what is
        allowed; empty where it is (`bench.stats.equivalence`: one-sided)."""
        assert self.original is not None
        mine, its = self._score_known(planned), self._score_known(self.original)
        assert isinstance(its, Score)
        if not isinstance(mine, Score):
            return f"it could not be scored beside the original: {mine}"
        files = mine.scored.predictions, its.scored.predictions
        if files[0] not in self._worse_by:
            self._worse_by[files[0]] = self._compared(planned.cell.model.task, *files)
        return self._worse_by[files[0]]

    def _compared(self, task: str, mine: str, its: str) -> str:
        """The same from two files of predictions."""
        within = self.tune.asked.within
        assert within is not None
        try:
            columns = self._predicted(task, mine), self._predicted(task, its)
            found = find_task(task).change(*columns, two_one_sided(self.suite.confidence))
        except BenchError as error:
            return f"its accuracy can't be compared with the original's: {error}"
        if found is None:
            return "it was scored on different examples than the original"
        if found.gain.low > -within:
            return ""
        scale = found.metric.scale
        low, high = (scale.difference(value) for value in (found.gain.low, found.gain.high))
        return (
            f"its {found.metric.name} differs from the original's by {low} to {high}, which may "
            f"be more than {scale.margin(within)} worse"
        )

    def _predicted(self, task: str, file: str) -> Mapping[str, Array]:
        """The columns that metrics are made of. Raises `SpecError` where they can't be read."""
        return read_predictions(self.store.path / file, without=bulky_columns(task))


def _form(planned: PlannedCell) -> str:
    """A form of the model in words."""
    return f"{planned.cell.model.name}{in_words(planned.cell.variant)}"
