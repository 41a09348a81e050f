"""How often one distribution's draw would be taken for another's, where only the beginning of each
is known.

A token that is drawn from q is accepted in p's place with probability sum of min(p, q), and what
is rejected is drawn again so that the result has distribution p (Leviathan, Kalman & Matias 2023,
"Fast inference from transformers via speculative decoding", arXiv 2211.17192, theorem 3.5). The sum
is 1 - the total variation distance of the two: 1 for equal distributions, 0 for ones that share
nothing.

Of each distribution the most probable outcomes are kept, and what came. With ``p_rest`` and
``q_rest`` for the probability of everything that isn't known of both:

- what both list adds min(p, q) each, exactly;
- the rest adds at least 0: nothing says that the two put it on the same outcomes;
- the rest adds at most min(p_rest, q_rest). Nor more than this sum: an outcome that p alone lists
  adds at most min(p, the least that q lists), since q gives no more to what it doesn't list; the
  same the other way round; and all that neither lists adds at most the smaller of the tails.

So the truth lies between the two, whatever the vocabulary is. The tail must not be taken for one
more outcome, as a divergence may: coarsening *raises* this sum.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.arrays import Array
from bench.stats.divergence import by_rows


def coarse_acceptance(
    original: Mapping[str, Array], candidate: Mapping[str, Array], where: Array
) -> tuple[Array, Array]:
    """For each row the least and the most that the sum of min(p, q) can be; 0 where ``where`` is
    False. Columns are those of `bench.stats.divergence.coarse_divergence`."""
    return by_rows(_bounds, original, candidate, where)


def _bounds(original: Mapping[str, Array], candidate: Mapping[str, Array]) -> tuple[Array, Array]:
    p, q = (np.exp(each["top_log_p"].astype(np.float64)) for each in (original, candidate))
    p_came, q_came = (np.exp(each["log_p"].astype(np.float64)) for each in (original, candidate))
    came = original["token"][:, np.newaxis]
    listed = original["top_ids"][:, :, np.newaxis] == candidate["top_ids"][:, np.newaxis, :]
    both = listed.any(axis=2)
    p_knows, q_knows = (each["top_ids"] == came for each in (original, candidate))
    # What came is known of both, and counted once.
    apart = ~(both & p_knows).any(axis=1)
    shared = np.where(both, np.minimum(p, np.take_along_axis(q, listed.argmax(axis=2), axis=1)), 0)
    least = shared.sum(axis=1) + np.where(apart, np.minimum(p_came, q_came), 0.0)
    p_alone, q_alone = ~both & ~p_knows, ~listed.any(axis=1) & ~q_knows
    p_tail = _left(p.sum(axis=1) + np.where(p_knows.any(axis=1), 0.0, p_came))
    q_tail = _left(q.sum(axis=1) + np.where(q_knows.any(axis=1), 0.0, q_came))
    p_rest, q_rest = (p * p_alone).sum(axis=1) + p_tail, (q * q_alone).sum(axis=1) + q_tail
    apiece = (np.minimum(p, q.min(axis=1, keepdims=True)) * p_alone).sum(axis=1)
    apiece += (np.minimum(q, p.min(axis=1, keepdims=True)) * q_alone).sum(axis=1)
    more = np.minimum(np.minimum(p_rest, q_rest), apiece + np.minimum(p_tail, q_tail))
    return np.minimum(least, 1.0), np.minimum(least + more, 1.0)


def _left(known: Array) -> Array:
    """Rounding may leave the known probabilities above 1 together."""
    return np.asarray(np.maximum(1 - known, 0.0))
