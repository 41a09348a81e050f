"""Comparing matched cells: effects with intervals that hold together, and a verdict for each.

Cells of one group of one run were measured in turn, so they are compared invocation by invocation,
where they share enough of these; all others by Welch's interval. How many verdicts a comparison
gives decides how wide each interval has to be: *all* of them hold at once at the stated confidence
(`simultaneous_confidence`), so the chance of even one wrong ``faster``, ``slower`` or ``same`` is
at most what is left of it. What measuring spent of it by stopping when it had seen enough
(`bench.stats.stopping`) is paid for here too.

Everything is decided and told on *times* (of a query, or of a sample where throughput is compared),
B over A: below 1 B is faster, whatever the load.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.cards.tasks.base import Change
from bench.defaults import CONFIDENCE, MARGIN
from bench.errors import SpecError
from bench.judge.changes import change_between
from bench.judge.differences import Difference, differences
from bench.judge.disturbance import disturbed
from bench.judge.energy import EnergyEffect, energy_effects
from bench.judge.matching import Match, Matched, Side
from bench.numbers import counted, printable
from bench.record.estimate import turns
from bench.record.result import Invocation, Record, StopReason
from bench.stats.interval import (
    FEWEST_INVOCATIONS,
    Interval,
    ratio_interval,
    unpaired_ratio_interval,
)
from bench.stats.multiple import holm_adjusted, simultaneous_confidence
from bench.stats.nested.pairing import Turns, ratios, shared
from bench.stats.stopping import FEWEST_TO_RANK, Ended, RankingRule, stopping_confidence
from bench.stats.verdict import Verdict, decide, side, within_margin

Measure = Literal["latency", "throughput"]
Times = Mapping[int, float]  #: one figure an invocation, by its index

_MESSAGE_LIMIT = 200


@dataclass(frozen=True)
class Effect:
    """What was found of one pair of cells.

    ``a`` and ``b`` are geometric means over invocations, in ns (latency) or samples/s. ``ratio``
    and ``floor`` are of times, B over A: of a query, or of a sample where rates are compared;
    ``floor`` is that of the 1st percentile of latency.
    ``drift`` is the canary's time in B over A, where that certainly changed between two runs.
    """

    measure: Measure
    a: float
    b: float
    ratio: Interval
    floor: Interval | None
    paired: bool
    invocations: tuple[int, int]
    verdict: Verdict
    drift: Interval | None = None
    #: the verdict, had the machine not drifted, and no other program used the slower side's CPU
    withheld: Verdict | None = None
    #: what other programs did while the slower side was measured, where that is why
    disturbance: str = ""
    #: the time of B over A counted in the canary's time, where that changed and can be said
    relative: Interval | None = None
    #: between two machines the canary's time in B over A, whatever it is
    canary: Interval | None = None


@dataclass(frozen=True)
class Comparison:
    """A pair of cells with its effect, or with the reason why there is none."""

    match: Match
    effect: Effect | None = None
    missing: str = ""


@dataclass(frozen=True)
class AccuracyEffect:
    """``change`` is B against A on the same examples; ``adjusted_p`` is its p after Holm's
    correction over all accuracies compared."""

    match: Match
    dataset: str
    change: Change
    adjusted_p: float

    def established(self, confidence: float) -> bool:
        """Whether the two differ, at the confidence of the whole family."""
        return self.adjusted_p <= 1 - confidence


@dataclass(frozen=True)
class Report:
    """Everything that one comparison found."""

    matched: Matched
    differences: tuple[Difference, ...]
    allowed: frozenset[str]
    comparisons: tuple[Comparison, ...]
    accuracies: tuple[AccuracyEffect, ...]
    margin: float
    confidence: float
    warnings: tuple[str, ...] = ()
    energies: tuple[EnergyEffect, ...] = ()

    @property
    def effects(self) -> list[Effect]:
        return [c.effect for c in self.comparisons if c.effect is not None]


# -- comparing ------------------------------------------------------------------------------------


def compare(
    matched: Matched,
    allowed: Collection[str] = (),
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
) -> Report:
    """Compare all matched cells as one family.

    ``margin`` is the difference that doesn't matter, as a share. Whether the cells may be compared
    is `bench.judge.differences.refuse`'s business.
    """
    found = differences(matched)
    other_machine = any(d.kind == "machine" for d in found)
    accuracies, warnings = _accuracies(matched.matches, confidence)
    return Report(
        matched=matched,
        differences=tuple(found),
        allowed=frozenset(allowed),
        comparisons=tuple(_comparisons(matched.matches, margin, confidence, other_machine)),
        accuracies=tuple(accuracies),
        margin=margin,
        confidence=confidence,
        warnings=tuple(warnings),
        energies=tuple(energy_effects(matched.matches, margin, confidence)),
    )


def _comparisons(
    matches: Sequence[Match], margin: float, confidence: float, other_machine: bool
) -> list[Comparison]:
    reasons = [why_no_effect(match) for match in matches]
    each = simultaneous_confidence(max(1, reasons.count("")), confidence)
    return [
        Comparison(match, missing=why)
        if why
        else Comparison(match, effect_of(match, margin, each, other_machine=other_machine))
        for match, why in zip(matches, reasons, strict=True)
    ]


def why_no_effect(match: Match) -> str:
    """Why this pair has no effect; empty where it has one."""
    for letter, one in (("A", match.a), ("B", match.b)):
        record = one.record
        if record is None:
            return f"{letter} was not measured"
        if record.failure is not None:
            message = printable(record.failure.message, limit=_MESSAGE_LIMIT)
            return f"{letter} failed ({printable(record.failure.kind)}): {message}"
        if record.status == "failed":
            return f"{letter} failed"
        if record.wrong:
            return f"{letter} is WRONG ({', '.join(record.wrong)}), so its figures say nothing"
        if record.partial:
            so_far = counted(len(record.invocations), "invocation")
            return f"{letter} was stopped early, after {so_far}"
        if record.simulated:
            return f"{letter} is simulated: its latency is meaningless"
        usable = _times(record, lambda i: i.median_ns)
        if len(usable) < FEWEST_INVOCATIONS:
            return f"{letter} has {len(usable)} of at least {FEWEST_INVOCATIONS} invocations"
    return ""


def _times(record: Record, time: Callable[[Invocation], float]) -> dict[int, float]:
    """A figure of each invocation that measured anything."""
    usable = [i for i in record.invocations if min(i.calls, i.busy_ns, i.median_ns, i.floor_ns) > 0]
    return {i.index: time(i) for i in usable}


def measure_of(match: Match) -> Measure:
    """Throughput where either side is an offline cell."""
    offline = match.a.cell.is_rate or match.b.cell.is_rate
    return "throughput" if offline else "latency"


def effect_of(
    match: Match,
    margin: float,
    confidence: float,
    *,
    other_machine: bool,
    measure: Measure | None = None,
) -> Effect:
    """The effect of a pair that has one (`why_no_effect`), at a confidence of its own.

    Machines that differ have canaries that differ, which is no drift.
    """
    measure = measure or measure_of(match)
    common = _shared(match)
    paired = bool(common)
    typical = [_typical(one, measure, in_turn=paired) for one in (match.a, match.b)]
    floors = [_floor(one, measure) for one in (match.a, match.b)]
    spent = _spent(match, confidence)
    if paired:
        count, spent = _concluded(match, len(common), confidence, spent)
        typical, floors = ([_of(t, common[:count]) for t in both] for both in (typical, floors))
    compared = typical
    if paired and measure == "latency":
        found = ratios(*(_turns(one, typical[0]) for one in (match.a, match.b)))
        compared = [dict.fromkeys(found, 1.0), found]
    p50, floor = (_stated(_ratio(both, paired, spent), confidence) for both in (compared, floors))
    verdict = decide(p50, floor, margin)
    drift = None if match.same_run or other_machine else _drift(match, confidence)
    relative = None if drift is None else _in_canaries(match, typical, confidence)
    withheld = None
    if relative is not None and not _holds(verdict, relative, margin):
        verdict, withheld = Verdict.INCONCLUSIVE, verdict
    disturbance = "" if paired or other_machine else _why_slower(match, verdict)
    if disturbance:
        verdict, withheld = Verdict.INCONCLUSIVE, verdict
    return Effect(
        measure=measure,
        a=_shown(typical[0], measure),
        b=_shown(typical[1], measure),
        ratio=p50,
        floor=floor,
        paired=paired,
        invocations=(len(typical[0]), len(typical[1])),
        verdict=verdict,
        drift=drift,
        withheld=withheld,
        disturbance=disturbance,
        relative=relative,
        canary=_canaries(match, confidence) if match.between_machines else None,
    )


def _why_slower(match: Match, verdict: Verdict) -> str:
    """What other programs did meanwhile, of the side that was found slower: load makes slow, so a
    side that is faster in spite of it is. Not of two that were measured in turn: it hit both."""
    slower = {Verdict.SLOWER: match.b, Verdict.FASTER: match.a}.get(verdict)
    return disturbed(slower) if slower is not None else ""


def _shared(match: Match) -> list[int]:
    """The generations by which a pair is compared; none where it wasn't measured in turn."""
    if not match.same_group:
        return []
    taken = [
        _times(one.record, lambda i: i.median_ns)
        for one in (match.a, match.b)
        if one.record is not None
    ]
    return shared(*taken)


