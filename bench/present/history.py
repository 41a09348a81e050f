"""The history of cells as text, at any width, and as JSON-ready values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

from rich.text import Text

from bench.judge.alike import UNUSUAL, Alike, settings_in_words, settings_of
from bench.judge.history import Break, Change, Point, Series, joined
from bench.numbers import (
    NAME_LIMIT,
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    column_unit,
    half_width,
    in_unit,
    p_value,
    printable,
    ratio,
)
from bench.present.columns import HISTORY_COLUMNS
from bench.present.layout import Figure, Line, clip, lay_out, wrap
from bench.stats.verdict import side
from bench.variants import suffix

_BARS = "▁▂▃▄▅▆▇█"
_STEP = "│"
_FEWEST_BARS = 15
Kind = Literal["slower", "faster", "content"]
_STYLES: dict[Kind, str] = {"slower": "red", "faster": "green", "content": "yellow"}
_MARKS: dict[Kind, str] = {"slower": "!", "faster": "!", "content": "≠"}
_ROWS = 20  #: so many runs have a line of their own, the newest
_COMMIT_DIGITS = 8


def history_text(found: Sequence[Series], width: int = 80) -> Text:
    """All series, those of one name as one, no line wider than ``width``; a single one with a line
    a run."""
    text = Text()
    found = joined(found)
    several = len({series.machine for series in found}) > 1
    alike = Alike(series.cell for series in found)
    for series in found:
        text.append(wrap(_title(series, alike), width, indent=2) + "\n", style="bold")
        text.append(
            wrap(f"  {_where(series, several_machines=several)}", width, indent=2) + "\n",
            style="dim",
        )
        if series.points:
            text.append(_curve(series, width) + "\n")
        for mark in series.marks:
            text.append(
                wrap(f"  {mark_words(series, mark)}", width, indent=4) + "\n",
                style=_STYLES[kind_of(mark)],
            )
        if not series.changes:
            text.append(wrap(f"  {_no_step(series)}", width, indent=2) + "\n", style="dim")
        if len(found) == 1 and series.points:
            text.append("\n").append_text(_runs(series, width))
        text.append("\n" if series is not found[-1] else "")
    return text


def sparkline(values: Sequence[float], breaks: Sequence[int], room: int) -> str:
    """The values as bars from the least to the largest, with a line before each index of
    ``breaks``; of more values than there is room for, each bar is the median of several."""
    room = max(1, room - 2 * len(breaks))  # each line, and the bar that it may cut in two
    edges = [round(i * len(values) / min(room, len(values))) for i in range(room + 1)]
    edges = sorted({*(e for e in edges if e <= len(values)), len(values), 0, *breaks})
    bars = [median(values[a:b]) for a, b in pairwise(edges) if a < b]
    low, high = min(bars), max(bars)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    drawn = ""
    for edge, bar in zip(edges, bars, strict=False):
        drawn += _STEP if edge in breaks else ""
        drawn += _BARS[round((bar - low) * scale)]
    return drawn


def _title(series: Series, alike: Alike) -> str:
    cell = series.cell
    variant = "" if series.foreign else suffix(cell.variant)
    name = printable(f"{cell.model.name}{variant} {cell.target}", limit=NAME_LIMIT)
    settings = settings_in_words(settings_of(cell, (*UNUSUAL, "threads")), alike.apart(cell))
    told = "" if series.foreign else f", {settings}"
    return f"{name} {cell.scenario} batch {cell.batch}{told} ({series.cell_id})"


def _where(series: Series, *, several_machines: bool) -> str:
    machine = "an unknown machine" if series.machine_id is None else f"machine {series.machine_id}"
    if several_machines:
        machine = series.machine
    cpu = f" ({printable(series.cpu_model, limit=60)})" if series.cpu_model else ""
    count = len(series.points)
    when = ""
    if series.points:
        first, last = (printable(p.created_at[:10]) for p in (series.points[0], series.points[-1]))
        when = f", {first}" if first == last else f", {first} to {last}"
    absent = "".join(f"; {why} in {count} more" for why, count in series.absent.items())
    runs = f"{count} run{'s' * (count != 1)}"
    return f"{printable(machine, limit=80)}{cpu}: {runs}{when}{absent}"


def _unit(series: Series) -> Unit:
    units = RATE_UNITS if series.cell.is_rate else TIME_UNITS
    return column_unit([p.value for p in series.points], units)


def _curve(series: Series, width: int) -> str:
    unit = _unit(series)
    values = [p.value for p in series.points]
    last = series.points[-1]
    ends = f"{in_unit(min(values), unit)} to {in_unit(max(values), unit)} {unit.name}"
    now = f"now {in_unit(last.value, unit)} {_width(last)}".rstrip()
    tail = f"  {ends}, {now}"
    breaks = sorted({mark.index for mark in series.marks})
    room = width - 2 - len(tail)
    if room < _FEWEST_BARS:
        return f"  {sparkline(values, breaks, width - 2)}\n{clip(tail, width)}"
    return f"  {sparkline(values, breaks, room)}{tail}"


def _width(point: Point) -> str:
    if point.low is None or point.high is None:
        return ""
    return half_width(point.value, point.low, point.high)


def kind_of(mark: Change | Break) -> Kind:
    """What it means for who reads it."""
    if isinstance(mark, Break):
        return "content"
    return "slower" if mark.slower else "faster"


def mark_words(series: Series, mark: Change | Break) -> str:
    """What changed, and when."""
    return _break_words(series, mark) if isinstance(mark, Break) else _change_words(series, mark)


def _break_words(series: Series, mark: Break) -> str:
    """``2026-01-20: the model's content changed; first in RUN; ...``"""
    point = series.points[mark.index]
    return (
        f"{printable(point.created_at[:10])}: the {' and the '.join(mark.changed)} changed; first "
        f"in {printable(point.run, limit=NAME_LIMIT)}; figures before and after are not compared."
    )


