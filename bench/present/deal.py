"""The deal for people: the front as a table, and plain sentences; and as raw rows."""

from __future__ import annotations

from rich.text import Text

from bench.cards.tasks.base import Change
from bench.judge.deal import MARGIN, Cost, Deal, Offer, Point, cost_of
from bench.numbers import (
    BYTE_UNITS,
    NAME_LIMIT,
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    column_unit,
    half_width,
    in_unit,
    points,
    printable,
    ratio,
)
from bench.present.columns import DEAL_COLUMNS
from bench.present.layout import TIED, Figure, Line, lay_out, wrap
from bench.record.result import Estimate, Record
from bench.stats.interval import Interval
from bench.variants import in_words, suffix

_TITLES: dict[Cost, str] = {
    "latency": "latency, one sample at a time",
    "throughput": "throughput",
    "memory": "peak memory of the worker",
    "size": "size of the file",
}
_UNITS: dict[Cost, tuple[Unit, ...]] = {
    "latency": TIME_UNITS,
    "throughput": RATE_UNITS,
    "memory": BYTE_UNITS,
    "size": BYTE_UNITS,
}


def deal_text(deal: Deal, width: int = 80) -> Text:
    """The front, what it means, and the sentences, no line wider than ``width``."""
    text = Text(f"Accuracy against {_TITLES[deal.cost]}, the best first\n")
    text.append_text(_table(deal, width))
    for note in notes(deal):
        text.append(wrap(f"- {note}", width, indent=2) + "\n")
    for said in sentences(deal):
        text.append("\n" + wrap(said, width, indent=2) + "\n")
    return text


def _table(deal: Deal, width: int) -> Text:
    shown = [_shown(point.record, deal.cost) for point in deal.points]
    unit = column_unit(shown, _UNITS[deal.cost])
    lines = [
        Line(f"{place:>2} {point_name(point)}", " ", _figures(point, value, unit, deal.cost))
        for place, (point, value) in enumerate(zip(deal.points, shown, strict=True), 1)
    ]
    return lay_out(DEAL_COLUMNS, {"cost": unit.name, "accuracy": "%"}, lines, width)


def _shown(record: Record, cost: Cost) -> float | None:
    """The cost as it is shown: throughput as samples a second."""
    value = cost_of(record, cost)
    return 1e9 / value if value and cost == "throughput" else value


def _figures(point: Point, value: float | None, unit: Unit, cost: Cost) -> dict[str, Figure]:
    spread = _spread(point.record, cost)
    interval = half_width(spread.value, spread.low, spread.high) if spread else ""
    words = {"front": "front", "open": "open", "dominated": f"beaten by {_by(point)}"}
    style = {"front": "green", "open": "", "dominated": "dim"}[point.standing.state]
    return {
        "cost": Figure(in_unit(value, unit), interval),
        "accuracy": _accuracy(point),
        "standing": Figure(words[point.standing.state], style=style),
    }


def _spread(record: Record, cost: Cost) -> Estimate | None:
    if cost == "latency":
        return record.latency.median_ns if record.latency else None
    return record.throughput if cost == "throughput" else None


def _accuracy(point: Point) -> Figure:
    assert point.scored is not None
    assert point.scored.accuracy is not None
    score = point.scored.accuracy.value
    side = max(score.high - score.value, score.value - score.low)
    return Figure(f"{100 * score.value:.1f}", f"±{100 * side:.1f}")


def _by(point: Point) -> str:
    return "" if point.standing.by is None else str(point.standing.by + 1)


def point_name(point: Point) -> str:
    """Model, variant and target, as people are told of a point."""
    cell = point.cell
    variant = suffix(cell.variant)
    return printable(f"{cell.model.name}{variant} {cell.target}", limit=NAME_LIMIT)


def notes(deal: Deal) -> list[str]:
    """What the standings mean, and how sure they are."""
    share = f"{100 * deal.confidence:g}%"
    lost = _points(deal.loss)
    return [
        "front: nothing else is surely as cheap and as accurate; beaten by: that one surely is; "
        "open: the intervals leave it open.",
        f"{lost} points of accuracy count as nothing; all intervals behind the standings hold "
        f"together at {share}.",
    ]


# -- sentences ------------------------------------------------------------------------------------


def sentences(deal: Deal) -> list[str]:
    """The answer, then one for each original and target: what is on offer in its place."""
    said = [answer(deal)]
    for (original, target), offers in deal.offers.items():
        worth = [w for offer in offers if (w := _offer_words(offer, original, deal.loss))]
        if worth:
            text = f"On {printable(target, limit=NAME_LIMIT)} {'; '.join(worth)}."
            said.append(text)
    return said


