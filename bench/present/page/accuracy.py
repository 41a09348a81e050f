"""How right each model is on each target, simulated devices included."""

from __future__ import annotations

from collections.abc import Sequence

from bench.numbers import percent
from bench.present.page.draw import Axis, Dot, Lane, checked, dot_plot
from bench.present.page.names import Palette, in_picture, model_and_variant, shown, target_words
from bench.present.page.parts import (
    Column,
    Entry,
    Picture,
    Section,
    Table,
    bounds,
    number_entry,
    share_entry,
)
from bench.present.page.selection import MOST_LANES, cut_words, subjects
from bench.record.result import Record


def section(records: Sequence[Record], palette: Palette, prefix: str) -> Section:
    """One picture for each labelled data set and metric."""
    scored = subjects([record for record in records if record.accuracy is not None])
    grouped: dict[tuple[str, str, str], list[Record]] = {}
    for record in scored:
        accuracy = record.accuracy
        assert accuracy is not None
        key = (accuracy.metric, accuracy.dataset, accuracy.dataset_sha256)
        grouped.setdefault(key, []).append(record)
    pictures = [
        _picture(found, f"{metric} on {dataset}", palette, f"{prefix}accuracy{number}")
        for number, ((metric, dataset, _), found) in enumerate(grouped.items(), 1)
    ]
    return Section(f"{prefix}accuracy-section", "Accuracy", pictures=tuple(pictures))


def _label(record: Record) -> str:
    simulated = " (simulated device)" if record.simulated else ""
    return f"{model_and_variant(record.cell)} · {target_words(record.cell)}{simulated}"


def _picture(records: Sequence[Record], what: str, palette: Palette, name: str) -> Picture:
    lanes = []
    for record in records[:MOST_LANES]:
        assert record.accuracy is not None
        found, label = record.accuracy.value, in_picture(_label(record))
        hover = (
            f"<b>{label}</b><br>{percent(found.value, found.low, found.high)}<br>"
            f"{record.accuracy.examples} examples"
        )
        colour = palette.colour(record.cell.model.name)
        symbol = palette.symbol(record.cell.target)
        lanes.append(Lane(label, (Dot(found.value, found.low, found.high, hover, colour, symbol),)))
    spec, height = dot_plot(lanes, Axis(f"{in_picture(what)}, %", 0.01))
    best = max(records, key=lambda r: r.accuracy.value.value if r.accuracy else 0)
    assert best.accuracy is not None
    return Picture(
        name=name,
        title=f"Accuracy: {shown(what)}",
        words=f"The score with its 95% interval; further right is better. The highest is "
        f"{_label(best)} with {percent(best.accuracy.value.value)}. Models overlap here that "
        "differ surely example by example: pairs are compared under the heading above."
        f"{cut_words(len(lanes), len(records), 'rows')}",
        spec=checked(spec),
        table=_table(records, f"{name}-data"),
        height=height,
    )


def _table(records: Sequence[Record], name: str) -> Table:
    columns = (
        Column(("model",), "Model"),
        Column(("target",), "Target"),
        Column(("simulated",), "Device"),
        Column(("metric",), "Metric"),
        Column(bounds("accuracy"), "Accuracy", "%", numeric=True),
        Column(("examples",), "Examples", numeric=True),
        Column(("max_abs_error",), "Max error", numeric=True, meaning="against the reference"),
    )
    rows = []
    for record in records:
        accuracy, parity = record.accuracy, record.parity
        assert accuracy is not None
        error = parity.max_abs_error if parity else None
        rows.append(
            (
                Entry(model_and_variant(record.cell)),
                Entry(target_words(record.cell)),
                Entry("simulated" if record.simulated else "real"),
                Entry(shown(accuracy.metric)),
                share_entry(accuracy.value),
                number_entry(accuracy.examples),
                Entry(
                    "-" if error is None else f"{error:.0e}".replace("e-0", "e-"), values=(error,)
                ),
            )
        )
    return Table(name, "Accuracy", columns, tuple(rows))
