"""Whether a run may pass: each limit held against an interval, never against a bare number.

A finding *fails* only where the whole interval lies beyond its limit, *passes* only where it lies
within, and is *inconclusive* otherwise, with what would decide it. The intervals are those of
`bench.judge.compare`, which hold together, so the chance that a run which is no worse than its
limits fails by bad luck is at most half of what the confidence leaves (2.5% at 95%), over all of
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import Any, Literal

from scipy.special import ndtri, stdtrit

from bench.cards.tasks import find_task
from bench.cards.tasks.base import MetricRow, Score
from bench.cell import Cell
from bench.defaults import CONFIDENCE
from bench.errors import SpecError, Unavailable
from bench.judge.compare import Comparison, Effect, Report, change_of
from bench.judge.matching import Match, Matched, sides
from bench.numbers import NAME_LIMIT, printable, ratio, significant
from bench.record.result import Accuracy, Record
from bench.stats.interval import FEWEST_INVOCATIONS, Interval, unpaired_ratio_interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.verdict import Verdict
from bench.store.run import StoredRun
from bench.store.scores import metric_of
from bench.variants import suffix

#: Checks of which no load of the machine can be the reason.
CORRECTNESS = ("placement", "precision", "parity", "accuracy")
#: More invocations than this are no advice.
MOST_INVOCATIONS = 500
_MESSAGE_LIMIT = 300
#: The flags that the two kinds of limit on a score have.
_LEAST, _WORST = "--min-accuracy", "--worst-score"

Kind = Literal["latency", "throughput", "accuracy", "accuracy loss", "memory", "check", "ran"]


class Outcome(StrEnum):
    """What was found of one limit of one cell."""

    ERROR = "error"  #: it worked in the baseline, and doesn't
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    PASS = "pass"
    SKIPPED = "skipped"  #: its device is absent, or it failed before too
    NEW = "new"


class Decision(StrEnum):
    """What was found of the whole run."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


EXIT_CODES = {Decision.PASS: 0, Decision.FAIL: 1, Decision.INCONCLUSIVE: 3}


@dataclass(frozen=True)
class Limits:
    """What is allowed: shares, and accuracies as fractions of 1. None is no limit.

    ``min_accuracy`` maps a model's name, or ``""`` for all others, to its least accuracy, where
    that is a fraction and higher is better; ``worst_score`` to the worst value of any other metric,
    as it is stored. ``max_accuracy_loss`` is 0.01 for a point, and for 1 of a metric that is no
    fraction.
    """

    max_slowdown: float | None = None
    min_accuracy: Mapping[str, float] = field(default_factory=dict)
    max_accuracy_loss: float | None = None
    max_memory_growth: float | None = None
    worst_score: Mapping[str, float] = field(default_factory=dict)

    def of(self, model: str, metric: MetricRow) -> float | None:
        """The worst that a model's metric may be."""
        limits = self.min_accuracy if _is_accuracy(metric) else self.worst_score
        return limits.get(model, limits.get(""))


def _is_accuracy(metric: MetricRow) -> bool:
    """Whether --min-accuracy is about it; --worst-score is about the others."""
    return metric.scale.is_fraction and metric.better == "higher"


@dataclass(frozen=True)
class Finding:
    """One limit held against one cell.

    ``found`` is what the limit is about: the time or memory of the run over the baseline's, an
    accuracy, or an accuracy's change. ``before`` and ``now`` are the two figures (ns, samples/s,
    bytes, fractions). ``words`` say what is wrong, or why there is nothing to judge; ``advice``
    says what to do.
    """

    kind: Kind
    cell: Cell
    outcome: Outcome
    words: str = ""
    advice: str = ""
    found: Interval | None = None
    limit: float | None = None
    before: float | None = None
    now: float | None = None
    metric: MetricRow | None = None  #: of an accuracy, or its change

    @property
    def label(self) -> str:
        """The cell, and which limit; an accuracy doesn't depend on the load."""
        cell = self.cell
        if self.kind in ("accuracy", "accuracy loss"):
            model = f"{cell.model.name}{suffix(cell.variant)}"
            return printable(f"{model} {cell.target}: {self.kind}", NAME_LIMIT)
        return f"{printable(cell.label, NAME_LIMIT)}: {self.kind}"


