"""Pairs: a distilled model (and its control) against its original, target by target.

A speed-up is a ratio of medians of the same invocation: invocation i of both models was measured
in turn, block by block, so what the machine did to one it did to the other. Accuracy is compared
example by example, with the exact McNemar test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from rich.text import Text

from bench.cell import ModelIdentity
from bench.columns import PAIR_COLUMNS
from bench.numbers import (
    MISSING,
    finite,
    p_value,
    percent,
    points,
    printable,
    ratio,
    significant,
    size,
)
from bench.record import Invocation, Record
from bench.stats.interval import FEWEST_INVOCATIONS, ratio_interval, unpaired_ratio_interval
from bench.stats.proportion import mcnemar_exact, paired_difference_interval, retention_interval
from bench.table import NAME_LIMIT, TIED, Figure, Line, lay_out, wrap

Correct = Callable[[Record], "np.ndarray[Any, np.dtype[np.bool_]]"]
Relation = Literal["original", "control"]
SIGNIFICANT = 0.05
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """How many times; above 1 is better for the pair's first model."""

    value: float
    low: float
    high: float
    confidence: float
    paired: bool
    invocations: int

    @property
    def verdict(self) -> Literal["faster", "slower", "unclear"]:
        """What the interval allows to say."""
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "unclear"


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracy of the first model against the other's, on the same examples."""

    accuracy: float
    other_accuracy: float
    difference: float
    low: float
    high: float
    retained: float | None
    retained_low: float | None
    retained_high: float | None
    confidence: float
    only_this_right: int
    only_other_right: int
    examples: int
    p: float

    @property
    def significant(self) -> bool:
        return self.p < SIGNIFICANT


@dataclass(frozen=True)
class Pair:
    """One model against another on one target; what could not be compared is None, and
    ``missing`` says why."""

    model: str
    other: str
    relation: Relation
    variant: str
    target: str
    size_ratio: float
    file_bytes: int
    other_file_bytes: int
    speedup: Ratio | None = None
    floor_speedup: Ratio | None = None
    throughput: Ratio | None = None
    accuracy: AccuracyChange | None = None
    missing: str = ""

    @property
    def contended(self) -> bool:
        """Whether the medians and the floors disagree about which one is faster."""
        if self.speedup is None or self.floor_speedup is None:
            return False
        return {self.speedup.verdict, self.floor_speedup.verdict} == {"faster", "slower"}


# -- comparing ------------------------------------------------------------------------------------


def compare(records: Sequence[Record], correct: Correct) -> list[Pair]:
    """Every pair on every target that both were tried on, student before control.

    ``correct(record)`` tells for each labelled example, in the order of the data, whether the
    record's predictions were right.
    """
    latest = {record.cell_id: record for record in records}
    by_model: dict[str, list[Record]] = {}
    for record in latest.values():
        by_model.setdefault(record.cell.model.name, []).append(record)
    models = {name: found[-1].cell.model for name, found in by_model.items()}
    return [
        _compare_on_target(models[name], models[other], relation, mine, theirs, correct)
        for name, other, relation in relations(models)
        for mine, theirs in _on_shared_targets(by_model[name], by_model[other])
    ]


def relations(models: Mapping[str, ModelIdentity]) -> list[tuple[str, str, Relation]]:
    """Which model is compared with which: distilled and control with the original, then the
    distilled one with its control."""
    found: dict[tuple[str, str], Relation] = {}
    for model in models.values():
        if model.distilled_from in models and model.control_of is None:
            found[model.name, str(model.distilled_from)] = "original"
    for control in models.values():
        student = models.get(control.control_of or "")
        if student is not None and student.distilled_from in models:
            found[control.name, str(student.distilled_from)] = "original"
    for control in models.values():
        if control.control_of in models:
            found[str(control.control_of), control.name] = "control"
    return [(*names, relation) for names, relation in found.items() if names[0] != names[1]]


