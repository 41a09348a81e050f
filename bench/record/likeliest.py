"""Scores of many classes of which the likeliest are kept, with what bounds all the others.

The logits of a text may be more than can be kept: of each row the scores of some classes stay, the
same ones for all parties, and of the rest what `bench.stats.divergence.Tail` holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.record.rows import output_rows
from bench.stats.divergence import Tail, partial_acceptances, partial_divergences
from bench.variants import Tolerance


@dataclass(frozen=True)
class Likeliest:
    """``scores``, float32 (rows, kept), are those of the classes that were kept; ``told``, float64
    (rows, 5): the logarithm of the sum of all exponentials, of those that weren't kept, the largest
    and the least of these, and the right class's score; ``first`` is the likeliest of all."""

    scores: Array
    told: Array
    first: Array

    def some(self, count: int) -> Likeliest:
        """The first so many rows."""
        return Likeliest(self.scores[:count], self.told[:count], self.first[:count])


def likeliest_ids(scores: Array, most: int) -> Array:
    """The ids of the largest scores of each row, in no order; NaN counts as the largest."""
    kept = min(most, scores.shape[1])
    found: Array = np.argpartition(scores, scores.shape[1] - kept, axis=1)[:, -kept:]
    return found.astype(np.int32)


def kept_of(scores: Array, ids: Array, right: Array) -> Likeliest:
    """Of whole rows (rows, classes) what is kept: the classes ``ids`` (rows, kept)."""
    rest = scores.astype(np.float64)
    rows = np.arange(len(rest))
    everything, first = _log_sum(rest), rest.argmax(axis=1)
    its_right = rest[rows, right]
    np.put_along_axis(rest, ids, -np.inf, axis=1)
    together, most = _log_sum(rest), rest.max(axis=1)
    np.put_along_axis(rest, ids, np.inf, axis=1)
    least = rest.min(axis=1)
    least[np.isposinf(least)] = -np.inf  # there is no other class
    return Likeliest(
        np.take_along_axis(scores, ids, axis=1).astype(np.float32),
        np.stack([everything, together, most, least, its_right], axis=1),
        first,
    )


def likeliest_rows(mine: Likeliest, theirs: Likeliest, tolerance: Tolerance) -> dict[str, Array]:
    """The columns of `bench.record.rows` of rows of which the same classes were kept, with
    ``divergence_error`` and ``acceptance_error``, by how much either may be larger at most."""
    found = output_rows([mine.scores, mine.told], [theirs.scores, theirs.told], tolerance)
    count = len(mine.scores)
    names = ("divergence", "acceptance", "p_reference", "p_candidate", "same_first")
    found |= {name: np.full(count, np.nan) for name in names}
    found |= {name: np.zeros(count) for name in ("divergence_error", "acceptance_error")}
    there = np.isfinite(mine.told[:, 0]) & np.isfinite(theirs.told[:, 0])
    p, q = _log_p(theirs, there), _log_p(mine, there)
    beyond, candidate_beyond = _tail(theirs, there), _tail(mine, there)
    for name, function in _BOUNDED.items():
        found[name][there], found[f"{name}_error"][there] = function(p, q, beyond, candidate_beyond)
    found["same_first"][there] = mine.first[there] == theirs.first[there]
    for name, party in (("p_reference", theirs), ("p_candidate", mine)):
        found[name][there] = np.exp(party.told[there, 4] - party.told[there, 0])
    return found


_BOUNDED = {"divergence": partial_divergences, "acceptance": partial_acceptances}


def _log_p(party: Likeliest, there: Array) -> Array:
    found: Array = party.scores[there].astype(np.float64) - party.told[there, :1]
    return found


def _tail(party: Likeliest, there: Array) -> Tail:
    return Tail(*(party.told[there, column] - party.told[there, 0] for column in (1, 2, 3)))


def _log_sum(values: Array) -> Array:
    """ln of the sum of exponentials in each row; NaN or inf where a value is."""
    largest = values.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        found = np.log(np.exp(values - largest).sum(axis=1)) + largest[:, 0]
    return np.where(np.isneginf(largest[:, 0]), -np.inf, found)
