"""bench/worker/queries.py: when the tokens of a query come, on a clock that only steps advance."""

from __future__ import annotations

import numpy as np
import pytest

from bench.worker.queries import Queries


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class FakeStream:
    """Takes 10 ns a token, and answers with the token behind the last one."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.position = 0
        self.given: list[list[list[int]]] = []

    def reset(self) -> None:
        self.position = 0
        self.given = []

    def step(self, tokens: np.ndarray) -> np.ndarray:
        assert tokens.dtype == np.int64
        self.position += tokens.shape[1]
        self.clock.now += 10 * tokens.shape[1] + self.position
        self.given.append(tokens.tolist())
        logits = np.zeros((len(tokens), 100), np.float32)
        logits[np.arange(len(tokens)), tokens[:, -1] + 1] = 1
        return logits


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_times_from_token_to_token_and_to_the_first_are_those_of_the_whole(
    clock: Clock,
) -> None:
    stream = FakeStream(clock)
    queries = Queries(stream, np.array([[[1, 2, 3]], [[7, 8, 9]]]), 4, clock)
    ends = []
    for _ in range(3):
        queries()
        ends.append(clock.now)
    latency_ns = np.diff([0, *ends])
    assert queries.ttft_ns().tolist() == [33, 33, 33]
    assert queries.gaps_ns().tolist() == [[14, 15, 16]] * 3
    assert (queries.ttft_ns() + queries.gaps_ns().sum(axis=1) == latency_ns).all()
    assert stream.given == [[[1, 2, 3]], [[4]], [[5]], [[6]]], "prompts in turn, then its own"
    queries.forget()
    queries()
    assert queries.gaps_ns().shape == (1, 3)


def test_a_query_of_one_token_has_no_time_between_tokens(clock: Clock) -> None:
    queries = Queries(FakeStream(clock), np.array([[[1, 2]]]), 1, clock)
    queries(), queries()
    assert queries.gaps_ns().shape == (2, 0)
