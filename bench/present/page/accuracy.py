"""How right each model is on each target, simulated devices included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.numbers import printable
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
    score_entry,
    score_unit,
)
from bench.present.page.selection import MOST_LANES, cut_words, subjects
from bench.record.result import Record
from bench.store.scores import metric_of


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
    return Section(
        f"{prefix}accuracy-section",
        "Accuracy",
        pictures=tuple(pictures),
        remarks=tuple(_data_remarks(scored)),
    )


def _data_remarks(records: Sequence[Record]) -> Iterator[str]:
    """What of the labelled data is not in the scores."""
    found = {
        (record.cell.model.name, words)
        for record in records
        if record.accuracy is not None
        for words in record.accuracy.notes
    }
    for name, words in sorted(found):
        yield f"{shown(name)}: {printable(words, limit=400)}."


def _label(record: Record) -> str:
    simulated = " (simulated device)" if record.simulated else ""
    return f"{model_and_variant(record.cell)} · {target_words(record.cell)}{simulated}"


def _picture(records: Sequence[Record], what: str, palette: Palette, name: str) -> Picture:
    lanes = []
    metric = metric_of(records[0])
    scale = metric.scale
    for record in records[:MOST_LANES]:
        assert record.accuracy is not None
        found, label = record.accuracy.value, in_picture(_label(record))
        hover = (
            f"<b>{label}</b><br>{scale.value(found.value, found.low, found.high)}<br>"
            f"{record.accuracy.examples} examples"
        )
        colour = palette.colour(record.cell.model.name)
        symbol = palette.symbol(record.cell.target)
        lanes.append(Lane(label, (Dot(found.value, found.low, found.high, hover, colour, symbol),)))
    title = f"{in_picture(what)}, {scale.unit}" if scale.unit else in_picture(what)
    spec, height = dot_plot(lanes, Axis(title, 1 / scale.factor))
    best = max(records, key=lambda r: metric.sign * r.accuracy.value.value if r.accuracy else 0)
    way, end = ("right", "highest") if metric.sign > 0 else ("left", "lowest")
    assert best.accuracy is not None
    return Picture(
        name=name,
        title=f"Accuracy: {shown(what)}",
        words=f"The score with its 95% interval; further {way} is better. The {end} is "
        f"{_label(best)} with {scale.value(best.accuracy.value.value)}. Models whose bars overlap "
        "may still differ: pairs are compared example by example under the heading above."
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
        Column(bounds("accuracy"), "Accuracy", score_unit(records), numeric=True),
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
                score_entry(record),
                number_entry(accuracy.examples),
                Entry(
                    "-" if error is None else f"{error:.0e}".replace("e-0", "e-"), values=(error,)
                ),
            )
        )
    return Table(name, "Accuracy", columns, tuple(rows))
