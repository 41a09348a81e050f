"""Whole queries of a language model inside the worker: a prompt, then greedy tokens one by one.

The tokens are counted here, as they are made: no text is tokenised again to count them.

A query ends when it has made as many tokens as were asked for, whatever they are: one that ends a
text ends no query, so that all targets make the same number of steps.
"""

from __future__ import annotations

import time
from typing import Callable, List

import numpy as np

from bench.capabilities import DecodingStream, Logits, Nanoseconds, Tokens
from bench.worker.openloop import Beyond


class Queries:
    """One query a call, with the prompts in turn; when each began and had its tokens is kept.

    ``prompts`` are int64 of shape (prompts, batch, tokens); each gives ``new_tokens`` more, 1 or
    more. The first of them comes out of the prompt's step, the others of one step each.
    """

    def __init__(
        self,
        stream: DecodingStream,
        prompts: Tokens,
        new_tokens: int,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.stream = stream
        self.prompts = prompts
        self.new_tokens = new_tokens
        self.clock = clock
        self.asked = 0
        self.began_at: List[int] = []
        self.first_at: List[int] = []
        self.later_at: List[List[int]] = []  #: of each query, when it had its further tokens
        self._taken: List[Tokens] = []
        self.logits: Logits = np.empty((0, 0), np.float32)  #: what it gave

    def __call__(self) -> None:
        prompt = self.prompts[self.asked % len(self.prompts)]
        self.asked += 1
        self.began_at.append(self.clock())
        self.stream.reset()
        logits = self.stream.step(prompt)
        token = logits.argmax(axis=-1)[:, None]
        self.first_at.append(self.clock())
        taken, later = [prompt], []
        for _ in range(self.new_tokens - 1):
            taken.append(token)
            logits = self.stream.step(token)
            token = logits.argmax(axis=-1)[:, None]
            later.append(self.clock())
        self.later_at.append(later)
        self._taken, self.logits = taken, logits

    @property
    def text(self) -> Tokens:
        """All that the last step of the last query had seen, [batch, tokens]."""
        return np.concatenate(self._taken, axis=1)

    def forget(self) -> None:
        """Drop the times of the queries made so far."""
        self.began_at.clear()
        self.first_at.clear()
        self.later_at.clear()

    def ttft_ns(self) -> Nanoseconds:
        """From when each query began to its first token."""
        return np.array(self.first_at, np.int64) - np.array(self.began_at, np.int64)

    def gaps_ns(self) -> Nanoseconds:
        """Between each token of a query and the next, int64 of shape (queries, new tokens - 1)."""
        later = np.array(self.later_at, np.int64).reshape(len(self.first_at), -1)
        first = np.array(self.first_at, np.int64)[:, None]
        return np.diff(later, axis=1, prepend=first) if later.size else later

    def ttft_since(self, due_ns: Nanoseconds) -> Nanoseconds:
        """From when each query was due to its first token."""
        return np.array(self.first_at, np.int64) - due_ns

    def first_later_than(self, bound_ns: float) -> Beyond:
        """Whether the first token came later than ``bound_ns`` after the query was due."""
        return lambda due, now: self.first_at[-1] - due > bound_ns

    def tokens_longer_than(self, bound_ns: float) -> Beyond:
        """Whether the tokens behind the first took longer than ``bound_ns`` each; where there are
        none, none did."""
        if self.new_tokens < 2:
            return lambda due, now: False
        most_ns = bound_ns * (self.new_tokens - 1)
        return lambda due, now: now - self.first_at[-1] > most_ns
