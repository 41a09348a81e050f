"""Open-loop queries: when they arrive, and from when their latency counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.worker.openloop import Beyond, Served, longer_than, poisson_arrivals_ns, serve

MS = 1_000_000


class Machine:
    """A clock that only sleeping and calls advance; call number i takes ``service_ns(i)``."""

    def __init__(self, service_ns: Callable[[int], int]) -> None:
        self.now = 0
        self.calls = 0
        self.service_ns = service_ns

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def call(self) -> None:
        self.now += self.service_ns(self.calls)
        self.calls += 1

    def serve(
        self, arrivals_ns: np.ndarray, bounds: Sequence[Beyond] = (), allowed_above: int = 0
    ) -> Served:
        return serve(
            self.call, arrivals_ns, bounds, allowed_above, self.clock, self.sleep, spin_ns=0
        )


def every(gap_ns: int, queries: int) -> np.ndarray:
    return np.arange(1, queries + 1, dtype=np.int64) * gap_ns


def test_poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() -> None:
    gaps = np.diff(poisson_arrivals_ns(1000, 200_000, seed=1), prepend=0)
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(1e6, rel=0.01)
    assert gaps.std() == pytest.approx(1e6, rel=0.02)


def test_arrivals_repeat_with_their_seed_and_stretch_with_the_rate() -> None:
    slow, fast = (poisson_arrivals_ns(rate, 1000, seed=7) for rate in (100, 200))
    np.testing.assert_array_equal(slow, poisson_arrivals_ns(100, 1000, seed=7))
    np.testing.assert_allclose(slow, 2 * fast, atol=2)
    assert not np.array_equal(slow, poisson_arrivals_ns(100, 1000, seed=8))


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        poisson_arrivals_ns(0, 10, seed=1)


def test_an_idle_system_answers_in_its_service_time() -> None:
    served = Machine(lambda _: MS).serve(every(10 * MS, 50))
    assert set(served.latency_ns.tolist()) == {MS}
    assert len(served.late_ns) == 50
    assert served.late_ns.max() == 0


def test_a_stall_shows_in_every_query_that_queued_behind_it() -> None:
    """One call of 100 ms amid calls of 1 ms, a query every 10 ms: no coordinated omission."""
    served = Machine(lambda i: 100 * MS if i == 5 else MS).serve(every(10 * MS, 40))
    queued = [100 * MS - k * 9 * MS for k in range(12)]  # each one is 9 ms better off
    assert served.latency_ns[5:17].tolist() == queued
    assert set(served.latency_ns[:5].tolist()) == {MS}
    assert set(served.latency_ns[17:].tolist()) == {MS}
    assert len(served.late_ns) == 40 - 11  # those that queued found the system busy


def test_a_late_generator_is_recorded_and_its_lateness_counts() -> None:
    machine = Machine(lambda _: MS)
    late = 30_000
    served = serve(
        machine.call,
        every(10 * MS, 20),
        clock=machine.clock,
        sleep=lambda seconds: machine.sleep(seconds + late / 1e9),
        spin_ns=0,
    )
    assert set(served.late_ns.tolist()) == {late}
    assert set(served.latency_ns.tolist()) == {MS + late}


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waiting_times_are_those_of_an_m_d_1_queue(load: float) -> None:
    """Mean wait s * rho / (2 * (1 - rho)): Pollaczek-Khinchine, for Poisson arrivals and a
    constant service time s (Kleinrock 1975, Queueing Systems vol. 1, section 5.6)."""
    service_ns = MS
    arrivals = poisson_arrivals_ns(load * 1e9 / service_ns, 400_000, seed=3)
    served = Machine(lambda _: service_ns).serve(arrivals)
    wait_ns = served.latency_ns.mean() - service_ns
    assert wait_ns == pytest.approx(service_ns * load / (2 * (1 - load)), rel=0.04)


def test_a_hopeless_backlog_is_given_up() -> None:
    served = Machine(lambda _: 2 * MS).serve(every(MS, 10_000), [longer_than(10 * MS)], 3)
    assert served.above == (4,)
    assert len(served.latency_ns) == 13  # the queue grows by 1 ms a query


def test_as_many_queries_above_the_bound_as_are_allowed_end_nothing() -> None:
    served = Machine(lambda i: 5 * MS if i % 10 == 0 else MS).serve(
        every(10 * MS, 100), [longer_than(2 * MS)], allowed_above=10
    )
    assert (served.above, len(served.latency_ns)) == ((10,), 100)


@given(
    services=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    gaps=st.lists(st.integers(0, 50), min_size=1, max_size=60),
)
def test_latencies_follow_lindleys_recursion(services: list[int], gaps: list[int]) -> None:
    """Any trace: the wait of a query is what the one before it left (Lindley 1952)."""
    queries = min(len(services), len(gaps))
    arrivals = np.cumsum(gaps[:queries]).astype(np.int64)
    served = Machine(lambda i: services[i]).serve(arrivals)
    free, expected = 0, []
    for arrival, service in zip(arrivals.tolist(), services, strict=False):
        free = max(free, arrival) + service
        expected.append(free - arrival)
    assert served.latency_ns.tolist() == expected
