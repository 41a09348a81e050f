"""The drawing that pictures share: a bare layout, axes with ticks of ours, and dots with intervals.

Everything is plotly; colours of text and grid are the light ones, and the page's script puts the
dark ones in their place. Text from outside has to pass `bench.present.page.names.in_picture` first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import Any

from bench.cards.tasks.base import MetricRow
from bench.errors import Unavailable
from bench.numbers import is_unstable, significant
from bench.present.page.names import NEUTRAL, in_picture
from bench.record.result import Estimate

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK = "#3d444d"
GRID = "#e3e6ea"
GROUND = "#ffffff"
LANE_HEIGHT = 23  #: pixels: one line of text with its dot beside it
HEAD_HEIGHT = 66  #: pixels: the axis with its title
#: Of lines: a target each, as symbols are.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_FEWEST_TICKS, _MOST_TICKS = 3, 6
_LETTER = 6.6  #: pixels of one at 11 pixels, about
_MOST_LETTERS = 24  #: of a label: a phone has 360 pixels for labels, dots and values
_HEADING_LETTERS = 56


@dataclass(frozen=True)
class Axis:
    """What a value axis shows; ``scale`` is the size of its unit in the stored one."""

    title: str
    scale: float = 1.0
    log: bool = False
    reference: float | None = None  #: where a line is drawn: no difference
    suffix: str = ""
    from_zero: bool = False


@dataclass(frozen=True)
class Dot:
    """A value with its interval, in the stored unit; ``hover`` lines are escaped already."""

    value: float
    low: float | None
    high: float | None
    hover: str
    colour: str
    symbol: str = "circle"
    series: str = ""


@dataclass(frozen=True)
class Lane:
    """A label with the dots beside it and their values in words at the right; lanes of one
    ``group`` stand together under its name."""

    label: str
    dots: tuple[Dot, ...]
    group: str = ""
    value: str = ""


def layout(height: int, **changes: Any) -> dict[str, Any]:
    """A bare layout, transparent, without a frame."""
    return {
        "template": {},
        "height": height,
        "margin": {"l": 8, "r": 14, "t": 8, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": INK},
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "showlegend": False,
        "dragmode": False,
        **changes,
    }


def plain_axis(title: str, **changes: Any) -> dict[str, Any]:
    """A linear axis."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 12}},
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "automargin": True,
        "fixedrange": True,
        **changes,
    }


def log_axis(title: str, values: Iterable[float], **changes: Any) -> dict[str, Any]:
    """A logarithmic axis around ``values``, with ticks at 1, 2 and 5."""
    low, high = _around(values)
    ticks = log_ticks(low, high)
    return plain_axis(
        title,
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[_bare(tick) for tick in ticks],
        **changes,
    )


