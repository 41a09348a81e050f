"""Throughput, and how it grows with the batch and with streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from bench.bounds import in_words
from bench.cell import Cell
from bench.judge.alike import (
    DEFINING,
    UNUSUAL,
    Alike,
    Setting,
    settings_in_words,
    settings_of,
    values_of,
)
from bench.numbers import (
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    column_unit,
    counted,
    duration,
    half_width,
    in_unit,
    rate,
    with_interval,
)
from bench.present.devices import busy_remark
from bench.present.page.draw import (
    DASHES,
    Axis,
    Dot,
    Lane,
    checked,
    dot_plot,
    error_bars,
    held_ends,
    layout,
    log_axis,
)
from bench.present.page.names import Palette, in_picture, model_and_variant, shown, target_words
from bench.present.page.parts import (
    BUSY,
    Column,
    Entry,
    Picture,
    Section,
    Table,
    bounds,
    busy_entry,
    estimate_entry,
    number_entry,
)
from bench.present.page.selection import MOST_LANES, cut_words, rate_records, time_of_sample
from bench.record.result import Estimate, Record, value_of
from bench.scenarios import find_scenario

_HEIGHT = 380
_MOST_LINES = 12
#: The settings of a line: all but what is in the input, for each batch has its own.
_OF_A_LINE = tuple(kind for kind in DEFINING if kind != "input")
#: Those that tell rates apart beside their load, which has the bound.
_BESIDE_ITS_LOAD = tuple(kind for kind in DEFINING if kind != "bound")


def section(
    records: Sequence[Record], palette: Palette, prefix: str, said: Sequence[str] = ()
) -> Section:
    """The rates with their intervals, and lines where a load was varied; ``said`` is what there is
    to say of them."""
    rated = rate_records(records)
    pictures = []
    if rated:
        pictures.append(_dots(rated, palette, f"{prefix}throughput"))
    for variable in _EACH:
        lines = _varied(rated, variable)
        if lines:
            pictures.append(_lines(lines, variable, _RATE, palette, f"{prefix}by-{variable}"))
        if lines and variable == "batch":
            pictures.append(_lines(lines, variable, _TIME, palette, f"{prefix}latency-by-batch"))
    return Section(
        f"{prefix}throughput-section",
        "Throughput",
        paragraphs=tuple(said),
        pictures=tuple(pictures),
    )


def _load(cell: Cell) -> str:
    return ", ".join(filter(None, (f"{cell.scenario} batch {cell.batch}", in_words(cell))))


def _dots(rated: Sequence[Record], palette: Palette, name: str) -> Picture:
    ordered = sorted(rated, key=time_of_sample)
    kept = {record.cell_id for record in ordered[:MOST_LANES]}
    drawn = [record for record in rated if record.cell_id in kept]
    unit = _unit(drawn)
    several = len({_load(r.cell) for r in rated}) > 1
    alike = Alike((record.cell for record in rated), kinds=_BESIDE_ITS_LOAD)
    lanes = []
    for record in drawn:
        found, apart = record.throughput, alike.apart(record.cell)
        assert found is not None
        label = _label(record.cell, apart, several=several)
        interval = with_interval(found.value, found.low, found.high, rate)
        remark = busy_remark(record)
        lines = [f"<b>{in_picture(label)}</b>", interval, _load(record.cell)]
        hover = "<br>".join([*lines, remark] if remark else lines)
        dot = Dot(
            found.value,
            found.low,
            found.high,
            hover,
            palette.colour(record.cell.model.name),
            palette.symbol(record.cell.target),
        )
        lanes.append(_lane(record, apart, dot, unit, several=several))
    spec, height = dot_plot(lanes, Axis(f"Samples, {unit.name} (log scale)", unit.scale, log=True))
    load = "" if several else f" ({_load(rated[0].cell)})"
    highest = ordered[0]
    return Picture(
        name=name,
        title=f"Throughput{load}",
        words="Samples per second with the 95% interval; further right is better. The highest is "
        f"{_label(highest.cell, alike.apart(highest.cell), several=several)} with "
        f"{rate(highest.throughput.value if highest.throughput else None)}."
        f"{cut_words(len(drawn), len(rated), 'cells')}",
        spec=checked(spec),
        table=_table(rated, unit, f"{name}-data"),
        height=height,
    )


def _lane(record: Record, apart: Sequence[Setting], dot: Dot, unit: Unit, *, several: bool) -> Lane:
    cell = record.cell
    load = f" · {_load(cell)}" if several else ""
    width = half_width(dot.value, dot.low or 0.0, dot.high or 0.0)
    return Lane(
        in_picture(target_words(cell, apart)),
        (dot,),
        in_picture(f"{model_and_variant(cell)}{load}"),
        f"{in_unit(dot.value, unit)} {width}",
    )


def _label(cell: Cell, apart: Sequence[Setting], *, several: bool) -> str:
    load = f" · {_load(cell)}" if several else ""
    return f"{model_and_variant(cell)} · {target_words(cell, apart)}{load}"


def _unit(records: Sequence[Record]) -> Unit:
    return column_unit([r.throughput.value for r in records if r.throughput], RATE_UNITS)


# -- lines ----------------------------------------------------------------------------------------


#: The loads that may be varied, each one of its values in words.
_EACH = {"batch": "batch", "streams": "number of streams"}


class _Line(NamedTuple):
    """Records of one ``model`` that differ in a load alone. A ``way`` is a target and how it is
    used."""

    label: str
    model: str
    way: str
    points: list[tuple[int, Record]]


@dataclass(frozen=True)
class _Drawn:
    """What is drawn against a load: an estimate of each record, and how it is told."""

    title: str
    axis: str
    meaning: str
    units: tuple[Unit, ...]
    of: Callable[[Record], Estimate | None]
    told: Callable[[float | None], str]
    best: Callable[..., tuple[str, int]]  #: of ``max`` and ``min``
    is_best: str  #: the best one in words


_RATE = _Drawn(
    "Throughput",
    "Samples",
    "Samples per second at each {}, with 95% intervals; a line that still rises gains from more.",
    RATE_UNITS,
    lambda record: record.throughput,
    rate,
    max,
    "highest",
)
_TIME = _Drawn(
    "Latency of a query",
    "Median latency",
    "How long a query of so many samples takes at each {}, with 95% intervals: what a larger one "
    "costs each of its samples.",
    TIME_UNITS,
    lambda record: record.latency.median_ns if record.latency else None,
    duration,
    min,
    "lowest",
)


def streams_of(target: str) -> int:
    """How many queries a target's options keep in flight (1 where they say nothing)."""
    text = dict(parse_qsl(target.partition("?")[2])).get("streams", "1")
    return int(text) if text.isdigit() else 1


