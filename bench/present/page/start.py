"""Cold start, apart from steady state: loading, the first inference, and a later one."""

from __future__ import annotations

from collections.abc import Sequence

from bench.judge.alike import Alike
from bench.judge.deal import alike_subjects
from bench.numbers import TIME_UNITS, column_unit, duration, with_interval
from bench.present.page.draw import Axis, Dot, Lane, checked, dot_plot
from bench.present.page.names import (
    Palette,
    in_picture,
    lane_label,
    model_and_variant,
    target_words,
)
from bench.present.page.parts import Column, Entry, Picture, Section, Table, bounds, estimate_entry
from bench.present.page.selection import MOST_LANES, cut_words, latency_records, subjects
from bench.record.result import Estimate, Record

_LOAD, _FIRST, _STEADY = "load", "first inference", "steady (median)"
#: The ending of the target's symbol: what takes longest is the emptiest.
_FORM = {_LOAD: "-open", _FIRST: "-open-dot", _STEADY: ""}


def section(records: Sequence[Record], palette: Palette, prefix: str) -> Section:
    """What the first answer costs, which no steady figure contains."""
    found = subjects([record for record in latency_records(records) if record.load_ns])
    if not found:
        return Section(f"{prefix}start", "Cold start")
    alike = alike_subjects(record.cell for record in found)
    lanes = []
    for record in found[:MOST_LANES]:
        apart = alike.apart(record.cell)
        label = in_picture(lane_label(record.cell, apart))
        dots = [
            Dot(
                value.value,
                value.low,
                value.high,
                f"<b>{label}</b><br>{what}: "
                f"{with_interval(value.value, value.low, value.high, duration)}",
                palette.colour(record.cell.model.name),
                f"{palette.symbol(record.cell.target)}{_FORM[what]}",
                what,
            )
            for what, value in _stages(record).items()
            if value is not None
        ]
        loaded = duration(record.load_ns.value) if record.load_ns else ""
        target, group = target_words(record.cell, apart), model_and_variant(record.cell)
        lanes.append(Lane(in_picture(target), tuple(dots), in_picture(group), loaded))
    unit = column_unit([r.load_ns.value for r in found if r.load_ns], TIME_UNITS)
    spec, height = dot_plot(lanes, Axis(f"Time, {unit.name} (log scale)", unit.scale, log=True))
    slowest = max(found, key=lambda r: r.load_ns.value if r.load_ns else 0)
    picture = Picture(
        name=f"{prefix}start-picture",
        title="Load, first inference, steady state",
        words="Reading and compiling the model, the first inference after that, and the median of "
        "the later ones, with 95% intervals. Importing the runtime counts for none of them. At "
        "the right: the time to load. The "
        f"longest to load is {lane_label(slowest.cell, alike.apart(slowest.cell))} with "
        f"{duration(slowest.load_ns.value if slowest.load_ns else None)}."
        f"{cut_words(len(lanes), len(found), 'rows')}",
        spec=checked(spec),
        table=_table(found, alike, f"{prefix}start-data"),
        height=height,
        wide=True,
    )
    return Section(f"{prefix}start", "Cold start", pictures=(picture,))


def _stages(record: Record) -> dict[str, Estimate | None]:
    steady = record.latency.median_ns if record.latency else None
    return {_LOAD: record.load_ns, _FIRST: record.first_inference_ns, _STEADY: steady}


def _table(records: Sequence[Record], alike: Alike, name: str) -> Table:
    stages = [_stages(record) for record in records]
    by_stage = {what: [stage[what] for stage in stages] for what in (_LOAD, _FIRST, _STEADY)}
    units = {
        what: column_unit([one.value if one else None for one in found], TIME_UNITS)
        for what, found in by_stage.items()
    }
    keys = {_LOAD: "load", _FIRST: "first_inference", _STEADY: "median"}
    columns = (
        Column(("model",), "Model"),
        Column(("target",), "Target"),
        *(
            Column(bounds(keys[what], "ns"), what.capitalize(), units[what].name, numeric=True)
            for what in units
        ),
    )
    rows = tuple(
        (
            Entry(model_and_variant(record.cell)),
            Entry(target_words(record.cell, alike.apart(record.cell))),
            *(estimate_entry(found[what], units[what]) for what in units),
        )
        for record, found in zip(records, stages, strict=True)
    )
    return Table(name, "Cold start", columns, rows)
