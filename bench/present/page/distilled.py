"""Original against distilled (and variant against fp32) on every target: speed, accuracy, likeness.

Sentences and verdicts are those of `bench.judge.pairs`, `bench.present.pairs` and
`bench.present.fidelity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from bench.cards.tasks.base import MetricRow
from bench.judge.changes import Changes
from bench.judge.fidelities import Fidelities
from bench.judge.fidelity import Measure, Titled
from bench.judge.pairs import Pair, Ratio, compare
from bench.numbers import (
    MISSING,
    Scale,
    certain_bound,
    common_scale,
    p_value,
    percent,
    ratio,
    ratio_parts,
    significant,
    size,
)
from bench.present.agreeing import pair_sentences
from bench.present.fidelity import limits
from bench.present.fidelity import sentence as fidelity_sentence
from bench.present.page.draw import Axis, Dot, Lane, checked, dot_plot
from bench.present.page.names import SEVERAL, Palette, in_picture, shown
from bench.present.page.parts import Column, Entry, Picture, Section, Table, bounds
from bench.present.page.selection import MOST_LANES, cut_words
from bench.record.result import Record
from bench.stats.interval import Interval
from bench.store.run import StoredRun
from bench.variants import suffix

_MOST_SENTENCES = 8
_MOST_LIKENESSES = 6
_MOST_PLACES = 8  #: variants and targets that are looked through for them


def section(
    run: StoredRun, records: Sequence[Record], palette: Palette, prefix: str
) -> tuple[Section, list[str]]:
    """What each distilled model gains and loses; and what could not be read."""
    changes = Changes(run)
    pairs = compare(records, changes)
    likenesses, lost = _likenesses(run)
    controls = {pair.other for pair in pairs if pair.relation == "control"}
    # A control's distance from the original would repeat what is said of the distilled model.
    worth = [p for p in pairs if p.model not in controls and _tells(p)]
    told = pair_sentences(worth)
    speedups = _speedups(pairs, palette, f"{prefix}speedup")
    kept = _changes(pairs, palette, f"{prefix}kept")
    if speedups is not None and speedups.table is not None:
        kept = [replace(one, table=None, data_of=speedups.table.name) for one in kept]
    pictures = [
        speedups,
        *kept,
        *(_likeness(found, palette, f"{prefix}like{n}") for n, found in enumerate(likenesses, 1)),
    ]
    return Section(
        f"{prefix}distilled",
        "Original against distilled",
        paragraphs=tuple(told[:_MOST_SENTENCES]),
        pictures=tuple(picture for picture in pictures if picture is not None),
        remarks=(
            "A speed-up is a ratio of medians that were measured in turn, invocation by "
            "invocation; accuracies are compared example by example. Each interval is at 95%, "
            "taken alone.",
        )
        if pairs
        else (),
    ), [*changes.problems, *lost]


def _likenesses(run: StoredRun) -> tuple[list[Titled], list[str]]:
    """One for each distilled model, from the variant and target that most models were scored on:
    others differ little from it. And what could not be read."""
    places: dict[tuple[str, str], list[Record]] = {}
    for record in run.records:
        if record.accuracy is not None:
            places.setdefault((record.cell.variant, record.cell.target), []).append(record)
    originals = {r.cell.model.distilled_from for r in run.records}
    found: dict[str, Titled] = {}
    problems: list[str] = []
    for records in sorted(places.values(), key=len, reverse=True)[:_MOST_PLACES]:
        fresh = [r for r in records if r.cell.model.name not in found]
        fresh += [r for r in records if r.cell.model.name in found.keys() & originals]
        fidelities = Fidelities(StoredRun(run.path, run.header, fresh, [], []))
        for titled in islice(fidelities.each(), _MOST_LIKENESSES - len(found)):
            found[titled.student] = titled
        problems += [text for text in fidelities.problems if text not in problems]
    return list(found.values()), problems


def _tells(pair: Pair) -> bool:
    return pair.speed is not None or pair.accuracy is not None


def _label(pair: Pair) -> str:
    """``fashion-student / fashion-teacher · openvino:cpu``."""
    return f"{_names(pair)} · {shown(pair.where)}"


def _names(pair: Pair) -> str:
    return " / ".join(_both(pair))


def _both(pair: Pair) -> tuple[str, str]:
    """What the two models of a pair are called beside each other."""
    other = (
        pair.other_variant
        if pair.model == pair.other
        else f"{pair.other}{suffix(pair.other_variant)}"
    )
    return f"{shown(pair.model)}{suffix(pair.variant)}", shown(other)


# -- pictures -------------------------------------------------------------------------------------


def _speedups(pairs: Sequence[Pair], palette: Palette, name: str) -> Picture | None:
    """Of latencies; of throughputs where no latencies are compared."""
    by_latency = [(pair, pair.speedup) for pair in pairs if pair.speedup is not None]
    by_rate = [(pair, pair.throughput) for pair in pairs if pair.throughput is not None]
    found = by_latency or by_rate
    if not found:
        return None
    lanes = []
    for pair, speed in found[:MOST_LANES]:
        label = in_picture(_label(pair))
        hover = (
            f"<b>{label}</b><br>{_ratio_words(speed)}: "
            f"{speed.verdict}<br>{'paired, ' if speed.paired else ''}"
            f"{speed.invocations} invocations"
        )
        dot = _dot(speed.interval, hover, pair, palette)
        value = certain_bound(speed.value, speed.low, speed.high) or ratio(speed.value)
        lanes.append(Lane(in_picture(pair.where), (dot,), in_picture(_names(pair)), value))
    title = "Speed-up" if by_latency else "Throughput"
    axis = Axis(f"{title}, times (log scale)", log=True, reference=1.0, suffix="x")
    spec, height = dot_plot(lanes, axis)
    pair, largest = max(found, key=lambda each: each[1].value)
    times = "How many times as fast as" if by_latency else "How many times the throughput of"
    return Picture(
        name=name,
        title=title,
        words=f"{times} the model after the slash; right of the dotted line is "
        f"faster. The largest: {_label(pair)}, {_ratio_words(largest)}."
        f"{cut_words(len(lanes), len(found), 'pairs')}",
        spec=checked(spec),
        table=_table(pairs, f"{name}-data"),
        height=height,
    )


def _dot(found: Interval, hover: str, pair: Pair, palette: Palette) -> Dot:
    colour, symbol = palette.colour(pair.model), palette.symbol(pair.target)
    return Dot(found.estimate, found.low, found.high, hover, colour, symbol)


def _changes(pairs: Sequence[Pair], palette: Palette, name: str) -> list[Picture]:
    """A picture for each way of writing a difference."""
    grouped: dict[tuple[Scale, int], list[Pair]] = {}
    for pair in pairs:
        if pair.accuracy is not None:
            metric = pair.accuracy.metric
            grouped.setdefault((metric.scale, metric.sign), []).append(pair)
    return [
        _changed(found, pairs, palette, f"{name}{number if number > 1 else ''}")
        for number, found in enumerate(grouped.values(), 1)
    ]


def _changed(found: Sequence[Pair], pairs: Sequence[Pair], palette: Palette, name: str) -> Picture:
    lanes = []
    assert found[0].accuracy is not None
    metric = found[0].accuracy.metric
    scale, higher = metric.scale, metric.sign > 0
    groups = _alike(found)
    for alike in groups[:MOST_LANES]:
        pair = alike[0]
        change = pair.accuracy
        assert change is not None
        group, difference = in_picture(_names(pair)), change.difference
        places = [in_picture(one.where) for one in alike]
        interval = f"{scale.difference(difference.low)} to {scale.difference(difference.high)}"
        amount = scale.steps_of(scale.difference(difference.estimate))
        hover = (
            f"<b>{group}</b><br>{'<br>'.join(places)}<br>{amount} ({interval})<br>"
            f"{change.test} {p_value(change.p)}, {change.examples} examples"
        )
        dot = _dot(difference, hover, pair, palette)
        label = places[0]
        if len(alike) > 1:
            what = "targets" if len({one.target for one in alike}) == len(alike) else "rows"
            dot, label = replace(dot, symbol=SEVERAL), f"{len(alike)} {what}, all alike"
        lanes.append(Lane(label, (dot,), group, scale.difference(difference.estimate)))
    what = f"Accuracy, {scale.steps}" if scale.is_fraction else in_picture(metric.name)
    spec, height = dot_plot(lanes, Axis(what, 1 / scale.factor, reference=0.0))
    worst = min(found, key=lambda p: p.accuracy.gain.estimate if p.accuracy else 0)
    assert worst.accuracy is not None
    return Picture(
        name=name,
        title="Accuracy kept",
        words=f"{_what(metric)} more or less than the model after the stroke, on the same "
        f"examples; {'left' if higher else 'right'} of the dotted line is lost. The largest loss: "
        f"{_label(worst)}, {scale.steps_of(scale.difference(worst.accuracy.difference.estimate))}."
        f"{cut_words(len(lanes), len(groups), 'pairs')}",
        spec=checked(spec),
        table=_table(pairs, f"{name}-data"),
        height=height,
    )


def _alike(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Pairs of two models whose accuracies differ by the same on all of their targets, together."""
    grouped: dict[tuple[object, ...], list[Pair]] = {}
    for pair in pairs:
        assert pair.accuracy is not None
        found = pair.accuracy.difference
        grouped.setdefault((_names(pair), found.estimate, found.low, found.high), []).append(pair)
    return list(grouped.values())


