"""How latencies are distributed: each invocation's curve, and the medians with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.judge.alike import Alike
from bench.numbers import (
    MISSING,
    TIME_UNITS,
    Unit,
    column_unit,
    duration,
    half_width,
    in_unit,
    with_interval,
)
from bench.present.devices import busy_remark
from bench.present.page.distributions import SHARES, Curve, read_curves
from bench.present.page.draw import (
    DASHES,
    Axis,
    Dot,
    Lane,
    checked,
    dot_plot,
    layout,
    log_axis,
    plain_axis,
)
from bench.present.page.names import (
    Palette,
    in_picture,
    lane_label,
    model_and_variant,
    target_words,
)
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
from bench.present.page.selection import MOST_LANES, cut_words, latency_records, time_of_sample
from bench.record.result import Record
from bench.scenarios import find_scenario
from bench.stats.percentile import minimum_samples
from bench.store.run import StoredRun

MOST_PANELS = 12
MOST_TARGETS = 6  #: curves of more can't be told apart
MOST_CURVES = 12  #: invocations of one cell
_PANEL_HEIGHT = 280


def section(run: StoredRun, records: Sequence[Record], palette: Palette, prefix: str) -> Section:
    """Medians, and one panel of curves for each model and variant."""
    timed = latency_records(records)
    panels = _panels(timed)
    wanted = [record.cell_id for panel in panels for record in panel]
    curves = read_curves(run.path, wanted, MOST_CURVES)
    pictures = [latency_dots(records, palette, f"{prefix}latency")] if timed else []
    for number, panel in enumerate(panels, 1):
        drawn = [record for record in panel if curves.get(record.cell_id)]
        if drawn:
            pictures.append(_panel(drawn, curves, palette, f"{prefix}ecdf{number}"))
    everything = len({_panel_key(record) for record in timed})
    remarks = [
        f"A curve is one process (invocation), so the gap between curves of one target is what "
        f"another process would change. At most {MOST_CURVES} a target are drawn, each from "
        f"{len(SHARES)} quantiles of its undisturbed calls."
    ]
    if everything > len(panels):
        remarks.append(f"{len(panels)} of {everything} models and loads are drawn.")
    return Section(
        f"{prefix}latency-section",
        "Latency",
        pictures=tuple(p for p in pictures if p is not None),
        remarks=tuple(remarks) if panels else (),
    )


# -- medians --------------------------------------------------------------------------------------


def latency_dots(records: Sequence[Record], palette: Palette, name: str) -> Picture | None:
    """The median of every latency cell with its interval."""
    timed = latency_records(records)
    if not timed:
        return None
    several = len({(r.cell.scenario, r.cell.batch) for r in timed}) > 1
    shown = timed if len(timed) <= MOST_LANES else sorted(timed, key=time_of_sample)[:MOST_LANES]
    unit = column_unit([r.latency.median_ns.value for r in shown if r.latency], TIME_UNITS)
    alike = Alike(record.cell for record in timed)
    lanes = [_lane(record, alike, unit, several=several, palette=palette) for record in shown]
    axis = Axis(f"Median latency of one query, {unit.name} (log scale)", unit.scale, log=True)
    spec, height = dot_plot(lanes, axis)
    fastest = min(shown, key=time_of_sample)
    assert fastest.latency is not None
    return Picture(
        name=name,
        title="Latency of one query",
        words="The median and its 95% interval; further left is faster. The lowest is "
        f"{lane_label(fastest.cell, alike.apart(fastest.cell), several_loads=several)} with "
        f"{duration(fastest.latency.median_ns.value)}."
        f"{cut_words(len(shown), len(timed), 'cells')}",
        spec=checked(spec),
        table=_table(timed, alike, unit, f"{name}-data"),
        height=height,
    )


def _lane(record: Record, alike: Alike, unit: Unit, *, several: bool, palette: Palette) -> Lane:
    assert record.latency is not None
    found, apart = record.latency.median_ns, alike.apart(record.cell)
    hover = "<br>".join(
        (
            f"<b>{in_picture(lane_label(record.cell, apart, several_loads=several))}</b>",
            with_interval(found.value, found.low, found.high, duration),
            f"{len(record.invocations)} invocations, {record.latency.samples} calls",
            *([remark] if (remark := busy_remark(record)) else []),
        )
    )
    colour = palette.colour(record.cell.model.name)
    symbol = palette.symbol(record.cell.target)
    dot = Dot(found.value, found.low, found.high, hover, colour, symbol)
    cell = record.cell
    load = f" · {cell.scenario} batch {cell.batch}" if several else ""
    group = in_picture(f"{model_and_variant(cell)}{load}")
    value = f"{in_unit(found.value, unit)} {half_width(found.value, found.low, found.high)}"
    return Lane(in_picture(target_words(cell, apart)), (dot,), group, value)


def _table(records: Sequence[Record], alike: Alike, unit: Unit, name: str) -> Table:
    columns = (
        Column(("model",), "Model"),
        Column(("target",), "Target"),
        Column(("scenario",), "Scenario"),
        Column(("batch",), "Batch", numeric=True),
        Column(bounds("median", "ns"), "Median", unit.name, numeric=True),
        Column(bounds("floor", "ns"), "Floor (p1)", unit.name, numeric=True),
        Column(("p90_ns",), "p90", unit.name, numeric=True),
        Column(("p99_ns",), "p99", unit.name, numeric=True),
        BUSY,
        Column(("samples",), "Calls", numeric=True),
        Column(("invocations",), "Invocations", numeric=True),
    )
    rows = []
    for record in records:
        latency = record.latency
        assert latency is not None
        rows.append(
            (
                Entry(model_and_variant(record.cell)),
                Entry(target_words(record.cell, alike.apart(record.cell))),
                Entry(record.cell.scenario),
                number_entry(record.cell.batch),
                estimate_entry(latency.median_ns, unit),
                estimate_entry(latency.floor_ns, unit),
                number_entry(latency.p90.value_ns, unit),
                number_entry(latency.p99.value_ns, unit),
                busy_entry(record),
                number_entry(latency.samples),
                number_entry(len(record.invocations)),
            )
        )
    return Table(name, "Latency of one query", columns, tuple(rows))


# -- curves ---------------------------------------------------------------------------------------


def _panel_key(record: Record) -> tuple[object, ...]:
    cell = record.cell
    return cell.model.name, cell.variant, cell.scenario, cell.batch


def _panels(timed: Sequence[Record]) -> list[list[Record]]:
    """Records that share model, variant and load, at most so many, the fastest targets of each."""
    grouped: dict[tuple[object, ...], list[Record]] = {}
    for record in timed:
        grouped.setdefault(_panel_key(record), []).append(record)
    panels = list(grouped.values())[:MOST_PANELS]
    return [sorted(panel, key=time_of_sample)[:MOST_TARGETS] for panel in panels]


def _panel(
    records: Sequence[Record], curves: Mapping[str, Sequence[Curve]], palette: Palette, name: str
) -> Picture:
    cell = records[0].cell
    label = find_scenario(cell.scenario).label
    load = f", {label} batch {cell.batch}" if label else ""
    values = [q for r in records for c in curves[r.cell_id] for q in c.quantiles_ns]
    unit = column_unit([float(np.median(values))], TIME_UNITS)
    alike = Alike(record.cell for record in records)
    called = {r.cell_id: target_words(r.cell, alike.apart(r.cell)) for r in records}
    traces = [
        trace
        for record in records
        for trace in _traces(record, called[record.cell_id], curves[record.cell_id], unit)
    ]
    # The few slowest calls of a curve may be a hundred times the rest and are drawn to the edge.
    ends = [c.quantiles_ns[i] / unit.scale for r in records for c in curves[r.cell_id] for i in _IN]
    colour = palette.colour(cell.model.name)
    ways: dict[str, list[str]] = {}  # several ways of running on one target have its symbol
    for trace in traces:
        target, words = trace.pop("target"), trace["legendgroup"]
        look = {"color": colour, "symbol": palette.symbol(target), "size": 9}
        if trace["mode"] == "lines":
            known = ways.setdefault(target, [])
            known += [] if words in known else [words]
            dash = DASHES[(palette.place(target) + known.index(words)) % len(DASHES)]
            trace |= {"opacity": 0.6}
            trace["line"] = {"color": colour, "width": 1.1, "shape": "hv", "dash": dash}
        else:
            trace["marker"] = look
    spec = {
        "data": traces,
        "layout": layout(
            _PANEL_HEIGHT,
            xaxis=log_axis(f"Latency, {unit.name} (log scale)", ends),
            yaxis=plain_axis("Share of calls", range=[0, 1.01], tickformat=".0%", nticks=6),
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11}},
            margin={"l": 8, "r": 14, "t": 30, "b": 46},
        ),
    }
    medians = "; ".join(
        f"{called[r.cell_id]} {duration(r.latency.median_ns.value)}" for r in records if r.latency
    )
    return Picture(
        name=name,
        title=f"{model_and_variant(cell)}{load}",
        words="The share of calls that took no longer, a curve for each process; further left "
        f"is faster, steeper is steadier. Symbols are the medians. Medians: {medians}.",
        spec=checked(spec),
        table=_curve_table(records, called, curves, unit, f"{name}-data"),
        height=_PANEL_HEIGHT,
    )


#: The places of the quantiles that set the ends of the axis: 1% and 99%.
_IN = (int(np.searchsorted(SHARES, 0.01)), int(np.searchsorted(SHARES, 0.99)))


_MIDDLE = int(np.searchsorted(SHARES, 0.5))


def _traces(
    record: Record, called: str, curves: Sequence[Curve], unit: Unit
) -> list[dict[str, Any]]:
    target = in_picture(called)
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": (curve.quantiles_ns / unit.scale).astype(np.float32),
            "y": SHARES.astype(np.float32),
            "name": target,
            "meta": f"{target}, invocation {curve.invocation}",
            "hovertemplate": "%{y:.1%} within %{x:.3~g} "
            + unit.name
            + "<br>%{meta}<extra></extra>",
            "legendgroup": target,
            "showlegend": False,
            "target": record.cell.target,
        }
        for curve in curves
    ] + [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [float(curve.quantiles_ns[_MIDDLE]) / unit.scale for curve in curves],
            "y": [0.5] * len(curves),
            "name": target,
            "hoverinfo": "skip",
            "legendgroup": target,
            "target": record.cell.target,
        }
    ]


_COLUMN_SHARES = (0.01, 0.25, 0.5, 0.75, 0.9, 0.99)


def _curve_table(
    records: Sequence[Record],
    called: Mapping[str, str],
    curves: Mapping[str, Sequence[Curve]],
    unit: Unit,
    name: str,
) -> Table:
    columns = (
        Column(("target",), "Target"),
        Column(("invocation",), "Invocation", numeric=True),
        Column(("calls",), "Calls", numeric=True),
        *(
            Column((f"p{100 * share:g}_ns",), f"p{100 * share:g}", unit.name, numeric=True)
            for share in _COLUMN_SHARES
        ),
    )
    rows = [
        (
            Entry(called[record.cell_id]),
            number_entry(curve.invocation),
            number_entry(curve.calls),
            *(_quantile(curve, share, unit) for share in _COLUMN_SHARES),
        )
        for record in records
        for curve in curves[record.cell_id]
    ]
    caption = f"Quantiles of latency by invocation: {model_and_variant(records[0].cell)}"
    return Table(name, caption, columns, tuple(rows))


def _quantile(curve: Curve, share: float, unit: Unit) -> Entry:
    """Absent where the calls can't support it (see `bench.stats.percentile`)."""
    tail = max(share, 1 - share)
    if tail > 0.75 and curve.calls < minimum_samples(tail):
        return Entry(MISSING, values=(None,), tone="dim")
    place = int(np.searchsorted(SHARES, share))
    return number_entry(float(curve.quantiles_ns[place]), unit)
