"""The most probable continuation of a prompt, token by token."""

from __future__ import annotations

from typing import AbstractSet, Any, List

import numpy as np

from bench.backend import Session
from bench.decoding import Decoder
from bench.errors import AccuracyFailed, Unsupported
from bench.steps import first_past, step_feeds

Array = np.ndarray[Any, Any]


def greedy(
    session: Session, decoder: Decoder, prompt: Array, ends: AbstractSet[int], most: int
) -> List[int]:
    """Up to ``most`` ids, the last of them one of ``ends`` where that came. Of ids that tie the
    lowest is taken. Raises `AccuracyFailed` for logits that hold NaN."""
    stream = _stream(session, decoder, len(prompt) + most)
    said: List[int] = []
    tokens = np.asarray(prompt, np.int64).reshape(1, -1)
    while len(said) < most and not (said and said[-1] in ends):
        logits = stream.step(tokens)[0]
        if np.isnan(logits).any():
            raise AccuracyFailed("its logits contain NaN, so what it says next is not known.")
        said.append(int(logits.argmax()))
        tokens = np.array([[said[-1]]], np.int64)
    return said


def _stream(session: Session, decoder: Decoder, capacity: int) -> Any:
    """The session's own way to go on from its state, where it has one."""
    own = getattr(session, "decoding", None)
    if own is not None:
        try:
            return own(decoder, 1, capacity)
        except Unsupported:
            pass
    return Stepwise(session, decoder)


class Stepwise:
    """One text through the checked path, whose state passes through numpy in every step: right for
    every runtime, and nothing to be timed."""

    def __init__(self, session: Session, decoder: Decoder) -> None:
        self._session = session
        self._decoder = decoder
        names = [spec.name for spec in session.outputs]
        wanted = [decoder.logits, *(tensor.output for tensor in decoder.state)]
        # PyTorch's outputs have no names: the decoder's order is theirs.
        known = set(wanted) <= set(names)
        self._places = [names.index(n) for n in wanted] if known else list(range(len(wanted)))
        self._past = first_past(decoder, 1)
        self._position = 0

    def step(self, tokens: Array) -> Array:
        """Logits [batch, vocabulary] after ``tokens`` [batch, new]."""
        feeds = step_feeds(self._decoder, tokens, self._past, self._position)
        outputs = self._session.run(feeds)
        logits, *state = (np.asarray(outputs[place]) for place in self._places)
        self._past = {t.input: new for t, new in zip(self._decoder.state, state)}
        self._position += tokens.shape[1]
        return logits[:, -1]