def _typical(one: Side, measure: Measure, *, in_turn: bool) -> dict[int, float]:
    """The time of a query of the typical block where the two were measured in turn, else its
    median; or the mean time of a sample, in ns."""
    assert one.record is not None
    if measure == "latency":
        return _times(one.record, lambda i: i.paced_ns if in_turn else i.median_ns)
    return _times(one.record, lambda i: i.query_ns / one.cell.batch)


def _turns(one: Side, indices: Collection[int]) -> dict[int, Turns]:
    assert one.record is not None
    return {i.index: turns(i) for i in one.record.invocations if i.index in indices}


def _floor(one: Side, measure: Measure) -> dict[int, float]:
    assert one.record is not None
    samples = 1 if measure == "latency" else one.cell.batch
    return _times(one.record, lambda i: i.floor_ns / samples)


def _of(times: Times, indices: Sequence[int]) -> dict[int, float]:
    return {index: times[index] for index in indices}


def _concluded(match: Match, common: int, confidence: float, otherwise: float) -> tuple[int, float]:
    """How many generations of a pair that was measured in turn count, and the confidence to
    compute their interval at; all of them, and ``otherwise``, where nobody looked at its ratio
    while it was measured."""
    suite = match.a.run.header.suite
    if suite.goal == "precision":
        return common, otherwise
    first = min(FEWEST_TO_RANK, suite.min_invocations)
    rule = RankingRule(2, confidence, suite.margin, first, suite.max_invocations)
    return rule.concluded(common, _ended(_stops(match)))


