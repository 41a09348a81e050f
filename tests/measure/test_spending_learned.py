"""What the engine learns of a cell decides how its time is spent: rounds, or further processes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_records import a_cell
from scipy import stats

from bench.measure.beats import Beat
from bench.measure.pace.spending import ROUNDS, Plan, Spending
from bench.record.block import Block
from bench.spec import Suite
from bench.stats.nested.allocation import MOST_ROUNDS
from bench.stats.nested.components import error_by_blocks

CELL = a_cell()
STATE: Any = SimpleNamespace(cell=CELL, planned=None)


def plan(
    *, start_s: float = 0.1, between_blocks: float = 0.05, calls: int = 1000, **suite: Any
) -> Plan:
    """What a cell gets whose blocks wander by so much; three processes of it were measured, two
    workers at a time."""
    rng = np.random.default_rng(4)
    spending = Spending(Suite(**suite))
    spending.started(2 * start_s, 2)
    for process in range(3):
        blocks = []
        for number in range(ROUNDS):
            level = 1e4 * np.exp(rng.normal(0, between_blocks))
            latency_ns = np.round(level * np.exp(rng.normal(0, 0.001, 50))).astype(np.int64)
            blocks.append(Block(CELL.id, process, number, 0, latency_ns))
        spending.note({CELL.id: blocks})
        spending.note_block(CELL.id, 0.01)
    return spending.plans([STATE], {CELL.id: Beat(calls, 0)})[CELL.id]


def test_what_takes_long_to_start_gets_more_rounds_of_each_process() -> None:
    cheap, dear = plan(start_s=0.001).rounds, plan(start_s=1.0).rounds
    assert cheap < dear
    assert plan(start_s=1.0, max_time_s=1.0).rounds < dear, "no more than there is time for"


def test_blocks_that_stay_short_beside_others_keep_their_number() -> None:
    """Longer blocks replace several, where the others want them too, and once."""
    cells = [a_cell(target="x:noisy"), a_cell(target="x:quiet")]

    def planned(others: int = 0, *, lengthened: bool = False) -> Plan:
        spending = Spending(Suite(precision=0.005))
        spending.started(0.2 * (1 + others), 1 + others)
        rng = np.random.default_rng(1)
        for process in range(3):
            for cell, by_calls in zip(cells[: 1 + others], (0.8, 5e-4), strict=False):
                blocks = [
                    Block(cell.id, process, i, 0, (1e5 * np.exp(noise)).astype(np.int64))
                    for i, noise in enumerate(rng.normal(0, by_calls, (16, 100)))
                ]
                spending.note({cell.id: blocks})
                spending.note_block(cell.id, 0.02)
        states: Any = [SimpleNamespace(cell=cell, planned=None) for cell in cells]
        beat = Beat(100, 5, lengthened=lengthened)
        return spending.plans(states, dict.fromkeys((cell.id for cell in cells), beat))[cells[0].id]

    alone, again, beside = planned(), planned(lengthened=True), planned(others=1)
    assert [one.beat.calls for one in (alone, again, beside)] == [400, 100, 100]
    assert again.rounds == 4 * alone.rounds
    assert beside.rounds == MOST_ROUNDS


def test_the_time_of_a_start_is_shared_by_the_workers_that_started_in_it() -> None:
    spending = Spending(Suite())
    spending.started(6.0, 3)
    assert spending.process_s == 2.0
    spending.started(9.0, 0)  # none did, so nothing is learned
    assert spending.process_s == 2.0


def test_a_cell_that_wanders_from_block_to_block_gets_more_rounds() -> None:
    assert plan(between_blocks=0.002).rounds < plan(between_blocks=0.1, start_s=1.0).rounds


def test_a_p99_keeps_the_usual_rounds_where_few_would_do() -> None:
    """662 samples are needed, of five processes: 132 of each."""
    assert plan(between_blocks=1e-4, calls=1000).rounds < ROUNDS
    assert plan(between_blocks=1e-4, calls=10).rounds == ROUNDS


def test_blocks_that_wander_make_an_interval_at_least_so_wide() -> None:
    """Three processes of 8 blocks: Student's t of two degrees at 97.5%, where 95% is stated."""
    spending = Spending(Suite())
    state: Any = SimpleNamespace(cell=CELL, invocations=[])
    assert spending.least_half_widths([state]) == {}, "nothing is known of it"
    rng = np.random.default_rng(8)
    for process in range(3):
        levels = 1e4 * np.exp(rng.normal(0, 0.1, ROUNDS))
        one = [
            Block(CELL.id, process, i, 0, np.full(9, level, np.int64))
            for i, level in enumerate(levels)
        ]
        spending.note({CELL.id: one})
    state.invocations = [None]
    assert spending.least_half_widths([state]) == {}, "one process has no interval"
    state.invocations = [None] * 3
    (found,) = spending.least_half_widths([state]).values()
    error = error_by_blocks(spending.learned[CELL.id].medians)
    assert error == pytest.approx(0.1 / np.sqrt(ROUNDS), rel=0.4)
    assert found == pytest.approx(np.expm1(stats.t.ppf(0.9875, 2) * error / np.sqrt(3)))
    state.invocations = [None] * 12  # as where a run was resumed
    (later,) = spending.least_half_widths([state]).values()
    assert later < found / 3


def test_blocks_that_wander_far_at_a_high_confidence_make_no_interval_narrow() -> None:
    spending = Spending(Suite(confidence=0.999))
    state: Any = SimpleNamespace(cell=CELL, invocations=[None] * 2)
    for process in range(2):
        levels = 10.0 ** np.arange(2, ROUNDS)
        blocks = [
            Block(CELL.id, process, i, 0, np.full(9, level, np.int64))
            for i, level in enumerate(levels)
        ]
        spending.note({CELL.id: blocks})
    assert spending.least_half_widths([state]) == {CELL.id: np.inf}


def test_nothing_is_planned_for_a_cell_of_which_nothing_is_known() -> None:
    spending = Spending(Suite())
    assert not spending.knows(CELL.id)
    assert spending.plans([STATE], {CELL.id: Beat(1, 0)}) == {}


@pytest.mark.filterwarnings("error")
def test_what_is_disturbed_on_one_side_still_tells_of_ratios() -> None:
    """Of eight cells each has other blocks disturbed: there is no round in which none has."""
    cells = [a_cell(target=f"x:{number}") for number in range(8)]
    states: Any = [SimpleNamespace(cell=cell, invocations=[], failure=None) for cell in cells]
    beats = {cell.id: Beat(9, 0) for cell in cells}

    def planned(*, disturbed: bool) -> dict[str, Plan]:
        spending = Spending(Suite(goal="rank"))
        spending.started(8.0, len(cells))
        rng = np.random.default_rng(4)
        for place, cell in enumerate(cells):
            levels = 1e4 * np.exp(rng.normal(0, 0.1, ROUNDS))
            blocks = [
                Block(
                    cell.id,
                    0,
                    i,
                    0,
                    np.full(9, level, np.int64),
                    disturbed=disturbed and i == place,
                )
                for i, level in enumerate(levels)
            ]
            spending.note({cell.id: blocks})
            spending.note_block(cell.id, 0.01)
        return spending.plans(states, beats)

    assert planned(disturbed=True) == planned(disturbed=False)
    assert max(plan.rounds for plan in planned(disturbed=True).values()) > ROUNDS
