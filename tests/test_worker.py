"""The worker's side: messages, the timed loop, warm-up."""

from __future__ import annotations

import ast
import itertools
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.worker.timing import WARMUP_CALLS, time_calls, warm_up
from bench.worker.wire import Channel, ChannelClosed, ChannelTimeout

ROOT = Path(__file__).parents[1]


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    left, right = (Channel(sock) for sock in socket.socketpair())
    yield left, right
    left.close()
    right.close()


class FakeClock:
    """A clock that only calls advance."""

    def __init__(self, latencies: Iterator[int]) -> None:
        self.now = 0
        self.latencies = latencies

    def __call__(self) -> int:
        return self.now

    def call(self) -> None:
        self.now += next(self.latencies)


def test_messages_and_arrays_arrive_as_they_were_sent(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    arrays = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 4), np.int64),
        np.array(7, np.int8),
        np.arange(12).reshape(3, 4)[:, ::2],
    ]
    left.send({"op": "block", "calls": 3}, *arrays)
    message, received = right.receive(5)
    assert message == {"op": "block", "calls": 3}
    for sent, got in zip(arrays, received, strict=True):
        assert got.dtype == sent.dtype
        np.testing.assert_array_equal(got, sent)


def test_a_scalar_arrives_as_a_scalar(channels: tuple[Channel, Channel]) -> None:
    ours, theirs = channels
    ours.send({}, np.float32(2.5), np.asarray(3))
    _, arrays = theirs.receive()
    assert [(array.shape, array.item()) for array in arrays] == [((), 2.5), ((), 3)]


def test_a_closed_channel_and_a_silent_one_are_told_apart(
    channels: tuple[Channel, Channel],
) -> None:
    left, right = channels
    with pytest.raises(ChannelTimeout):
        right.receive(0.01)
    left.close()
    with pytest.raises(ChannelClosed):
        right.receive(5)


def test_a_message_cut_short_is_a_closed_channel(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    left.sock.sendall((100).to_bytes(8, "big") + b"[{")
    left.close()
    with pytest.raises(ChannelClosed):
        right.receive(5)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_every_call_is_timed_once_and_no_time_is_lost(latencies: list[int]) -> None:
    clock = FakeClock(iter(latencies))
    measured = time_calls(clock.call, len(latencies), clock)
    assert measured.tolist() == latencies
    assert measured.dtype == np.int64


def test_warm_up_ends_when_latency_is_steady() -> None:
    clock = FakeClock(itertools.chain([900, 500, 300, 200], itertools.repeat(100)))
    warmup = warm_up(clock.call, budget_s=1.0, clock=clock)
    assert warmup.settled
    assert warmup.calls == WARMUP_CALLS
    assert warmup.latency_ns == 100


def test_one_interrupt_does_not_hide_that_a_session_is_warm() -> None:
    latencies = [100] * (WARMUP_CALLS - 2) + [5_000] + [100] * 100
    clock = FakeClock(iter(latencies))
    assert warm_up(clock.call, budget_s=1.0, clock=clock).calls == WARMUP_CALLS


def test_a_session_that_never_settles_says_so_and_ends_within_its_budget() -> None:
    clock = FakeClock(itertools.cycle([100_000, 300_000]))
    warmup = warm_up(clock.call, budget_s=0.01, clock=clock)
    assert not warmup.settled
    assert clock.now <= 0.011 * 1e9


@given(st.lists(st.integers(1, 10**8), min_size=20, max_size=60))
def test_warm_up_always_ends(latencies: list[int]) -> None:
    clock = FakeClock(itertools.cycle(latencies))
    warmup = warm_up(clock.call, budget_s=0.05, clock=clock)
    assert warmup.calls >= 5


def test_what_a_worker_imports_is_the_standard_library_and_numpy() -> None:
    """Workers run in interpreters that have neither pydantic nor the rest of bench."""
    files = [*(ROOT / "bench/worker").glob("*.py"), ROOT / "bench/backend.py"]
    files += [ROOT / "bench/errors.py", ROOT / "bench/__init__.py"]
    allowed = {*sys.stdlib_module_names, "numpy"}
    allowed_bench = {"bench.backend", "bench.errors"}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                fine = name.split(".")[0] in allowed or name in allowed_bench
                fine = fine or name.startswith("bench.worker")
                assert fine, f"{file.name} imports {name}"
