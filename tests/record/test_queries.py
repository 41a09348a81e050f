"""What follows from whole queries: TPOT, tokens a second, and whether bounds are met."""

from __future__ import annotations

import numpy as np
import pytest
from fake_queries import queries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.record.queries import all_kept, bounds_check, kept, time_per_token
from bench.record.result import Percentile

MS = 1_000_000
NS = st.integers(1, 10**12)


@given(st.lists(st.tuples(NS, NS), min_size=1, max_size=5), st.integers(2, 4000))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_tpot_is_the_time_behind_the_first_token_over_the_tokens_behind_it(
    times: list[tuple[int, int]], new_tokens: int
) -> None:
    first, rest = map(np.array, zip(*times, strict=True))
    found = time_per_token(first + rest, first, new_tokens)
    assert found is not None
    np.testing.assert_allclose(found * (new_tokens - 1) + first, first + rest)


def test_a_single_token_has_no_tpot() -> None:
    assert time_per_token(np.array([5]), np.array([5]), 1) is None
    found = queries("offline@8+1", 5 * MS, 0, batch=2)
    assert found is not None
    assert (found.tpot, found.new_per_s) == (None, None)
    assert found.prompt_per_s is not None


def test_tokens_of_prompts_and_of_answers_are_counted_over_their_own_times() -> None:
    """Four prompts of 8 tokens in 2 ms; 5 tokens each, 4 of them in the 10 ms behind the first."""
    found = queries("offline@8+5", 2 * MS, 10 * MS, batch=4)
    assert found is not None
    assert found.prompt_per_s is not None
    assert found.prompt_per_s.value == pytest.approx(4 * 8 / 2e-3)
    assert found.new_per_s is not None
    assert found.new_per_s.value == pytest.approx(4 * 4 / 10e-3)
    assert found.tpot is not None
    assert found.tpot.median_ns.value == pytest.approx(2.5 * MS)


def test_queries_that_may_have_waited_tell_no_speed_of_prompts() -> None:
    found = queries("server@8+5", 2 * MS, 10 * MS, ttft_bound_ns=3 * MS, tpot_bound_ns=3 * MS)
    assert found is not None
    assert (found.prompt_per_s, found.new_per_s) == (None, None)
    assert found.bounds == "met"


@pytest.mark.parametrize(
    ("ttft_bound_ms", "tpot_bound_ms", "standing"),
    [(3, 3, "met"), (1, 3, "missed"), (3, 2, "missed"), (1, 2, "missed")],
)
def test_bounds_are_met_only_where_both_are(
    ttft_bound_ms: int, tpot_bound_ms: int, standing: str
) -> None:
    bounds = {"ttft_bound_ns": ttft_bound_ms * MS, "tpot_bound_ns": tpot_bound_ms * MS}
    found = queries("server@8+5", 2 * MS, 10 * MS, **bounds)
    assert found is not None
    assert found.bounds == standing
    (check,) = bounds_check(found)
    assert check.ok == (standing == "met")
    assert check.detail.count("met") + check.detail.count("missed") == 2


def test_too_few_queries_for_a_99th_percentile_say_neither() -> None:
    found = queries(
        "server@8+5", 2 * MS, 10 * MS, count=200, ttft_bound_ns=3 * MS, tpot_bound_ns=3 * MS
    )
    assert found is not None
    assert found.bounds == "inconclusive"
    (check,) = bounds_check(found)
    assert not check.ok
    assert "600 queries, but a p99 needs 662" in check.detail


P99 = Percentile(p=0.99, value_ns=100, low_ns=80, high_ns=120, samples=700, samples_needed=662)


@pytest.mark.parametrize(
    ("bound_ns", "standing"),
    [(130, "met"), (120, "met"), (119, "inconclusive"), (80, "inconclusive"), (79, "missed")],
)
def test_a_bound_inside_the_interval_is_neither_met_nor_missed(
    bound_ns: int, standing: str
) -> None:
    assert kept(P99, bound_ns) == standing


def test_mlperfs_upper_bound_has_to_keep_to_it_too() -> None:
    assert kept(P99.model_copy(update={"value_ns": 125.0}), 121) == "inconclusive"


@given(st.lists(st.sampled_from(["met", "missed", "inconclusive", None]), max_size=3))
def test_one_missed_bound_is_never_told_as_met(each: list[str | None]) -> None:
    found = all_kept(each)  # type: ignore[arg-type]
    asked = [one for one in each if one is not None]
    assert (found == "met") == (bool(asked) and set(asked) == {"met"})
    assert (found == "missed") == ("missed" in asked)
    assert (found is None) == (not asked)


def test_other_cells_have_no_queries() -> None:
    assert queries("offline", 1, 1, batch=4) is None
    assert bounds_check(None) == []
    assert bounds_check(queries("offline@8+5", 1, 8)) == []
