"""The most probable continuation of a prompt, token by token."""

from __future__ import annotations

from typing import AbstractSet, Any, List

import numpy as np

from bench.backend import Session
from bench.decoding import Decoder
from bench.errors import AccuracyFailed
from bench.steps import stream_of

Array = np.ndarray[Any, Any]


def greedy(
    session: Session, decoder: Decoder, prompt: Array, ends: AbstractSet[int], most: int
) -> List[int]:
    """Up to ``most`` ids, the last of them one of ``ends`` where that came. Of ids that tie the
    lowest is taken. Raises `AccuracyFailed` for logits that hold NaN."""
    stream = stream_of(session, "the model", decoder, 1, len(prompt) + most)
    said: List[int] = []
    tokens = np.asarray(prompt, np.int64).reshape(1, -1)
    while len(said) < most and not (said and said[-1] in ends):
        logits = stream.step(tokens)[0]
        if np.isnan(logits).any():
            raise AccuracyFailed("its logits contain NaN, so its next token is unknown.")
        said.append(int(logits.argmax()))
        tokens = np.array([[said[-1]]], np.int64)
    return said