def answer(deal: Deal) -> str:
    """The best of all, and the best of what is as accurate as the most accurate."""
    best, safe = cheapest(deal), safest(deal)
    most = superlative(deal.cost)
    if safe is best:
        return f"The {most} is {point_name(best)}, and nothing is surely more accurate."
    if safe is None:
        return f"The {most} is {point_name(best)}; which is the most accurate is open."
    lost = _points(deal.loss)
    return (
        f"The {most} of all is {point_name(best)}; the {most} that is surely within "
        f"{lost} points of the most accurate is {point_name(safe)}."
    )


def safest(deal: Deal) -> Point | None:
    """The cheapest of what is surely as accurate as the most accurate."""
    return next((p for p in deal.points if p.as_accurate), None)


def cheapest(deal: Deal) -> Point:
    """The most accurate of the points whose cost differs from the lowest by what counts as
    nothing."""
    costs = [cost_of(point.record, deal.cost) or 0.0 for point in deal.points]
    tied = [
        p for p, cost in zip(deal.points, costs, strict=True) if cost <= costs[0] * (1 + MARGIN)
    ]
    return max(tied, key=_accuracy_value)


def _accuracy_value(point: Point) -> float:
    assert point.scored is not None
    assert point.scored.accuracy is not None
    return point.scored.accuracy.value.value


def superlative(cost: Cost) -> str:
    """What the cheapest is called."""
    return {"latency": "fastest", "throughput": "fastest"}.get(cost, "smallest")


def _offer_words(offer: Offer, original: str, loss: float) -> str:
    """``the distilled x is 9.8x faster than y and 2.1 points less accurate``."""
    speed, change = offer.pair.speedup, offer.pair.accuracy
    if speed is None or change is None:
        return ""
    if speed.verdict == "faster":
        fast = f"{ratio(speed.value, speed.low, speed.high)} faster"
    elif speed.verdict == "slower":
        fast = f"{ratio(1 / speed.value, 1 / speed.high, 1 / speed.low)} slower"
    else:
        fast = f"not surely faster or slower ({ratio(speed.value, speed.low, speed.high)})"
    than = f" than {printable(original, limit=NAME_LIMIT)}" if offer.kind == "distilled" else ""
    return f"{_offered(offer)} is {fast}{than} and {_lost_words(change, loss)}"


def _offered(offer: Offer) -> str:
    name = printable(offer.pair.model, limit=NAME_LIMIT)
    variant = in_words(offer.pair.variant)
    if offer.kind == "variant":
        return f"{name}{variant}"
    return f"the distilled {name}{variant}"


def _lost_words(change: Change, loss: float) -> str:
    found = change.difference
    if not change.significant:
        if found.low >= -loss:
            return "loses nothing measurable"
        return f"may lose up to {_points(-found.low)} points"
    lost = found.estimate < 0
    low, high = sorted((abs(found.low), abs(found.high)))
    interval = f"({_points(low)} to {_points(high)})".replace(" ", TIED)
    if change.only_this_right is not None:
        what = f"{'less' if lost else 'more'} accurate"
    else:
        what = f"{'lower' if lost else 'higher'} in {change.metric} x 100"
    return f"{_points(abs(found.estimate))} points {interval} {what}"


def _points(fraction: float) -> str:
    return points(fraction).removeprefix("+")


# -- raw ------------------------------------------------------------------------------------------


def deal_rows(deal: Deal) -> dict[str, object]:
    """The deal as JSON-ready data."""
    return {
        "cost": deal.cost,
        "loss": deal.loss,
        "confidence": deal.confidence,
        "points": [_row(point, deal) for point in deal.points],
        "sentences": sentences(deal),
    }


def _row(point: Point, deal: Deal) -> dict[str, object]:
    assert point.scored is not None
    assert point.scored.accuracy is not None
    by = point.standing.by
    accuracy = point.scored.accuracy
    return {
        "cell_id": point.record.cell_id,
        "model": point.cell.model.name,
        "variant": point.cell.variant,
        "target": point.cell.target,
        "cost": cost_of(point.record, deal.cost),
        "metric": accuracy.metric,
        "accuracy": accuracy.value.value,
        "accuracy_low": accuracy.value.low,
        "accuracy_high": accuracy.value.high,
        "standing": point.standing.state,
        "dominated_by": None if by is None else deal.points[by].record.cell_id,
    }


def interval_row(found: Interval | None) -> dict[str, float] | None:
    """An interval as JSON-ready data."""
    if found is None:
        return None
    return {
        "value": found.estimate,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
    }