def _on_shared_targets(
    mine: Sequence[Record], theirs: Sequence[Record]
) -> list[tuple[list[Record], list[Record]]]:
    """The records of both, target by target."""
    other = _by_target(theirs)
    return [(found, other[key]) for key, found in _by_target(mine).items() if key in other]


def _by_target(records: Iterable[Record]) -> dict[tuple[object, ...], list[Record]]:
    grouped: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        cell = record.cell
        key = (cell.variant, cell.target, cell.threads, cell.lane, cell.allow_fallback)
        grouped.setdefault(key, []).append(record)
    return grouped


def _compare_on_target(
    model: ModelIdentity,
    other: ModelIdentity,
    relation: Relation,
    mine: Sequence[Record],
    theirs: Sequence[Record],
    correct: Correct,
) -> Pair:
    alone = _same_load(mine, theirs, "single-stream", min)
    offline = _same_load(mine, theirs, "offline", max)
    return Pair(
        model=model.name,
        other=other.name,
        relation=relation,
        variant=mine[0].cell.variant,
        target=mine[0].cell.target,
        size_ratio=other.file_bytes / model.file_bytes if model.file_bytes else float("nan"),
        file_bytes=model.file_bytes,
        other_file_bytes=other.file_bytes,
        speedup=_time_ratio(alone, lambda i: i.median_ns),
        floor_speedup=_time_ratio(alone, lambda i: i.floor_ns),
        throughput=_time_ratio(offline, lambda i: i.query_ns),
        accuracy=_accuracy_change(mine, theirs, correct),
        missing=_why_no_speed(alone, mine, theirs),
    )


def _same_load(
    mine: Sequence[Record],
    theirs: Sequence[Record],
    scenario: str,
    choose: Callable[[Iterable[int]], int],
) -> tuple[Record, Record] | None:
    """Both models' records of one scenario at a batch that both have."""
    ours = {r.cell.batch: r for r in mine if r.cell.scenario == scenario}
    others = {r.cell.batch: r for r in theirs if r.cell.scenario == scenario}
    shared = ours.keys() & others.keys()
    if not shared:
        return None
    batch = choose(shared)
    return ours[batch], others[batch]


def _time_ratio(
    both: tuple[Record, Record] | None, time: Callable[[Invocation], float]
) -> Ratio | None:
    """How many times as long the other takes; None where that can't be said."""
    if both is None or any(r.status == "failed" or r.simulated for r in both):
        return None
    mine, theirs = ({i.index: time(i) for i in r.invocations if i.calls > 0} for r in both)
    return _ratio(mine, theirs)


def _ratio(mine: Mapping[int, float], theirs: Mapping[int, float]) -> Ratio | None:
    """Theirs over mine: pair by pair where both have the same invocations."""
    if min(len(mine), len(theirs)) < FEWEST_INVOCATIONS:
        return None
    if min(*mine.values(), *theirs.values()) <= 0:
        return None
    paired = mine.keys() == theirs.keys()
    if paired:
        order = sorted(mine)
        found = ratio_interval([mine[i] for i in order], [theirs[i] for i in order], CONFIDENCE)
    else:
        found = unpaired_ratio_interval(list(mine.values()), list(theirs.values()), CONFIDENCE)
    return Ratio(
        value=found.estimate,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        paired=paired,
        invocations=min(len(mine), len(theirs)),
    )


def _why_no_speed(
    alone: tuple[Record, Record] | None, mine: Sequence[Record], theirs: Sequence[Record]
) -> str:
    for record in (*mine, *theirs):
        if record.simulated:
            return "simulated"
    for record in alone or ():
        if record.failure is not None:
            return f"{printable(record.cell.model.name, limit=NAME_LIMIT)} failed"
    return "" if alone else "not measured"