def _without_streams(target: str) -> str:
    name, _, options = target.partition("?")
    kept = "&".join(part for part in options.split("&") if part and not part.startswith("streams="))
    return f"{name}?{kept}" if kept else name


def _varied(rated: Sequence[Record], variable: str) -> list[_Line]:
    """Lines of records whose queries may be of any size that differ in nothing but the variable,
    two points at least."""
    grouped: dict[tuple[object, ...], list[tuple[int, Record]]] = {}
    for record in rated:
        cell = record.cell
        if find_scenario(cell.scenario).one_sample:
            continue
        value = cell.batch if variable == "batch" else streams_of(cell.target)
        key = (*_line_of(cell, variable), *values_of(cell, _OF_A_LINE))
        grouped.setdefault(key, []).append((value, record))
    lines = [points for points in grouped.values() if len({value for value, _ in points}) > 1]
    alike = Alike(
        (points[0][1].cell for points in lines), lambda cell: _line_of(cell, variable), _OF_A_LINE
    )
    return [_line(points, alike, variable) for points in lines]


def _line_of(cell: Cell, variable: str) -> tuple[object, ...]:
    """What a line is called by."""
    named = (cell.model.name, cell.variant, cell.scenario)
    if variable == "batch":
        return *named, cell.target
    return *named, _without_streams(cell.target), cell.batch


def _line(points: list[tuple[int, Record]], alike: Alike, variable: str) -> _Line:
    cell = points[0][1].cell
    target = cell.target if variable == "batch" else _without_streams(cell.target)
    settings = settings_in_words(settings_of(cell, UNUSUAL), alike.apart(cell))
    batch = f"batch {cell.batch}" if variable == "streams" else ""
    words = (shown(target), batch, settings, find_scenario(cell.scenario).label)
    return _Line(
        f"{model_and_variant(cell)} · {', '.join(filter(None, words))}",
        cell.model.name,
        ", ".join(filter(None, (target, settings))),
        sorted(points, key=lambda point: point[0]),
    )


