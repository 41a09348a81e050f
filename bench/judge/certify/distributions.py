"""How far two parties' distributions are apart, with intervals over what was drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bench.arrays import Array
from bench.record.certificate import Distributions
from bench.record.estimate import as_estimate
from bench.record.result import Estimate
from bench.stats.clusters import by_cluster, cluster_intervals
from bench.stats.interval import Interval
from bench.stats.of_means import OfMeans, mean_of


def distributions_of(
    rows: Mapping[str, Array], clusters: Array, confidence: float, *, of_tokens: bool
) -> Distributions | None:
    """What the columns of `bench.record.rows` say; None where rows have no distribution.

    ``clusters`` numbers what each row is evidence of, from 0; that is what is resampled. Of tokens,
    the logarithm of the ratio of perplexities is told: its interval takes the covariance of the two
    in, because it is that of the documents' differences.
    """
    if "divergence" not in rows:
        return None
    there = ~np.isnan(rows["divergence"])
    if not there.any():
        return None
    some = {name: np.asarray(values)[there] for name, values in rows.items()}
    where = clusters[there]
    statistics = _statistics(some, where, of_tokens=of_tokens)
    found = _intervals(statistics, confidence)
    finite = some["divergence"][np.isfinite(some["divergence"])]
    return Distributions(
        rows=int(there.sum()),
        divergence=_stored(found.get("divergence"), 0.0),
        divergence_error=_bound(some, "divergence_error"),
        infinite=int(np.isinf(some["divergence"]).sum()),
        quantiles=_quantiles(finite),
        probability_change=_stored(found.get("probability_change"), 0.0, 1.0),
        same_first=_stored(found.get("same_first"), 0.0, 1.0),
        ln_perplexity_ratio=_stored(found.get("ln_perplexity_ratio")),
        acceptance=_stored(found.get("acceptance"), 0.0, 1.0),
        acceptance_error=_bound(some, "acceptance_error") or 0.0,
    )


def _statistics(
    rows: Mapping[str, Array], clusters: Array, *, of_tokens: bool
) -> dict[str, OfMeans]:
    def mean(values: Array) -> OfMeans:
        return by_cluster(mean_of(values), clusters)

    # Rows of an infinite divergence are counted apart.
    finite = np.isfinite(rows["divergence"])
    found = {
        "divergence": by_cluster(
            mean_of(np.where(finite, rows["divergence"], 0.0)), clusters, finite
        ),
        "same_first": mean(rows["same_first"]),
        "acceptance": mean(rows["acceptance"]),
    }
    known = ~np.isnan(rows["p_reference"])
    if known.all():
        change = mean((rows["p_candidate"] - rows["p_reference"]) ** 2)
        found["probability_change"] = OfMeans(
            change.features, lambda means: np.sqrt(change.value(means))
        )
    if of_tokens and known.all() and (rows["p_candidate"] > 0).all():
        found["ln_perplexity_ratio"] = mean(
            np.log(rows["p_reference"]) - np.log(rows["p_candidate"])
        )
    return found


def _intervals(statistics: dict[str, OfMeans], confidence: float) -> dict[str, Interval | None]:
    count = len(next(iter(statistics.values())).features)
    if count < 2:  # one document tells nothing of another
        return {}
    every = cluster_intervals(list(statistics.values()), confidence)
    return dict(zip(statistics, every, strict=True))


def _stored(
    found: Interval | None, least: float = -math.inf, most: float = math.inf
) -> Estimate | None:
    """As it is stored, within the scale that it has."""
    if found is None or not np.isfinite([found.estimate, found.low, found.high]).all():
        return None
    return as_estimate(found.within(least, most))


def _bound(rows: Mapping[str, Array], name: str) -> float | None:
    """The mean of what each row may be off by; 0 where whole distributions were compared, None
    where nothing bounds it."""
    if name not in rows:
        return 0.0
    mean = float(np.mean(rows[name]))
    return mean if np.isfinite(mean) else None


def _quantiles(values: Array) -> dict[str, float]:
    if not len(values):
        return {}
    points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: float(np.quantile(values, point)) for name, point in points.items()}
