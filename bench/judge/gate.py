"""Whether a run may pass: each limit held against an interval, never against a bare number.

A finding *fails* only where the whole interval lies beyond its limit, *passes* only where it lies
within, and is *inconclusive* otherwise, with what would decide it. The intervals are those of
`bench.judge.compare`, which hold together, so the chance that a run which is no worse than its
limits fails by bad luck is at most half of what the confidence leaves (2.5% at 95%), over all of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.judge.advice import more_invocations
from bench.judge.compare import Comparison, Effect, Report
from bench.judge.disturbance import disturbed
from bench.judge.energy_limits import energy_limits
from bench.judge.finding import (
    EXIT_CODES,
    Decision,
    Finding,
    Kind,
    Limits,
    Outcome,
    outcome_of,
    short_of,
    told_apart,
)
from bench.judge.matching import Match, Matched, Side
from bench.judge.presence import MESSAGE_LIMIT, not_judged, unmatched, without_baseline
from bench.judge.score_limits import accuracy_floors, accuracy_losses, check_score_limits
from bench.numbers import printable, ratio
from bench.record.queries import bounds_check
from bench.stats.interval import FEWEST_INVOCATIONS, Interval, unpaired_ratio_interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.verdict import Verdict
from bench.store.run import StoredRun

#: Checks of which no load of the machine can be the reason.
CORRECTNESS = ("placement", "precision", "parity", "accuracy")
_CALM = "Measure both again on a quiet machine."


@dataclass(frozen=True)
class Judgement:
    """All findings of a run, and what was compared to get them."""

    run: StoredRun | None  #: None where certificates alone are judged
    baseline: StoredRun | None
    limits: Limits
    findings: tuple[Finding, ...]
    confidence: float
    report: Report | None = None
    warnings: tuple[str, ...] = ()
    #: what an inconclusive judgement counts as
    inconclusive: Decision = Decision.INCONCLUSIVE

    @property
    def counts_as(self) -> Decision:
        """What everybody is told who takes a yes or a no: exit code, JUnit, a comment's symbol."""
        found = self.decision
        return self.inconclusive if found is Decision.INCONCLUSIVE else found

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.counts_as]

    @property
    def decision(self) -> Decision:
        """What the findings say, whatever inconclusive counts as."""
        found = {finding.outcome for finding in self.findings}
        if found & {Outcome.FAIL, Outcome.ERROR, Outcome.MISSING}:
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
    certificates: Sequence[Finding] = (),
) -> Judgement:
    """Hold ``run`` against its limits; ``report`` compares it (B) with the baseline (A), and
    ``certificates`` are what `bench.judge.certified.certified` found.

    Whether the two may be compared is the business of `bench.judge.differences.refuse`. Raises
    `SpecError` where a limit has nothing that it could be held against.
    """
    _check(run, limits, report)
    matched = report.matched if report is not None else Matched(())
    comparisons = report.comparisons if report is not None else ()
    scored, warnings = accuracy_floors(run, matched, limits, confidence)
    lost, more = accuracy_losses(matched, report, limits, confidence)
    findings = [
        *chain.from_iterable(_ran_and_speed(c, limits) for c in comparisons),
        *(unmatched(matched, limits) if report is not None else without_baseline(run, limits)),
        *_memory(matched, limits, confidence),
        *energy_limits(run, report, limits, confidence),
        *scored,
        *lost,
        *_broken_checks(run, matched),
        *_bounds_not_met(run),
        *certificates,
    ]
    return Judgement(
        run=run,
        baseline=matched.matches[0].a.run if matched.matches else None,
        limits=limits,
        findings=told_apart(findings),
        confidence=confidence,
        report=report,
        warnings=(*(report.warnings if report is not None else ()), *warnings, *more),
    )


def _check(run: StoredRun, limits: Limits, report: Report | None) -> None:
    check_score_limits(run, limits)
    if report is None and not limits.alone:
        raise SpecError(
            "there is nothing to check: give a --baseline, a --min-accuracy, a --worst-score, a "
            "--max-energy or a --certificate."
        )


# -- how fast -------------------------------------------------------------------------------------


def _ran_and_speed(comparison: Comparison, limits: Limits) -> list[Finding]:
    match, cell = comparison.match, comparison.match.b.cell
    stopped = not_judged(match, limits)
    if stopped is not None:
        return [stopped]
    if limits.max_slowdown is None:
        return []
    kind: Kind = "throughput" if cell.is_rate else "latency"
    if comparison.effect is not None:
        return [_speed(kind, match, comparison.effect, limits.max_slowdown)]
    rest = comparison.missing[1:]
    words = f"the {'baseline' if comparison.missing.startswith('A ') else 'run'}{rest}"
    if any(one.record is not None and one.record.simulated for one in (match.a, match.b)):
        return [Finding(kind, cell, Outcome.SKIPPED, f"{words}.")]
    return [Finding(kind, cell, Outcome.INCONCLUSIVE, f"{words}.", "Measure it again.")]


def _speed(kind: Kind, match: Match, effect: Effect, allowed: float) -> Finding:
    """The time of a query, or of a sample, may grow by the share ``allowed``."""
    times = effect.ratio
    limit = 1 + allowed
    outcome = outcome_of(times, limit)
    doubt = _doubt(outcome, match, effect, limit)
    if doubt:
        (words, short), outcome, advice = doubt, Outcome.INCONCLUSIVE, _CALM
    else:
        words, advice = _slower_words(outcome, times, limit), ""
        short = short_of(outcome, "too slow", "the time")
        if outcome is Outcome.INCONCLUSIVE:
            advice = more_invocations(times, limit, effect.invocations, match, "--max-slowdown")
    return Finding(
        kind,
        match.b.cell,
        outcome,
        words,
        advice,
        found=times,
        limit=limit,
        before=effect.a,
        now=effect.b,
        short=short,
    )


