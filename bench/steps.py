"""What a decoder is fed with, step by step: in the exporter, in the harness and in workers.

Standard library and numpy alone, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.decoding import Decoder

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
