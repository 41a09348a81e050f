"""Memory and size: what a worker keeps resident, and what a model takes on the disk."""

from __future__ import annotations

from collections.abc import Sequence

from bench.judge.alike import Alike, Setting
from bench.judge.deal import alike_subjects
from bench.numbers import BYTE_UNITS, column_unit, size
from bench.present.page.draw import Axis, Dot, Lane, checked, dot_plot
from bench.present.page.names import (
    Palette,
    in_picture,
    lane_label,
    model_and_variant,
    target_words,
)
from bench.present.page.parts import Column, Entry, Picture, Section, Table, number_entry
from bench.present.page.selection import MOST_LANES, cut_words, subjects
from bench.record.result import Record


def section(records: Sequence[Record], palette: Palette, prefix: str) -> Section:
    """Peak resident memory by target, and file sizes by model."""
    found = [
        _memory(records, palette, f"{prefix}memory"),
        _sizes(records, palette, f"{prefix}size"),
    ]
    return Section(
        f"{prefix}footprint",
        "Memory and size",
        pictures=tuple(picture for picture in found if picture is not None),
    )


def _memory(records: Sequence[Record], palette: Palette, name: str) -> Picture | None:
    known = [r for r in records if r.memory and r.memory.peak_rss_bytes and not r.simulated]
    found = subjects(known)
    if not found:
        return None
    alike = alike_subjects(record.cell for record in found)
    lanes = [
        _memory_lane(record, alike.apart(record.cell), palette) for record in found[:MOST_LANES]
    ]
    unit = column_unit([r.memory.peak_rss_bytes for r in found if r.memory], BYTE_UNITS)
    axis = Axis(f"Resident memory, {unit.name}", unit.scale, from_zero=True)
    spec, height = dot_plot(lanes, axis)
    return Picture(
        name=name,
        title="Memory of the worker",
        words="The largest resident set of any invocation, the runtime included, and what loading "
        "and running the model added to it. These are counted, not estimated: no interval."
        f"{cut_words(len(lanes), len(found), 'rows')}",
        spec=checked(spec),
        table=_memory_table(known, f"{name}-data"),
        height=height,
    )


def _memory_lane(record: Record, apart: Sequence[Setting], palette: Palette) -> Lane:
    memory, label = record.memory, in_picture(lane_label(record.cell, apart))
    assert memory is not None
    colour, symbol = palette.colour(record.cell.model.name), palette.symbol(record.cell.target)
    dots = [
        Dot(value, None, None, f"<b>{label}</b><br>{series}: {size(value)}", colour, form, series)
        for series, value, form in (
            ("peak of the worker", memory.peak_rss_bytes, symbol),
            ("added by loading and running", memory.added_rss_bytes, f"{symbol}-open"),
        )
        if value
    ]
    group = in_picture(model_and_variant(record.cell))
    value = size(memory.peak_rss_bytes) if memory.peak_rss_bytes else ""
    return Lane(in_picture(target_words(record.cell, apart)), tuple(dots), group, value)


def _memory_table(records: Sequence[Record], name: str) -> Table:
    unit = column_unit([r.memory.peak_rss_bytes for r in records if r.memory], BYTE_UNITS)
    columns = (
        Column(("model",), "Model"),
        Column(("target",), "Target"),
        Column(("scenario",), "Scenario"),
        Column(("batch",), "Batch", numeric=True),
        Column(("peak_rss_bytes",), "Peak", unit.name, numeric=True),
        Column(("added_rss_bytes",), "Added", unit.name, numeric=True),
        Column(("device_bytes",), "On the device", unit.name, numeric=True),
    )
    alike = Alike(record.cell for record in records)
    rows = []
    for record in records:
        memory = record.memory
        assert memory is not None
        rows.append(
            (
                Entry(model_and_variant(record.cell)),
                Entry(target_words(record.cell, alike.apart(record.cell))),
                Entry(record.cell.scenario),
                number_entry(record.cell.batch),
                number_entry(memory.peak_rss_bytes, unit),
                number_entry(memory.added_rss_bytes, unit),
                number_entry(memory.device_bytes, unit),
            )
        )
    return Table(name, "Memory", columns, tuple(rows))


def _sizes(records: Sequence[Record], palette: Palette, name: str) -> Picture | None:
    files: dict[str, Record] = {}
    for record in records:
        if record.cell.model.file_bytes:
            files.setdefault(model_and_variant(record.cell), record)
    if not files:
        return None
    lanes = [
        Lane(
            in_picture(label),
            value=size(record.cell.model.file_bytes),
            dots=(
                Dot(
                    record.cell.model.file_bytes,
                    None,
                    None,
                    f"<b>{in_picture(label)}</b><br>{size(record.cell.model.file_bytes)}",
                    palette.colour(record.cell.model.name),
                ),
            ),
        )
        for label, record in list(files.items())[:MOST_LANES]
    ]
    unit = column_unit([r.cell.model.file_bytes for r in files.values()], BYTE_UNITS)
    spec, height = dot_plot(lanes, Axis(f"File, {unit.name} (log scale)", unit.scale, log=True))
    smallest = min(files.items(), key=lambda item: item[1].cell.model.file_bytes)
    rows = tuple(
        (
            Entry(label),
            number_entry(record.cell.model.file_bytes, unit),
            number_entry(record.cell.model.parameters),
        )
        for label, record in files.items()
    )
    columns = (
        Column(("model",), "Model"),
        Column(("file_bytes",), "File", unit.name, numeric=True),
        Column(("parameters",), "Parameters", numeric=True),
    )
    return Picture(
        name=name,
        title="Size of the model",
        words="The file that the runtime loads. The smallest is "
        f"{smallest[0]} with {size(smallest[1].cell.model.file_bytes)}."
        f"{cut_words(len(lanes), len(files), 'models')}",
        spec=checked(spec),
        table=Table(f"{name}-data", "Size of the model", columns, rows),
        height=height,
    )
