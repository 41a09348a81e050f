"""Pairs for people: the pair table, one plain sentence for each pair and target, raw rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.text import Text

from bench.cards.tasks.base import Change
from bench.judge.pairs import Pair, Ratio
from bench.numbers import (
    MISSING,
    NAME_LIMIT,
    common_scale,
    finite,
    p_value,
    percent,
    printable,
    ratio,
    ratio_parts,
    significant,
    size,
)
from bench.present.columns import PAIR_COLUMNS
from bench.present.layout import TIED, Figure, Line, lay_out
from bench.variants import DEFAULT, in_words


def pair_table(pairs: Sequence[Pair], width: int = 80) -> Text:
    """The pair table, no line wider than ``width``; empty where no model is paired with another.

    `bench.present.agreeing` says in words what it shows.
    """
    if not pairs:
        return Text("")
    lines: list[Line] = []
    for heading, found in by_heading(pairs).items():
        lines.append(Line(heading))
        lines.extend(_line(pair) for pair in found)
    scale = common_scale(pair.accuracy.metric.scale for pair in pairs if pair.accuracy)
    return lay_out(PAIR_COLUMNS, {"difference": scale.steps} if scale else {}, lines, width)


def pair_rows(pairs: Sequence[Pair]) -> list[dict[str, object]]:
    """The pairs as JSON-ready rows."""
    return [_raw_row(pair) for pair in pairs]


def _raw_row(pair: Pair) -> dict[str, object]:
    row = asdict(pair)
    for name in ("speedup", "floor_speedup", "throughput"):
        found: Ratio | None = getattr(pair, name)
        if found is not None:
            row[name]["verdict"] = found.verdict
    row["accuracy"] = _change_row(pair.accuracy)
    row["size_ratio"] = pair.size_ratio if finite(pair.size_ratio) else None
    row["sentence"] = sentence(pair)
    return row


def _change_row(change: Change | None) -> dict[str, object] | None:
    if change is None:
        return None
    kept = change.retained
    return {
        "metric": change.metric.name,
        "accuracy": change.this,
        "other_accuracy": change.other,
        "difference": change.difference.estimate,
        "low": change.difference.low,
        "high": change.difference.high,
        "confidence": change.difference.confidence,
        "retained": kept.estimate if kept else None,
        "retained_low": kept.low if kept else None,
        "retained_high": kept.high if kept else None,
        "only_this_right": change.only_this_right,
        "only_other_right": change.only_other_right,
        "examples": change.examples,
        "test": change.test,
        "p": change.p,
        "significant": change.significant,
    }


def by_heading(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Pairs of the same two models (and precisions), by the heading of their rows."""
    grouped: dict[str, list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(_heading(pair), []).append(pair)
    return grouped


def _heading(pair: Pair) -> str:
    names = f"{subject(pair)} / {DEFAULT if pair.model == pair.other else object_of(pair)}"
    if pair.relation == "control":
        return f"{names}  effect of distillation"
    return f"{names}  {_size_words(pair)}".rstrip()


def _size_words(pair: Pair) -> str:
    if not (pair.file_bytes and pair.other_file_bytes):
        return ""  # one of them is no file, or could not be made
    sizes = f"{size(pair.file_bytes)} against {size(pair.other_file_bytes)}"
    if not finite(pair.size_ratio) or pair.size_ratio <= 0:
        return sizes
    if pair.size_ratio >= 1:
        return f"{significant(pair.size_ratio)}x smaller: {sizes}"
    return f"{significant(1 / pair.size_ratio)}x larger: {sizes}"


def _line(pair: Pair) -> Line:
    if pair.speedup is None and pair.throughput is None and pair.accuracy is None:
        return Line(_name(pair.where), " ", message=pair.missing or "nothing to compare")
    figures = {
        "speedup": _ratio_figure(pair.speedup, pair.missing),
        "throughput": _ratio_figure(pair.throughput),
        "floor": _ratio_figure(pair.floor_speedup),
    }
    return Line(_name(pair.where), " ", figures | _accuracy_figures(pair.accuracy))


def _ratio_figure(found: Ratio | None, missing: str = "") -> Figure:
    if found is None:
        return Figure(_short_reason(missing), style="dim")
    value, interval = ratio_parts(found.value, found.low, found.high)
    style = {"faster": "green", "slower": "red", "unclear": ""}[found.verdict]
    return Figure(value, interval, style)


def _short_reason(missing: str) -> str:
    if missing == "simulated":
        return missing
    reasons = {" failed": "failed", " is WRONG": "WRONG"}
    return next((short for end, short in reasons.items() if missing.endswith(end)), MISSING)


def _accuracy_figures(change: Change | None) -> dict[str, Figure]:
    if change is None:
        return {}
    found, scale = change.difference, change.metric.scale
    p = p_value(change.p).removeprefix("p ").removeprefix("= ")
    style = "" if not change.significant else "red" if change.gain.estimate < 0 else "green"
    return {
        "difference": Figure(scale.difference(found.estimate), scale.side(found.half_width), style),
        "p": Figure(p),
        "retained": Figure(percent(change.retained.estimate) if change.retained else MISSING),
    }


def sentence(pair: Pair) -> str:
    """What was found about one pair on one target, in plain words."""
    found = pair.speed
    times = ratio(found.value, found.low, found.high) if found else ""
    return outcome_words(place(pair), pair, times, accuracy_words(pair.accuracy))


def place(pair: Pair) -> str:
    """Where a pair was measured, in a sentence: ``onnxruntime:cpu (4 threads)``."""
    target = _name(pair.target)
    return f"{target} ({_name(pair.settings)})" if pair.settings else target


def outcome_words(where: str, pair: Pair, times: str, accuracy: str) -> str:
    """The sentence of a pair, or of several with the same outcome: ``times`` is how many times as
    fast, ``accuracy`` how accuracies differ."""
    model, other = subject(pair), object_of(pair)
    if pair.speed is None:
        difference = f"{model} against {other}: {accuracy}" if pair.accuracy else accuracy
        return f"On {where} no speed is compared ({pair.missing}); {difference}."
    established = pair.accuracy is not None and pair.accuracy.significant
    if pair.speed.verdict == "unclear":
        what = "throughput" if pair.by_throughput else "speed"
        interval = times.replace(" (", "," + TIED).removesuffix(")")
        speed = f"no {what} difference was established between {model} and {other} ({interval})"
        speed += latency_missing(pair)
        return f"On {where} {speed}; {f'{model} is ' if established else ''}{accuracy}."
    joint = " and" if established else ";"
    return f"On {where} {model} is {_speed_words(pair, times)}{joint} {accuracy}."


def _speed_words(pair: Pair, times: str) -> str:
    other = object_of(pair)
    if pair.contended and pair.speedup is not None and pair.floor_speedup is not None:
        return (
            f"{ratio(pair.speedup.value)} as fast as {other} at the median but "
            f"{ratio(pair.floor_speedup.value)} at its best (so it depends on the machine's load)"
        )
    return f"{times} as fast as {other}{by_what(pair)}{latency_missing(pair)}"


def by_what(pair: Pair) -> str:
    """`` in throughput`` behind how fast a model is, where latencies are not what says it."""
    return " in throughput" if pair.by_throughput else ""


def latency_missing(pair: Pair) -> str:
    """Why throughputs are told although latencies were measured; empty where it is otherwise."""
    return f" (no latency is compared: {pair.missing})" if pair.speed and pair.missing else ""


def accuracy_words(change: Change | None) -> str:
    """How the accuracies of a pair differ."""
    if change is None:
        return "accuracy was not compared"
    test = f"({change.test} {p_value(change.p)})".replace(" ", TIED)
    found, scale = change.difference, change.metric.scale
    if not change.significant:
        interval = scale.steps_of(
            f"{scale.difference(found.low)} to {scale.difference(found.high)}"
        )
        return f"no {_quality(change)} difference was established ({interval}) {test}"
    sign = 1 if found.estimate > 0 else -1
    low, high = sorted((sign * found.low, sign * found.high))
    interval = f"({scale.amount(low)} to {scale.amount(high)})".replace(" ", TIED)
    amount = scale.steps_of(scale.amount(sign * found.estimate))
    return f"{amount} {interval} {change_words(change)} {test}"


def change_words(change: Change) -> str:
    """Which way the first of two differs: ``less accurate``, ``higher (worse) in perplexity``."""
    up, metric = change.difference.estimate > 0, change.metric
    if metric.share:
        return f"{'more' if up else 'less'} accurate"
    way = "higher" if up else "lower"
    if metric.scale.is_fraction:
        return f"{way} in {metric.name} x 100"
    return f"{way} ({'better' if change.gain.estimate > 0 else 'worse'}) in {metric.name}"


def _quality(change: Change) -> str:
    """What differs: a proportion of right answers is called accuracy."""
    return "accuracy" if change.metric.share else change.metric.name


def subject(pair: Pair) -> str:
    """The pair's first model as people are told of it."""
    return _name(pair.model) + in_words(pair.variant)


def object_of(pair: Pair) -> str:
    """The other model; as ``its fp32 form`` where it is the same one."""
    if pair.model == pair.other:
        return f"its {pair.other_variant} form"
    return _name(pair.other) + in_words(pair.other_variant)


def _name(text: str) -> str:
    return printable(text, limit=NAME_LIMIT)
