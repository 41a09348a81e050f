"""The verdict on one party, with the sentences that carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.judge.certify.numbers import explained
from bench.numbers import significant
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
    apart: str = "",
) -> Judged:
    """The first that applies:

    1. values that are NaN or infinite in the candidate alone: ``degraded``; in the reference alone
       ``inconclusive``, for then it is no reference;
    2. every value as near the reference's as rounding or the reference's own wandering explains:
       ``same``;
    3. a reference whose metric wanders by more than the margin decides nothing: ``inconclusive``;
    4. the metric, or that of a group, surely worse by more than the margin: ``degraded``;
    5. the metric surely within the margin, or surely better: ``equivalent``;
    6. ``inconclusive``, and how many examples would decide.

    ``doubts`` are reasons for which not even ``same`` may be said (a target that fell back).
    ``apart`` says why there are no numbers, where outputs can't be compared but decisions can: such
    a party is never the same.
    """
    if numbers is not None and numbers.nonfinite:
        return Judged("degraded", (_not_numbers(numbers.nonfinite, numbers.rows, unit),))
    if numbers is not None and numbers.nonfinite_reference:
        return Judged("inconclusive", (_no_reference(numbers, unit),))
    if doubts:
        return Judged("inconclusive", tuple(doubts))
    if numbers is not None and explained(numbers, floor):
        return Judged("same", (_explained(numbers, unit),))
    differs = tuple(filter(None, (apart,))) if numbers is None else (_differs(numbers, unit),)
    if decisions is None:
        return Judged("inconclusive", (*differs, _NO_METRIC))
    return _decided(decisions, differs)


def _decided(decisions: Decisions, differs: tuple[str, ...]) -> Judged:
    margin, metric = significant(decisions.margin), decisions.metric
    gain = decisions.gain
    interval = Interval(gain.value, gain.low, gain.high, gain.confidence)
    if decisions.floor is not None and decisions.floor > decisions.margin:
        return Judged(
            "inconclusive",
            (
                *differs,
                f"The reference disagrees with itself by {significant(decisions.floor)} in "
                f"{metric}, more than the margin of {margin}: no target can be held to it. Give a "
                "wider margin, or a reference that is deterministic.",
            ),
        )
    found = standing(interval, decisions.margin)
    worse = [group.name for group in decisions.groups if group.degraded]
    told = f"{metric} changes by {change_words(decisions)}"
    if found == "worse":
        return Judged("degraded", (*differs, f"{told}: worse by more than the margin of {margin}."))
    if worse:
        return Judged(
            "degraded",
            (
                *differs,
                f"{told}; in {', '.join(worse)} it is worse by more than the margin of {margin}.",
            ),
        )
    if found == "equivalent":
        return Judged("equivalent", (*differs, f"{told}: within the margin of {margin}."))
    if found == "better":
        return Judged("equivalent", (*differs, f"{told}: not worse, better by more than {margin}."))
    return Judged(
        "inconclusive", (*differs, f"{told}, where the margin is {margin}. {_needed(decisions)}")
    )


def change_words(decisions: Decisions) -> str:
    """``-0.2 (-0.5 to 0.1) of 93.4``, above 0 better, in the unit of the metric as stored."""
    gain = decisions.gain
    low, high = significant(gain.low), significant(gain.high)
    return f"{significant(gain.value)} ({low} to {high}, above 0 better)"


def _needed(decisions: Decisions) -> str:
    if decisions.needed is None:
        return "It lies too near the margin to tell how many examples would decide."
    more = max(1, decisions.needed - decisions.examples)
    return f"{more:,} more examples like these would decide."


def _not_numbers(count: int, rows: int, unit: str) -> str:
    return f"{count:,} of {rows:,} {unit}s have NaN or Inf where the reference has numbers."


def _no_reference(numbers: Numbers, unit: str) -> str:
    return (
        f"The reference has NaN or Inf in {numbers.nonfinite_reference:,} of {numbers.rows:,} "
        f"{unit}s where the target has numbers, so it is no reference."
    )


def _explained(numbers: Numbers, unit: str) -> str:
    if not numbers.largest:
        return f"All outputs of {numbers.rows:,} {unit}s are equal, bit for bit."
    beside = (
        f", {significant(numbers.floors, 2)} times what the reference differs from itself"
        if numbers.floors is not None
        else ""
    )
    return (
        f"No output of {numbers.rows:,} {unit}s differs by more than rounding explains: at most "
        f"{significant(numbers.largest)}{beside}."
    )


def _differs(numbers: Numbers, unit: str) -> str:
    return (
        f"{numbers.beyond:,} of {numbers.rows:,} {unit}s differ by more than rounding explains; "
        f"the largest difference is {significant(numbers.largest)}."
    )


_NO_METRIC = (
    "There are no labelled examples that tell whether that matters: give the model a data set "
    "(`[dataset]` in its card)."
)