@dataclass(frozen=True)
class Judgement:
    """All findings of a run, and what was compared to get them."""

    run: StoredRun
    baseline: StoredRun | None
    limits: Limits
    findings: tuple[Finding, ...]
    confidence: float
    report: Report | None = None
    warnings: tuple[str, ...] = ()

    @property
    def decision(self) -> Decision:
        found = {finding.outcome for finding in self.findings}
        if found & {Outcome.FAIL, Outcome.ERROR}:
            return Decision.FAIL
        # What judged nothing at all has shown nothing.
        if Outcome.INCONCLUSIVE in found or Outcome.PASS not in found:
            return Decision.INCONCLUSIVE
        return Decision.PASS

    def of(self, *outcomes: Outcome) -> list[Finding]:
        return [finding for finding in self.findings if finding.outcome in outcomes]


def judge(
    run: StoredRun,
    limits: Limits,
    report: Report | None = None,
    confidence: float = CONFIDENCE,
) -> Judgement:
    """Hold ``run`` against its limits; ``report`` compares it (B) with the baseline (A).

    Whether the two may be compared is the business of `bench.judge.differences.refuse`. Raises
    `SpecError` where a limit has nothing that it could be held against.
    """
    _check(run, limits, report)
    matched = report.matched if report is not None else Matched(())
    comparisons = report.comparisons if report is not None else ()
    scored, warnings = _accuracy_floors(run, limits, confidence)
    lost, more = _accuracy_losses(matched, report, limits, confidence)
    findings = [
        *chain.from_iterable(_ran_and_speed(c, limits) for c in comparisons),
        *_unmatched(run, matched, report is not None),
        *_memory(matched, limits, confidence),
        *scored,
        *lost,
        *_broken_checks(run, matched),
    ]
    return Judgement(
        run=run,
        baseline=matched.matches[0].a.run if matched.matches else None,
        limits=limits,
        findings=tuple(findings),
        confidence=confidence,
        report=report,
        warnings=(*(report.warnings if report is not None else ()), *warnings, *more),
    )


def _check(run: StoredRun, limits: Limits, report: Report | None) -> None:
    names = {record.cell.model.name for record in run.records}
    for flag, limit in _score_limits(limits):
        for name in filter(None, limit):
            if name not in names:
                known = ", ".join(sorted(names)) or "none"
                raise SpecError(f"{flag} {name}: {run.path} has no such model, but {known}.")
            _check_metric(run, flag, name)
    if report is None and not limits.min_accuracy and not limits.worst_score:
        raise SpecError(
            "there is nothing to hold the run against: name a --baseline, a --min-accuracy or a "
            "--worst-score."
        )


def _score_limits(limits: Limits) -> list[tuple[str, Mapping[str, float]]]:
    return [(_LEAST, limits.min_accuracy), (_WORST, limits.worst_score)]


def _check_metric(run: StoredRun, flag: str, name: str) -> None:
    """Raise `SpecError` where a flag is not the one for the metric of a model."""
    for record in run.records:
        if record.cell.model.name != name or record.accuracy is None:
            continue
        metric = metric_of(record)
        right = _LEAST if _is_accuracy(metric) else _WORST
        if flag != right:
            raise SpecError(
                f"{flag} {name}: it is scored by {metric.name}, of which {metric.better} is "
                f"better; use {right} {name}=LIMIT."
            )


# -- what ran, and how fast -----------------------------------------------------------------------


def _ran_and_speed(comparison: Comparison, limits: Limits) -> list[Finding]:
    match, cell = comparison.match, comparison.match.b.cell
    stopped = _why_not_judged(match)
    if stopped is not None:
        return [stopped]
    if limits.max_slowdown is None:
        return []
    kind: Kind = "throughput" if cell.is_rate else "latency"
    if comparison.effect is None:
        words = comparison.missing.replace("A ", "the baseline ", 1).replace("B ", "the run ", 1)
        outcome = Outcome.SKIPPED if "simulated" in words else Outcome.INCONCLUSIVE
        return [Finding(kind, cell, outcome, f"{words}.")]
    return [_speed(kind, cell, comparison.effect, limits.max_slowdown)]