def _lines(
    lines: Sequence[_Line], variable: str, what: _Drawn, palette: Palette, name: str
) -> Picture:
    drawn = lines[:_MOST_LINES]
    everything = [record for line in drawn for _, record in line.points]
    unit = column_unit([value_of(what.of(record)) for record in everything], what.units)
    values = sorted({value for line in drawn for value, _ in line.points})
    ways = list(dict.fromkeys(line.way for line in drawn))
    traces = [_trace(line, ways, unit, variable, what, palette) for line in drawn]
    known = [found for record in everything if (found := what.of(record)) is not None]
    ends = [x / unit.scale for e in known for x in held_ends(e.value, e.low, e.high)]
    x = log_axis(f"{variable.capitalize()} (log scale)", values)
    x |= {"tickvals": values, "ticktext": [str(value) for value in values]}
    legend = {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top", "font": {"size": 11}}
    spec = {
        "data": traces,
        "layout": layout(
            _HEIGHT,
            xaxis=x,
            yaxis=log_axis(f"{what.axis}, {unit.name} (log scale)", ends),
            showlegend=True,
            legend=legend,
            margin={"l": 8, "r": 16, "t": 8, "b": 8},
        ),
    }
    return Picture(
        name=name,
        title=f"{what.title} against {variable}",
        words=f"{what.meaning.format(_EACH[variable])}{_best_words(drawn, variable, what)}"
        f"{cut_words(len(drawn), len(lines), 'lines')}",
        spec=checked(spec),
        table=_table(
            [r for line in lines for _, r in line.points], _unit(everything), f"{name}-data"
        ),
        height=_HEIGHT,
    )


def _best_words(lines: Sequence[_Line], variable: str, what: _Drawn) -> str:
    """Which point is the best, by the name that its line has in the picture."""
    told = {
        (line.label, value): found.value
        for line in lines
        for value, record in line.points
        if (found := what.of(record)) is not None
    }
    if not told:
        return ""
    label, value = what.best(told, key=lambda point: told[point])
    where = f"at batch {value}" if variable == "batch" else f"with {counted(value, 'stream')}"
    return f" The {what.is_best}: {label}, {where}."


def _trace(
    line: _Line, ways: Sequence[str], unit: Unit, variable: str, what: _Drawn, palette: Palette
) -> dict[str, Any]:
    label, points = line.label, line.points
    colour = palette.colour(line.model)
    dots, places = [], []
    for value, record in points:
        found = what.of(record)
        if found is None:
            continue
        interval = with_interval(found.value, found.low, found.high, what.told)
        hover = f"<b>{in_picture(label)}</b><br>{variable} {value}: {interval}"
        dots.append(Dot(found.value, found.low, found.high, hover, colour))
        places.append(value)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": in_picture(label),
        "x": places,
        "y": [dot.value / unit.scale for dot in dots],
        "error_y": error_bars(dots, unit.scale, colour),
        "line": {
            "color": colour,
            "width": 1.6,
            "dash": DASHES[ways.index(line.way) % len(DASHES)],
        },
        "marker": {"color": colour, "symbol": palette.symbol(points[0][1].cell.target), "size": 8},
        "hoverinfo": "text",
        "hovertext": [dot.hover for dot in dots],
    }


def _table(records: Sequence[Record], unit: Unit, name: str) -> Table:
    time = column_unit([value_of(_TIME.of(record)) for record in records], TIME_UNITS)
    columns = (
        Column(("model",), "Model"),
        Column(("target",), "Target"),
        Column(("scenario",), "Scenario"),
        Column(("batch",), "Batch", numeric=True),
        Column(("streams",), "Streams", numeric=True),
        Column(bounds("throughput", "per_s"), "Throughput", unit.name, numeric=True),
        Column(("median_ns",), "Latency", time.name, numeric=True),
        BUSY,
        Column(("invocations",), "Invocations", numeric=True),
    )
    alike = Alike(record.cell for record in records)
    rows = [
        (
            Entry(model_and_variant(record.cell)),
            Entry(target_words(record.cell, alike.apart(record.cell))),
            Entry(record.cell.scenario),
            number_entry(record.cell.batch),
            number_entry(streams_of(record.cell.target)),
            estimate_entry(record.throughput, unit),
            number_entry(value_of(_TIME.of(record)), time),
            busy_entry(record),
            number_entry(len(record.invocations)),
        )
        for record in records
    ]
    return Table(name, "Throughput", columns, tuple(rows))
