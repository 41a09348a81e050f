"""A comparison as people read it (what differs, tables, notes, sentences) and as data."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from rich.text import Text

from bench.errors import as_sentence
from bench.judge.alike import READABLE, Alike, settings_in_words, settings_of
from bench.judge.compare import AccuracyEffect, Comparison, Measure, Report, measure_of
from bench.judge.differences import ALL, not_allowed
from bench.judge.energy import EnergyEffect, EnergyVerdict, told_apart
from bench.judge.matching import Match, Matched, Side
from bench.numbers import (
    NAME_LIMIT,
    RATE_UNITS,
    TIME_UNITS,
    Scale,
    Unit,
    column_unit,
    common_scale,
    counted,
    finite,
    in_unit,
    p_value,
    printable,
    ratio,
    ratio_parts,
)
from bench.present.columns import COMPARED_ACCURACY_COLUMNS, COMPARED_COLUMNS, Column
from bench.present.compared_rows import by_heading, labels, row_label, target_label
from bench.present.energy import compared_energy_table, way_words
from bench.present.layout import MARKED, Figure, Line, lay_out, wrap
from bench.present.sides import SEVERAL, Names, common_names, named, names_of
from bench.stats.interval import Interval
from bench.stats.verdict import Verdict
from bench.store.baseline import Baseline
from bench.store.machines import machine_names
from bench.store.run import StoredRun

_FEW = 3  #: so many subjects are named, more are counted
_MESSAGE_LIMIT = 200
_LONGEST_HEAD = 24  #: of a column's title that names both sides
#: What a `Change` calls its test, in a sentence.
_TESTS = {"McNemar": "McNemar's exact test", "bootstrap": "the paired bootstrap"}
_STYLES = {
    Verdict.FASTER: "green",
    Verdict.SLOWER: "red",
    Verdict.SAME: "",
    Verdict.CONTENTION_DEPENDENT: "yellow",
    Verdict.INCONCLUSIVE: "dim",
}
_UNITS: dict[Measure, tuple[Unit, ...]] = {"latency": TIME_UNITS, "throughput": RATE_UNITS}
_TITLES: dict[Measure, str] = {
    "latency": "Latency, median of one query{load}{machines}{ratio}",
    "throughput": "Throughput{load}{machines}{ratio}",
}


def report_text(report: Report, width: int = 80) -> Text:
    """The whole comparison as text, no line wider than ``width``."""
    text = Text()
    for line in (*_run_lines(report), *difference_lines(report)):
        text.append(wrap(line, width, indent=4) + "\n")
    for measure in _TITLES:
        found = [c for c in report.comparisons if measure_of(c.match) == measure]
        if found:
            text.append("\n")
            text.append_text(_speed_table(measure, found, report.matched, width))
    if report.energies:
        text.append("\n")
        _, name = common_names(report.matched)
        several = len(report.matched.machines) > 2
        energies = compared_energy_table(report.energies, width, name, several_machines=several)
        text.append_text(energies)
    if report.accuracies:
        text.append("\n")
        text.append_text(_accuracy_table(report, width))
    text.append("\n")
    for note in _notes(report):
        text.append(wrap(note, width, indent=2) + "\n", style="dim")
    for words in sentences(report):
        text.append(wrap(words, width, indent=2) + "\n")
    return text


def _run_lines(report: Report) -> list[str]:
    machines = report.matched.machines
    if machines:
        return [f"{printable(name)}: {_runs_words(report, name)}" for name in machines]
    first = report.matched.matches[0]
    if first.same_run:
        return [f"Run {run_words(first.a.run)}"]
    return [f"Baseline {run_words(first.a.run)}", f"Compared {run_words(first.b.run)}"]


def _runs_words(report: Report, machine: str) -> str:
    """The run of a machine that is compared, or how many."""
    every = [side for match in report.matched.matches for side in (match.a, match.b)]
    runs = list({side.run.path: side.run for side in every if side.machine == machine}.values())
    return run_words(runs[0]) if len(runs) == 1 else f"{len(runs)} runs"


def run_words(run: StoredRun) -> str:
    """A run by its label, where it has one, its place and its time."""
    label = f"{printable(run.header.label, limit=NAME_LIMIT)}: " if run.header.label else ""
    return f"{label}{printable(run.shown)} {printable(run.header.created_at, limit=40)}"


def difference_lines(report: Report) -> list[str]:
    """What differs, one difference a line."""
    if not report.differences:
        return ["Nothing else differs that could change the figures."]
    refused = not_allowed(report.differences, report.allowed)
    a, b = common_names(report.matched)
    lines = [f"What differs ({a} / {b}):"]
    for found in report.differences:
        mark = " [not comparable]" if found in refused else " [allowed]" if found.refused else ""
        subject = _subject_words(found.subjects)
        lines.append(f"  {found.words}{subject}: {found.values}{mark}")
    return lines


def _subject_words(subjects: Sequence[str]) -> str:
    if len(subjects) > _FEW:
        return f" of {len(subjects)} cells"
    names = ", ".join(printable(s, limit=NAME_LIMIT) for s in subjects)
    return f" of {names}" if names else ""


def _speed_table(
    measure: Measure, found: Sequence[Comparison], matched: Matched, width: int
) -> Text:
    machines = matched.machines
    effects = [c.effect for c in found if c.effect is not None]
    unit = column_unit([x for e in effects for x in (e.a, e.b)], _UNITS[measure])
    batches = {s.cell.batch for c in found for s in (c.match.a, c.match.b)}
    load = f", batch {min(batches)}" if len(batches) == 1 and batches != {1} else ""
    called = partial(
        row_label, several_batches=len(batches) > 1, several_machines=len(machines) > 2
    )
    lines: list[Line] = []
    for heading, group in by_heading(found).items():
        lines.append(Line(heading))
        for label, comparison in zip(labels(group, called), group, strict=True):
            lines.append(_speed_line(label, comparison, unit, names_of(comparison.match, matched)))
    between = ", between machines" if machines else ""
    _, name = names = common_names(matched)
    told = f" (time ratio below 1: {name} is faster)"
    title = _TITLES[measure].format(load=load, machines=between, ratio=told)
    text = Text(wrap(title, width, indent=2) + "\n")
    columns = with_names(COMPARED_COLUMNS, names)
    return text.append_text(lay_out(columns, {"change": unit.name}, lines, width))


def with_names(columns: Sequence[Column], names: Names) -> tuple[Column, ...]:
    """The columns, the one with both figures headed by both names where they are short."""
    head = " → ".join(names)
    if names == SEVERAL or len(head) > _LONGEST_HEAD:
        return tuple(columns)
    return tuple(replace(c, title=head) if c.key == "change" else c for c in columns)


def _speed_line(label: str, comparison: Comparison, unit: Unit, names: Names) -> Line:
    effect = comparison.effect
    if effect is None:
        return Line(label, " ", message=named(_short(comparison.missing), names))
    value, interval = ratio_parts(effect.ratio.estimate, effect.ratio.low, effect.ratio.high)
    style = _STYLES[effect.verdict]
    figures = {
        "change": Figure(f"{in_unit(effect.a, unit)} → {in_unit(effect.b, unit)}"),
        "ratio": Figure(value, interval, style),
        "floor": Figure(ratio(effect.floor.estimate) if effect.floor else "-"),
        "verdict": Figure(effect.verdict.value, style=style),
    }
    return Line(label, MARKED if _failed_checks(comparison.match) else " ", figures)


def _short(missing: str) -> str:
    """What a row has room for, of words that have no names yet (a target's has a colon); the notes
    have all of it."""
    return missing.partition(" (")[0].partition(":")[0]


def _ratio_words(found: Interval) -> str:
    return ratio(found.estimate, found.low, found.high)


def _failed_checks(match: Match, names: Names = ("A", "B")) -> list[tuple[str, str]]:
    """Checks that failed on either side: the check's name, and the rest in words."""
    return [
        (_name(check.name), f"{name}: {printable(check.detail, limit=_MESSAGE_LIMIT)}")
        for name, record in zip(names, (match.a.record, match.b.record), strict=True)
        if record is not None
        for check in record.checks
        if not check.ok
    ]


def _accuracy_table(report: Report, width: int) -> Text:
    lines: list[Line] = []
    scale = common_scale(found.change.metric.scale for found in report.accuracies)
    called = partial(target_label, several_machines=len(report.matched.machines) > 2)
    for heading, group in by_heading(report.accuracies).items():
        lines.append(Line(heading))
        for label, found in zip(labels(group, called), group, strict=True):
            lines.append(_accuracy_line(label, found, report.confidence, scale))
    text = Text("Accuracy, on the same labelled examples\n")
    units = {"change": scale.unit, "difference": scale.steps} if scale else {}
    columns = with_names(COMPARED_ACCURACY_COLUMNS, common_names(report.matched))
    return text.append_text(lay_out(columns, units, lines, width))


def _accuracy_line(
    label: str, found: AccuracyEffect, confidence: float, header: Scale | None
) -> Line:
    """``header`` is the scale whose units the header names."""
    change, difference = found.change, found.change.difference
    scale = change.metric.scale
    value = scale.value if header is None else scale.bare
    established = found.established(confidence)
    style = ("red" if change.gain.estimate < 0 else "green") if established else ""
    interval = f"({scale.difference(difference.low)} to {scale.difference(difference.high)})"
    figures = {
        "change": Figure(f"{value(change.other)} → {value(change.this)}"),
        "difference": Figure(scale.difference(difference.estimate), interval, style),
        "p": Figure(p_value(found.adjusted_p).removeprefix("p ").removeprefix("= ")),
        "examples": Figure(str(change.examples)),
    }
    return Line(label, " ", figures)


def _name(text: str) -> str:
    return printable(text, limit=NAME_LIMIT)


# -- notes and sentences --------------------------------------------------------------------------


def _notes(report: Report) -> list[str]:
    return [
        *_family_notes(report),
        *_drift_notes(report),
        *_load_notes(report),
        *canary_notes(report),
        *_check_notes(report),
        *_missing_notes(report),
    ]


def cautions(report: Report) -> list[str]:
    """What could not be read or compared, and what the verdicts have to be read with."""
    found = (
        *report.warnings,
        *_drift_notes(report),
        *_load_notes(report),
        *(note.removeprefix(f"{MARKED} ") for note in _check_notes(report)),
        *_missing_notes(report),
    )
    return list(found)


def _family_notes(report: Report) -> list[str]:
    effects, notes = report.effects, []
    share, margin = _percent(report.confidence), _percent(report.margin)
    if effects:
        each = _percent(effects[0].ratio.confidence)
        together = (
            f"Joint confidence of all {len(effects)} intervals: {share} (Bonferroni: {each} each)"
            if len(effects) > 1
            else f"The interval has {share} confidence"
        )
        notes.append(f"{together}. `same`: the whole interval is within {margin}.")
        paired = sum(e.paired for e in effects)
        if paired:
            notes.append(
                f"{paired} of {len(effects)} measured in turn in one run: paired interval."
            )
        if report.matched.machines:
            notes.append("Different machines can't measure in turn: Welch's interval.")
        elif paired < len(effects):
            notes.append(f"{len(effects) - paired} not measured in turn: Welch's interval.")
    tests = " and ".join(dict.fromkeys(_TESTS[a.change.test] for a in report.accuracies))
    if len(report.accuracies) > 1:
        notes.append(
            f"The {len(report.accuracies)} accuracies: {tests} with Holm's correction; joint "
            f"confidence of the intervals {share}."
        )
    elif report.accuracies:
        notes.append(f"Accuracy: {tests}, with a {share} interval.")
    return notes


def _drift_notes(report: Report) -> list[str]:
    drifts = [e.drift.estimate for e in report.effects if e.drift is not None]
    if not drifts:
        return []
    withheld = sum(e.withheld is not None and not e.disturbance for e in report.effects)
    low, high = ratio(min(drifts)), ratio(max(drifts))
    took = low if low == high else f"{low} to {high}"
    _, name = common_names(report.matched)
    return [
        f"Machine drift between the runs: a fixed workload took {took} as long in {name}. A "
        "verdict is given only where it also holds relative to that workload; "
        f"{withheld or 'none'} {'was' if withheld in (0, 1) else 'were'} withheld."
    ]


def _load_notes(report: Report) -> list[str]:
    withheld = [effect.disturbance for effect in report.effects if effect.disturbance]
    if not withheld:
        return []
    verdicts = "1 verdict is" if len(withheld) == 1 else f"{len(withheld)} verdicts are"
    return [
        f"{verdicts} withheld, because other programs slowed the slower side ({withheld[0]}). "
        "Measure both on a quiet machine, or in turn in one run."
    ]


def canary_notes(report: Report) -> list[str]:
    """The canary of each machine beside that of the baseline: how fast one CPU is for one fixed
    piece of work."""
    baseline, *others = report.matched.machines or [""]
    notes = []
    for machine in others:
        found = [
            c.effect.canary
            for c in report.comparisons
            if c.match.b.machine == machine and c.effect is not None and c.effect.canary is not None
        ]
        if found:
            # Of generations at different times; the middle one is as good as any.
            middle = sorted(found, key=lambda interval: interval.estimate)[len(found) // 2]
            took = _ratio_words(middle)
            notes.append(
                f"The canary, a fixed workload on the CPU, took {took} as long on "
                f"{_name(machine)} as on {_name(baseline)}."
            )
    return notes


def _check_notes(report: Report) -> list[str]:
    """Few failures in full; of many, how many a check has."""
    failures: dict[str, list[str]] = {}
    where: dict[str, dict[str, None]] = {}
    alike = _compared(report)
    for match in (c.match for c in report.comparisons if c.effect is not None):
        for name, words in _failed_checks(match, names_of(match, report.matched)):
            label = _name(alike.label(match.b.cell))
            failures.setdefault(name, []).append(f"{MARKED} {name}: {label}: {words}")
            runs = [one.run for one in (match.a, match.b) if not isinstance(one.run, Baseline)]
            where.setdefault(name, {}).update({str(run.path): None for run in runs})
    return [note for name, notes in failures.items() for note in _few(name, notes, where[name])]


def _few(check: str, notes: list[str], runs: Collection[str]) -> list[str]:
    if len(notes) <= _FEW:
        return notes
    shown = f"; `{shlex.join(['bench', 'show', *runs])}` tells where" if runs else ""
    return [f"{MARKED} {check}: failed {len(notes)} times{shown}."]


def _compared(report: Report) -> Alike:
    """What the cells are called that are compared with a baseline's."""
    return Alike(c.match.b.cell for c in report.comparisons)


def _missing_notes(report: Report) -> list[str]:
    alike = _compared(report)
    notes = [
        f"Not compared: {_name(alike.label(c.match.b.cell))}: "
        f"{as_sentence(named(c.missing, names_of(c.match, report.matched)))}"
        for c in report.comparisons
        if c.missing
    ]
    return [*notes, *only_notes(report.matched)]


def only_notes(matched: Matched) -> list[str]:
    """The cells that one side alone has."""
    # Cells of one run, and those of more than two machines, have no side that they are in.
    of_cells = any(match.same_run for match in matched.matches) and not any(matched.names)
    names = common_names(matched)
    of_a = [*matched.only_a, *(match.a for match in matched.matches)]
    of_b = [*matched.only_b, *(match.b for match in matched.matches)]
    if of_cells or names == SEVERAL:
        only = [*matched.only_a, *matched.only_b]
        return _listed("No counterpart for ", only, [*of_a, *of_b])
    a, b = (f"Only in {name}: " for name in names)
    return [*_listed(a, matched.only_a, of_a), *_listed(b, matched.only_b, of_b)]


def _listed(begin: str, sides: Sequence[Side], among: Iterable[Side]) -> list[str]:
    """So many of the sides by name, each told from others ``among`` which it is."""
    if not sides:
        return []
    several = len({side.machine for side in sides}) > 1
    alike = Alike(side.cell for side in among)
    names = ", ".join(
        _name(alike.label(side.cell)) + (f" on {_name(side.machine)}" if several else "")
        for side in sides[:_FEW]
    )
    more = f" and {len(sides) - _FEW} more" if len(sides) > _FEW else ""
    return [f"{begin}{names}{more}."]


def sentences(report: Report) -> list[str]:
    """One plain sentence for each verdict that was given, and for each outcome of accuracy."""
    found = [words for names, part in _by_names(report) for words in _verdicts(part, *names)]
    if not report.effects:
        found = ["No speed could be compared."]
    return [*found, *_energy_sentences(report), *_accuracy_sentences(report)]


def _by_names(report: Report) -> list[tuple[Names, Report]]:
    """What the two sides are called in sentences, and what was found of these two."""
    grouped: dict[Names, list[Comparison]] = {}
    for comparison in report.comparisons:
        grouped.setdefault(names_of(comparison.match, report.matched), []).append(comparison)
    return [(names, replace(report, comparisons=tuple(found))) for names, found in grouped.items()]


def _verdicts(report: Report, a: str, b: str) -> list[str]:
    counts = Counter(effect.verdict for effect in report.effects)
    words = {
        Verdict.FASTER: f"{b} is faster than {a}",
        Verdict.SLOWER: f"{b} is slower than {a}",
        Verdict.SAME: f"{a} and {b} are the same within {_percent(report.margin)}",
        Verdict.CONTENTION_DEPENDENT: f"whether {b} is faster depends on the machine's load",
        Verdict.INCONCLUSIVE: f"{a} and {b} can't be distinguished (inconclusive)",
    }
    total = len(report.effects)
    return [_in_some(words[v], counts[v], total) for v in Verdict if counts[v]]


def _in_some(words: str, count: int, total: int) -> str:
    """A sentence about all comparisons, or some."""
    sentence = (
        f"{words[:1].upper()}{words[1:]}" if words.startswith(("whether ", "which ")) else words
    )
    return f"{sentence}." if total == 1 else f"{sentence} in {count} of {total} comparisons."


def _energy_sentences(report: Report) -> list[str]:
    counts = Counter(effect.verdict for effect in report.energies)
    a, b = common_names(report.matched)
    words: dict[EnergyVerdict, str] = {
        "less": f"{b} takes less energy than {a}",
        "more": f"{b} takes more energy than {a}",
        "same": f"{a} and {b} take the same energy within {_percent(report.margin)}",
        "inconclusive": "which takes less energy is inconclusive",
    }
    total = len(report.energies)
    return [
        *(_in_some(text, counts[v], total) for v, text in words.items() if counts[v]),
        *(
            f"The energies of {counted(count, 'pair')} can't be compared: {way_words(one)} "
            f"against {way_words(other)}."
            for (one, other), count in told_apart(report.matched.matches).items()
        ),
    ]


def _accuracy_sentences(report: Report) -> list[str]:
    counts = Counter(
        "unclear"
        if not found.established(report.confidence)
        else "less"
        if found.change.gain.estimate < 0
        else "more"
        for found in report.accuracies
    )
    a, b = common_names(report.matched)
    words = {
        "more": f"{b} is more accurate than {a}",
        "less": f"{b} is less accurate than {a}",
        "unclear": f"{a} and {b} do not differ in accuracy as far as can be told",
    }
    total = len(report.accuracies)
    return [_in_some(text, counts[kind], total) for kind, text in words.items() if counts[kind]]


def _percent(share: float) -> str:
    """``95%``, ``99.58%``: enough digits to tell it from 100%."""
    percent = 100 * share
    digits = 2
    while digits < 6 and share < 1 and round(percent, digits) == 100:
        digits += 1
    return f"{round(percent, digits):g}%" if digits == 2 else f"{percent:.{digits}f}%"


# -- as data --------------------------------------------------------------------------------------


def report_json(report: Report) -> dict[str, object]:
    """The whole comparison, JSON-ready: times in ns, throughputs in samples/s, fractions."""
    first = report.matched.matches[0]
    refused = not_allowed(report.differences, report.allowed)
    machines = _machines(report)
    return {
        "a": _run_row(first.a, machines),
        "b": _run_row(first.b, machines),
        "machines": report.matched.machines,
        "confidence": report.confidence,
        "margin": report.margin,
        "correction": {
            "speed": "simultaneous intervals (Bonferroni)",
            "accuracy": "Holm for p, simultaneous intervals (Bonferroni)",
            "speed_comparisons": len(report.effects),
            "accuracy_comparisons": len(report.accuracies),
        },
        "differences": [
            {
                "kind": d.kind,
                "a": d.a,
                "b": d.b,
                "of": list(d.subjects),
                "detail": d.detail,
                "comparable": d not in refused and not d.refused,
                "allowed": d.refused and (d.kind in report.allowed or ALL in report.allowed),
            }
            for d in report.differences
        ],
        "comparisons": [_comparison_row(c, machines) for c in report.comparisons],
        "energies": [_energy_row(effect, machines) for effect in report.energies],
        "accuracies": [_accuracy_row(a, report.confidence, machines) for a in report.accuracies],
        "only_in_a": [side.id for side in report.matched.only_a],
        "only_in_b": [side.id for side in report.matched.only_b],
        "verdicts": dict(Counter(effect.verdict.value for effect in report.effects)),
        "sentences": sentences(report),
        "warnings": cautions(report),
    }


#: What the machine of each run is called, by the `id` of the run.
_Machines = Mapping[int, str]


def _machines(report: Report) -> _Machines:
    """As they were told apart for the comparison, else among the runs that are compared."""
    sides = [side for match in report.matched.matches for side in (match.a, match.b)]
    runs = list({id(side.run): side.run for side in sides}.values())
    names = {id(run): name for run, name in zip(runs, machine_names(runs), strict=True)}
    return names | {id(side.run): side.machine for side in sides if side.machine}


def _run_row(one: Side, machines: _Machines) -> dict[str, object]:
    run = one.run
    return {
        "run": str(run.path),
        "created_at": run.header.created_at,
        "machine": machines[id(run)],
        "label": run.header.label,
        "machine_id": run.header.facts.get("machine_id"),
    }


def _cell_row(one: Side, machines: _Machines) -> dict[str, object]:
    cell = one.cell
    return {
        "cell_id": one.id,
        "machine": machines[id(one.run)],
        "model": cell.model.name,
        "variant": cell.variant,
        "target": cell.target,
        "scenario": cell.scenario,
        "batch": cell.batch,
        "settings": settings_in_words(settings_of(cell, READABLE)),
    }


def _comparison_row(comparison: Comparison, machines: _Machines) -> dict[str, object]:
    effect = comparison.effect
    row: dict[str, object] = {
        "a": _cell_row(comparison.match.a, machines),
        "b": _cell_row(comparison.match.b, machines),
        "missing": comparison.missing or None,
        "verdict": effect.verdict.value if effect else None,
        "checks_failed": [f"{name}: {words}" for name, words in _failed_checks(comparison.match)],
    }
    if effect is not None:
        row |= {
            "measure": effect.measure,
            "unit": "ns" if effect.measure == "latency" else "samples/s",
            "a_value": effect.a,
            "b_value": effect.b,
            "ratio": _interval_row(effect.ratio),
            "floor_ratio": _interval_row(effect.floor),
            "paired": effect.paired,
            "invocations": list(effect.invocations),
            "canary_ratio": _interval_row(effect.canary or effect.drift),
            "withheld_verdict": effect.withheld.value if effect.withheld else None,
        }
    return row


def _energy_row(effect: EnergyEffect, machines: _Machines) -> dict[str, object]:
    return {
        "a": _cell_row(effect.match.a, machines),
        "b": _cell_row(effect.match.b, machines),
        "scope": effect.scope,
        "a_sample_j": effect.a,
        "b_sample_j": effect.b,
        "ratio": _interval_row(effect.ratio),
        "paired": effect.paired,
        "rounds": list(effect.rounds),
        "verdict": effect.verdict,
    }


def _accuracy_row(
    found: AccuracyEffect, confidence: float, machines: _Machines
) -> dict[str, object]:
    change = found.change
    return {
        "a": _cell_row(found.match.a, machines),
        "b": _cell_row(found.match.b, machines),
        "dataset": found.dataset,
        "metric": change.metric.name,
        "examples": change.examples,
        "a_accuracy": change.other,
        "b_accuracy": change.this,
        "difference": _interval_row(change.difference),
        "only_a_right": change.only_other_right,
        "only_b_right": change.only_this_right,
        "test": change.test,
        "p": change.p,
        "holm_p": found.adjusted_p,
        "established": found.established(confidence),
    }


def _interval_row(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    return {
        "value": interval.estimate if finite(interval.estimate) else None,
        "low": interval.low if finite(interval.low) else None,
        "high": interval.high if finite(interval.high) else None,
        "confidence": interval.confidence,
    }