def _why_not_judged(match: Match) -> Finding | None:
    """What there is to say of a cell that did not run, now or before."""
    cell, before, now = match.b.cell, match.a.record, match.b.record
    if now is None:
        advice = f"Go on with it: bench run --resume {match.b.run.path}."
        return Finding("ran", cell, Outcome.INCONCLUSIVE, "it was not measured.", advice)
    worked = before is not None and before.standing == "ok"
    if now.status == "failed":
        return _failed(now, worked)
    if not worked:
        return Finding("ran", cell, Outcome.NEW, "it works; the baseline has no figures of it.")
    return None


def _failed(record: Record, worked: bool) -> Finding:
    """A crash is an error where the baseline worked; an absent device is no fault of the model."""
    failure = record.failure
    kind = failure.kind if failure else "failed"
    message = printable(failure.message, limit=_MESSAGE_LIMIT) if failure else ""
    words = f"{printable(kind)}: {message}" if message else printable(kind)
    if kind == Unavailable.kind:
        return Finding("ran", record.cell, Outcome.SKIPPED, words)
    if not worked:
        return Finding("ran", record.cell, Outcome.SKIPPED, f"not in the baseline either: {words}")
    return Finding("ran", record.cell, Outcome.ERROR, words, "`bench show` has its log.")


def _unmatched(run: StoredRun, matched: Matched, compared: bool) -> list[Finding]:
    """Cells that only one side has; without a baseline every cell is judged for itself."""
    if not compared:
        records = [side.record for side in sides(run) if side.record is not None]
        return [_failed(record, True) for record in records if record.status == "failed"]
    known = {record.cell_id: record for record in run.records}
    found = [
        Finding("ran", cell, Outcome.SKIPPED, "only the baseline has it.")
        for cell in matched.only_a
    ]
    for cell in matched.only_b:
        record = known.get(cell.id)
        failed = record is not None and record.status == "failed"
        if failed and record is not None:
            found.append(replace(_failed(record, False), outcome=Outcome.NEW))
        else:
            found.append(Finding("ran", cell, Outcome.NEW, "the baseline doesn't have it."))
    return found


def _speed(kind: Kind, cell: Cell, effect: Effect, allowed: float) -> Finding:
    """The time of a query, or of a sample, may grow by the share ``allowed``."""
    times = effect.ratio if kind == "latency" else _inverse(effect.ratio)
    limit = 1 + allowed
    outcome = _outcome(times, limit)
    words = ""
    if outcome is Outcome.FAIL and effect.verdict is Verdict.CONTENTION_DEPENDENT:
        outcome, words = (
            Outcome.INCONCLUSIVE,
            "it is slower at the median and faster at its best (p1), so it depends on the load "
            "of the machine.",
        )
    if effect.relative is not None and outcome is not Outcome.INCONCLUSIVE:
        in_canaries = _outcome(effect.relative, limit)
        if in_canaries is not outcome:
            outcome, words = (
                Outcome.INCONCLUSIVE,
                "the machine itself changed between the two runs, by "
                f"{ratio(effect.drift.estimate) if effect.drift else 'an unknown factor'}.",
            )
    advice = ""
    if outcome is Outcome.INCONCLUSIVE:
        advice = (
            "Measure both again on a calm machine."
            if words
            else _more_invocations(times, limit, effect.invocations)
        )
    return Finding(
        kind,
        cell,
        outcome,
        words or _slower_words(outcome, times, limit),
        advice,
        found=times,
        limit=limit,
        before=effect.a,
        now=effect.b,
    )


def _outcome(found: Interval, most: float) -> Outcome:
    """What an interval says of a limit above."""
    if found.low > most:
        return Outcome.FAIL
    return Outcome.PASS if found.high <= most else Outcome.INCONCLUSIVE