def _what(metric: MetricRow) -> str:
    steps = metric.scale.steps
    return f"{steps.capitalize()} of accuracy" if steps else shown(metric.name).capitalize()


def _likeness(titled: Titled, palette: Palette, name: str) -> Picture | None:
    """The measures of likeness of the distilled model and of the control, 0 to 1."""
    measures = [m for m in titled.found.measures if m.value and m.key != "calibration_error"]
    lanes = []
    for measure in measures:
        better = "higher" if measure.better == "high" else "lower"
        group = f"{in_picture(measure.name)}, {better} is more alike"
        for name_of, v in ((titled.student, measure.value), (titled.control, measure.control)):
            if v is None or not name_of:
                continue
            who, hover = in_picture(name_of), _likeness_hover(measure, in_picture(name_of), v)
            look = (palette.colour(name_of), palette.symbol(titled.target))
            dot = Dot(v.estimate, v.low, v.high, hover, *look)
            lanes.append(Lane(who, (dot,), group, f"{v.estimate:.3f}"))
    if not lanes:
        return None
    spec, height = dot_plot(lanes, Axis("Likeness to the original", from_zero=True))
    against = f", beside {shown(titled.control)} trained without it" if titled.control else ""
    return Picture(
        name=name,
        title=f"Is {shown(titled.student)} still {shown(titled.original)}?",
        words=f"Likeness of the answers to the original's{against}, over {titled.found.examples} "
        f"examples on {shown(titled.target)}. "
        f"{' '.join([fidelity_sentence(titled), *limits(titled)])}",
        spec=checked(spec),
        table=_likeness_table(titled, f"{name}-data"),
        height=height,
    )


