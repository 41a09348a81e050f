"""The deal: which model, in which precision, on which target, is worth what it costs.

Every model x variant x target of a run is a point: what it costs (latency, throughput, memory or
size) and how right it is. Costs are compared invocation by invocation where cells were measured in
turn, accuracies example by example; all intervals of a front hold together (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.cards.tasks.base import MetricRow
from bench.cell import Cell
from bench.defaults import CONFIDENCE, MARGIN
from bench.errors import SpecError
from bench.judge.alike import HOW, Alike, Setting, values_of
from bench.judge.drafting import Drafting
from bench.judge.energy import common_way, energy_ratio, main_energy, read_as
from bench.judge.pairs import (
    Changed,
    Pair,
    Relation,
    compare_on_target,
    cost_ratio,
    of_one_size,
    same_data,
    score_for,
)
from bench.record.result import Record
from bench.scenarios import weighing
from bench.stats.interval import Interval
from bench.stats.multiple import pairwise_comparisons, simultaneous_confidence
from bench.stats.pareto import Compared, Standing, standings
from bench.stats.verdict import within_margin
from bench.store.scores import metric_of
from bench.variants import DEFAULT

Cost = Literal["latency", "throughput", "energy", "memory", "size"]


@dataclass(frozen=True)
class Point:
    """One model in one variant on one target, with the record that its cost is read from."""

    record: Record
    scored: Record | None
    #: surely not less accurate, by more than what counts as nothing, than any other
    as_accurate: bool = False
    #: what tells it from others of its model, variant and target; empty where there are none
    apart: tuple[Setting, ...] = ()
    standing: Standing = field(default_factory=lambda: Standing("open"))

    @property
    def cell(self) -> Cell:
        return self.record.cell

    @property
    def metric(self) -> MetricRow:
        """How its accuracy is read."""
        assert self.scored is not None
        return metric_of(self.scored)


@dataclass(frozen=True)
class Offer:
    """What can be had instead of an original on one target: the pair against its fp32 form."""

    pair: Pair
    kind: Literal["distilled", "variant", "distilled variant"]
    apart: tuple[Setting, ...] = ()  #: as of a `Point`


@dataclass(frozen=True)
class Undecided:
    """Why nobody knows what is the most accurate: the best that was measured may be worse than
    another, or can't be compared with it for predictions that are lost."""

    best: Point
    other: Point
    lost: bool


@dataclass(frozen=True)
class Deal:
    """The points of a run by cost, and what is on offer for each original on each target.

    ``loss`` is what counts as nothing of a fraction of 1, and was asked for, or is None.
    """

    cost: Cost
    points: tuple[Point, ...]
    offers: Mapping[tuple[str, str], tuple[Offer, ...]]
    loss: float | None
    confidence: float
    #: what distilled language models would be worth as drafters
    draftings: tuple[Drafting, ...] = ()
    undecided: Undecided | None = None  #: where no point is as accurate as every other

    def negligible(self, metric: MetricRow) -> float:
        """The loss of a metric that counts as nothing, as it is stored."""
        return _negligible(metric, self.loss)

    @property
    def metrics(self) -> list[MetricRow]:
        """Those that the points were scored by."""
        return list(dict.fromkeys(point.metric for point in self.points))


def make_deal(
    records: Sequence[Record],
    change: Callable[[float], Changed],
    cost: Cost = "latency",
    loss: float | None = None,
    confidence: float = CONFIDENCE,
) -> Deal:
    """Place every point of ``records`` and collect what is on offer.

    ``loss`` is what counts as nothing, in steps of a metric's scale over 100: 0.005 is half a point
    of accuracy, and 0.5 of a metric that is no fraction. Without one each metric has its own.
    ``change(confidence)`` compares stored predictions at that confidence. Raises `SpecError` where
    no record has both a cost and an accuracy.
    """
    latest = list({record.cell_id: record for record in records}.values())
    points = _points(latest, cost)
    if not points:
        raise SpecError(_nothing_to_rank(latest, cost))
    each = simultaneous_confidence(2 * max(1, pairwise_comparisons(len(points))), confidence)
    changed = change(each)

    def price(i: int, j: int) -> Interval | None:
        return _cost_ratio(points[i].record, points[j].record, cost, each)

    def quality(i: int, j: int) -> Interval | None:
        return _quality(points[i].scored, points[j].scored, changed, loss)

    nothing = 0.0 if loss == 0 else 1.0
    placed = standings(len(points), price, quality, MARGIN, nothing)
    doubts = [_doubt(i, points, quality, nothing) for i in range(len(points))]
    best = max(range(len(points)), key=lambda i: _goodness(points[i]))
    return Deal(
        cost=cost,
        points=tuple(
            replace(point, standing=standing, as_accurate=doubt is None)
            for point, standing, doubt in zip(points, placed, doubts, strict=True)
        ),
        undecided=None if None in doubts else doubts[best],
        offers=_offers(latest, change(confidence)),
        loss=loss,
        confidence=confidence,
    )