def _slower_words(outcome: Outcome, times: Interval, limit: float) -> str:
    shown = ratio(times.estimate, times.low, times.high)
    if outcome is Outcome.FAIL:
        return f"it takes {shown} as long as the baseline; {ratio(limit)} is allowed."
    if outcome is Outcome.INCONCLUSIVE:
        return f"it takes {shown} as long; whether that keeps to {ratio(limit)} is open."
    return ""


def _more_invocations(found: Interval, limit: float, have: tuple[int, int]) -> str:
    """How many invocations of either run would bring the nearer end of the interval to the limit,
    were the estimate and the spread right."""
    needed = _invocations_needed(found, limit, min(have))
    if needed is None:
        return (
            f"More than {MOST_INVOCATIONS} invocations would be needed: measure on a calmer "
            "machine, or choose a wider limit."
        )
    return (
        f"About {needed} invocations in both runs would decide (now {have[0]} and {have[1]}): "
        f"--min-invocations {needed}."
    )


def _invocations_needed(found: Interval, limit: float, have: int) -> int | None:
    """On a logarithmic scale an interval reaches t(n) s / sqrt(n) to either side, t with the
    degrees of freedom of two groups of n alike."""
    end = found.high if found.estimate < limit else found.low
    if found.estimate == limit or end <= 0:
        return None
    if end == math.inf:
        return have + 1
    reach, distance = (abs(math.log(x / found.estimate)) for x in (end, limit))
    spread = reach / _reach_of(have, found.confidence)
    for n in range(have + 1, MOST_INVOCATIONS + 1):
        if spread * _reach_of(n, found.confidence) <= distance:
            return n
    return None


def _reach_of(n: int, confidence: float) -> float:
    return float(stdtrit(2 * n - 2, 0.5 + confidence / 2)) / math.sqrt(n)


def _inverse(found: Interval) -> Interval:
    low, high = (1 / x if x > 0 else math.inf for x in (found.high, found.low))
    return Interval(1 / found.estimate, low, high, found.confidence)


# -- memory ---------------------------------------------------------------------------------------


def _memory(matched: Matched, limits: Limits, confidence: float) -> list[Finding]:
    """Peak resident set of the workers, over the baseline's."""
    if limits.max_memory_growth is None:
        return []
    pairs = [
        (match.b.cell, _peaks(match.a.record), _peaks(match.b.record)) for match in matched.matches
    ]
    pairs = [pair for pair in pairs if min(len(pair[1]), len(pair[2])) >= FEWEST_INVOCATIONS]
    each = simultaneous_confidence(max(1, len(pairs)), confidence)
    limit, findings = 1 + limits.max_memory_growth, []
    for cell, before, now in pairs:
        found = unpaired_ratio_interval(before, now, each)
        outcome = _outcome(found, limit)
        shown = ratio(found.estimate, found.low, found.high)
        words = {
            Outcome.FAIL: f"it takes {shown} of the baseline's memory; {ratio(limit)} is allowed.",
            Outcome.INCONCLUSIVE: f"it takes {shown} of the baseline's memory; whether that keeps "
            f"to {ratio(limit)} is open.",
        }.get(outcome, "")
        advice = ""
        if outcome is Outcome.INCONCLUSIVE:
            advice = _more_invocations(found, limit, (len(before), len(now)))
        peaks = max(before), max(now)
        findings.append(Finding("memory", cell, outcome, words, advice, found, limit, *peaks))
    return findings


def _peaks(record: Record | None) -> list[float]:
    invocations = record.invocations if record is not None else ()
    return [float(i.peak_rss_bytes) for i in invocations if i.peak_rss_bytes]


# -- accuracy -------------------------------------------------------------------------------------