def _doubt(outcome: Outcome, match: Match, effect: Effect, limit: float) -> tuple[str, str] | None:
    """Why the figures decide nothing although their interval does, and that in short; None where
    they do."""
    if outcome is Outcome.INCONCLUSIVE:
        return None
    if outcome is Outcome.FAIL and effect.verdict is Verdict.CONTENTION_DEPENDENT:
        short = "slower at the median and faster at its best (p1)"
        return f"{short}, so it depends on the machine's load.", short
    if effect.relative is not None and outcome_of(effect.relative, limit) is not outcome:
        changed = ratio(effect.drift.estimate) if effect.drift else "an unknown factor"
        return f"machine drift between the two runs: {changed}.", "machine drift"
    if effect.paired:  # what disturbed two cells that were measured in turn disturbed both
        return None
    before, now = disturbed(match.a), disturbed(match.b)
    # Load makes slow. A run that is slower than a slowed baseline is slower than a calm one, and a
    # run that keeps to its limit in spite of load is no slower without; a slow run may owe it to
    # its own load, and one that keeps to its limit to the baseline's. Where both were disturbed
    # nobody knows which more: a slowdown is doubted then and a pass is not, for a machine that is
    # always busy would let nothing pass.
    if outcome is Outcome.FAIL:
        return _disturbed("run", now) if now else None
    return _disturbed("baseline", before) if before and not now else None


def _disturbed(called: str, by: str) -> tuple[str, str]:
    return f"the {called} was disturbed: {by}.", f"the {called} was disturbed"


def _slower_words(outcome: Outcome, times: Interval, limit: float) -> str:
    shown = ratio(times.estimate, times.low, times.high)
    if outcome is Outcome.FAIL:
        return f"takes {shown} as long as the baseline; {ratio(limit)} is allowed."
    if outcome is Outcome.INCONCLUSIVE:
        return f"takes {shown} as long: too uncertain to check against {ratio(limit)}."
    return ""


# -- memory ---------------------------------------------------------------------------------------


def _memory(matched: Matched, limits: Limits, confidence: float) -> list[Finding]:
    """Peak resident set of the workers, over the baseline's."""
    if limits.max_memory_growth is None:
        return []
    works = [m for m in matched.matches if _works(m.a) and _works(m.b)]
    known = [m for m in works if min(len(_peaks(m.a)), len(_peaks(m.b))) >= FEWEST_INVOCATIONS]
    each = simultaneous_confidence(max(1, len(known)), confidence)
    return [
        _grown(m, 1 + limits.max_memory_growth, each) if m in known else _no_memory(m)
        for m in works
    ]


def _grown(match: Match, limit: float, confidence: float) -> Finding:
    before, now = _peaks(match.a), _peaks(match.b)
    found = unpaired_ratio_interval(before, now, confidence)
    outcome = outcome_of(found, limit)
    shown = ratio(found.estimate, found.low, found.high)
    words = {
        Outcome.FAIL: f"takes {shown} the baseline's memory; {ratio(limit)} is allowed.",
        Outcome.INCONCLUSIVE: f"takes {shown} the baseline's memory: too uncertain to check "
        f"against {ratio(limit)}.",
    }.get(outcome, "")
    advice = ""
    if outcome is Outcome.INCONCLUSIVE:
        have = len(before), len(now)
        advice = more_invocations(found, limit, have, match, "--max-memory-growth")
    peaks = max(before), max(now)
    short = short_of(outcome, "too much memory", "the memory")
    return Finding(
        "memory", match.b.cell, outcome, words, advice, found, limit, *peaks, short=short
    )


def _no_memory(match: Match) -> Finding:
    known = (
        f"{len(_peaks(match.a))} invocations of the baseline and {len(_peaks(match.b))} of the run"
    )
    words = f"peak memory is known for {known}; each needs {FEWEST_INVOCATIONS}."
    advice = "Measure both again, or leave out --max-memory-growth."
    short = "too few invocations whose peak memory is known"
    return Finding("memory", match.b.cell, Outcome.INCONCLUSIVE, words, advice, short=short)


def _works(one: Side) -> bool:
    return one.record is not None and one.record.status == "ok" and not one.record.partial


def _peaks(one: Side) -> list[float]:
    invocations = one.record.invocations if one.record is not None else ()
    return [float(i.peak_rss_bytes) for i in invocations if i.peak_rss_bytes]


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
            f"{printable(check.name)}: {printable(check.detail, limit=MESSAGE_LIMIT)}",
            short=f"the check {printable(check.name)} failed",
        )
        for record in run.records
        for check in record.checks
        if not check.ok
        and check.name in CORRECTNESS
        and check.name not in before.get(record.cell_id, ())
    ]


def _bounds_not_met(run: StoredRun) -> list[Finding]:
    """Rates under bounds that are not met, or not surely, whatever the baseline's are: such a rate
    is none of those that were asked for."""
    outcomes = {"missed": Outcome.FAIL, "inconclusive": Outcome.INCONCLUSIVE}
    return [
        Finding(
            "check",
            record.cell,
            outcomes[record.queries.bounds],
            f"{printable(check.name)}: {printable(check.detail, limit=MESSAGE_LIMIT)}",
            short=printable(check.name),
        )
        for record in run.records
        if record.queries is not None and record.queries.bounds in outcomes
        for check in bounds_check(record.queries)
    ]
