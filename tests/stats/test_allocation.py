"""How many blocks and calls cost least."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import stdtrit

from bench.stats.nested.allocation import (
    FEWEST_ROUNDS,
    MOST_ROUNDS,
    Asked,
    Costs,
    half_width,
    longer_blocks,
    rounds_worth,
)
from bench.stats.nested.components import Components

COSTS = Costs(process=0.35, block=0.0125, opening=0.0025)
#: No number of blocks is enough in the fewest processes.
NARROW = Asked(half_width=1e-6, confidence=0.95, looks=(3, 4, 6))


def test_a_half_width_is_students_of_the_variance_of_so_many_processes() -> None:
    values = np.array([-0.3, 0.1, 0.5, 0.7])
    expected = stats.t.interval(0.9, 3, scale=values.std(ddof=1) / 2)[1]
    assert half_width(values.var(ddof=1), 4, 0.9) == pytest.approx(expected)


def price(rounds: int, found: Components, costs: Costs) -> float:
    """Variance times time, which no number of processes changes."""
    variance = found.processes + found.blocks / rounds
    return variance * (costs.process + rounds * costs.block)


@pytest.mark.parametrize("processes", [0.0001, 0.002, 0.04])
@pytest.mark.parametrize("blocks", [0.0004, 0.01, 0.09])
def test_no_other_number_of_rounds_is_cheaper(processes: float, blocks: float) -> None:
    found = Components(processes, blocks, 0.0, 9)
    rounds = rounds_worth(found, COSTS, NARROW)
    prices = {n: price(n, found, COSTS) for n in range(FEWEST_ROUNDS, MOST_ROUNDS + 1)}
    assert prices[rounds] <= 1.01 * min(prices.values())


def test_a_steady_cell_gets_few_rounds_and_one_that_wanders_gets_many() -> None:
    replay = Components(0.00001, 0.0001, 0.0, 2)
    launches = Components(0.0022, 0.04, 0.0, 2)
    asked = Asked(0.05, 0.95, (3,))
    assert rounds_worth(replay, COSTS, asked) == FEWEST_ROUNDS
    assert rounds_worth(launches, COSTS, asked) > 20


def test_no_more_than_what_the_fewest_processes_need_for_the_precision() -> None:
    """Where processes don't differ, the formula alone would ask for ever more blocks."""
    found = Components(0.0, 0.04, 0.0, 4)
    asked = Asked(0.05, 0.95, (5,))
    rounds = rounds_worth(found, COSTS, asked)
    reach = float(stdtrit(4, 0.975))
    widths = [reach * np.sqrt(0.04 / n / 5) for n in (rounds, rounds - 1)]
    assert widths[0] <= 0.05 < widths[1]


def test_more_processes_of_fewer_rounds_where_that_is_sooner_sure() -> None:
    """Three processes reach far by Student's t: a large gap whose blocks wander is sooner known
    from four or six."""
    found = Components(0.0004, 0.03, 0.0, 2)
    costs = Costs(process=0.35, block=0.025, opening=0.0)
    few, more = (rounds_worth(found, costs, Asked(0.26, 0.99, k)) for k in ((3,), (3, 4, 6, 8)))
    assert more < few / 2


def test_processes_that_are_dear_to_start_get_more_rounds() -> None:
    found = Components(0.0004, 0.0009, 0.0, 4)
    rounds = [rounds_worth(found, Costs(s, 0.0125, 0), NARROW) for s in (0.02, 0.35, 5.0)]
    assert all(one < other for one, other in itertools.pairwise(rounds))


def test_blocks_are_longer_only_where_their_calls_are_what_varies() -> None:
    costs = Costs(process=0.35, block=0.0125, opening=0.0025)
    by_calls = Components(0.0, 0.0104, 0.0100, 3)
    by_blocks = Components(0.0, 0.0100, 0.0004, 3)
    assert longer_blocks(by_calls, costs, calls=20) == 2
    assert longer_blocks(Components(0.0, 0.01, 0.01, 3), costs, calls=20) == 4
    assert longer_blocks(by_blocks, costs, calls=20) == 1
    assert longer_blocks(Components(0.0, 0.01, 0.0, 3), costs, calls=1) == 1