def _accuracy_floors(
    run: StoredRun, limits: Limits, confidence: float
) -> tuple[list[Finding], list[str]]:
    """Each model, variant and target once, whatever its loads."""
    wanted: dict[tuple[str, str, str], tuple[Record, float]] = {}
    for record in run.records:
        if record.accuracy is None:
            continue
        worst = limits.of(record.cell.model.name, metric_of(record))
        if worst is not None:
            wanted.setdefault(_scored(record.cell), (record, worst))
    each = simultaneous_confidence(max(1, len(wanted)), confidence)
    findings, warnings = [], []
    for record, worst in wanted.values():
        try:
            interval = _score(run, record, each).value
        except SpecError as error:
            warnings.append(str(error))
            interval = _kept_interval(record.accuracy, each)
        findings.append(_score_finding(record, interval, worst))
    for flag, limit in _score_limits(limits):
        held = [r for r, _ in wanted.values() if _is_accuracy(metric_of(r)) == (flag == _LEAST)]
        for name in limit:
            if not any(name in ("", record.cell.model.name) for record in held):
                warnings.append(f"{flag}: no record of {run.path} was scored on such data.")
    return findings, list(dict.fromkeys(warnings))


def _scored(cell: Cell) -> tuple[str, str, str]:
    return cell.model.name, cell.variant, cell.target


def _score(run: StoredRun, record: Record, confidence: float) -> Score:
    """The primary metric again, from what the run has stored."""
    columns = run.scored_columns(record)
    return find_task(record.cell.model.task).scores(columns, confidence)[0]


def _kept_interval(accuracy: Accuracy | None, confidence: float) -> Interval:
    """A score whose predictions are lost, at another confidence than it was kept with: each side as
    wide as a normal error of that size would make it."""
    assert accuracy is not None
    value = accuracy.value
    wider = float(ndtri(0.5 + confidence / 2) / ndtri(0.5 + value.confidence / 2))
    return Interval(
        value.value,
        value.value - (value.value - value.low) * wider,
        value.value + (value.high - value.value) * wider,
        confidence,
    )


def _score_finding(record: Record, found: Interval, worst: float) -> Finding:
    """A metric's whole interval has to be at the better side of the worst that is allowed."""
    assert record.accuracy is not None
    metric = metric_of(record)
    room = metric.gain(_minus(found, worst))
    shown, limit = metric.scale.value(found.estimate, found.low, found.high), _bound(metric, worst)
    outcome, words, advice = Outcome.PASS, "", ""
    if room.high < 0:
        outcome, words = Outcome.FAIL, f"it is {shown}; {limit}."
    elif room.low < 0:
        outcome = Outcome.INCONCLUSIVE
        words = f"it is {shown}; whether that is {limit} is open."
        advice = _more_examples(room.estimate, room, record.accuracy.examples)
    return Finding(
        "accuracy",
        record.cell,
        outcome,
        words,
        advice,
        found,
        worst,
        now=found.estimate,
        metric=metric,
    )


def _minus(found: Interval, value: float) -> Interval:
    return replace(
        found, estimate=found.estimate - value, low=found.low - value, high=found.high - value
    )


def _bound(metric: MetricRow, worst: float) -> str:
    return f"{'at least' if metric.sign > 0 else 'at most'} {metric.scale.value(worst)}"


def _more_examples(distance: float, found: Interval, have: int) -> str:
    """As `_more_invocations`; an accuracy's interval is about as wide on either side."""
    reach = max(found.high - found.estimate, found.estimate - found.low)
    needed = have * (reach / distance) ** 2 if distance else math.inf
    if not needed <= 100 * have:
        return "It lies too near the limit to decide; choose another limit."
    return f"About {significant(needed, 2)} labelled examples would decide (now {have})."


