"""Windows of energy take time that is known before: it is forecast, counted and shared out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from made_up_field import Clock
from test_plan import choice, model  # type: ignore[import-not-found]

from bench.commands.run import command
from bench.machine.powercap import Found
from bench.measure import measuring
from bench.measure.energy import found, passes
from bench.measure.energy.lasting import EnergyTime, turn_s
from bench.measure.measuring import Measuring, forecaster_of
from bench.measure.pace.account import Account
from bench.measure.pace.budget import KEPT_SHARE, Budget
from bench.measure.pace.forecast import INVOCATION_S, Forecaster
from bench.measure.plan import Plan, PlannedCell, make_plan
from bench.spec import Suite

#: Windows of a second: a turn is 2.25 s with its lead and tail.
SUITE: dict[str, Any] = {
    "energy": True,
    "energy_window_s": 1.0,
    "wall_command": "echo 40",
    "accuracy": False,
}
TURN_S = 2.25


def energy_time(groups: Sequence[int], **suite: Any) -> EnergyTime:
    return EnergyTime(Suite(**{**SUITE, **suite}), groups)


def test_a_round_takes_a_window_of_each_cell_and_two_of_the_idle_machine() -> None:
    assert turn_s(Suite(**SUITE)) == TURN_S
    time = energy_time([2, 0, 3])
    assert time.left_s(4, start_s=0.5) == pytest.approx(4 * ((4 + 5) * TURN_S + 5 * 0.5))
    time.began(2)
    time.took(4 * 10.0)  # what a turn was seen to take replaces the guess, starts included
    assert time.left_s(4, start_s=0.5) == pytest.approx(3 * 4 * 10.0 + 4 * 5 * 10.0)
    time.ended()
    time.ended()
    assert time.left_s(4, start_s=0.5) == pytest.approx(4 * 5 * 10.0)
    time.unread()
    assert time.left_s(4, start_s=0.5) == 0


def test_there_are_as_many_rounds_as_the_time_holds_but_never_fewer_than_give_a_figure() -> None:
    round_s = (1 + 2) * TURN_S
    for spare, rounds in ((0.0, 3), (3.9, 3), (4.1, 4), (9.0, 6), (math.inf, 6)):
        time = energy_time([1], min_invocations=6, max_invocations=30)
        assert time.rounds(spare * round_s, 0.0) == rounds
        time.began(1)
        time.took(round_s)  # one of them was made
        assert time.rounds((spare - 1) * round_s, 0.0) == rounds
    assert energy_time([1], min_invocations=2).rounds(math.inf, 0.0) == 3


# -- the forecast ---------------------------------------------------------------------------------


def forecaster(budget_s: float | None, metered: Sequence[int] = (2, 2)) -> Forecaster:
    suite = Suite(**SUITE, min_invocations=5, budget_s=budget_s)
    return Forecaster(suite, Account(lambda: 0.0), [2, 2], 0, metered)


def expected_s(rounds: int) -> float:
    """Of two groups of two cells, five invocations each."""
    return 20 * INVOCATION_S + 2 * rounds * (4 * TURN_S + 2 * INVOCATION_S)


def test_the_forecast_holds_the_windows() -> None:
    assert forecaster(None).expected().remaining_s == pytest.approx(expected_s(5))
    assert forecaster(None).too_short() == []
    assert forecaster(None, metered=()).expected().remaining_s == pytest.approx(20 * INVOCATION_S)


def test_a_budget_that_holds_the_fewest_windows_gives_up_rounds_and_is_kept() -> None:
    budget_s = expected_s(4) / (1 - KEPT_SHARE) + 1
    tight = forecaster(budget_s)
    assert tight.rounds() == 4
    assert tight.expected().remaining_s < budget_s
    assert tight.too_short() == []


def test_a_budget_that_does_not_hold_the_fewest_windows_is_told_with_what_would() -> None:
    short = forecaster(40.0)
    assert short.rounds() == 3
    assert short.expected().remaining_s == pytest.approx(expected_s(3))
    (words,) = short.too_short()
    needed_s = math.ceil(expected_s(3) / (1 - KEPT_SHARE))
    assert words == (
        "--budget 40s is too short for the energy of 4 cells, so the run takes longer: 3 rounds "
        f"of windows, the fewest, need --budget {needed_s}s."
    )
    assert forecaster(float(needed_s)).too_short() == []
    assert forecaster(40.0, metered=()).too_short() == []


# -- a run ----------------------------------------------------------------------------------------


ROOM = "what workers take"


class Run(Measuring):
    """A run on a clock of its own, in which a group takes all of its time and a window what it has
    to; ``slow``: times as long."""

    def __init__(self, plan: Plan, monkeypatch: pytest.MonkeyPatch, slow: float = 1.0) -> None:
        self.clock, self.told = Clock(), []  # type: ignore[var-annotated]
        self.suite = plan.suite
        self.account = Account(self.clock)
        self.prepared: Any = SimpleNamespace(plan=plan, account=self.account, launcher=None)
        self.todo = list(plan.cells)
        self.outcome: Any = SimpleNamespace(records=[])
        self.listener: Any = SimpleNamespace(
            run_started=lambda *_: None,
            forecast=lambda expected: self.told.append(expected.total_s),
            note=lambda words: self.notes.append(words),
        )
        self.store: Any = SimpleNamespace(path=Path(), keeps_raw=True)
        self.stored = None
        self._overdrawn_s: list[float] = []
        self.notes: list[str] = []
        self.groups_s: list[float] = []
        self.rounds: list[int] = []
        ids = {planned.cell.id for planned in plan.cells}
        self.forecaster = forecaster_of(self.prepared, ids, ids)
        self.run_budget = Budget(self.suite.budget_s, len(ids), self._measuring_s)
        monkeypatch.setattr(measuring, "EnergyPass", self.energy_pass(slow))
        monkeypatch.setattr(measuring, "group_class", lambda cell: self.group)
        monkeypatch.setattr(measuring, "next_cells", lambda plan, records: [])

    def energy_pass(self, slow: float) -> Any:
        def made(cells: Sequence[PlannedCell], context: Any, first: int, room: Any) -> Any:
            assert room == ROOM, "what the group learned of its workers is known to the pass"
            seconds = TURN_S * (len(cells) + 2) + INVOCATION_S * len(cells)
            return SimpleNamespace(run=partial(run, slow * seconds))

        def run(seconds: float, rounds: Callable[[], int], took: Callable[[float], None]) -> bool:
            made = 0
            while made < rounds():
                self.clock.now += seconds
                took(seconds)
                made += 1
            self.rounds.append(made)
            return True

        return made

    def group(self, name: str, states: Any, context: Any) -> Any:
        """Whatever it may take, and what its fewest invocations do."""

        def run() -> None:
            least_s = len(states) * self.suite.min_invocations * INVOCATION_S
            seconds = max(least_s, context.left_s())
            self.clock.now += seconds
            self.groups_s.append(seconds)
            self.outcome.records += [
                SimpleNamespace(cell_id=s.cell.id, status="ok", energy=(), failure=None)
                for s in states
            ]

        return SimpleNamespace(run=run, room=ROOM)

    def _context(self, planned: Any, allowance: Any = None) -> Any:
        return allowance

    def _crowded(self) -> list[str]:
        return []

    def _first_energy_round(self) -> int:
        return 0

    def _record_again(self, cell_ids: Any) -> None: ...

    def _check_sums(self) -> None: ...


def a_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, budget_s: float, slow: float = 1.0, **suite: Any
) -> Run:
    """Three groups of two cells."""
    asked = {**SUITE, "budget_s": budget_s, "threads": 1, "min_invocations": 5, **suite}
    asked |= {"scenarios": ("offline",), "batch": (2, 4, 8)}
    models = [model(folder)]
    plan = make_plan(Suite(**asked), models, [choice("a"), choice("b")])
    run = Run(plan, monkeypatch, slow)
    run.run()
    return run


def test_energy_is_part_of_the_budget_and_takes_nothing_of_the_next_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path, monkeypatch, 300.0)
    assert run.rounds == [5, 5, 5]
    assert run.groups_s == pytest.approx([run.groups_s[0]] * 3, rel=0.05)
    assert run.groups_s[0] > 2 * 5 * INVOCATION_S
    assert 0.9 * 300 <= run.clock.now <= 300
    assert run.notes == []
    assert run.told[0] <= 300


def test_where_all_rounds_do_not_fit_there_are_fewer_of_each_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path, monkeypatch, 150.0)
    assert run.rounds == [4, 4, 4]
    assert run.clock.now <= 150
    assert run.notes == []


def test_windows_that_take_longer_than_foretold_cost_rounds_not_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path, monkeypatch, 300.0, slow=1.7)
    assert sum(run.rounds) < 3 * 5
    assert min(run.rounds) >= 3
    assert run.clock.now <= 300


def test_the_fewest_windows_are_taken_in_any_case_and_that_is_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path, monkeypatch, 60.0)
    assert run.rounds == [3, 3, 3]
    (note,) = run.notes
    assert note.startswith("--budget 60s is too short for the energy of 6 cells")
    needed_s = float(note.rpartition("--budget ")[2].rstrip("s."))
    assert run.clock.now <= needed_s
    assert run.told[0] == pytest.approx(run.clock.now, rel=0.1)


def test_where_nothing_can_be_read_no_time_is_kept_for_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found, "find_zones", lambda: Found(trouble="no RAPL"))
    run = a_run(tmp_path, monkeypatch, 60.0, wall_command=None)
    assert run.notes == []
    assert run.forecaster.energy.cells == 0


def test_a_dry_run_says_what_the_windows_take() -> None:
    flags = ["fashion-student", "-t", "onnxruntime:cpu", "--energy", "--dry-run"]
    flags += ["--wall-command", "echo 40", "--no-accuracy"]
    done = CliRunner().invoke(command, flags)
    assert done.output.splitlines()[-1] == "energy of 2 cells: 3 rounds of windows, about 80 s."
    done = CliRunner().invoke(command, [*flags, "--budget", "20s"])
    assert "--budget 20s is too short for the energy of 2 cells" in done.output.splitlines()[-1]


def test_the_constants_are_those_of_the_windows() -> None:
    assert turn_s(Suite(energy=True)) == passes.LEAD_S + 3.0 + passes.TAIL_S
