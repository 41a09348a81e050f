"""What pairs of models tell, in words: once where targets agree, and apart where they don't."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.cards.tasks.base import Change
from bench.judge.pairs import Pair, Ratio
from bench.numbers import (
    UNSTABLE,
    certain_bound,
    counted,
    enumerated,
    is_unstable_ratio,
    ratio,
    ratio_parts,
)
from bench.present.layout import TIED
from bench.present.pairs import (
    accuracy_words,
    by_heading,
    change_words,
    outcome_words,
    place,
    sentence,
)


def pair_sentences(pairs: Sequence[Pair]) -> list[str]:
    """One sentence for each two models and each outcome that targets have in common.

    A control's distance from the original stands in the table alone: in words it would repeat
    what is said of the distilled model.
    """
    controls = {pair.other for pair in pairs if pair.relation == "control"}
    said = []
    for found in by_heading(pairs).values():
        if found[0].model in controls and found[0].relation == "original":
            continue
        agreeing: dict[tuple[object, ...], list[Pair]] = {}
        for pair in found:
            agreeing.setdefault(_outcome(pair), []).append(pair)
        whole = len(agreeing) == 1
        said += [_joint(group, whole=whole) for group in agreeing.values()]
    return said


def _outcome(pair: Pair) -> tuple[object, ...]:
    """What targets agree in. One whose median and best disagree is told on its own."""
    verdict = pair.speed.verdict if pair.speed else ""
    speed = pair.where if pair.contended else (pair.by_throughput, verdict, pair.missing)
    change = pair.accuracy
    if change is None:
        return speed, None
    way = change_words(change) if change.significant else ""
    return speed, change.metric.name, way


def _joint(pairs: Sequence[Pair], *, whole: bool) -> str:
    """The sentence of pairs with the same outcome; of one alone with its intervals."""
    if len(pairs) == 1:
        return sentence(pairs[0])
    first = pairs[0]
    places = [place(pair) for pair in pairs]
    every = "both targets" if len(places) == 2 else f"all {len(places)} targets"
    of_targets = len({pair.target for pair in pairs}) == len(pairs)  # else several ways on one
    where = every if whole and of_targets else enumerated(places)
    accuracy = _joint_accuracy([pair.accuracy for pair in pairs])
    what = "target" if of_targets else "row"
    times, doubt = _between([pair.speed for pair in pairs if pair.speed is not None], what)
    if doubt:
        times = f"{times} ({doubt})"
    return outcome_words(where, first, times, accuracy)


def _joint_accuracy(changes: Sequence[Change | None]) -> str:
    """The words of all, where they are the same; else what they have in common."""
    told = list(dict.fromkeys(accuracy_words(change) for change in changes))
    first = changes[0]
    if len(told) == 1 or first is None:
        return told[0]
    known = [change for change in changes if change is not None]
    scale = first.metric.scale
    if not first.significant:
        return f"no difference in {first.metric.name} was established"
    shown = sorted({abs(change.difference.estimate) for change in known})
    low, high = scale.amount(shown[0]), scale.amount(shown[-1])
    amount = low if low == high else f"{low} to {high}"
    return f"{scale.steps_of(amount)} {change_words(first)}"


def _between(found: Sequence[Ratio], what: str) -> tuple[str, str]:
    """``9.1x to 35.0x``, as the table shows them; once where both ends read the same; and what the
    table has no number for: ``at least 2.1x on 1 target``, or how many are `UNSTABLE`."""
    bounded = [r for r in found if certain_bound(*_numbers(r))]
    told = [r for r in found if r not in bounded]
    if bounded:  # which all have one side of 1 in common
        nearest = min(bounded, key=lambda r: abs(math.log(r.low if r.low > 1 else r.high)))
        bound = ratio(*_numbers(nearest))
        on_some = f"{bound} on {counted(len(bounded), what)}"
        return (_range(told), on_some) if told else (bound, "")
    unstable = sum(is_unstable_ratio(*_numbers(r)) for r in found)
    some = f"{UNSTABLE} on {counted(unstable, what)}"
    doubt = some if unstable < len(found) else UNSTABLE
    return _range(found), doubt * bool(unstable)


def _numbers(found: Ratio) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def _range(found: Sequence[Ratio]) -> str:
    if not found:
        return ""
    ends = (min(found, key=lambda r: r.value), max(found, key=lambda r: r.value))
    low, high = (ratio_parts(*_numbers(r))[0] for r in ends)
    return low if low == high else f"{low} to {high}".replace(" ", TIED)
