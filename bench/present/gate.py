"""A gate's judgement as people read it: the verdict in words first, then a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from bench.errors import without_stop
from bench.judge.alike import READABLE, settings_in_words, settings_of
from bench.judge.finding import OF_NO_LOAD, Decision, Finding, Limits, Outcome
from bench.judge.gate import Judgement
from bench.numbers import (
    MISSING,
    NAME_LIMIT,
    duration,
    energy,
    finite,
    percent,
    points,
    printable,
    rate,
    ratio,
    ratio_parts,
    significant,
    size,
    with_interval,
)
from bench.present.columns import GATE_COLUMNS
from bench.present.compare import difference_lines, run_words
from bench.present.layout import FAILED, MARKED, NOTHING, OK, Figure, Line, lay_out, wrap
from bench.scenarios import find_scenario
from bench.variants import suffix

MARKS = {
    Outcome.ERROR: FAILED,
    Outcome.FAIL: FAILED,
    Outcome.MISSING: FAILED,
    Outcome.INCONCLUSIVE: MARKED,
    Outcome.PASS: OK,
    Outcome.SKIPPED: " ",
    Outcome.NEW: " ",
}
_STYLES = {
    Outcome.ERROR: "red",
    Outcome.FAIL: "red",
    Outcome.MISSING: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.PASS: "green",
}
#: Outcomes in the order of how much they matter.
ORDER = (
    Outcome.ERROR,
    Outcome.FAIL,
    Outcome.MISSING,
    Outcome.INCONCLUSIVE,
    Outcome.PASS,
    Outcome.SKIPPED,
    Outcome.NEW,
)
#: What is said of so many cells.
_IN_WORDS = {
    Outcome.ERROR: "stopped working",
    Outcome.FAIL: "failed",
    Outcome.MISSING: "missing",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.PASS: "passed",
    Outcome.SKIPPED: "skipped",
    Outcome.NEW: "new",
}
_TOLD = (Outcome.ERROR, Outcome.FAIL, Outcome.MISSING, Outcome.INCONCLUSIVE)
#: Limits on a ratio of the run over the baseline.
_RATIOS = ("latency", "throughput")
_MOST_SENTENCES = 8
_MOST_REASONS = 3
_MOST_DIFFERENCES = 6


def gate_text(judgement: Judgement, width: int = 80) -> Text:
    """The whole judgement as text, no line wider than ``width``."""
    text = Text()
    for words, style in _words(judgement):
        text.append(wrap(words, width, indent=2) + "\n", style=style)
    if judgement.findings:
        text.append("\n")
        text.append_text(lay_out(GATE_COLUMNS, {}, _lines(judgement.findings), width))
    text.append("\n")
    for note in notes(judgement):
        text.append(wrap(note, width, indent=2) + "\n", style="dim")
    return text


def _words(judgement: Judgement) -> list[tuple[str, str]]:
    """The verdict, then one sentence for each finding that needs attention."""
    told = judgement.of(*_TOLD)
    told.sort(key=lambda finding: ORDER.index(finding.outcome))
    said = [(summary(judgement), "bold")]
    said += [(sentence(finding), _STYLES[finding.outcome]) for finding in told[:_MOST_SENTENCES]]
    if len(told) > _MOST_SENTENCES:
        rest = told[_MOST_SENTENCES:]
        said.append((f"The table has {len(rest)} more: {', '.join(_counted_reasons(rest))}.", ""))
    return said


def _counted_reasons(findings: Sequence[Finding]) -> list[str]:
    """``10 inconclusive (the time is too uncertain to check: 8, not measured: 2)``: how many of
    each outcome, and why."""
    outcomes: dict[Outcome, Counter[str]] = {}
    for finding in findings:
        outcomes.setdefault(finding.outcome, Counter())[finding.reason] += 1
    return [
        f"{found.total()} {_IN_WORDS[outcome]}{_why(found)}" for outcome, found in outcomes.items()
    ]


def _why(reasons: Counter[str]) -> str:
    common = reasons.most_common(_MOST_REASONS)
    if len(reasons) == 1:
        return f" ({common[0][0]})"
    shown = [f"{reason}: {count}" for reason, count in common]
    others = reasons.total() - sum(count for _, count in common)
    return f" ({', '.join([*shown, *([f'other reasons: {others}'] if others else [])])})"


def sentence(finding: Finding) -> str:
    """One finding in words, with what to do."""
    return f"{MARKS[finding.outcome]} {finding.label}: {finding.words} {finding.advice}".rstrip()


def _lines(findings: Sequence[Finding]) -> list[Line]:
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        cell = finding.cell
        variant = suffix(cell.variant)
        grouped.setdefault(printable(cell.model.name, NAME_LIMIT) + variant, []).append(finding)
    lines = []
    for heading, found in grouped.items():
        lines.append(Line(heading))
        lines += [_line(finding) for finding in found]
    return lines


def _line(finding: Finding) -> Line:
    label, mark = f"{where(finding)} {finding.kind}", MARKS[finding.outcome]
    style = _STYLES.get(finding.outcome, "dim")
    if finding.found is None:
        return Line(label, mark, message=f"{finding.outcome.value}: {without_stop(finding.words)}")
    value, interval = _found_parts(finding)
    before, now = figures_text(finding)
    figures = {
        "change": Figure(f"{before} → {now}") if before != MISSING else NOTHING,
        "found": Figure(value, interval, style),
        "limit": Figure(limit_text(finding)),
        "outcome": Figure(finding.outcome.value, style=style),
    }
    return Line(label, mark, figures)


def where(finding: Finding) -> str:
    """Target, and the load where the limit is about one."""
    cell = finding.cell
    parts = [printable(cell.target, NAME_LIMIT)]
    if finding.kind not in OF_NO_LOAD:
        parts.append(find_scenario(cell.scenario).label)
        if cell.batch != 1:
            parts.append(f"batch {cell.batch}")
        parts.append(settings_in_words(settings_of(cell, ("lane", "tool")), finding.apart))
    return ", ".join(filter(None, parts))


def _found_parts(finding: Finding) -> tuple[str, str]:
    """`found_text` for a table: the figure, and its interval."""
    found = finding.found
    if found is not None and _is_ratio(finding):
        return ratio_parts(found.estimate, found.low, found.high)
    value, _, interval = found_text(finding).partition(" ")
    return value, interval


def _is_ratio(finding: Finding) -> bool:
    of_itself = finding.kind == "energy" and finding.before is None
    return finding.metric is None and not of_itself


def found_text(finding: Finding) -> str:
    """What the limit is about, with its interval."""
    found = finding.found
    if found is None:
        return MISSING
    if finding.metric is not None:
        scale = finding.metric.scale
        if finding.kind == "accuracy":
            return scale.value(found.estimate, found.low, found.high)
        low, high = scale.difference(found.low), scale.difference(found.high)
        return f"{scale.difference(found.estimate)} ({low} to {high})"
    if not _is_ratio(finding):
        return with_interval(found.estimate, found.low, found.high, energy)
    return ratio(found.estimate, found.low, found.high)


def measured_text(finding: Finding) -> str:
    """The same where no column says what it is of: ``2.00x (1.90–2.10) the baseline's time``."""
    of = " the baseline's time" if finding.kind in _RATIOS and finding.found is not None else ""
    return found_text(finding) + of


