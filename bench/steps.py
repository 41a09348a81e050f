"""What a decoder is fed with, step by step: what all streams do alike, and the one that any session
can make.

The exporter, the harness, adapters and workers import it: standard library and numpy alone,
Python 3.9.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Tuple

import numpy as np

from bench.backend import Session
from bench.capabilities import DecodesFromState, DecodingStream, EachLogits, Logits, Tokens
from bench.decoding import Decoder, StateTensor
from bench.errors import SpecError, Unsupported

Array = np.ndarray[Any, Any]


def first_past(decoder: Decoder, batch: int) -> dict[str, Array]:
    """The state before the first token."""
    return {
        tensor.input: np.full(decoder.shape(tensor, batch, 0), tensor.fill, tensor.dtype)
        for tensor in decoder.state
    }


def step_feeds(
    decoder: Decoder, tokens: Array, past: Mapping[str, Array], position: int
) -> dict[str, Array]:
    """The inputs of one step: new tokens [batch, count] behind ``position`` others."""
    batch, count = tokens.shape
    feeds = {decoder.tokens: np.ascontiguousarray(tokens, np.int64)}
    if decoder.mask:
        feeds[decoder.mask] = np.ones((batch, position + count), np.int64)
    if decoder.positions:
        places = np.arange(position, position + count, dtype=np.int64)
        feeds[decoder.positions] = np.tile(places, (batch, 1))
    return {**feeds, **past}


class Steps:
    """A `bench.capabilities.DecodingStream` but for the runtime's part, `_begin` and `_advance`."""

    def __init__(self, where: str, decoder: Decoder, batch: int, capacity: int) -> None:
        self._where = where
        self._decoder = decoder
        self._batch = batch
        self._capacity = capacity
        self._position = 0
        self._ones = np.ones(batch * capacity, np.int64)
        self._numbers = np.arange(capacity, dtype=np.int64)

    @property
    def position(self) -> int:
        return self._position

    def reset(self) -> None:
        self._begin()
        self._position = 0

    def step(self, tokens: Tokens) -> Logits:
        new = self._count(tokens)
        logits = self._advance(np.ascontiguousarray(tokens), self._position + new)
        self._position += new
        return logits

    def _begin(self) -> None:
        """Put the state before the first token in place."""
        raise NotImplementedError

    def _advance(self, tokens: Array, end: int) -> Logits:
        """One step, behind which ``end`` tokens were taken."""
        raise NotImplementedError

    def _count(self, tokens: Tokens) -> int:
        """How many new tokens a step takes. Raises `SpecError` where it can't take them."""
        if tokens.dtype != np.int64 or tokens.ndim != 2 or len(tokens) != self._batch:
            raise SpecError(
                f"{self._where}: a step takes int64 [{self._batch}, tokens], not "
                f"{tokens.dtype.name} {list(tokens.shape)}."
            )
        new = int(tokens.shape[1])
        if not 0 < new <= self._capacity - self._position:
            raise SpecError(
                f"{self._where}: a step of {new} tokens after {self._position} does not fit: the "
                f"stream was created for {self._capacity}. Give it a larger capacity."
            )
        return new

    def _first_state(self) -> List[Array]:
        """Each tensor of the state before the first token."""
        return list(first_past(self._decoder, self._batch).values())

    def _beside(self, tokens: Array, end: int) -> List[Tuple[str, Array]]:
        """The inputs of a step that aren't state, by name."""
        decoder, batch = self._decoder, self._batch
        fed = [(decoder.tokens, tokens)]
        if decoder.mask:
            fed.append((decoder.mask, self._ones[: batch * end].reshape(batch, end)))
        if decoder.positions:
            places = self._numbers[end - tokens.shape[1] : end]
            fed.append((decoder.positions, places.reshape(1, -1).repeat(batch, axis=0)))
        return fed