def cheapest(deal: Deal) -> Point:
    """The most accurate of the points whose cost differs from the lowest by what counts as
    nothing."""
    costs = [cost_of(point.record, deal.cost) or 0.0 for point in deal.points]
    tied = [
        p for p, cost in zip(deal.points, costs, strict=True) if cost <= costs[0] * (1 + MARGIN)
    ]
    return max(tied, key=_goodness)


def _goodness(point: Point) -> float:
    assert point.scored is not None
    assert point.scored.accuracy is not None
    return point.metric.sign * point.scored.accuracy.value.value


def safest(deal: Deal) -> Point | None:
    """The cheapest of what is surely as accurate as the most accurate; the one that is the cheapest
    of all, where that is as accurate."""
    if deal.points and (best := cheapest(deal)).as_accurate:
        return best
    return next((p for p in deal.points if p.as_accurate), None)


def level_with(deal: Deal, best: Point) -> tuple[Point, ...]:
    """The others that can't be told apart from ``best`` by cost: of all points, or of what is as
    accurate where that is what it is the cheapest of."""
    every = deal.points if best is cheapest(deal) else [p for p in deal.points if p.as_accurate]
    others = [point for point in every if point is not best]
    level = level_records(best.record, [p.record for p in others], deal.cost, deal.confidence)
    return tuple(p for p in others if any(p.record is record for record in level))


def level_records(
    best: Record, others: Sequence[Record], cost: Cost, confidence: float = CONFIDENCE
) -> list[Record]:
    """The others that are not surely costlier than ``best`` by more than counts as nothing.

    The truly cheapest is among these and ``best`` with that confidence, whichever was taken for the
    best: it is held against each other once (Hsu 1981, Annals of Statistics 9:1026).
    """
    each = simultaneous_confidence(max(1, len(others)), confidence)
    ratios = [_cost_ratio(other, best, cost, each) for other in others]
    return [
        other
        for other, ratio in zip(others, ratios, strict=True)
        if ratio is None or ratio.low <= 1 or within_margin(ratio, MARGIN)
    ]


#: How a cost is measured that a run need not have.
_MEASURED_BY: dict[str, str] = {
    "latency": "--scenario single-stream",
    "throughput": "--scenario offline",
    "energy": "--energy",
}


def _nothing_to_rank(records: Sequence[Record], cost: Cost) -> str:
    remedy = "Use models with labelled data."
    if any(record.accuracy for record in records):
        remedy = f"Measure it with {_MEASURED_BY.get(cost, 'another target')}."
    return f"no record has both {cost} and accuracy, so there is nothing to rank. {remedy}"


def _doubt(place: int, points: Sequence[Point], quality: Compared, loss: float) -> Undecided | None:
    """Why a point isn't surely as accurate as every other that was scored on the same data; None
    where it is. It isn't where one of those can't be compared, for predictions that are lost."""
    mine = points[place]
    others = [place_of for place_of in range(len(points)) if place_of != place]
    for other in sorted(others, key=lambda each: -_goodness(points[each])):
        point, difference = points[other], quality(place, other)
        if difference is None and _on_same_data(mine, point):
            return Undecided(mine, point, lost=True)
        if difference is not None and difference.low < -loss:
            return Undecided(mine, point, lost=False)
    return None


def _on_same_data(one: Point, other: Point) -> bool:
    if one.scored is None or other.scored is None:
        return False
    return same_data(one.scored, other.scored)


# -- points ---------------------------------------------------------------------------------------


def weighed(records: Sequence[Record], cost: Cost) -> str | None:
    """The scenario that a cost is read from; one that is no time from that of latencies, else of
    rates."""
    if cost == "energy":
        records = [record for record in records if main_energy(record) is not None]
    present = dict.fromkeys(record.cell.scenario for record in records)
    if cost in ("latency", "throughput"):
        return weighing(cost, present)
    return weighing("latency", present) or weighing("throughput", present)


def cost_of(record: Record, cost: Cost) -> float | None:
    """What is paid: ns a query, ns a sample, J a sample, bytes resident at the peak, bytes on the
    disk."""
    if cost == "energy":
        found = main_energy(record)
        return found.gross_j.value / found.samples if found and found.gross_j else None
    if cost == "latency":
        return record.latency.median_ns.value if record.latency else None
    if cost == "throughput":
        return 1e9 / record.throughput.value if record.throughput else None
    if cost == "memory":
        return record.memory.peak_rss_bytes if record.memory else None
    return record.cell.model.file_bytes or None


def _points(records: Sequence[Record], cost: Cost) -> list[Point]:
    """The cheapest first; only what ran, was scored and is no simulation."""
    scores = ScoresOf(records)
    found: dict[tuple[object, ...], Record] = {}
    wanted = weighed(records, cost)
    if cost == "energy":  # of one scope, or they are no costs of one kind
        way = common_way([r for r in records if r.cell.scenario == wanted])
        records = [] if way is None else [read_as(record, way) for record in records]
    for record in records:
        usable = record.standing == "ok" and not record.simulated
        if usable and record.cell.scenario == wanted and cost_of(record, cost):
            kept = found.get(subject(record.cell))
            if kept is None or _size_for(cost, record) >= _size_for(cost, kept):
                found[subject(record.cell)] = record
    scored = {key: score for key, record in found.items() if (score := scores.of(record))}
    alike = alike_subjects(found[key].cell for key in scored)
    points = [
        Point(found[key], score, apart=alike.apart(found[key].cell))
        for key, score in scored.items()
    ]
    return sorted(points, key=lambda p: cost_of(p.record, cost) or 0.0)


