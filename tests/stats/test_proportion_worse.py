"""The one-sided test of "no worse than a margin"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.proportion import p_of_worse, paired_difference_interval


@given(
    lost=st.integers(0, 60),
    gained=st.integers(0, 60),
    rest=st.integers(1, 2000),
    margin=st.sampled_from([0.005, 0.02, 0.1]),
)
def test_it_rejects_exactly_where_the_interval_lies_below_the_margin(
    lost: int, gained: int, rest: int, margin: float
) -> None:
    n = lost + gained + rest
    p = p_of_worse(lost, gained, n, margin)
    interval = paired_difference_interval(lost, gained, n, 0.9)

    assert (p < 0.05) == (interval.high < -margin) or p == pytest.approx(0.05, abs=1e-6)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="discordant"):
        p_of_worse(3, 3, 5, 0.1)
