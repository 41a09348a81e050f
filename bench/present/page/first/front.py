"""The first screen: which model and target to choose, how sure that is, and the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.errors import SpecError
from bench.judge.changes import Changes
from bench.judge.deal import Cost, Deal, Point, cheapest, make_deal, safest
from bench.judge.ranking import rankings
from bench.numbers import (
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    column_unit,
    duration,
    rate,
    with_interval,
)
from bench.present.deal import notes, point_name
from bench.present.page.draw import (
    STATES,
    checked,
    front_layout,
    front_point,
    held_ends,
    legend,
    name_beside,
)
from bench.present.page.first.cards import deal_cards, speed_cards, spread
from bench.present.page.latency import latency_dots
from bench.present.page.names import (
    NEUTRAL,
    Palette,
    in_picture,
    model_and_variant,
    shown,
    target_words,
)
from bench.present.page.parts import (
    Answer,
    Column,
    Entry,
    Picture,
    Table,
    bounds,
    estimate_entry,
    score_entry,
    score_unit,
)
from bench.present.page.selection import (
    MOST_POINTS,
    MOST_RANKED,
    best_of_each_load,
    cost_layers,
    latency_records,
    rate_records,
)
from bench.record.result import Estimate, Record
from bench.store.run import StoredRun

_FRONT_HEIGHT = 420
_MOST_SAID = 6
_MOST_NAMED = 6  #: points of a front with their names beside them


def answers(
    run: StoredRun, records: Sequence[Record], palette: Palette, prefix: str
) -> tuple[list[Answer], list[str]]:
    """An answer for each labelled data set of a run (models scored on others are no rivals), or one
    from speed alone; and what could not be read."""
    changes = Changes(run)
    found = []
    for number, (family, dataset) in enumerate(_families(records), 1):
        deal, cut = _deal(family, changes)
        if deal is not None:
            name = f"{prefix}front{number}"
            found.append(_from_deal(deal, dataset, cut, changes, palette, name))
    if not found:
        found = [_from_speed(run, records, palette, prefix)]
    return found, changes.problems


def _families(records: Sequence[Record]) -> list[tuple[list[Record], str]]:
    """Records of the models that were scored by one metric on one data set, and its name."""
    data = {r.cell.model.name: r.accuracy for r in records if r.accuracy is not None}
    grouped: dict[tuple[str, str], list[Record]] = {}
    names: dict[tuple[str, str], str] = {}
    for record in records:
        accuracy = record.accuracy or data.get(record.cell.model.name)
        if accuracy is not None:
            key = (accuracy.metric, accuracy.dataset_sha256)
            grouped.setdefault(key, []).append(record)
            names[key] = f"{accuracy.metric} on {accuracy.dataset}"
    return [(found, names[key]) for key, found in grouped.items()]


def _deal(records: Sequence[Record], changes: Changes) -> tuple[Deal | None, str]:
    """Accuracy against latency, or against throughput where no latency was measured."""
    costs: tuple[Cost, ...] = ("latency", "throughput")
    for cost in costs:
        weighed, cut = cost_layers(records, cost, MOST_POINTS)
        try:
            return make_deal(weighed, changes.at, cost), cut
        except SpecError:
            continue
    return None, ""


# -- from accuracy and cost -----------------------------------------------------------------------


def _from_deal(
    deal: Deal, dataset: str, cut: str, changes: Changes, palette: Palette, name: str
) -> Answer:
    return Answer(
        cards=tuple(deal_cards(deal, changes.at(deal.confidence), palette)),
        # The first note is on the standings, which the picture explains.
        sure=tuple(filter(None, (cut, *notes(deal)[1:]))),
        picture=_front(deal, dataset, palette, name),
    )


def _words(cost: Cost) -> Callable[[float | None], str]:
    return duration if cost == "latency" else rate


def _front(deal: Deal, dataset: str, palette: Palette, name: str) -> Picture:
    values = [_shown(point, deal.cost) for point in deal.points]
    unit = column_unit(values, TIME_UNITS if deal.cost == "latency" else RATE_UNITS)
    title = f"Accuracy against {deal.cost}"
    left = "Left" if deal.cost == "latency" else "Right"
    return Picture(
        name=name,
        title=title,
        words=f"{left} is faster, up is more accurate ({dataset}). Filled: on the Pareto front, "
        "nothing beats it. Dotted: undecided by the intervals. Hollow: beaten by another, which "
        f"hovering names. Bars are 95% intervals. {_front_words(deal)}",
        spec=checked(_front_spec(deal, unit, palette)),
        table=_front_table(deal, unit, f"{name}-data"),
        height=_FRONT_HEIGHT,
        wide=True,
    )


def _shown(point: Point, cost: Cost) -> float | None:
    found = spread(point.record, cost)
    return found.value if found else None


def _front_words(deal: Deal) -> str:
    """The text equivalent of the picture."""
    found = []
    for state, words in (("front", "On the front"), ("open", "Open")):
        names = [point_name(p) for p in deal.points if p.standing.state == state]
        if names:
            more = f" and {len(names) - _MOST_SAID} more" if len(names) > _MOST_SAID else ""
            found.append(f"{words}: {'; '.join(names[:_MOST_SAID])}{more}.")
    return " ".join(found)


def _front_spec(deal: Deal, unit: Unit, palette: Palette) -> dict[str, Any]:
    traces = [_point_trace(deal, place, unit, palette) for place in range(len(deal.points))]
    known = [s for p in deal.points if (s := spread(p.record, deal.cost))]
    costs = [x / unit.scale for s in known for x in held_ends(s.value, s.low, s.high)]
    what = "Median latency of one query" if deal.cost == "latency" else "Throughput"
    return {
        "data": [_stairs(deal, unit), *traces, *_legend(deal, palette)],
        "layout": front_layout(
            _FRONT_HEIGHT,
            deal.points[0].metric,
            f"{what}, {unit.name}",
            costs,
            _names(deal, unit),
        ),
    }


def _point_trace(deal: Deal, place: int, unit: Unit, palette: Palette) -> dict[str, Any]:
    point = deal.points[place]
    cost, score = spread(point.record, deal.cost), _score(point)
    assert cost is not None
    look = (palette.colour(point.cell.model.name), palette.symbol(point.cell.target))
    scales = (unit.scale, point.metric.scale.factor)
    hover = _point_hover(deal, place, cost, score)
    return front_point(cost, score, scales, look, point.standing.state, hover)


def _names(deal: Deal, unit: Unit) -> list[dict[str, Any]]:
    """The names of the points on the front, and of those on the cards: in the left half they go to
    the right; neighbours go above and below."""
    chosen = (cheapest(deal), safest(deal))
    wanted = [p for p in deal.points if p.standing.state == "front" or p in chosen]
    costs = [s.value for p in deal.points if (s := spread(p.record, deal.cost))]
    found = []
    for turn, point in enumerate(wanted[:_MOST_NAMED]):
        cost = spread(point.record, deal.cost)
        assert cost is not None
        left = cost.value**2 > min(costs) * max(costs)  # the middle of a logarithmic axis
        words = (in_picture(model_and_variant(point.cell)), in_picture(_where(point)))
        at = (cost.value / unit.scale, point.metric.scale.factor * _score(point).value)
        found.append(name_beside(words, at, left=left, above=turn % 2 == 0))
    return found


def _where(point: Point) -> str:
    return target_words(point.cell, point.apart)


def _score(point: Point) -> Estimate:
    assert point.scored is not None
    assert point.scored.accuracy is not None
    return point.scored.accuracy.value


def _point_hover(deal: Deal, place: int, cost: Estimate, score: Estimate) -> tuple[str, ...]:
    words = _words(deal.cost)
    cell = deal.points[place].cell
    return (
        f"<b>{in_picture(model_and_variant(cell))}</b>",
        in_picture(_where(deal.points[place])),
        with_interval(cost.value, cost.low, cost.high, words),
        deal.points[place].metric.scale.value(score.value, score.low, score.high),
        in_picture(_stands(deal, place)),
    )


def _stands(deal: Deal, place: int) -> str:
    """The same as text of a table."""
    standing = deal.points[place].standing
    beaten = f" by {point_name(deal.points[standing.by])}" if standing.by is not None else ""
    return STATES[standing.state] + beaten


def _stairs(deal: Deal, unit: Unit) -> dict[str, Any]:
    """The steps between the points on the front."""
    found = sorted(
        (cost.value / unit.scale, point.metric.scale.factor * _score(point).value)
        for point in deal.points
        if point.standing.state == "front" and (cost := spread(point.record, deal.cost))
    )
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, _ in found],
        "y": [y for _, y in found],
        "line": {"color": NEUTRAL, "width": 1, "dash": "dot", "shape": _SHAPE[deal.cost]},
        "hoverinfo": "skip",
        "showlegend": False,
    }


#: For what a given cost buys: the best accuracy that is had at that latency or less, or at that
#: throughput or more.
_SHAPE = {"latency": "hv", "throughput": "vh"}


def _legend(deal: Deal, palette: Palette) -> list[dict[str, Any]]:
    """Colours are models, symbols are targets."""
    models = dict.fromkeys(point.cell.model.name for point in deal.points)
    targets = dict.fromkeys(point.cell.target for point in deal.points)
    found = [(name, palette.colour(name), "circle") for name in models]
    if len(targets) > 1:
        found += [(name, NEUTRAL, palette.symbol(name)) for name in targets]
    return legend(found)


def _front_table(deal: Deal, unit: Unit, name: str) -> Table:
    stem = "median_ns" if deal.cost == "latency" else "throughput_per_s"
    stem, _, per = stem.partition("_")
    scored = [point.scored for point in deal.points if point.scored is not None]
    columns = (
        Column(("model",), "Model"),
        Column(("variant",), "Variant"),
        Column(("target",), "Target"),
        Column(bounds(stem, per), deal.cost.capitalize(), unit.name, numeric=True),
        Column(bounds("accuracy"), "Accuracy", score_unit(scored), numeric=True),
        Column(("standing",), "Standing"),
    )
    rows = []
    for place, point in enumerate(deal.points):
        cell = point.cell
        tone = {"front": "good", "dominated": "dim"}.get(point.standing.state, "")
        rows.append(
            (
                Entry(shown(cell.model.name)),
                Entry(cell.variant),
                Entry(target_words(cell, point.apart)),
                estimate_entry(spread(point.record, deal.cost), unit),
                score_entry(point.scored),
                Entry(_stands(deal, place), tone=tone),
            )
        )
    return Table(name, f"Accuracy against {deal.cost}, the best first", columns, tuple(rows))


# -- from speed alone -----------------------------------------------------------------------------


def _from_speed(run: StoredRun, records: Sequence[Record], palette: Palette, prefix: str) -> Answer:
    """The order of the targets of each model; nothing is weighed against accuracy."""
    timed = [*latency_records(records), *rate_records(records)]
    if not timed:
        return Answer(_nothing_timed(records))
    suite = run.header.suite
    header = run.header.model_copy(update={"cells": ()})
    part = StoredRun(run.path, header, best_of_each_load(timed, MOST_RANKED), [], [])
    # Every two targets of a load are compared.
    orders = [found.sentence() for found in rankings(part, suite.margin, suite.confidence)]
    return Answer(
        cards=tuple(speed_cards(timed, palette)),
        said=tuple(orders[:_MOST_SAID]),
        sure=(
            "No accuracy was scored, so speed is not weighed against it.",
            *(
                f"Orders hold together at {100 * suite.confidence:g}%; what differs by less than "
                f"{100 * suite.margin:g}% counts as the same."
                for _ in orders[:1]
            ),
        ),
        picture=latency_dots(records, palette, f"{prefix}front1"),
    )


def _nothing_timed(records: Sequence[Record]) -> str:
    if not records:
        return "Nothing was measured."
    if all(record.simulated for record in records):
        return (
            "Every device of this run is simulated: what is right is known, how fast it is is not."
        )
    return "No latency and no throughput was measured."
