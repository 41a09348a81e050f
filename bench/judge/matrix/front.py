"""The joint Pareto front: every model, variant, machine and target, accuracy against cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.cards.tasks.base import MetricRow
from bench.judge.matrix.cells import By, Entry, Matrix
from bench.judge.matrix.scores import Scores
from bench.judge.matrix.weigh import cost, cost_ratio
from bench.record.result import Accuracy
from bench.stats.interval import Interval
from bench.stats.multiple import pairwise_comparisons, simultaneous_confidence
from bench.stats.pareto import Standing, standings
from bench.store.scores import metric_of

#: Of more points only those nearest the front by their estimates are weighed: intervals that hold
#: together for all pairs of more would say nothing. Our choice, as on the page of one run.
MOST_POINTS = 48


@dataclass(frozen=True)
class FrontPoint:
    """One entry of the matrix that was scored, and where it stands."""

    entry: Entry
    standing: Standing

    @property
    def score(self) -> Accuracy:
        assert self.entry.scored is not None
        assert self.entry.scored.record is not None
        assert self.entry.scored.record.accuracy is not None
        return self.entry.scored.record.accuracy

    @property
    def metric(self) -> MetricRow:
        return score_metric(self.entry)


@dataclass(frozen=True)
class Front:
    """Points by cost, the lowest first; models scored on other data have another front."""

    by: By
    dataset: str
    points: tuple[FrontPoint, ...]
    left_out: int = 0


def score_metric(entry: Entry) -> MetricRow:
    """How the accuracy of an entry is read."""
    assert entry.scored is not None
    assert entry.scored.record is not None
    return metric_of(entry.scored.record)


def fronts(matrix: Matrix, scores: Scores) -> list[Front]:
    """One front for each metric and labelled data set that two entries or more have.

    Of a matrix of accuracies the cost is latency, which is not in it: there is none.
    """
    by = matrix.asked.by
    if by == "accuracy":
        return []
    found = []
    for dataset, entries in families(e for e in matrix if e.usable).items():
        points = [e for e in entries if cost(e, by, matrix.asked) is not None]
        if len(points) > 1:
            found.append(_front(dataset[2], points, matrix, scores))
    return found


def families(entries: Iterable[Entry]) -> dict[tuple[str, str, str], list[Entry]]:
    """The entries that were scored by one metric on one data set."""
    found: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        record = entry.scored.record if entry.scored is not None else None
        if record is not None and record.accuracy is not None:
            score = record.accuracy
            key = (score.metric, score.dataset_sha256, score.dataset)
            found.setdefault(key, []).append(entry)
    return found


def _front(dataset: str, entries: Sequence[Entry], matrix: Matrix, scores: Scores) -> Front:
    asked = matrix.asked
    chosen = _nearest(entries, matrix)
    each = simultaneous_confidence(2 * max(1, pairwise_comparisons(len(chosen))), asked.confidence)

    def price(i: int, j: int) -> Interval | None:
        return cost_ratio(chosen[j], chosen[i], asked.by, asked, each)

    def quality(i: int, j: int) -> Interval | None:
        change = scores.change(chosen[i].scored, chosen[j].scored, each)
        if change is None:
            return None
        unit = negligible(change.metric, asked.within) or 1.0
        gain = change.gain
        return replace(
            gain, estimate=gain.estimate / unit, low=gain.low / unit, high=gain.high / unit
        )

    nothing = 0.0 if asked.within == 0 else 1.0
    placed = standings(len(chosen), price, quality, asked.margin, nothing)
    points = tuple(FrontPoint(e, s) for e, s in zip(chosen, placed, strict=True))
    return Front(asked.by, dataset, points, len(entries) - len(chosen))


def negligible(metric: MetricRow, within: float | None) -> float:
    """The loss that counts as nothing, as the metric stores it."""
    return metric.negligible if within is None else metric.scale.from_points(100 * within)


def _nearest(entries: Sequence[Entry], matrix: Matrix) -> list[Entry]:
    """At most `MOST_POINTS` by cost: layer after layer of what no other estimate beats."""

    def of(entry: Entry) -> tuple[float, float]:
        by, asked = matrix.asked.by, matrix.asked
        return cost(entry, by, asked) or 0.0, cost(entry, "accuracy", asked) or 0.0

    rest = sorted(entries, key=of)
    if len(rest) <= MOST_POINTS:
        return rest
    chosen: list[Entry] = []
    while rest and len(chosen) < MOST_POINTS:
        lowest = float("inf")
        layer: list[Entry] = []
        others: list[Entry] = []
        for entry in rest:
            worse = of(entry)[1]
            (layer if worse < lowest else others).append(entry)
            lowest = min(lowest, worse)
        chosen += layer
        rest = others
    return sorted(chosen[:MOST_POINTS], key=of)
