"""The line of one cell over its runs as points of an SVG picture: pure numbers, drawn by the
template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.judge.history import Point, Series
from bench.present.history import Kind, kind_of

#: Of a picture, in its own units.
LEFT, RIGHT, TOP, BOTTOM = 8.0, 8.0, 10.0, 10.0
#: How much of the range is free above and below.
_ROOM = 0.08
#: Where all figures are one, as much of it is shown around.
_LEAST_RANGE = 0.05


@dataclass(frozen=True)
class Dot:
    """One run: where it is drawn, and its place in the series."""

    x: float
    y: float
    place: int


@dataclass(frozen=True)
class Step:
    """Where something changed: halfway between the last run before and the first one after."""

    x: float
    kind: Kind
    place: int  #: of the mark in the series


@dataclass(frozen=True)
class Curve:
    """``lines`` and ``bands`` are lists of points as SVG writes them, one for each stretch between
    steps. ``ticks`` are heights with the figure there."""

    width: float
    height: float
    lines: tuple[str, ...]
    bands: tuple[str, ...]
    dots: tuple[Dot, ...]
    steps: tuple[Step, ...]
    ticks: tuple[tuple[float, float], ...]


def curve(series: Series, width: float, height: float, left: float = LEFT) -> Curve:
    """Runs at equal distances in the order of time, intervals as a band around them."""
    points = series.points
    lows = [p.value if p.low is None else p.low for p in points]
    highs = [p.value if p.high is None else p.high for p in points]
    bottom, top = _range(points, lows, highs)

    def x(place: float) -> float:
        share = place / (len(points) - 1) if len(points) > 1 else 0.5
        return round(left + share * (width - left - RIGHT), 1)

    def y(value: float) -> float:
        share = (min(max(value, bottom), top) - bottom) / (top - bottom)
        return round(height - BOTTOM - share * (height - TOP - BOTTOM), 1)

    edges = sorted({0, *(mark.index for mark in series.marks), len(points)})
    up = [f"{x(n)},{y(value)}" for n, value in enumerate(highs)]
    down = [f"{x(n)},{y(value)}" for n, value in enumerate(lows)]
    stretches = list(pairwise(edges))
    return Curve(
        width,
        height,
        lines=tuple(
            " ".join(f"{x(n)},{y(points[n].value)}" for n in range(a, b)) for a, b in stretches
        ),
        bands=tuple(" ".join([*up[a:b], *reversed(down[a:b])]) for a, b in stretches),
        dots=tuple(Dot(x(n), y(p.value), n) for n, p in enumerate(points)),
        steps=tuple(
            Step(x(mark.index - 0.5), kind_of(mark), n) for n, mark in enumerate(series.marks)
        ),
        ticks=tuple((y(value), value) for value in (top, (top + bottom) / 2, bottom)),
    )


def _range(
    points: Sequence[Point], lows: Sequence[float], highs: Sequence[float]
) -> tuple[float, float]:
    """What the picture shows. One wild interval must not flatten all others: the band is cut at
    twice the range of the figures."""
    values = [p.value for p in points]
    low, high = min(values), max(values)
    reach = max(high - low, _LEAST_RANGE * high)
    low, high = max(min(lows), low - reach, 0.0), min(max(highs), high + reach)
    least = max(high - low, _LEAST_RANGE * high)
    middle = (high + low) / 2
    half = least * (0.5 + _ROOM)
    return max(0.0, middle - half), middle + half
