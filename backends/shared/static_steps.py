"""Decoding on runtimes of fixed shapes: buffers for a whole text, and a graph for each number of
new tokens that a step may take."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from bench.backend import StaticStep, TensorSpec
from bench.capabilities import Logits
from bench.decoding import POSITION, Decoder
from bench.errors import Unsupported
from bench.steps import Steps, last_logits

from .checks import Array


class Stepping:
    """A session of fixed shapes, but for `decoding`, which this adds.

    What it calls a value is a tensor where the runtime keeps it. ``static`` are the files of the
    model's steps; ``remade`` makes a session of one of them, beside which values may be used.
    """

    inputs: List[TensorSpec]
    outputs: List[TensorSpec]
    static: Tuple[StaticStep, ...] = ()
    remade: Callable[[StaticStep], Stepping]
    where = ""

    def put(self, array: Array) -> Any:
        """An array as a value."""
        raise NotImplementedError

    def step(self, values: Sequence[Any]) -> Sequence[Any]:
        """From the values of the inputs to those of the outputs, in their order."""
        raise NotImplementedError

    def take(self, value: Any, spec: TensorSpec) -> Array:
        """A value as an array; ``spec`` is its output's."""
        raise NotImplementedError

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> StaticSteps:
        """The state stays in values of the runtime's."""
        fixed = [step for step in self.static if step.tokens]
        fitting = [s for s in fixed if s.batch == batch and s.capacity >= capacity]
        if not any(step.tokens == 1 for step in fitting):
            raise Unsupported(
                f"{self.where}: it takes only fixed shapes, but the model has no form with a "
                f"static cache for {capacity} tokens at batch {batch}."
            )
        most = min(step.capacity for step in fitting if step.tokens == 1)
        made = {s.tokens: self.remade(s) for s in fitting if s.capacity == most}
        return StaticSteps(made, most, self.where, decoder, batch, capacity)


class StaticSteps(Steps):
    """A step of many tokens is made of the largest that there are graphs for."""

    def __init__(
        self,
        made: Dict[int, Stepping],
        size: int,
        where: str,
        decoder: Decoder,
        batch: int,
        capacity: int,
    ) -> None:
        """``made`` is the session for each number of new tokens, ``size`` that of the buffers."""
        super().__init__(where, decoder, batch, capacity)
        self._made = made
        self._size = size
        self._state: List[Any] = []
        self.reset()

    def _begin(self) -> None:
        """What lies behind the position is never looked at, but has to be finite."""
        put = self._made[1].put
        decoder, batch, size = self._decoder, self._batch, self._size
        self._state = [
            put(np.zeros(decoder.buffer(tensor, batch, size), tensor.dtype))
            for tensor in decoder.state
        ]

    def _advance(self, tokens: Array, end: int) -> Logits:
        place, state = end - tokens.shape[1], self._state
        while place < end:
            count = max(n for n in self._made if n <= end - place)
            first = tokens.shape[1] - (end - place)
            chunk = np.ascontiguousarray(tokens[:, first : first + count])
            session = self._made[count]
            given = session.step(self._values(session, chunk, place, state))
            state, place = list(given[1:]), place + count
        self._state = state
        return last_logits(session.take(given[0], session.outputs[0]))

    def _values(self, session: Stepping, tokens: Array, place: int, state: List[Any]) -> List[Any]:
        known = {t.input: value for t, value in zip(self._decoder.state, state)}
        beside = {self._decoder.tokens: tokens, POSITION: np.array([place])}
        return [
            known[spec.name] if spec.name in known else session.put(beside[spec.name])
            for spec in session.inputs
        ]
