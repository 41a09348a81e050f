"""The answer in words: which hardware for which model, and how much faster one model is on it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.judge.matrix.across import Across, OnMachine
from bench.judge.matrix.cells import Entry, Matrix
from bench.judge.matrix.choice import Choice
from bench.judge.matrix.front import negligible, score_metric
from bench.numbers import (
    FRACTION,
    NAME_LIMIT,
    UNSTABLE,
    certain_bound,
    counted,
    duration,
    interval_words,
    is_unstable,
    printable,
    ratio,
    significant,
)
from bench.present.deal import LEVEL, listed
from bench.present.matrix.words import (
    SUPERLATIVES,
    Figures,
    money,
    place_name,
    row_name,
)

#: An interval that is wider says less than the ratios themselves. Our choice.
_USEFUL = 10.0
_PLURALS = {"CPU": "CPUs", "GPU": "GPUs", "NPU": "NPUs", "TPU": "TPUs"}


def choice_sentences(matrix: Matrix, found: Sequence[Choice]) -> list[str]:
    """One for all models that are scored alike, one for each model."""
    figures, said = Figures(matrix), []
    if matrix.asked.within is not None and all(choice.row is not None for choice in found):
        said.append(
            f"Within {_points(matrix.asked.within)} of the most accurate: nothing to choose from, "
            "because fewer than two models have a figure and a score on the same data."
        )
    return said + [_choice_words(choice, matrix, figures) for choice in found]


def _choice_words(choice: Choice, matrix: Matrix, figures: Figures) -> str:
    start = _start(choice, matrix)
    if choice.best is None:
        return f"{start}: {_nothing(choice)}."
    word = SUPERLATIVES[matrix.asked.by]
    alone = choice.candidates == 1 and choice.row is not None
    said = f"the {'only figure' if alone else word} is {_named(choice.best, choice)}, "
    said += figures.words(choice.best)
    if choice.tied:
        said += f"; {LEVEL}: {_several(choice.tied, choice)}"
    if choice.uncompared:
        names = _several(choice.uncompared, choice)
        said += f"; not compared with it, without predictions: {names}"
    return f"{start}: {said}{_cheapest(choice, matrix)}{_left_out(choice)}."


def _start(choice: Choice, matrix: Matrix) -> str:
    """``fashion-teacher at p99 ≤ 5 ms``; of all models ``At p99 ≤ 5 ms and within 0.5 points``."""
    asked = matrix.asked
    bound = "" if asked.bound_ns is None else f"at p99 ≤ {duration(asked.bound_ns)}"
    if choice.row is not None:
        return f"{row_name(choice.row)} {bound}".strip()
    within = f"within {_loss(choice, asked.within)} of the most accurate"
    within += f" ({_full(choice.reference)})" if choice.reference is not None else ""
    text = " and ".join(filter(None, (bound, within)))
    return text[0].upper() + text[1:]


def _loss(choice: Choice, within: float | None) -> str:
    """What may be lost, in words: in points where nothing tells another scale."""
    if choice.reference is None:
        return _points(within or 0.0)
    metric = score_metric(choice.reference)
    return metric.scale.steps_of(metric.scale.chosen(negligible(metric, within)))


def _points(within: float) -> str:
    return FRACTION.steps_of(FRACTION.chosen(within))


def _nothing(choice: Choice) -> str:
    reasons = _reasons(choice)
    words = [f"{count} {word}" for word, count in choice.words.items() if word != "-"]
    if reasons:
        return f"nothing is shown to meet this ({', '.join([*reasons, *words])})"
    return "there is no figure" + (f" ({', '.join(words)})" if words else "")


def _reasons(choice: Choice) -> list[str]:
    counted = (
        (choice.missed, "over the bound"),
        (choice.unsure, "with too few samples to tell"),
        (choice.lossy, "possibly less accurate"),
        (choice.unjudged, "without predictions to compare"),
    )
    return [f"{count} {words}" for count, words in counted if count]


def _left_out(choice: Choice) -> str:
    reasons = _reasons(choice)
    return f" (left out: {', '.join(reasons)})" if reasons else ""


def _cheapest(choice: Choice, matrix: Matrix) -> str:
    if choice.cheapest is None:
        return ""
    price = money(choice.price, matrix.currency)
    same = choice.cheapest is choice.best
    name = "the same" if same else _named(choice.cheapest, choice)
    tied = [entry for entry in choice.cheapest_tied if entry is not choice.cheapest]
    also = f"; not distinguishable in price: {_several(tied, choice)}" if tied else ""
    known = {machine.name for machine in matrix.machines} <= matrix.asked.prices.keys()
    among = "" if known else " (of the machines with a price)"
    bounded = matrix.asked.bound_ns is not None or matrix.asked.within is not None
    cheapest = "the cheapest that meets this" if bounded else "the cheapest"
    return f"; {cheapest}{among}: {name}, {price}{also}"


def _named(entry: Entry, choice: Choice) -> str:
    return place_name(entry.column) if choice.row is not None else _full(entry)


def _full(entry: Entry) -> str:
    return f"{row_name(entry.row)} on {place_name(entry.column)}"


def _several(entries: Sequence[Entry], choice: Choice) -> str:
    return listed([_named(entry, choice) for entry in entries])


# -- ratios within machines -----------------------------------------------------------------------


def across_sentences(found: Sequence[Across]) -> list[str]:
    """``x is 4.1x as fast as y on GPUs (3.6 to 4.7, 3 machines) and 33x on CPUs (...)``; controls
    are left to the data."""
    grouped: dict[tuple[str, str], list[Across]] = {}
    for each in found:
        if each.relation != "control":
            grouped.setdefault((row_name(each.model), row_name(each.other)), []).append(each)
    said = []
    for (model, other), some in grouped.items():
        parts = [_on_kind(each, f" as fast as {other}" * (n == 0)) for n, each in enumerate(some)]
        said.append(" ".join([f"{model} is {', and '.join(parts)}.", *map(_spread, some)]).strip())
    return said


def _on_kind(each: Across, than: str) -> str:
    """``4.1x as fast as y on GPUs (3.6 to 4.7, 3 machines)``."""
    kind, pooled = _PLURALS.get(each.kind, each.kind), each.pooled
    if pooled.machines == 2 and pooled.ratio.high / pooled.ratio.low > _USEFUL:
        one, other = sorted(each.machines, key=lambda machine: machine.ratio.estimate)
        return (
            f"{_times(one)} and {_times(other)}{than} on two machines' {kind}, "
            "too few for an interval"
        )
    found, count = pooled.ratio, counted(pooled.machines, "machine")
    if certain_bound(found.estimate, found.low, found.high):
        return f"{ratio(found.estimate, found.low, found.high)}{than} on {kind} ({count})"
    within = interval_words(found.estimate, found.low, found.high, significant)
    return f"{ratio(found.estimate)}{than} on {kind} {within.removesuffix(')')}, {count})"


def _times(one: OnMachine) -> str:
    return f"{ratio(one.ratio.estimate)} ({printable(one.machine.name, limit=NAME_LIMIT)})"


def _spread(each: Across) -> str:
    """How much machines differ, where there are enough to say."""
    pooled = each.pooled
    if pooled.prediction is None or pooled.tau is None:
        return ""
    found = pooled.prediction
    share = "" if pooled.i_squared is None else f", I² {100 * pooled.i_squared:.0f}%"
    another = f"another one would have {significant(found.low)}x to {significant(found.high)}x"
    if is_unstable(found.estimate, found.low, found.high):
        another = f"what another one would have is {UNSTABLE}"
    return f"{_PLURALS.get(each.kind, each.kind)} differ with τ {pooled.tau:.2f}{share}: {another}."