def limit_text(finding: Finding) -> str:
    if finding.limit is None:
        return MISSING
    if finding.metric is not None:
        scale, sign = finding.metric.scale, "≥" if finding.metric.sign > 0 else "≤"
        shown = scale.value if finding.kind == "accuracy" else scale.difference
        return f"{sign} {shown(finding.limit)}"
    if finding.kind == "energy" and finding.before is None:
        return f"≤ {energy(finding.limit)}"
    return f"≤ {ratio(finding.limit)}"


def figures_text(finding: Finding) -> tuple[str, str]:
    """The baseline's figure and the run's, each with its unit."""
    if finding.metric is not None:
        scale = finding.metric.scale
        return scale.value(finding.before), scale.value(finding.now)
    form = {"latency": duration, "throughput": rate, "energy": energy, "memory": size}.get(
        finding.kind
    )
    if form is None or finding.before is None:
        return MISSING, MISSING
    return form(finding.before), form(finding.now)


def notes(judgement: Judgement) -> list[str]:
    """What was compared with what, the limits, and how sure the intervals are."""
    found = [f"Run {run_words(judgement.run)}"] if judgement.run is not None else []
    if judgement.baseline is not None:
        found.append(f"Baseline {run_words(judgement.baseline)}")
    report = judgement.report
    if report is not None and report.differences:
        lines = difference_lines(report)
        found += lines[: _MOST_DIFFERENCES + 1]
        if len(lines) > _MOST_DIFFERENCES + 1:
            found.append("  ... and more: `bench compare` lists all.")
    found.append(f"Limits: {'; '.join(limits_in_words(judgement.limits))}.")
    if any(f.kind in _RATIOS and f.before is not None for f in judgement.findings):
        found.append(
            "Found: the run over the baseline. For latency it is the time of a query, for "
            "throughput the time of a sample, so above 1 is slower."
        )
    if any(f.kind == "accuracy loss" and f.found is not None for f in judgement.findings):
        found.append("For accuracy loss it is the change since the baseline.")
    found.append(
        "pass: the whole interval is within the limit; fail: it is beyond; inconclusive: the "
        "interval straddles it. Joint confidence of all intervals of one limit: "
        f"{100 * judgement.confidence:g}%."
    )
    return found


