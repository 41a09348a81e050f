"""The search under bounds on TTFT and TPOT, and whole queries under load, on a clock of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import Unsupported
from bench.measure.capacity_search import (
    Bound,
    Capacity,
    Made,
    find_capacity,
    tpot_bound,
    ttft_bound,
)
from bench.measure.server_group import refuse_too_long
from bench.stats.percentile import minimum_samples
from bench.worker.openloop import poisson_arrivals_ns, serve
from bench.worker.queries import Queries

MS = 1_000_000
PROMPT = np.array([[[3, 1, 4]], [[1, 5, 9]]], np.int64)
VOCABULARY = 7


class Machine:
    """A stream that takes ``prefill_ns`` for a prompt and ``token_ns(step)`` for each token, on a
    clock that nothing else advances but sleep. It answers with the number of the step."""

    def __init__(self, prefill_ns: int, token_ns: Callable[[int], int]) -> None:
        self.now = 0
        self.prefill_ns = prefill_ns
        self.token_ns = token_ns
        self.steps = 0
        self.taken: list[list[int]] = []
        self.position = 0

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def reset(self) -> None:
        self.position = 0
        self.taken.append([])

    def step(self, tokens: np.ndarray) -> np.ndarray:
        if tokens.shape[1] > 1:
            assert self.position == 0, "a prompt begins a text"
            self.now += self.prefill_ns
        else:
            self.now += self.token_ns(self.steps)
            self.steps += 1
        self.position += tokens.shape[1]
        self.taken[-1] += tokens[0].tolist()
        logits = np.zeros((1, VOCABULARY), np.float32)
        logits[0, self.position % VOCABULARY] = 1
        return logits

    def queries(self, new_tokens: int) -> Queries:
        return Queries(self, PROMPT, new_tokens, self.clock)


def search(
    machine: Machine, new_tokens: int, ttft_ms: float, tpot_ms: float, seed: int = 0
) -> Capacity:
    """What the server group does, on the machine's clock."""
    queries = machine.queries(new_tokens)
    seeds = itertools.count(1000 * seed)
    queries()
    alone_ns = machine.now
    token_ns = (machine.now - queries.first_at[0]) / (new_tokens - 1)

    def trial(rate: float, count: int, allowed: int) -> Made:
        queries.forget()
        beyond = [queries.first_later_than(ttft_ms * MS), queries.tokens_longer_than(tpot_ms * MS)]
        arrivals = poisson_arrivals_ns(rate, count, next(seeds))
        served = serve(queries, arrivals, beyond, allowed, machine.clock, machine.sleep, spin_ns=0)
        return Made(served.latency_ns, queries.ttft_since(served.due_ns), new_tokens)

    bounds: list[Bound] = [
        ttft_bound(ttft_ms * MS, queries.first_at[0]),
        tpot_bound(tpot_ms * MS, token_ns),
    ]
    return find_capacity(trial, alone_ns, bounds)


def test_the_first_bound_to_fail_decides_the_rate() -> None:
    """A query takes 4 + 6 x 1 ms. TPOT is 1 ms at any rate; TTFT holds the wait for queries before,
    so a tighter bound on it is met at a lower rate."""
    rates = [
        search(Machine(4 * MS, lambda _: MS), 7, ttft_ms, 1.5).rate_per_s
        for ttft_ms in (16, 30, 100)
    ]
    assert rates == sorted(rates)
    assert rates[0] < 0.5 * rates[-1]
    assert rates[-1] < 105, "100 queries a second are all that there is time for"
    assert rates[-1] > 80


def test_what_held_keeps_to_both_bounds_by_its_own_queries() -> None:
    slow = np.random.default_rng(2).random(4_000_000) < 0.0005
    found = search(Machine(2 * MS, lambda step: 20 * MS if slow[step] else MS), 5, 30, 6)
    assert found.made.ttft_ns is not None
    tpot_ns = (found.made.latency_ns - found.made.ttft_ns) / 4
    assert np.quantile(found.made.ttft_ns, 0.99) <= 30 * MS
    assert np.quantile(tpot_ns, 0.99) <= 6 * MS
    assert (tpot_ns > 5 * MS).any(), "some were slow, and fewer than one in a hundred"
    assert len(tpot_ns) >= minimum_samples(0.99)


def test_a_tpot_that_fails_is_not_satisfied_however_early_the_first_tokens_come() -> None:
    """Every 40th query has a token of 50 ms: no rate mends that."""
    machine = Machine(1 * MS, lambda step: 50 * MS if step % 160 == 80 else MS)
    with pytest.raises(Unsupported, match=r"the TPOT bound of 5.00 ms does not hold at any rate"):
        search(machine, 5, 10_000, 5)


