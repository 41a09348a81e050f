"""The cards of the first screen: a large number, and how many times that of the next it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.judge.alike import Alike, Setting, sample_sizes
from bench.judge.deal import Cost, Deal, Point, cheapest, level_records, level_with, safest
from bench.judge.pairs import Changed, cost_ratio
from bench.numbers import (
    RATE_UNITS,
    TIME_UNITS,
    column_unit,
    half_width,
    in_unit,
    ratio,
)
from bench.present.deal import LEVEL, listed, point_name, superlative
from bench.present.page.names import Palette, lane_label
from bench.present.page.parts import Card
from bench.present.page.selection import time_of_sample
from bench.present.pairs import change_words
from bench.record.result import Estimate, Record

_MOST_CARDS = 4


def deal_cards(deal: Deal, changed: Changed, palette: Palette) -> Iterator[Card]:
    """The best of all, and the best of what is as accurate as the most accurate."""
    best, safe = cheapest(deal), safest(deal)
    word = superlative(deal.cost).capitalize()
    following = next((p for p in deal.points if p is not best), None)
    if safe is best:
        yield _point(f"{word}, and as accurate as any", best, following, deal, palette)
        return
    against = _against(best, safe, changed) if safe else ""
    yield _point(word, best, safe or following, deal, palette, against)
    if safe is None:
        yield Card(f"{word} at full accuracy", "open", what="Which is the most accurate is open.")
        return
    scale = safe.metric.scale
    near = scale.steps_of(scale.chosen(deal.negligible(safe.metric)))
    others = (p for p in deal.points if p.as_accurate and p is not safe)
    why = f"{word} at full accuracy: within {near} of the most accurate"
    yield _point(why, safe, next(others, None), deal, palette)


def _point(
    why: str, point: Point, other: Point | None, deal: Deal, palette: Palette, against: str = ""
) -> Card:
    than = f"as fast as {point_name(other)}" if other is not None else ""
    times = _times(point.record, other.record, deal.cost) if other is not None else ""
    score = point.scored.accuracy.value if point.scored and point.scored.accuracy else None
    shown = point.metric.scale.value(score.value, score.low, score.high) if score else ""
    level = _level([point_name(p) for p in level_with(deal, point)])
    figures = tuple(filter(None, (shown, against, level)))
    said = (times, than if times else "")
    return _card(why, point.record, deal.cost, said, figures, palette, point.apart)


def _card(
    why: str,
    record: Record,
    cost: Cost,
    times: tuple[str, str],
    figures: tuple[str, ...],
    palette: Palette,
    apart: Sequence[Setting] = (),
) -> Card:
    found = spread(record, cost)
    units = TIME_UNITS if cost == "latency" else RATE_UNITS
    unit = column_unit([found.value if found else None], units)
    return Card(
        why=why,
        number=in_unit(found.value if found else None, unit),
        unit=unit.name,
        interval=half_width(found.value, found.low, found.high) if found else "",
        times=times[0],
        than=times[1],
        what=lane_label(record.cell, apart),
        figures=figures,
        colour=palette.colour(record.cell.model.name),
    )


def spread(record: Record, cost: Cost) -> Estimate | None:
    """What a cost is read from, with its interval."""
    if cost == "latency":
        return record.latency.median_ns if record.latency else None
    return record.throughput


def _times(mine: Record, other: Record, cost: Cost) -> str:
    """``35.0x (34.2–35.8)``: how many times as long the other takes, from what both measured."""
    found = cost_ratio((mine, other), "latency" if cost == "latency" else "throughput")
    return ratio(found.value, found.low, found.high) if found else ""


def _against(best: Point, safe: Point, changed: Changed) -> str:
    """``5.0 points less accurate``; nothing where no difference is established."""
    if best.scored is None or safe.scored is None:
        return ""
    change = changed(best.scored, safe.scored)
    if change is None or not change.significant:
        return ""
    scale = change.metric.scale
    amount = scale.steps_of(scale.amount(abs(change.difference.estimate)))
    return f"{amount} {change_words(change)}"


def _level(names: Sequence[str]) -> str:
    return f"{LEVEL}: {listed(names)}" if names else ""


def speed_cards(timed: Sequence[Record], palette: Palette) -> Iterator[Card]:
    """The fastest target of each model and load, at most so many, beside the one after it."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in timed:
        cell = record.cell
        content = cell.model.name, cell.model.sha256, cell.variant
        key = (*content, cell.scenario, cell.batch, sample_sizes(cell))
        groups.setdefault(key, []).append(record)
    for found in list(groups.values())[:_MOST_CARDS]:
        best, *others = sorted(found, key=time_of_sample)
        cell = best.cell
        cost: Cost = "throughput" if cell.is_rate else "latency"
        why = f"Fastest, {cell.scenario} batch {cell.batch}"
        times = _times(best, others[0], cost) if others else ""
        alike = Alike(record.cell for record in found)
        than = f"as fast as {_called(others[0], alike)}" if times else ""
        level = _level([_called(r, alike) for r in level_records(best, others, cost)])
        figures, apart = (level,) if level else (), alike.apart(cell)
        yield _card(why, best, cost, (times, than), figures, palette, apart)


def _called(record: Record, alike: Alike) -> str:
    return lane_label(record.cell, alike.apart(record.cell))
