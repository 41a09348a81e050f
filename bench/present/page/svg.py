"""Small pictures as SVG that needs no script: widths in percent, so that they fill any column while
their text keeps its size. Colours are classes of the page's style, so that dark and paper work.

Text from outside is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bench.numbers import significant
from bench.present.page.draw import log_ticks

LANE = 36  #: pixels: a label with what is drawn under it
_AXIS = 40  #: pixels: ticks and title
_PLOT = 120  #: pixels: a histogram or a curve
_AIR = 0.05  #: of the width, on both sides


@dataclass(frozen=True)
class Scale:
    """From values to percent of the width."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, found = self.low, self.high, value
        if self.log:
            low, high, found = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (found - low) / (high - low) if high > low else 0.5
        return 100 * (_AIR + (1 - 2 * _AIR) * min(1.0, max(0.0, share)))

    def ticks(self) -> list[float]:
        if self.log:
            return log_ticks(self.low, self.high)
        return _round_numbers(self.low, self.high)


@dataclass(frozen=True)
class Interval:
    """A label with a value and its interval; ``tone`` is ``good``, ``bad``, ``warn`` or none."""

    label: str
    value: float
    low: float
    high: float
    tone: str = ""


@dataclass(frozen=True)
class Mark:
    """A labelled line across a picture."""

    value: float
    label: str


@dataclass(frozen=True)
class Bin:
    """How many rows lie from ``low`` to ``high``, and how many of them are beyond the limit."""

    low: float
    high: float
    rows: int
    beyond: int


def intervals(found: Sequence[Interval], margin: float, title: str) -> str:
    """Values with intervals, one under another, on the band of what counts as equivalent."""
    ends = [end for each in found for end in (each.low, each.high)]
    reach = max(map(abs, [*ends, 1.15 * margin]))
    scale = Scale(-reach, reach)
    height = LANE * len(found) + 8
    left, right = scale.at(-margin), scale.at(margin)
    parts = [
        _rect(left, 0, right - left, height, "band"),
        _line(left, 0, left, height, "edge"),
        _line(right, 0, right, height, "edge"),
        _line(scale.at(0), 0, scale.at(0), height, "zero"),
    ]
    for place, each in enumerate(found):
        y = LANE * place + 26
        parts.append(_text(0, y - 10, each.label, "label"))
        parts.append(_line(scale.at(each.low), y, scale.at(each.high), y, f"whisker {each.tone}"))
        parts.append(
            f'<circle cx="{scale.at(each.value):.2f}%" cy="{y}" r="4" class="dot {each.tone}"/>'
        )
    return _drawing(parts, scale, height, title)


def histogram(bins: Sequence[Bin], marks: Sequence[Mark], title: str) -> str:
    """Rows by size on a logarithmic axis, those beyond the limit in another colour."""
    values = [end for each in bins for end in (each.low, each.high)]
    scale = Scale(*_around([*values, *(mark.value for mark in marks)]), log=True)
    most = max(each.rows for each in bins)
    top = 18 * len(marks)
    height = top + _PLOT
    parts = []
    for each in bins:
        left, right = scale.at(each.low), scale.at(each.high)
        width = max(0.2, right - left - 0.15)
        tall = _PLOT * each.rows / most
        over = _PLOT * each.beyond / most
        parts.append(_rect(left, height - tall, width, tall - over, "bar"))
        parts.append(_rect(left, height - over, width, over, "beyond"))
    for place, mark in enumerate(marks):
        x, y = scale.at(mark.value), 18 * place + 12
        parts.append(_line(x, y + 4, x, height, "mark"))
        parts.append(_text(x, y, mark.label, "label", _anchor(x)))
    parts.append(_line(0, height, 100, height, "axis"))
    return _drawing(parts, scale, height, title)


def curve(points: Sequence[tuple[float, float]], marks: Sequence[Mark], title: str) -> str:
    """A share of rows (from 0 below to 1 above) by value, on a logarithmic axis."""
    scale = Scale(*_around([x for x, _ in points]), log=True)
    height = _PLOT + 18
    parts = [_line(0, 18 + _PLOT * k / 2, 100, 18 + _PLOT * k / 2, "grid") for k in (0, 1)]
    path = " ".join(f"{10 * scale.at(x):.1f},{1000 * (1 - y):.1f}" for x, y in points)
    parts.append(
        f'<svg x="0" y="18" width="100%" height="{_PLOT}" viewBox="0 0 1000 1000" '
        f'preserveAspectRatio="none"><polyline points="{path}" class="curve"/></svg>'
    )
    for mark in marks:
        x = scale.at(mark.value)
        parts.append(_line(x, 16, x, height, "mark"))
        parts.append(_text(x, 12, mark.label, "label", _anchor(x)))
    parts.append(_line(0, height, 100, height, "axis"))
    return _drawing(parts, scale, height, title)


def _drawing(parts: Iterable[str], scale: Scale, height: int, title: str) -> str:
    found = list(parts)
    for tick in scale.ticks():
        x = scale.at(tick)
        found.append(_line(x, height, x, height + 4, "axis"))
        found.append(_text(x, height + 17, _short(tick), "tick", "middle"))
    found.append(_text(50, height + 34, title, "tick", "middle"))
    return (
        f'<svg class="small-plot" width="100%" height="{height + _AXIS}" aria-hidden="true">'
        f"{''.join(found)}</svg>"
    )


def _anchor(x: float) -> str:
    return "start" if x < 25 else "end" if x > 75 else "middle"


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect x="{x:.2f}%" y="{y:.1f}" width="{max(0.0, width):.2f}%" '
        f'height="{max(0.0, height):.1f}" class="{kind}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return (
        f'<line x1="{x1:.2f}%" y1="{y1:.1f}" x2="{x2:.2f}%" y2="{y2:.1f}" class="{kind.strip()}"/>'
    )


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.2f}%" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def _short(value: float) -> str:
    """A tick: a round number without zeros that say nothing."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    text = significant(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _around(values: Iterable[float]) -> tuple[float, float]:
    found = [value for value in values if value > 0 and math.isfinite(value)]
    low, high = min(found, default=1.0), max(found, default=10.0)
    return (low / 1.5, high * 1.5) if high / low < 2 else (low, high)


def _round_numbers(low: float, high: float) -> list[float]:
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= raw)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