@pytest.mark.parametrize("beyond", ["TTFT", "TPOT"])
def test_each_bound_is_held_against_its_own_times_of_whole_trials(beyond: str) -> None:
    """2 of 100 queries are beyond one bound and none beyond the other, and nobody gave up."""

    def trial(rate: float, count: int, allowed: int) -> Made:
        slow = np.arange(count) % 50 == 0
        ttft_ns = np.where(slow & (beyond == "TTFT"), 9 * MS, MS)
        rest_ns = np.where(slow & (beyond == "TPOT"), 36 * MS, 4 * MS)
        return Made(ttft_ns + rest_ns, ttft_ns, 5)

    with pytest.raises(Unsupported, match=f"the {beyond} bound of 5.00 ms does not hold"):
        find_capacity(trial, 5 * MS, [ttft_bound(5 * MS, MS), tpot_bound(5 * MS, MS)])


@pytest.mark.parametrize(
    ("ttft_ms", "tpot_ms", "words"),
    [
        (3, 9, r"first token of one query alone takes 4.00 ms, so a TTFT bound of 3.00 ms"),
        (9, 0.5, r"each token of one query alone takes 1.00 ms, so a TPOT bound of 500 µs"),
    ],
)
def test_a_bound_below_a_query_alone_is_refused_by_its_name(
    ttft_ms: float, tpot_ms: float, words: str
) -> None:
    with pytest.raises(Unsupported, match=words):
        search(Machine(4 * MS, lambda _: MS), 5, ttft_ms, tpot_ms)


def test_a_query_waits_for_those_before_it_and_its_ttft_says_so() -> None:
    """Queries of 5 + 3 ms arrive every 2 ms: each waits 6 ms longer than the one before."""
    machine = Machine(5 * MS, lambda _: MS)
    queries = machine.queries(4)
    arrivals = np.arange(1, 6, dtype=np.int64) * 2 * MS
    served = serve(queries, arrivals, (), 0, machine.clock, machine.sleep, spin_ns=0)
    assert queries.ttft_since(served.due_ns).tolist() == [(5 + 6 * n) * MS for n in range(5)]
    assert served.latency_ns.tolist() == [(8 + 6 * n) * MS for n in range(5)]
    assert queries.ttft_ns().tolist() == [5 * MS] * 5, "from when each began"


@pytest.mark.parametrize(("which", "count"), [("first", 3), ("token", 2)])
def test_queries_are_given_up_where_one_bound_is_beyond_mending(which: str, count: int) -> None:
    machine = Machine(5 * MS, lambda step: MS if step < 3 else 4 * MS)
    queries = machine.queries(4)
    bounds = {"first": queries.first_later_than(9 * MS), "token": queries.tokens_longer_than(2e6)}
    arrivals = np.arange(1, 50, dtype=np.int64) * 2 * MS
    served = serve(queries, arrivals, [bounds[which]], 0, machine.clock, machine.sleep, spin_ns=0)
    assert len(served.latency_ns) == count or which == "first"
    assert served.above == (1,)
    assert len(queries.ttft_since(served.due_ns)) == len(served.latency_ns)


def test_a_query_takes_its_prompt_and_then_its_own_tokens_and_the_prompts_take_turns() -> None:
    machine = Machine(1, lambda _: 1)
    queries = machine.queries(3)
    queries()
    assert machine.taken == [[3, 1, 4, 3, 4]]
    assert queries.text.tolist() == [[3, 1, 4, 3, 4]]
    assert queries.logits.argmax() == 5
    queries()
    queries()
    assert [text[:3] for text in machine.taken] == [[3, 1, 4], [1, 5, 9], [3, 1, 4]]


@given(st.integers(1, 5), st.lists(st.integers(0, 100), min_size=1, max_size=8), st.integers(0, 90))
@settings(max_examples=50, deadline=None)
def test_one_token_is_never_beyond_a_bound_on_tokens(
    new_tokens: int, token_ns: list[int], bound_ns: int
) -> None:
    """And of more, the mean over those behind the first decides: nothing is divided by 0."""
    machine = Machine(3, lambda step: token_ns[step % len(token_ns)])
    queries = machine.queries(new_tokens)
    queries()
    rest = [token_ns[n % len(token_ns)] for n in range(new_tokens - 1)]
    beyond = queries.tokens_longer_than(bound_ns)(0, machine.now)
    assert beyond == (new_tokens > 1 and sum(rest) / max(len(rest), 1) > bound_ns)


def test_a_trial_that_outlasts_a_workers_patience_is_refused_with_what_would_be_enough() -> None:
    refuse_too_long(299, 662, 300)
    with pytest.raises(Unsupported, match=r"662 queries, which a p99 needs.*--cell-timeout 2648"):
        refuse_too_long(1324, 662, 300)