def _ended(stops: Collection[StopReason]) -> Ended:
    """What ended the measuring of a pair."""
    if not set(stops) <= {"precision", "first-look", "max-time", "max-invocations"}:
        return "order"
    return "width" if "precision" in stops else "time"


def _stops(match: Match) -> set[StopReason]:
    return {one.record.stop for one in (match.a, match.b) if one.record is not None}


def _spent(match: Match, confidence: float) -> float:
    """The confidence to compute an interval at so that it holds at ``confidence`` although the
    measuring stopped because of what was seen."""
    seen = _stops(match) & {"precision", "ranked"}
    return stopping_confidence(confidence) if seen else confidence


def _stated(found: Interval, confidence: float) -> Interval:
    return replace(found, confidence=confidence)


def _ratio(both: Sequence[Times], paired: bool, confidence: float) -> Interval:
    """B over A; paired times are in the same order."""
    interval = ratio_interval if paired else unpaired_ratio_interval
    a, b = (list(times.values()) for times in both)
    return interval(a, b, confidence)


def _shown(times: Times, measure: Measure) -> float:
    mean_ns = float(np.exp(np.mean(np.log(list(times.values())))))
    return mean_ns if measure == "latency" else 1e9 / mean_ns


# -- drift between runs ---------------------------------------------------------------------------


def _drift(match: Match, confidence: float) -> Interval | None:
    """The canary's time in B over A where it certainly changed; None where not, or not known."""
    found = _canaries(match, confidence)
    return found if found is not None and side(found) else None


def _canaries(match: Match, confidence: float) -> Interval | None:
    """The canary's time in B over A; None where it isn't known well enough."""
    canaries = [_canary(one) for one in (match.a, match.b)]
    if min(map(len, canaries)) < FEWEST_INVOCATIONS:
        return None
    return _ratio(canaries, False, confidence)