class RewindingSteps(Steps):
    """A `bench.capabilities.ChecksDrafts` but for the runtime's part, `_advance_each`, `_held`,
    `_hold` and `_cut`, for streams whose steps leave the tensors that they were given alone."""

    @property
    def cuts(self) -> bool:
        return self._decoder.cuts

    def step_each(self, tokens: Tokens) -> EachLogits:
        new = self._count(tokens)
        logits = self._advance_each(np.ascontiguousarray(tokens), self._position + new)
        self._position += new
        return logits

    def keep(self) -> object:
        return self._position, self._held()

    def put_back(self, kept: Any) -> None:
        self._position, held = kept
        self._hold(held)

    def cut(self, position: int) -> None:
        if not self.cuts:
            raise Unsupported(
                f"{self._where}: its state does not have separate entries per token, so it can't "
                "be truncated. Restore a saved state instead."
            )
        if not 0 < position <= self._position:
            raise SpecError(
                f"{self._where}: can't truncate to {position} tokens: it holds {self._position}."
            )
        self._cut(position)
        self._position = position

    def _advance_each(self, tokens: Array, end: int) -> EachLogits:
        """As `_advance`, with the logits behind each token."""
        raise NotImplementedError

    def _held(self) -> object:
        """What the state is in now."""
        raise NotImplementedError

    def _hold(self, held: Any) -> None:
        """Take up what `_held` gave."""
        raise NotImplementedError

    def _cut(self, position: int) -> None:
        """Leave the first ``position`` entries of each tensor."""
        raise NotImplementedError

    def _first(self, position: int, tensor: StateTensor) -> Tuple[slice, ...]:
        """Those entries of a tensor that grows, as an index."""
        assert tensor.axis is not None
        return (*[slice(None)] * tensor.axis, slice(position))


class RunSteps(RewindingSteps):
    """Through a session's `run`, the state copied to the host and back in every step: right, and
    too slow to be timed."""

    def __init__(
        self, session: Session, where: str, decoder: Decoder, batch: int, capacity: int
    ) -> None:
        super().__init__(where, decoder, batch, capacity)
        self._session = session
        names = [spec.name for spec in session.outputs]
        wanted = [decoder.logits, *(tensor.output for tensor in decoder.state)]
        # PyTorch's outputs have no names: the decoder's order is theirs.
        known = set(wanted) <= set(names)
        self._places = [names.index(n) for n in wanted] if known else list(range(len(wanted)))
        self._past: List[Array] = []
        self.reset()

    def _begin(self) -> None:
        self._past = self._first_state()

    def _advance(self, tokens: Array, end: int) -> Logits:
        return last_logits(self._pass(tokens, end))

    def _advance_each(self, tokens: Array, end: int) -> EachLogits:
        return np.array(self._pass(tokens, end), np.float32)

    def _pass(self, tokens: Array, end: int) -> Array:
        names = [tensor.input for tensor in self._decoder.state]
        feeds = {**dict(self._beside(tokens, end)), **dict(zip(names, self._past))}
        outputs = self._session.run(feeds)
        logits, *self._past = [outputs[place] for place in self._places]
        return logits

    def _held(self) -> List[Array]:
        return self._past

    def _hold(self, held: List[Array]) -> None:
        self._past = list(held)

    def _cut(self, position: int) -> None:
        both = zip(self._past, self._decoder.state)
        self._past = [array[self._first(position, tensor)] for array, tensor in both]


def stream_of(
    session: Session, where: str, decoder: Decoder, batch: int, capacity: int
) -> DecodingStream:
    """The session's own stream, else one through its `run`, for answers that aren't timed."""
    if isinstance(session, DecodesFromState):
        try:
            return session.decoding(decoder, batch, capacity)
        except Unsupported:
            pass
    return RunSteps(session, where, decoder, batch, capacity)


def last_logits(logits: Any) -> Logits:
    """Those behind the last token, of [batch, new tokens, vocabulary], copied."""
    return np.array(logits[:, -1], np.float32)