def _accuracy_change(
    mine: Sequence[Record], theirs: Sequence[Record], correct: Correct
) -> AccuracyChange | None:
    ours = next((r for r in mine if r.accuracy is not None), None)
    others = next((r for r in theirs if r.accuracy is not None), None)
    if ours is None or others is None or not _same_data(ours, others):
        return None
    this, other = correct(ours), correct(others)
    if len(this) != len(other) or len(this) == 0:
        return None
    both = int(np.sum(this & other))
    lost = int(np.sum(other & ~this))
    gained = int(np.sum(this & ~other))
    interval = paired_difference_interval(lost, gained, len(this), CONFIDENCE)
    kept = retention_interval(both, lost, gained, CONFIDENCE) if both + lost else None
    return AccuracyChange(
        accuracy=float(np.mean(this)),
        other_accuracy=float(np.mean(other)),
        difference=interval.estimate,
        low=interval.low,
        high=interval.high,
        retained=kept.estimate if kept else None,
        retained_low=kept.low if kept else None,
        retained_high=kept.high if kept else None,
        confidence=CONFIDENCE,
        only_this_right=gained,
        only_other_right=lost,
        examples=len(this),
        p=mcnemar_exact(lost, gained),
    )


def _same_data(one: Record, two: Record) -> bool:
    a, b = one.accuracy, two.accuracy
    return a is not None and b is not None and a.dataset_sha256 == b.dataset_sha256


# -- showing --------------------------------------------------------------------------------------


def pair_table(pairs: Sequence[Pair], width: int = 80) -> Text:
    """The pair table and one sentence for each pair and target, no line wider than ``width``.

    A control's distance from the original stands in the table alone: in words it would repeat
    what is said of the distilled model. Empty where no model is paired with another.
    """
    if not pairs:
        return Text("")
    lines: list[Line] = []
    for heading, found in _by_heading(pairs).items():
        lines.append(Line(heading))
        lines.extend(_line(pair) for pair in found)
    text = lay_out(PAIR_COLUMNS, {}, lines, width)
    controls = {pair.other for pair in pairs if pair.relation == "control"}
    for found in _by_heading(pairs).values():
        if found[0].model in controls:
            continue
        text.append("\n")
        for pair in found:
            text.append(wrap(sentence(pair), width, indent=2) + "\n")
    return text


def pair_rows(pairs: Sequence[Pair]) -> list[dict[str, object]]:
    """The pairs as JSON-ready rows."""
    return [_raw_row(pair) for pair in pairs]


def _raw_row(pair: Pair) -> dict[str, object]:
    row = asdict(pair)
    for name in ("speedup", "floor_speedup", "throughput"):
        found: Ratio | None = getattr(pair, name)
        if found is not None:
            row[name]["verdict"] = found.verdict
    if pair.accuracy is not None:
        row["accuracy"]["significant"] = pair.accuracy.significant
    row["size_ratio"] = pair.size_ratio if finite(pair.size_ratio) else None
    row["sentence"] = sentence(pair)
    return row