def _change_words(series: Series, change: Change) -> str:
    """``2026-01-20: slower, 0.76x (0.75–0.78) as fast (p = 0.001); commit a → b.``"""
    point = series.points[change.index]
    speed = change.times.inverse()
    interval = ratio(speed.estimate, speed.low, speed.high)
    word = "slower" if change.slower else "faster"
    changed = "; ".join(
        f"{name} {_short(name, a)} → {_short(name, b)}" for name, a, b in change.changed
    )
    text = (
        f"{printable(point.created_at[:10])}: {word}, {interval} as fast "
        f"({p_value(change.p)}); first in {printable(point.run, limit=NAME_LIMIT)}"
    )
    text += f"; {printable(changed, limit=NAME_LIMIT)}" if changed else ""
    if change.canary is not None and side(change.canary):
        canary = ratio(change.canary.estimate, change.canary.low, change.canary.high)
        text += f"; the machine changed as well: the canary took {canary} as long"
    return f"{text}."


def _short(name: str, value: str) -> str:
    return value[:_COMMIT_DIGITS] if name == "commit" else value


def _no_step(series: Series) -> str:
    return f"No step established{': ' + series.why_none if series.why_none else ''}."


def _runs(series: Series, width: int) -> Text:
    unit = _unit(series)
    shown = series.points[-_ROWS:]
    starts = {series.points[mark.index].run: _MARKS[kind_of(mark)] for mark in series.marks}
    lines = [
        Line(
            printable(p.created_at[:16].replace("T", " ")),
            starts.get(p.run, " "),
            {
                "value": Figure(in_unit(p.value, unit), _width(p)),
                "commit": Figure(printable((p.git_commit or "-")[:_COMMIT_DIGITS])),
                "runtime": Figure(printable(p.runtime_version, limit=20) or "-"),
                "bench": Figure(printable(p.bench_version, limit=20)),
            },
        )
        for p in shown
    ]
    text = lay_out(HISTORY_COLUMNS, {"value": unit.name}, lines, width)
    older = len(series.points) - len(shown)
    if older:
        text.append(f"\n{older} older run{'s' * (older != 1)} not shown; --json has them.\n", "dim")
    return text


# -- as data --------------------------------------------------------------------------------------


def history_json(found: Sequence[Series], skipped: Sequence[str]) -> dict[str, object]:
    """One JSON-ready object; times in ns, rates a second."""
    return {"series": [_series_row(series) for series in found], "skipped": list(skipped)}


def _series_row(series: Series) -> dict[str, object]:
    cell = series.cell
    return {
        "cell_id": series.cell_id,
        "model": cell.model.name,
        "variant": None if series.foreign else cell.variant,
        "target": cell.target,
        "scenario": cell.scenario,
        "batch": cell.batch,
        "foreign": series.foreign,
        "machine": series.machine,
        "machine_id": series.machine_id,
        "unit": "samples/s" if cell.is_rate else "ns",
        "points": [vars(point) for point in series.points],
        "failed": series.failed,
        "absent": dict(series.absent),
        "steps": [_change_row(series, change) for change in series.changes],
        "no_step_because": series.why_none or None,
    }


def _change_row(series: Series, change: Change) -> dict[str, object]:
    canary = change.canary
    return {
        "index": change.index,
        "run": series.points[change.index].run,
        "created_at": series.points[change.index].created_at,
        "ratio": change.ratio.estimate,
        "ratio_low": change.ratio.low,
        "ratio_high": change.ratio.high,
        "time_ratio": change.times.estimate,
        "time_ratio_low": change.times.low,
        "time_ratio_high": change.times.high,
        "slower": change.slower,
        "p": change.p,
        "canary_ratio": canary.estimate if canary else None,
        "machine_changed": bool(canary and side(canary)),
        "changed": [{"what": what, "before": a, "after": b} for what, a, b in change.changed],
    }
