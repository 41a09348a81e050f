"""How right each model is on each target, simulated devices included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.numbers import printable
from bench.present.page.draw import Axis, Dot, Lane, checked, dot_plot
from bench.present.page.names import (
    SEVERAL,
    Palette,
    in_picture,
    model_and_variant,
    shown,
    target_words,
)
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
    return f"{model_and_variant(record.cell)} · {_target(record)}"


def _target(record: Record) -> str:
    return f"{target_words(record.cell)}{' (simulated)' if record.simulated else ''}"


def _score(record: Record) -> tuple[object, ...]:
    """What the score of a model is known by."""
    accuracy = record.accuracy
    assert accuracy is not None
    found = (accuracy.value.value, accuracy.value.low, accuracy.value.high, accuracy.examples)
    return model_and_variant(record.cell), *found, record.simulated


def _score_and_error(record: Record) -> tuple[object, ...]:
    return *_score(record), _error(record).text


def _alike(
    records: Sequence[Record], key: Callable[[Record], tuple[object, ...]]
) -> list[list[Record]]:
    """Records of one model that are equal on all of their targets, together."""
    grouped: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        grouped.setdefault(key(record), []).append(record)
    return list(grouped.values())


def _error(record: Record) -> Entry:
    error = record.parity.max_abs_error if record.parity else None
    return Entry("-" if error is None else f"{error:.0e}".replace("e-0", "e-"), values=(error,))


def _picture(records: Sequence[Record], what: str, palette: Palette, name: str) -> Picture:
    lanes = []
    metric = metric_of(records[0])
    scale = metric.scale
    groups = _alike(records, _score)
    for alike in groups[:MOST_LANES]:
        record = alike[0]
        assert record.accuracy is not None
        found, group = record.accuracy.value, in_picture(model_and_variant(record.cell))
        targets = [in_picture(_target(one)) for one in alike]
        hover = (
            f"<b>{group}</b><br>{'<br>'.join(targets)}<br>"
            f"{scale.value(found.value, found.low, found.high)}<br>"
            f"{record.accuracy.examples} examples"
        )
        colour = palette.colour(record.cell.model.name)
        symbol = palette.symbol(record.cell.target) if len(alike) == 1 else SEVERAL
        dot = Dot(found.value, found.low, found.high, hover, colour, symbol)
        side = scale.side(found.half_width)
        label = targets[0] if len(alike) == 1 else f"{len(alike)} targets, all alike"
        lanes.append(Lane(label, (dot,), group, f"{scale.bare(found.value)} {side}"))
    title = f"{in_picture(what)}, {scale.unit}" if scale.unit else in_picture(what)
    spec, height = dot_plot(lanes, Axis(title, 1 / scale.factor))
    best = max(records, key=lambda r: metric.sign * r.accuracy.value.value if r.accuracy else 0)
    way, end = ("right", "highest") if metric.sign > 0 else ("left", "lowest")
    assert best.accuracy is not None
    return Picture(
        name=name,
        title=f"Accuracy: {shown(what)}",
        words=f"The score with its 95% interval; further {way} is better. The {end} is "
        f"{_label(best)} with {scale.value(best.accuracy.value.value)}. Models whose bars "
        "overlap may still differ: pairs are compared example by example, above."
        f"{cut_words(len(lanes), len(groups), 'rows')}",
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
    for alike in _alike(records, _score_and_error):
        record = alike[0]
        accuracy = record.accuracy
        assert accuracy is not None
        rows.append(
            (
                Entry(model_and_variant(record.cell)),
                Entry(", ".join(target_words(one.cell) for one in alike)),
                Entry("simulated" if record.simulated else "real"),
                Entry(shown(accuracy.metric)),
                score_entry(record),
                number_entry(accuracy.examples),
                _error(record),
            )
        )
    return Table(name, "Accuracy", columns, tuple(rows))