def _likeness_hover(measure: Measure, who: str, found: Interval) -> str:
    return (
        f"<b>{who}</b><br>{in_picture(measure.name)}<br>"
        f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"
    )


# -- tables ---------------------------------------------------------------------------------------


def _table(pairs: Sequence[Pair], name: str) -> Table:
    scale = common_scale(pair.accuracy.metric.scale for pair in pairs if pair.accuracy)
    title = f"Accuracy, {scale.steps}" if scale and scale.steps else "Accuracy"
    columns = (
        Column(("model",), "Model"),
        Column(("other",), "Against"),
        Column(("target",), "Target"),
        Column(bounds("speedup"), "Speed-up", numeric=True),
        Column(bounds("throughput_ratio"), "Throughput", numeric=True),
        Column(bounds("accuracy_difference"), title, numeric=True),
        Column(("p",), "p", numeric=True),
        Column(bounds("retained"), "Kept", numeric=True),
        Column(("size_ratio",), "Size", numeric=True),
    )
    rows = []
    for pair in pairs:
        model, other = _both(pair)
        change = pair.accuracy
        rows.append(
            (
                Entry(model),
                Entry(other),
                Entry(shown(pair.where)),
                _ratio_entry(pair.speedup, pair.missing),
                _ratio_entry(pair.throughput),
                _interval_entry(change.difference, change.metric.scale.difference)
                if change
                else _absent(3),
                Entry(p_value(change.p).removeprefix("p ").removeprefix("= "), values=(change.p,))
                if change
                else _absent(1),
                _interval_entry(change.retained, percent)
                if change and change.retained
                else _absent(3),
                Entry(
                    " / ".join(
                        size(each) if each else MISSING
                        for each in (pair.file_bytes, pair.other_file_bytes)
                    ),
                    values=(pair.size_ratio,),
                ),
            )
        )
    return Table(name, "Pairs, target by target", columns, tuple(rows))


def _absent(values: int, text: str = MISSING) -> Entry:
    return Entry(text, values=(None,) * values, tone="dim")


def _ratio_words(found: Ratio | None) -> str:
    return ratio(found.value, found.low, found.high) if found else MISSING


def _ratio_entry(found: Ratio | None, missing: str = "") -> Entry:
    if found is None:
        return _absent(3, missing or MISSING)
    value, interval = ratio_parts(found.value, found.low, found.high)
    tone = {"faster": "good", "slower": "bad", "unclear": ""}[found.verdict]
    return Entry(value, interval, (found.value, found.low, found.high), tone)


def _interval_entry(found: Interval, text: Callable[[float | None], str]) -> Entry:
    interval = f"({text(found.low)} to {text(found.high)})"
    return Entry(text(found.estimate), interval, (found.estimate, found.low, found.high))


def _likeness_table(titled: Titled, name: str) -> Table:
    columns = (
        Column(("measure",), "Measure"),
        Column(bounds("distilled"), "Distilled", numeric=True),
        Column(bounds("control"), "Control", numeric=True),
        Column(bounds("difference"), "Difference", numeric=True),
    )
    rows = []
    for measure in titled.found.measures:
        bare = measure.key == "calibration_error"  # its interval says nothing
        found = (measure.value, measure.control, None if bare else measure.effect)
        rows.append((Entry(measure.name), *(_likeness_entry(v, bare=bare) for v in found)))
    return Table(name, f"Likeness of {shown(titled.student)}", columns, tuple(rows))


def _likeness_entry(found: Interval | None, *, bare: bool) -> Entry:
    if found is None:
        return _absent(3)
    if bare:
        return Entry(significant(found.estimate), values=(found.estimate, None, None))
    return Entry(
        f"{found.estimate:.3f}", f"±{found.half_width:.3f}", (found.estimate, found.low, found.high)
    )