def _bare(value: float) -> str:
    """A round number without zeros that say nothing."""
    text = significant(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _around(values: Iterable[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis with air on both sides."""
    found = [value for value in values if value > 0 and math.isfinite(value)]
    if not found:
        return 1.0, 10.0
    low, high = min(found), max(found)
    air = (high / low) ** 0.06 * 1.04
    return low / air, high * air


def log_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two positive ones, where there are so many.

    Decades alone where they are many; finer steps where there is less than one.
    """
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = _stepped(low, high, steps)
        if len(found) >= _FEWEST_TICKS:
            return found[:: -(-len(found) // _MOST_TICKS)]
    return _even(low, high)


def _stepped(low: float, high: float, steps: Sequence[float]) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = (step * 10.0**power for power in range(first, last + 1) for step in steps)
    return [value for value in found if low <= value <= high]


def _even(low: float, high: float) -> list[float]:
    """Round numbers at even distances: for less than an octave."""
    raw = (high - low) / (_MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def dot_plot(found: Sequence[Lane], axis: Axis) -> tuple[dict[str, Any], int]:
    """One lane a label: labels in a gutter, dots with their intervals, values at the right; and
    the height in pixels."""
    groups: dict[str, list[Lane]] = {}
    for lane in found:
        groups.setdefault(lane.group, []).append(lane)
    lines: list[Lane | str] = []
    for group, members in groups.items():
        lines += [*([group] if group else []), *members]
    lanes = [(place, line) for place, line in enumerate(lines) if isinstance(line, Lane)]
    legend = len({dot.series for _, lane in lanes for dot in lane.dots}) > 1
    height = LANE_HEIGHT * len(lines) + HEAD_HEIGHT + (26 if legend else 0)
    ends = [
        x / axis.scale
        for _, lane in lanes
        for dot in lane.dots
        for x in (_held(dot) if axis.log else (dot.value, dot.low, dot.high))
        if x is not None and math.isfinite(x)
    ]
    if axis.reference is not None:
        ends.append(axis.reference / axis.scale)
    gutter = _width(clipped(lane.label) for _, lane in lanes)
    figure = {
        "data": _traces(lanes, axis.scale, legend=legend),
        "layout": layout(
            height,
            xaxis=_value_axis(axis, ends),
            yaxis={
                "range": [len(lines) - 0.4, -0.6],
                "tickvals": [place for place, _ in lanes],
                "showticklabels": False,
                "gridcolor": GRID,
                "griddash": "dot",
                "zeroline": False,
                "fixedrange": True,
            },
            annotations=[
                a for place, line in enumerate(lines) for a in _texts(line, place, gutter)
            ],
            shapes=_reference(axis),
            showlegend=legend,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            margin={
                "l": gutter,
                "r": _width(lane.value for _, lane in lanes),
                "t": 30 if legend else 4,
                "b": 46,
            },
        ),
    }
    return figure, height


def _held(dot: Dot) -> tuple[float, ...]:
    if dot.low is None or dot.high is None:
        return (dot.value,)
    return held_ends(dot.value, dot.low, dot.high)


def held_ends(value: float, low: float, high: float) -> tuple[float, ...]:
    """What a logarithmic axis has to hold of a figure: its bounds too, unless they are unstable;
    beside such bars, which run off the edge, nobody would tell other dots apart."""
    return (value,) if is_unstable(value, low, high) else (value, low, high)


def clipped(label: str, most: int = _MOST_LETTERS) -> str:
    """A label that fits the gutter. What was escaped for a picture stays so."""
    plain = unescape(label)
    return label if len(plain) <= most else escape(f"{plain[: most - 1]}…", quote=False)


def _width(texts: Iterable[str]) -> int:
    """Pixels for the longest of some words, and some air."""
    return 14 + round(_LETTER * max((len(unescape(text)) for text in texts), default=0))


def _texts(line: Lane | str, place: int, gutter: int) -> list[dict[str, Any]]:
    """The heading of a group; or the label of a lane, and its values."""
    if isinstance(line, str):
        heading = f"<b>{clipped(line, _HEADING_LETTERS)}</b>"
        return [_text(heading, place, 0, "left", -gutter)]
    found = [_text(clipped(line.label), place, 0, "left", 8 - gutter)]
    if line.value:
        found.append(_text(line.value, place, 1, "left", 8))
    return found


def _traces(
    lanes: Sequence[tuple[int, Lane]], scale: float, *, legend: bool
) -> list[dict[str, Any]]:
    """One trace for each series, colour and symbol: an error bar has one colour a trace."""
    grouped: dict[tuple[str, str, str], list[tuple[int, Dot]]] = {}
    for place, lane in lanes:
        for dot in lane.dots:
            grouped.setdefault((dot.series, dot.colour, dot.symbol), []).append((place, dot))
    named: set[str] = set()
    traces = []
    for (series, colour, symbol), found in grouped.items():
        dots = [dot for _, dot in found]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": series,
                "legendgroup": series,
                "showlegend": legend and series not in named,
                "x": [dot.value / scale for dot in dots],
                "y": [place for place, _ in found],
                **({"error_x": error_bars(dots, scale, colour)} if _uncertain(dots) else {}),
                "marker": {"color": colour, "symbol": symbol, "size": 9},
                "hoverinfo": "text",
                "hovertext": [dot.hover for dot in dots],
            }
        )
        named.add(series)
    return traces


def _uncertain(dots: Sequence[Dot]) -> bool:
    return any(dot.low is not None for dot in dots)


def error_bars(dots: Sequence[Dot], scale: float, colour: str) -> dict[str, Any]:
    """Asymmetric bars from each value to its bounds."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_side(dot.high, dot.value, scale) for dot in dots],
        "arrayminus": [_side(dot.value, dot.low, scale) for dot in dots],
        "color": colour,
        "thickness": 1.6,
        "width": 4,
    }


def _side(upper: float | None, lower: float | None, scale: float) -> float:
    if upper is None or lower is None or not math.isfinite(upper - lower):
        return 0.0
    return max(0.0, upper - lower) / scale


def _value_axis(axis: Axis, ends: list[float]) -> dict[str, Any]:
    if axis.log:
        return log_axis(axis.title, ends, side="bottom", ticksuffix=axis.suffix)
    low, high = (0.0 if axis.from_zero else min(ends, default=0.0)), max(ends, default=1.0)
    air = (high - low or abs(high) or 1.0) * 0.06
    return plain_axis(
        axis.title,
        range=[low if axis.from_zero else low - air, high + air],
        nticks=8,
        ticksuffix=axis.suffix,
    )


def _text(text: str, place: int, at: int, anchor: str, shift: int) -> dict[str, Any]:
    return {
        "text": text,
        "x": at,
        "xref": "paper",
        "xanchor": anchor,
        "xshift": shift,
        "y": place,
        "yref": "y",
        "yanchor": "middle",
        "showarrow": False,
        "font": {"size": 11},
        "align": anchor,
        "bgcolor": GROUND,
        "borderpad": 0,
    }


def _reference(axis: Axis) -> list[dict[str, Any]]:
    if axis.reference is None:
        return []
    at = axis.reference / axis.scale
    line = {"color": "#8a9099", "width": 1.2, "dash": "dot"}
    return [{"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line}]


def checked(figure: dict[str, Any]) -> dict[str, Any]:
    """The figure, checked by plotly's own validators, as JSON-ready data."""
    try:
        import plotly.graph_objects as go  # plotly: start-up
    except ImportError as error:
        raise Unavailable(
            "The page's pictures need plotly, which is not installed.",
            "Install the extra `report` (pip install 'infer-bench[report]').",
        ) from error

    found: dict[str, Any] = json.loads(go.Figure(figure).to_json())
    return found


# -- a front: what each point costs, how accurate it is, and how it stands --

#: How a point of a front stands, in words; and the ending of its symbol.
STATES = {"front": "on the front", "open": "open", "dominated": "beaten"}
_FORM = {"front": "", "open": "-open-dot", "dominated": "-open"}


def front_layout(
    height: int,
    metric: MetricRow,
    cost: str,
    ends: Iterable[float],
    names: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """``cost`` names the horizontal axis, ``ends`` are those of the intervals along it, and
    ``names`` stand beside points."""
    # A metric that is no share of right answers is named.
    title = in_picture(metric.words()) or f"Accuracy, {metric.scale.unit}"
    return layout(
        height,
        annotations=list(names),
        xaxis=log_axis(f"{cost} (log scale)", ends),
        yaxis=plain_axis(title, nticks=7) | ({} if metric.sign > 0 else {"autorange": "reversed"}),
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": -0.2,
            "yanchor": "top",
            "font": {"size": 11},
            "itemclick": False,
            "itemdoubleclick": False,
        },
        margin={"l": 8, "r": 16, "t": 12, "b": 8},
    )


def front_point(
    cost: Estimate,
    score: Estimate,
    scales: tuple[float, float],
    look: tuple[str, str],
    state: str,
    hover: Sequence[str],
) -> dict[str, Any]:
    """A point with both intervals. ``scales`` are the stored unit in that of each axis, ``look`` is
    colour and symbol, ``hover`` has a line each."""
    (across, up), (colour, symbol) = scales, look
    costs = Dot(cost.value, cost.low, cost.high, "", colour)
    scores = Dot(score.value, score.low, score.high, "", colour)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [cost.value / across],
        "y": [up * score.value],
        "error_x": {**error_bars([costs], across, colour), "thickness": 1.2, "width": 3},
        "error_y": {**error_bars([scores], 1 / up, colour), "thickness": 1.2, "width": 3},
        "marker": {
            "color": colour,
            "symbol": symbol + _FORM[state],
            "size": 11,
            "line": {"color": colour, "width": 1.6},
        },
        "hoverinfo": "text",
        "hovertext": ["<br>".join(hover)],
        "showlegend": False,
    }


def name_beside(
    name: Sequence[str], at: tuple[float, float], *, left: bool, above: bool
) -> dict[str, Any]:
    """The name of a point, a line each, with a line that leads to it; ``at`` is on the axes."""
    return {
        "text": "<br>".join(name),
        "x": math.log10(at[0]),  # a logarithmic axis takes its exponents
        "y": at[1],
        "ax": -26 if left else 26,
        "ay": -34 if above else 34,
        "xanchor": "right" if left else "left",
        "align": "right" if left else "left",
        "arrowhead": 0,
        "arrowwidth": 1,
        "arrowcolor": NEUTRAL,
        "standoff": 8,
        "font": {"size": 11},
        "borderpad": 1,
        "bgcolor": GROUND,
    }


def legend(found: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """An entry for each name, colour and symbol."""
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [None],
            "y": [None],
            "name": in_picture(name),
            "marker": {"color": colour, "symbol": symbol, "size": 9},
        }
        for name, colour, symbol in found
    ]
