"""From logits to what is kept of them: how probable the right token was, and the likeliest ids.

Logits of one text may take hundreds of megabytes, which is why they are reduced where they are.
"""

from __future__ import annotations

from typing import Any, List

import numpy as np

from bench.errors import AccuracyFailed
from bench.worker.messages import TokenScores

Array = np.ndarray[Any, Any]
#: Numbers in float64 that are worked on at once: 16 MiB.
_AT_ONCE = 2_000_000
#: The least logarithm that is told of what isn't the target: e^-1000 is 0 in float64.
_LEAST = -1000.0


def likelihoods(logits: Array, targets: Array, top: int) -> TokenScores:
    """The targets' log-probabilities, and those of the ``top`` likeliest ids, in float64 up to the
    end. Of ids that tie the lowest comes first.

    Raises `AccuracyFailed` for logits of another shape, or that are no distribution.
    """
    logits = np.asarray(logits)
    if logits.ndim != 3 or logits.shape[:2] != targets.shape:
        raise AccuracyFailed(
            f"its logits are {list(logits.shape)} for {list(targets.shape)} tokens: scoring text "
            "needs the logits of every token, [batch, tokens, vocabulary]."
        )
    vocabulary = logits.shape[2]
    if targets.max(initial=-1) >= vocabulary:
        raise AccuracyFailed(
            f"the text has the id {targets.max()}, but the logits cover {vocabulary} ids: the "
            "tokenizer belongs to another model."
        )
    kept = min(top, vocabulary)
    rows, places = np.nonzero(targets >= 0)
    step = max(1, _AT_ONCE // vocabulary)
    parts: List[List[Array]] = [[], [], [], []]
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        log_p = _log_probabilities(logits[rows[some], places[some]])
        for part, found in zip(parts, _kept(log_p, targets[rows[some], places[some]], kept)):
            part.append(found)
    if not len(rows):
        empty = np.zeros((0, kept))
        parts = [[empty[:, :1].reshape(-1)], [empty], [empty], [empty[:, :1].reshape(-1)]]
    right, ids, best, tail = (np.concatenate(part) for part in parts)
    # 32 bits: rounded to 16, divergences of two models come out below 0.
    return TokenScores(
        right.astype(np.float32),
        ids.astype(np.int32),
        np.maximum(best, _LEAST).astype(np.float32),
        np.maximum(tail, _LEAST).astype(np.float32),
    )


def _log_probabilities(logits: Array) -> Array:
    found = logits.astype(np.float64)
    largest = found.max(axis=1, keepdims=True)
    if not np.isfinite(largest).all():  # NaN is the largest of a row that holds one
        raise AccuracyFailed("its logits contain NaN or Inf, so they are not scored.")
    found -= largest
    found -= np.log(np.exp(found).sum(axis=1, keepdims=True))
    return found


def _kept(log_p: Array, targets: Array, top: int) -> List[Array]:
    right = log_p[np.arange(len(targets)), targets]
    ids = np.argpartition(log_p, log_p.shape[1] - top, axis=1)[:, log_p.shape[1] - top :]
    best = np.take_along_axis(log_p, ids, axis=1)
    order = np.lexsort((ids, -best), axis=1)
    ids, best = np.take_along_axis(ids, order, axis=1), np.take_along_axis(best, order, axis=1)
    np.put_along_axis(log_p, ids, -np.inf, axis=1)
    with np.errstate(divide="ignore"):  # a vocabulary that is kept whole has no tail
        return [right, ids, best, np.log(np.exp(log_p).sum(axis=1))]
