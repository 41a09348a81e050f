"""The verdict on one party, with the sentences that carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.judge.certify.numbers import explained
from bench.numbers import PLAIN, Scale, counted, tiny
from bench.record.certificate import Decisions, Numbers, VerdictName
from bench.stats.equivalence import standing
from bench.stats.interval import Interval


@dataclass(frozen=True)
class Judged:
    """A verdict and why, in sentences."""

    verdict: VerdictName
    reasons: tuple[str, ...]


def judge(
    numbers: Numbers | None,
    floor: Sequence[Numbers],
    decisions: Decisions | None,
    unit: str,
    doubts: Sequence[str] = (),
    scale: Scale = PLAIN,
    apart: str = "",
) -> Judged:
    """The first that applies:

    1. values that are NaN or infinite in the candidate alone: ``degraded``; in the reference alone
       ``inconclusive``, for then it is no reference;
    2. every value as near the reference's as rounding explains: ``same``;
    3. a reference whose metric wanders by more than the margin decides nothing: ``inconclusive``;
       by less, and every value as near as its own wandering explains: ``same``;
    4. the metric, or that of a group, surely worse by more than the margin: ``degraded``;
    5. the metric surely within the margin, or surely better: ``equivalent``;
    6. ``inconclusive``, and how many examples would decide.

    ``doubts`` are reasons for which not even ``same`` may be said (a target that fell back);
    ``scale`` is how the metric is written. ``apart`` says why there are no numbers, where outputs
    can't be compared but decisions can: such a party is never the same.
    """
    if numbers is not None and numbers.nonfinite:
        return Judged("degraded", (_not_numbers(numbers.nonfinite, numbers.rows, unit),))
    if numbers is not None and numbers.nonfinite_reference:
        return Judged("inconclusive", (_no_reference(numbers, unit),))
    if doubts:
        return Judged("inconclusive", tuple(doubts))
    rounding = numbers is not None and not numbers.beyond
    if numbers is not None and (rounding or not _wanders(decisions)) and explained(numbers, floor):
        return Judged("same", (_explained(numbers, unit),))
    told = (apart,) if numbers is None and apart else ()
    if decisions is None:
        differs = (_differs(numbers, unit),) if numbers is not None else told
        return Judged("inconclusive", (*differs, _NO_METRIC))
    # Of tokens it is texts that decide, unless questions or answers do, which are counted.
    item = "document" if unit == "token" and decisions.lost is None else "example"
    found = _decided(decisions, scale, item)
    return Judged(found.verdict, (*told, *found.reasons))


def _wanders(decisions: Decisions | None) -> bool:
    """Whether the reference's own passes change the metric by more than the margin."""
    return (
        decisions is not None and decisions.floor is not None and decisions.floor > decisions.margin
    )


def _decided(decisions: Decisions, scale: Scale, item: str) -> Judged:
    margin, metric = scale.margin(decisions.margin), decisions.metric
    gain = decisions.gain
    interval = Interval(gain.value, gain.low, gain.high, gain.confidence)
    if decisions.floor is not None and _wanders(decisions):
        floor = scale.steps_of(scale.amount(decisions.floor))
        why = (
            f"The reference disagrees with itself by {floor} in {metric}, more than the margin of "
            f"{margin}: no target can be held to it. Give a wider margin, or a reference that is "
            "deterministic."
        )
        return Judged("inconclusive", (why,))
    found = standing(interval, decisions.margin)
    worse = [group.name for group in decisions.groups if group.degraded]
    told = change_words(decisions, scale)
    if found == "worse":
        return Judged("degraded", (f"{told}: worse by more than the margin of {margin}.",))
    if worse:
        where = f"in {', '.join(worse)} it is worse by more than the margin of {margin}"
        return Judged("degraded", (f"{told}; {where}.",))
    if found == "equivalent":
        return Judged("equivalent", (f"{told}: within the margin of {margin}.",))
    if found == "better":
        return Judged("equivalent", (f"{told}: better by more than the margin of {margin}.",))
    why = f"{told}, which neither stays within the margin of {margin} nor clearly exceeds it."
    return Judged("inconclusive", (f"{why} {_needed(decisions, item)}",))


def change_words(decisions: Decisions, scale: Scale) -> str:
    """``top-1 changes by +0.08 points (-0.03 to +0.20)``: the candidate's minus the reference's."""
    gain, margin = decisions.gain, decisions.margin
    sign = 1 if decisions.better == "higher" else -1
    low, high = sorted((sign * gain.low, sign * gain.high))
    changed = scale.steps_of(scale.held_to(sign * gain.value, margin))
    interval = f"({scale.held_to(low, margin)} to {scale.held_to(high, margin)})"
    worse = "" if decisions.better == "higher" else ", where less is better"
    return f"{decisions.metric} changes by {changed} {interval}{worse}"


def _needed(decisions: Decisions, item: str) -> str:
    if decisions.needed is None:
        return f"It lies too near the margin to tell how many {item}s would decide."
    more = max(1, decisions.needed - decisions.examples)
    return f"About {counted(more, f'more {item}')} like these would decide."


def _not_numbers(count: int, rows: int, unit: str) -> str:
    return f"{count:,} of {counted(rows, unit)} have NaN or Inf where the reference has numbers."


def _no_reference(numbers: Numbers, unit: str) -> str:
    return (
        f"The reference has NaN or Inf in {numbers.nonfinite_reference:,} of "
        f"{counted(numbers.rows, unit)} where the target has numbers, so it can't be the reference."
    )


def _explained(numbers: Numbers, unit: str) -> str:
    rows = counted(numbers.rows, unit)
    if not numbers.largest:
        return f"All outputs are equal, bit for bit, in {rows}."
    if not numbers.beyond:
        return f"No output differs by more than rounding explains, in {rows}."
    return f"No output differs by more than the reference's own from pass to pass, in {rows}."


def _differs(numbers: Numbers, unit: str) -> str:
    return (
        f"{numbers.beyond:,} of {counted(numbers.rows, unit)} differ by more than rounding "
        f"explains, by up to {tiny(numbers.largest)}."
    )


_NO_METRIC = (
    "There are no labelled examples that tell whether that matters: give the model a data set "
    "(`[dataset]` in its card)."
)