def _by_heading(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    several_variants = len({pair.variant for pair in pairs}) > 1
    grouped: dict[str, list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(_heading(pair, several_variants), []).append(pair)
    return grouped


def _heading(pair: Pair, several_variants: bool) -> str:
    variant = f" {pair.variant}" if several_variants else ""
    names = f"{_name(pair.model)}{variant} / {_name(pair.other)}"
    if pair.relation == "control":
        return f"{names}  what distillation did"
    return f"{names}  {_size_words(pair)}"


def _size_words(pair: Pair) -> str:
    sizes = f"{size(pair.file_bytes)} against {size(pair.other_file_bytes)}"
    if not finite(pair.size_ratio) or pair.size_ratio <= 0:
        return sizes
    if pair.size_ratio >= 1:
        return f"{significant(pair.size_ratio)}x smaller: {sizes}"
    return f"{significant(1 / pair.size_ratio)}x larger: {sizes}"


def _line(pair: Pair) -> Line:
    if pair.speedup is None and pair.throughput is None and pair.accuracy is None:
        return Line(_name(pair.target), " ", message=pair.missing or "nothing to compare")
    figures = {
        "speedup": _ratio_figure(pair.speedup, pair.missing),
        "throughput": _ratio_figure(pair.throughput),
        "floor": _ratio_figure(pair.floor_speedup),
    }
    return Line(_name(pair.target), " ", figures | _accuracy_figures(pair.accuracy))


def _ratio_figure(found: Ratio | None, missing: str = "") -> Figure:
    if found is None:
        return Figure(_short_reason(missing), style="dim")
    value, _, interval = ratio(found.value, found.low, found.high).partition(" ")
    style = {"faster": "green", "slower": "red", "unclear": ""}[found.verdict]
    return Figure(value, interval, style)


def _short_reason(missing: str) -> str:
    if missing == "simulated":
        return missing
    return "failed" if missing.endswith(" failed") else MISSING


def _accuracy_figures(change: AccuracyChange | None) -> dict[str, Figure]:
    if change is None:
        return {}
    side = max(change.high - change.difference, change.difference - change.low)
    interval = f"±{_bare(side)}"
    p = p_value(change.p).removeprefix("p ").removeprefix("= ")
    style = "" if not change.significant else "red" if change.difference < 0 else "green"
    return {
        "difference": Figure(points(change.difference), interval, style),
        "p": Figure(p),
        "retained": Figure(percent(change.retained)),
    }


def sentence(pair: Pair) -> str:
    """What was found about one pair on one target, in plain words."""
    target, model, other = _name(pair.target), _name(pair.model), _name(pair.other)
    accuracy = _accuracy_words(pair.accuracy)
    established = pair.accuracy is not None and pair.accuracy.significant
    if pair.speedup is None:
        why = pair.missing or "too few invocations"
        difference = f"{model} against {other}: {accuracy}" if pair.accuracy else accuracy
        return f"On {target} no speed is compared ({why}); {difference}."
    if pair.speedup.verdict == "unclear":
        found = ratio(pair.speedup.value, pair.speedup.low, pair.speedup.high)
        interval = found.replace(" (", "," + TIED).rstrip(")")
        speed = f"no speed difference was established between {model} and {other} ({interval})"
        return f"On {target} {speed}; {f'{model} is ' if established else ''}{accuracy}."
    joint = " and" if established else ";"
    return f"On {target} {model} {_speed_words(pair, pair.speedup)}{joint} {accuracy}."


def _speed_words(pair: Pair, found: Ratio) -> str:
    other = _name(pair.other)
    if pair.contended and pair.floor_speedup is not None:
        return (
            f"is {ratio(found.value)} as fast as {other} at the median but "
            f"{ratio(pair.floor_speedup.value)} at its best (so it depends on the machine's load)"
        )
    if found.verdict == "faster":
        return f"is {ratio(found.value, found.low, found.high)} faster than {other}"
    return f"is {ratio(1 / found.value, 1 / found.high, 1 / found.low)} slower than {other}"


def _accuracy_words(change: AccuracyChange | None) -> str:
    if change is None:
        return "accuracy was not compared"
    test = f"(McNemar {p_value(change.p)})".replace(" ", TIED)
    if not change.significant:
        interval = f"{points(change.low)} to {points(change.high)} points"
        return f"no accuracy difference was established ({interval}) {test}"
    sign = 1 if change.difference > 0 else -1
    low, high = sorted((sign * change.low, sign * change.high))
    interval = f"({_bare(low)} to {_bare(high)})".replace(" ", TIED)
    word = "more" if sign > 0 else "less"
    return f"{_bare(sign * change.difference)} points {interval} {word} accurate {test}"


def _bare(fraction: float) -> str:
    return points(fraction).removeprefix("+")


def _name(text: str) -> str:
    return printable(text, limit=NAME_LIMIT)
