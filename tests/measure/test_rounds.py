"""Which rounds of a generation cells take part in that don't take part in all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.pace.rounds import takes_part

COUNTS = st.integers(1, 64)


def rounds_of(wanted: int, total: int) -> list[int]:
    return [number for number in range(total) if takes_part(number, wanted, total)]


@given(COUNTS, st.integers(-1, 70))
def test_a_cell_has_as_many_rounds_as_it_wants(total: int, wanted: int) -> None:
    assert len(rounds_of(wanted, total)) == min(max(wanted, 0), total)


@given(COUNTS, COUNTS, COUNTS)
def test_who_has_fewer_rounds_shares_all_of_them(total: int, one: int, other: int) -> None:
    """Else pairs of which neither has the most rounds would have few in common."""
    fewer, more = sorted((one, other))
    assert set(rounds_of(fewer, total)) <= set(rounds_of(more, total))


@pytest.mark.parametrize("total", [48, 64])
def test_the_rounds_are_spread_over_the_generation(total: int) -> None:
    """Half of them in each half, and no gap of more than twice an even one."""
    for wanted in (8, 12, 16, 33):
        found = rounds_of(wanted, total)
        assert abs(sum(n < total / 2 for n in found) - wanted / 2) <= wanted / 8
        assert np.diff([*found, total]).max() <= 2 * -(-total // wanted)