def _canary(one: Side) -> dict[int, float]:
    assert one.record is not None
    found = {i.index: i.canary_ns for i in one.record.invocations if i.canary_ns}
    return {index: ns for index, ns in found.items() if ns > 0}


def _in_canaries(match: Match, typical: Sequence[Times], confidence: float) -> Interval | None:
    """B over A when times are counted in the canary's of the same generation, which felt the same
    drift; None where too few generations have one.

    No interval from inside two runs contains what changed between them. The canary, measured in
    every round of both, reacts like the cell only roughly, so this never *gives* a verdict.
    """
    relative: list[dict[int, float]] = []
    for one, times in zip((match.a, match.b), typical, strict=True):
        canary = _canary(one)
        relative.append(
            {index: ns / canary[index] for index, ns in times.items() if index in canary}
        )
    if min(map(len, relative)) < FEWEST_INVOCATIONS:
        return None
    return _ratio(relative, False, confidence)


def _holds(verdict: Verdict, relative: Interval, margin: float) -> bool:
    """Whether a verdict stands when times are counted in the canary's."""
    if verdict is Verdict.SAME:
        return within_margin(relative, margin)
    wanted = {Verdict.FASTER: -1, Verdict.SLOWER: 1}.get(verdict)
    return wanted is None or side(relative) == wanted


# -- accuracy -------------------------------------------------------------------------------------


def _accuracies(
    matches: Sequence[Match], confidence: float
) -> tuple[list[AccuracyEffect], list[str]]:
    """Each pair of predictions once, whatever the loads, and what could not be read."""
    scored: dict[tuple[object, ...], Match] = {}
    for match in _scored(matches):
        key = _predictions_key(match)
        if key is not None:
            scored.setdefault(key, match)
    each = simultaneous_confidence(max(1, len(scored)), confidence)
    changes: list[tuple[Match, Change]] = []
    warnings: list[str] = []
    for match in scored.values():
        try:
            changes.append((match, change_of(match, each)))
        except SpecError as error:
            if str(error) not in warnings:
                warnings.append(str(error))
    adjusted = holm_adjusted([change.p for _, change in changes])
    return [
        AccuracyEffect(match, _dataset(match), change, float(p))
        for (match, change), p in zip(changes, adjusted, strict=True)
    ], warnings


def _scored(matches: Sequence[Match]) -> list[Match]:
    """The matches whose sides were both scored; and where the two were scored at other loads, a
    match of those two: a model is scored once on a target, whatever the loads."""

    def is_scored(side: Side) -> bool:
        return side.record is not None and side.record.accuracy is not None

    found = [match for match in matches if is_scored(match.a) and is_scored(match.b)]
    known = {_whose(match) for match in found}
    before = {_whose(match): match.a for match in reversed(matches) if is_scored(match.a)}
    now = {_whose(match): match.b for match in reversed(matches) if is_scored(match.b)}
    across = (Match(before[key], now[key]) for key in before if key in now and key not in known)
    return [*found, *across]


def _whose(match: Match) -> tuple[object, ...]:
    """Whose accuracies a match would compare."""
    return tuple(
        (one.machine, one.cell.model.name, one.cell.model.sha256, one.cell.variant, one.cell.target)
        for one in (match.a, match.b)
    )


def _predictions_key(match: Match) -> tuple[object, ...] | None:
    """What tells two pairs of predictions apart; None where both sides aren't scored alike."""
    if match.a.record is None or match.b.record is None:
        return None
    a, b = match.a.record.accuracy, match.b.record.accuracy
    if a is None or b is None or (a.metric, a.dataset_sha256) != (b.metric, b.dataset_sha256):
        return None
    if match.same_run and a.predictions == b.predictions:
        return None
    return match.a.run.path, a.predictions, match.b.run.path, b.predictions


def change_of(match: Match, confidence: float) -> Change:
    """B against A. Raises `SpecError` where predictions are lost, or are of other examples."""
    assert match.a.record is not None
    assert match.b.record is not None
    return change_between(match.b.run, match.b.record, match.a.run, match.a.record, confidence)


def _dataset(match: Match) -> str:
    assert match.a.record is not None
    assert match.a.record.accuracy is not None
    return match.a.record.accuracy.dataset