def _accuracy_losses(
    matched: Matched, report: Report | None, limits: Limits, confidence: float
) -> tuple[list[Finding], list[str]]:
    """How much accuracy was lost since the baseline: example by example where both predictions
    are there, else from the two intervals."""
    if report is None or limits.max_accuracy_loss is None:
        return [], []
    findings, warnings = [], []
    paired = {_scored(found.match.b.cell): found.match for found in report.accuracies}
    each = simultaneous_confidence(max(1, len(_both_scored(matched))), confidence)
    for key, (a, b) in _both_scored(matched).items():
        assert a.accuracy is not None
        assert b.accuracy is not None
        if key in paired:
            change = change_of(paired[key], each)
            findings.append(
                _loss_finding(b, change.difference, limits.max_accuracy_loss, change.examples)
            )
        elif (a.accuracy.metric, a.accuracy.dataset_sha256) != (
            b.accuracy.metric,
            b.accuracy.dataset_sha256,
        ):
            words = "it was scored on other data, or by another metric, than the baseline."
            advice = "Measure the baseline again."
            findings.append(Finding("accuracy loss", b.cell, Outcome.INCONCLUSIVE, words, advice))
        else:
            warnings.append(
                "Predictions are missing, so accuracies are compared by their intervals alone, "
                "which is less sharp."
            )
            difference = _unpaired_difference(a.accuracy, b.accuracy, each)
            findings.append(
                _loss_finding(b, difference, limits.max_accuracy_loss, b.accuracy.examples)
            )
    return findings, list(dict.fromkeys(warnings))


def _both_scored(matched: Matched) -> dict[tuple[str, str, str], tuple[Record, Record]]:
    """The records of A and B of each model, variant and target that both were scored on, once."""
    found: dict[tuple[str, str, str], tuple[Record, Record]] = {}
    for match in matched.matches:
        a, b = match.a.record, match.b.record
        if a is not None and b is not None and a.accuracy is not None and b.accuracy is not None:
            found.setdefault(_scored(match.b.cell), (a, b))
    return found


def _unpaired_difference(before: Accuracy, now: Accuracy, confidence: float) -> Interval:
    """From each one's own interval: Newcombe 1998, Statistics in Medicine 17:873, method 10, with
    exact intervals in the place of Wilson's."""
    one, other = _kept_interval(before, confidence), _kept_interval(now, confidence)
    estimate = other.estimate - one.estimate
    down = math.hypot(other.estimate - other.low, one.high - one.estimate)
    up = math.hypot(other.high - other.estimate, one.estimate - one.low)
    return Interval(estimate, estimate - down, estimate + up, confidence)


def _loss_finding(record: Record, change: Interval, asked: float, examples: int) -> Finding:
    """How much worse a metric may become, in steps of its scale over 100."""
    assert record.accuracy is not None
    metric = metric_of(record)
    scale, allowed, gain = metric.scale, metric.scale.from_points(100 * asked), metric.gain(change)
    shown = scale.steps_of(
        f"{scale.difference(change.estimate)} ({scale.difference(change.low)} to "
        f"{scale.difference(change.high)})"
    )
    limit = f"{scale.steps_of(scale.chosen(allowed))} may be lost"
    outcome, words, advice = Outcome.PASS, "", ""
    if gain.high < -allowed:
        outcome, words = Outcome.FAIL, f"it changed by {shown}; {limit}."
    elif gain.low < -allowed:
        outcome, words = Outcome.INCONCLUSIVE, f"it changed by {shown}; {limit}: open."
        advice = _more_examples(gain.estimate + allowed, gain, examples)
    now = record.accuracy.value.value
    return Finding(
        "accuracy loss",
        record.cell,
        outcome,
        words,
        advice,
        found=change,
        limit=-allowed * metric.sign,
        before=now - change.estimate,
        now=now,
        metric=metric,
    )


# -- validity -------------------------------------------------------------------------------------


def _broken_checks(run: StoredRun, matched: Matched) -> list[Finding]:
    """Checks of correctness that fail, unless they did in the baseline too."""
    before: dict[str, Any] = {
        match.b.cell.id: {check.name for check in match.a.record.checks if not check.ok}
        for match in matched.matches
        if match.a.record is not None
    }
    return [
        Finding(
            "check",
            record.cell,
            Outcome.FAIL,
            f"{printable(check.name)}: {printable(check.detail, limit=_MESSAGE_LIMIT)}",
        )
        for record in run.records
        for check in record.checks
        if not check.ok
        and check.name in CORRECTNESS
        and check.name not in before.get(record.cell_id, ())
    ]
