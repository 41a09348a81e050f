"""Limits on energy: what a sample may take, and how much more than in the baseline."""

from __future__ import annotations

from bench.judge.compare import Report
from bench.judge.energy import energy_effects, main_energy
from bench.judge.finding import Finding, Limits, Outcome, outcome_of, short_of
from bench.numbers import energy, ratio, with_interval
from bench.record.energy import FEWEST_ROUNDS
from bench.record.result import Record
from bench.stats.metered import mean_interval
from bench.stats.multiple import simultaneous_confidence
from bench.store.run import StoredRun

_AGAIN = "Measure it again with --energy and more --min-invocations."
_FIRST = "Measure it with --energy."


def energy_limits(
    run: StoredRun, report: Report | None, limits: Limits, confidence: float
) -> list[Finding]:
    """What each limit says of each cell; the intervals of one limit hold together."""
    found: list[Finding] = []
    if limits.max_energy_growth is not None and report is not None:
        found += _grown(report, limits.max_energy_growth, confidence)
    if limits.max_energy_j is not None:
        found += _most(run, limits.max_energy_j, confidence)
    return found


def _grown(report: Report, allowed: float, confidence: float) -> list[Finding]:
    matches = [m for m in report.matched.matches if m.b.record is not None]
    effects = {e.match.b.id: e for e in energy_effects(matches, report.margin, confidence)}
    found: list[Finding] = []
    for match in matches:
        record, effect = match.b.record, effects.get(match.b.id)
        if record is None or record.standing != "ok" or record.simulated:
            continue  # its other limits tell
        if effect is None:
            words = "energy is not known for both runs in the same scope, read in the same way."
            metered = record.energy and match.a.record is not None and match.a.record.energy
            advice = _AGAIN if metered else "Measure both runs with --energy."
            found.append(Finding("energy", match.b.cell, Outcome.INCONCLUSIVE, words, advice))
            continue
        limit = 1 + allowed
        outcome = outcome_of(effect.ratio, limit)
        shown = ratio(effect.ratio.estimate, effect.ratio.low, effect.ratio.high)
        words = {
            Outcome.FAIL: f"takes {shown} the baseline's energy; {ratio(limit)} is allowed.",
            Outcome.INCONCLUSIVE: f"takes {shown} the baseline's energy: too uncertain to check "
            f"against {ratio(limit)}.",
        }.get(outcome, "")
        advice = _AGAIN if outcome is Outcome.INCONCLUSIVE else ""
        short = short_of(outcome, "too much energy", "the energy")
        figures = (effect.ratio, limit, effect.a, effect.b)
        found.append(Finding("energy", match.b.cell, outcome, words, advice, *figures, short=short))
    return found


def _most(run: StoredRun, limit: float, confidence: float) -> list[Finding]:
    works = [r for r in run.records if r.standing == "ok" and not r.simulated]
    known = sum(main_energy(record) is not None for record in works)
    each = simultaneous_confidence(max(1, known), confidence)
    return [_within(record, limit, each) for record in works]


def _within(record: Record, limit: float, confidence: float) -> Finding:
    used = main_energy(record)
    if used is None or len(used.rounds) < FEWEST_ROUNDS:
        why = record.energy[0].missing if record.energy else "it was not measured"
        words = f"energy is not known: {why}."
        short = "energy is not known"
        advice = _AGAIN if record.energy else _FIRST
        return Finding("energy", record.cell, Outcome.INCONCLUSIVE, words, advice, short=short)
    found = mean_interval([one.gross_j / used.samples for one in used.rounds], confidence)
    outcome = outcome_of(found, limit)
    shown = with_interval(found.estimate, found.low, found.high, energy)
    words = {
        Outcome.FAIL: f"a sample takes {shown}; {energy(limit)} is allowed.",
        Outcome.INCONCLUSIVE: f"a sample takes {shown}: too uncertain to check against "
        f"{energy(limit)}.",
    }.get(outcome, "")
    advice = _AGAIN if outcome is Outcome.INCONCLUSIVE else ""
    return Finding(
        "energy",
        record.cell,
        outcome,
        words,
        advice,
        found,
        limit,
        now=found.estimate,
        short=short_of(outcome, "too much energy", "the energy"),
    )