def _size_for(cost: Cost, record: Record) -> int:
    """The largest batch is what throughput is bought for, the smallest what latency is."""
    return record.cell.batch if cost == "throughput" else -record.cell.batch


#: The settings that `subject` has.
_OF_A_SUBJECT = (*HOW, "shape", "model")


def subject(cell: Cell) -> tuple[object, ...]:
    """What a point is of: what is measured, and how; only the load is left open, which is the
    scenario, the batch, the bounds and LoadGen's settings. So is what is in the input, for each
    batch has its own."""
    return *_called(cell), *values_of(cell, _OF_A_SUBJECT)


def alike_subjects(cells: Iterable[Cell]) -> Alike:
    """What sets subjects apart that are of one model, variant and target."""
    return Alike(cells, _called, _OF_A_SUBJECT)


def _way_of(cell: Cell) -> tuple[object, ...]:
    """The same whatever the inputs' shapes."""
    return *_called(cell), *values_of(cell, (*HOW, "model"))


class ScoresOf:
    """Which of ``records`` the accuracy of each is read from (see `score_for`)."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._scored: dict[tuple[str, ...], list[Record]] = {}
        for record in records:
            if record.accuracy is not None:
                self._scored.setdefault(_content(record.cell), []).append(record)

    def of(self, record: Record) -> Record | None:
        return score_for(record, self._scored.get(_content(record.cell), ()))


def _content(cell: Cell) -> tuple[str, ...]:
    return *_called(cell), cell.model.sha256


def _called(cell: Cell) -> tuple[str, str, str]:
    return cell.model.name, cell.variant, cell.target


def _cost_ratio(one: Record, other: Record, cost: Cost, confidence: float) -> Interval | None:
    """one's cost over other's; sizes and peaks of memory are counted, not estimated."""
    if cost == "latency" or cost == "throughput":
        found = cost_ratio((other, one), cost, confidence)
        return None if found is None else found.interval
    if cost == "energy":
        ours, others = main_energy(one), main_energy(other)
        if ours is None or others is None:
            return None
        known = energy_ratio(others, ours, confidence, in_turn=True)
        return None if known is None else known[0]
    mine, theirs = cost_of(one, cost), cost_of(other, cost)
    if not mine or not theirs:
        return None
    return Interval(mine / theirs, mine / theirs, mine / theirs, confidence)


def _negligible(metric: MetricRow, loss: float | None) -> float:
    return metric.negligible if loss is None else metric.scale.from_points(100 * loss)


def _quality(
    one: Record | None, other: Record | None, change: Changed, loss: float | None
) -> Interval | None:
    """How much better one is than the other, counted in what counts as nothing of its metric."""
    if one is None or other is None or not same_data(one, other):
        return None
    found = change(one, other)
    if found is None:
        return None
    gain, unit = found.gain, _negligible(found.metric, loss) or 1.0
    return replace(gain, estimate=gain.estimate / unit, low=gain.low / unit, high=gain.high / unit)


# -- offers ---------------------------------------------------------------------------------------


def _offers(records: Sequence[Record], change: Changed) -> dict[tuple[str, str], tuple[Offer, ...]]:
    """For each original and target: its distilled models and its own variants against its fp32
    form, measured in the same way; the distilled ones first."""
    models = {r.cell.model.name: r.cell.model for r in records}
    ways: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        ways.setdefault(_way_of(record.cell), []).append(record)
    alike = alike_subjects(record.cell for record in records)
    found: dict[tuple[str, str], list[Offer]] = {}
    for every in ways.values():
        cell, name = every[0].cell, every[0].cell.model.name
        if models[name].control_of is not None:
            continue
        original = models[name].distilled_from or models[name].variant_of
        reference = models[original] if original in models else models[name]
        default = cell.model_copy(update={"model": reference, "variant": DEFAULT})
        base = ways.get(_way_of(default))
        if base is None or base is every:
            continue
        relation: Relation = "original" if models[name].distilled_from in models else "variant"
        for mine, theirs in of_one_size(every, base):
            pair = compare_on_target(relation, mine, theirs, change)
            offer = Offer(pair, _kind(pair), alike.apart(mine[0].cell))
            found.setdefault((reference.name, cell.target), []).append(offer)
    order = ("distilled", "variant", "distilled variant")
    return {
        key: tuple(sorted(offers, key=lambda offer: order.index(offer.kind)))
        for key, offers in found.items()
    }


def _kind(pair: Pair) -> Literal["distilled", "variant", "distilled variant"]:
    if pair.relation == "variant":
        return "variant"
    return "distilled" if pair.variant == DEFAULT else "distilled variant"