def gate_json(judgement: Judgement) -> dict[str, object]:
    """The judgement, JSON-ready: times as ratios, accuracies as fractions, figures as stored."""
    return {
        "decision": judgement.decision.value,
        "counts_as": judgement.counts_as.value,
        "exit_code": judgement.exit_code,
        "sentence": summary(judgement),
        "run": str(judgement.run.path) if judgement.run is not None else None,
        "baseline": str(judgement.baseline.path) if judgement.baseline is not None else None,
        "confidence": judgement.confidence,
        "limits": {
            "max_slowdown": judgement.limits.max_slowdown,
            "min_accuracy": dict(judgement.limits.min_accuracy),
            "max_accuracy_loss": judgement.limits.max_accuracy_loss,
            "max_memory_growth": judgement.limits.max_memory_growth,
            "max_energy_growth": judgement.limits.max_energy_growth,
            "max_energy_j": judgement.limits.max_energy_j,
            "worst_score": dict(judgement.limits.worst_score),
            "certificates": list(judgement.limits.certificates),
            "allow_missing": judgement.limits.allow_missing,
        },
        "findings": [_row(finding) for finding in judgement.findings],
        "warnings": list(judgement.warnings),
    }


def _row(finding: Finding) -> dict[str, object]:
    # A certificate is of every load, and of a target that may not have been measured.
    found, certified = finding.found, finding.kind == "certificate"
    settings = settings_in_words(settings_of(finding.cell, READABLE))
    return {
        "outcome": finding.outcome.value,
        "limit": finding.kind,
        "cell_id": None if certified else finding.cell.id,
        "cell": finding.subject if certified else finding.cell.label,
        "settings": "" if finding.kind in OF_NO_LOAD else settings,
        "reason": finding.reason,
        "words": finding.words,
        "advice": finding.advice,
        "value": found.estimate if found else None,
        "low": found.low if found and finite(found.low) else None,
        "high": found.high if found and finite(found.high) else None,
        "allowed": finding.limit,
        "before": finding.before,
        "now": finding.now,
    }


def summary(judgement: Judgement) -> str:
    """The verdict in one sentence."""
    counts = {outcome: len(judgement.of(outcome)) for outcome in Outcome}
    judged = sum(counts[o] for o in Outcome if o not in (Outcome.SKIPPED, Outcome.NEW))
    plural = "limit" if judged == 1 else "limits"
    head = f"{judgement.decision.value.upper()}: {judged} {plural} checked"
    said = [f"{counts[outcome]} {text}" for outcome, text in _IN_WORDS.items() if counts[outcome]]
    counted = _counted(judgement)
    if not judged:
        return f"{head}: there was nothing to judge ({', '.join(said) or 'no records'}){counted}."
    return f"{head}: {', '.join(said)}{counted}."


def _counted(judgement: Judgement) -> str:
    """What --inconclusive makes of an inconclusive judgement."""
    if judgement.counts_as is judgement.decision:
        return ""
    words = {Decision.PASS: "a pass", Decision.FAIL: "a failure"}
    return f"; --inconclusive makes it {words[judgement.counts_as]}"


def limits_in_words(limits: Limits) -> Sequence[str]:
    """Each limit as people say it."""
    found = []
    if limits.max_slowdown is not None:
        found.append(f"at most {ratio(1 + limits.max_slowdown)} the baseline's time")
    for name, least in limits.min_accuracy.items():
        model = printable(name, NAME_LIMIT) or "every model"
        found.append(f"accuracy of {model} ≥ {percent(least)}")
    for name, worst in limits.worst_score.items():
        model = printable(name, NAME_LIMIT) or "every model that has no accuracy"
        found.append(f"score of {model} no worse than {significant(worst)}")
    if limits.max_accuracy_loss is not None:
        found.append(f"at most {points(limits.max_accuracy_loss).removeprefix('+')} points lost")
    if limits.max_memory_growth is not None:
        found.append(f"at most {ratio(1 + limits.max_memory_growth)} the baseline's memory")
    if limits.max_energy_growth is not None:
        found.append(f"at most {ratio(1 + limits.max_energy_growth)} the baseline's energy")
    if limits.max_energy_j is not None:
        found.append(f"at most {energy(limits.max_energy_j)} a sample")
    found += [f"as certified by {printable(name)}" for name in limits.certificates]
    return found
