"""The first screen of a page on several machines: which hardware for which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import SpecError
from bench.judge.matrix.answer import Answered, answer
from bench.judge.matrix.cells import Asked, By, Entry, Matrix, Price
from bench.judge.matrix.front import Front, FrontPoint
from bench.numbers import NAME_LIMIT, printable
from bench.present.matrix.text import said_of, title_of
from bench.present.matrix.words import (
    MILLION,
    Figures,
    machine_name,
    notes,
    place_name,
    row_name,
    target_name,
)
from bench.present.page.draw import (
    STATES,
    checked,
    front_layout,
    front_point,
    held_ends,
    legend,
    name_beside,
)
from bench.present.page.names import NEUTRAL, SYMBOLS, Palette, in_picture
from bench.present.page.parts import Column, Picture, Section, Table, bounds
from bench.present.page.parts import Entry as Shown
from bench.record.result import Estimate
from bench.store.run import StoredRun

#: So many columns of figures fit a page beside each other.
_MOST_COLUMNS = 5
_HEIGHT = 420
_MOST_NAMED = 6  #: points with their names beside them
_COSTS: tuple[By, ...] = ("latency", "throughput")
_KEYS: dict[By, tuple[str, str]] = {
    "latency": ("median", "ns"),
    "throughput": ("throughput", "per_s"),
}


def sections(
    runs: Sequence[StoredRun], palette: Palette, prices: Mapping[str, Price] | None = None
) -> tuple[Section, ...]:
    """The matrix of runs of several machines with its answer, and the joint front; none where no
    speed was measured."""
    answered = _answered(runs, prices or {})
    if answered is None:
        return ()
    figures = Figures(answered.matrix)
    pictures = tuple(
        _front(front, figures, palette, number) for number, front in enumerate(answered.fronts, 1)
    )
    small = notes(answered.matrix, answered.machines, answered.problems)
    main = Section(
        "machines",
        "Which hardware for which model",
        paragraphs=tuple(said_of(answered)),
        tables=(_table(answered.matrix, figures),),
        remarks=tuple(small),
    )
    front = Section("machines-front", "The joint front", (), pictures)
    return (main, front) if pictures else (main,)


def _answered(runs: Sequence[StoredRun], prices: Mapping[str, Price]) -> Answered | None:
    """By latency, or by throughput where no latency was measured."""
    for by in _COSTS:
        try:
            return answer(runs, Asked(by=by, prices=prices))
        except SpecError:
            continue
    return None


# -- the table ------------------------------------------------------------------------------------


def _table(matrix: Matrix, figures: Figures) -> Table:
    """Models down where the targets fit beside each other, else machines and targets down."""
    keys = _KEYS[matrix.asked.by]
    name, caption = "machines-data", title_of(matrix, figures)
    if len(matrix.columns) <= _MOST_COLUMNS:
        heads = [place_name(column) for column in matrix.columns]
        lines = [
            (Shown(row_name(row)), *(_entry(e, figures) for e in matrix.of_row(row)))
            for row in matrix.rows
        ]
        first: tuple[Column, ...] = (Column(("model",), "Model"),)
    else:
        heads = [row_name(row) for row in matrix.rows]
        lines = [
            (
                Shown(machine_name(column)),
                Shown(target_name(column)),
                *(_entry(matrix.entries[row, column], figures) for row in matrix.rows),
            )
            for column in matrix.columns
        ]
        first = (Column(("machine",), "Machine"), Column(("target",), "Target"))
    columns = tuple(
        Column(bounds(f"{keys[0]}_{number}", keys[1]), head, figures.unit_name, numeric=True)
        for number, head in enumerate(heads, 1)
    )
    return Table(name, caption, (*first, *columns), tuple(lines))


def _entry(entry: Entry, figures: Figures) -> Shown:
    number, interval = figures.figure(entry)
    value = entry.value if not entry.word else None
    raw = (value.value, value.low, value.high) if value is not None else (None, None, None)
    if entry.word:
        return Shown(number, values=raw, tone="dim" if entry.word == "-" else "bad")
    mark = figures.mark(entry)
    return Shown(number, f"{interval} {mark}".rstrip(), raw, tone="good" if entry.best else "")


# -- the front ------------------------------------------------------------------------------------


def _front(front: Front, figures: Figures, palette: Palette, number: int) -> Picture:
    left = "Right" if front.by == "throughput" else "Left"
    shown = [p for p in front.points if p.standing.state == "front"]
    names = "; ".join(_name(point) for point in shown) or "none established"
    return Picture(
        name=f"machines-front{number}",
        title=f"Accuracy against {front.by}, {front.dataset}",
        words=f"{left} is faster, up is more accurate. Colours are models, symbols are places. "
        "Filled: on the Pareto front, nothing beats it. Dotted: undecided by the intervals. "
        "Hollow: beaten by another. Bars are 95% intervals. "
        f"On the front: {names}.",
        spec=checked(_spec(front, figures, palette)),
        table=_front_table(front, figures, f"machines-front{number}-data"),
        height=_HEIGHT,
        wide=True,
    )


def _name(point: FrontPoint) -> str:
    return f"{row_name(point.entry.row)} on {place_name(point.entry.column)}"


def _value(point: FrontPoint) -> Estimate:
    assert point.entry.value is not None
    return point.entry.value


def _spec(front: Front, figures: Figures, palette: Palette) -> dict[str, Any]:
    places = list(dict.fromkeys(place_name(p.entry.column) for p in front.points))
    scale = figures.unit.scale if figures.unit is not None else 1 / MILLION
    costs = [_value(point) for point in front.points]
    ends = [x / scale for cost in costs for x in held_ends(cost.value, cost.low, cost.high)]
    what = "Median latency of one query" if front.by == "latency" else "Throughput"
    metric = front.points[0].metric
    dots = [_dot(p, figures, palette, places, scale) for p in front.points]
    names = _names(front, scale)
    return {
        "data": [*dots, *_legend(front, palette, places)],
        "layout": front_layout(_HEIGHT, metric, f"{what}, {figures.unit_name}", ends, names),
    }


def _dot(
    point: FrontPoint,
    figures: Figures,
    palette: Palette,
    places: Sequence[str],
    scale: float,
) -> dict[str, Any]:
    cost, score, factor = _value(point), point.score.value, point.metric.scale.factor
    colour = palette.colour(point.entry.row.model)
    symbol = SYMBOLS[places.index(place_name(point.entry.column)) % len(SYMBOLS)]
    hover = (
        f"<b>{in_picture(row_name(point.entry.row))}</b>",
        in_picture(place_name(point.entry.column)),
        figures.words(point.entry),
        point.metric.scale.value(score.value, score.low, score.high),
        STATES[point.standing.state],
    )
    look = (colour, symbol)
    return front_point(cost, score, (scale, factor), look, point.standing.state, hover)


def _names(front: Front, scale: float) -> list[dict[str, Any]]:
    """The names of the first points on the front, beside them."""
    costs = [_value(point).value for point in front.points]
    found = []
    for turn, point in enumerate([p for p in front.points if p.standing.state == "front"]):
        cost = _value(point).value
        words = (in_picture(row_name(point.entry.row)), in_picture(place_name(point.entry.column)))
        at = (cost / scale, point.metric.scale.factor * point.score.value.value)
        left = cost**2 > min(costs) * max(costs)  # the middle of a logarithmic axis
        found.append(name_beside(words, at, left=left, above=turn % 2 == 0))
    return found[:_MOST_NAMED]


def _legend(front: Front, palette: Palette, places: Sequence[str]) -> list[dict[str, Any]]:
    """Colours are models, symbols are places."""
    models = dict.fromkeys(point.entry.row.model for point in front.points)
    found = [(name, palette.colour(name), "circle") for name in models]
    found += [(n, NEUTRAL, SYMBOLS[i % len(SYMBOLS)]) for i, n in enumerate(places)]
    return legend(found)


def _front_table(front: Front, figures: Figures, name: str) -> Table:
    keys = _KEYS[front.by]
    scale = front.points[0].metric.scale
    columns = (
        Column(("model",), "Model"),
        Column(("machine",), "Machine"),
        Column(("target",), "Target"),
        Column(bounds(*keys), front.by.capitalize(), figures.unit_name, numeric=True),
        Column(bounds("accuracy"), "Accuracy", scale.unit, numeric=True),
        Column(("standing",), "Standing"),
    )
    rows = []
    for point in front.points:
        score, state = point.score.value, point.standing.state
        rows.append(
            (
                Shown(row_name(point.entry.row)),
                Shown(printable(point.entry.column.machine.name, limit=NAME_LIMIT)),
                Shown(target_name(point.entry.column)),
                _entry(point.entry, figures),
                Shown(
                    scale.bare(score.value),
                    scale.side(score.half_width),
                    (score.value, score.low, score.high),
                ),
                Shown(STATES[state], tone={"front": "good", "dominated": "dim"}.get(state, "")),
            )
        )
    return Table(name, f"Accuracy against {front.by}, the best first", columns, tuple(rows))
