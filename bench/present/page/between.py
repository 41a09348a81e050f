"""What lies between runs: each later one against the first, as far as they are comparable."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from bench.errors import SpecError
from bench.judge.alike import Alike
from bench.judge.compare import Comparison, Report, compare
from bench.judge.differences import comparable_ones, not_allowed, refuse
from bench.judge.matching import Matched, match_machines, match_runs
from bench.numbers import MISSING, certain_bound, ratio, ratio_parts
from bench.present.compare import canary_notes, difference_lines, only_notes, sentences
from bench.present.page.draw import Axis, Dot, Lane, checked, dot_plot
from bench.present.page.names import (
    Palette,
    in_picture,
    lane_label,
    model_and_variant,
    shown,
    target_words,
)
from bench.present.page.parts import Column, Entry, Picture, Section, Table, bounds
from bench.present.page.selection import MOST_LANES, cut_words
from bench.present.sides import named, names_of
from bench.stats.verdict import Verdict
from bench.store.run import StoredRun

_TONES = {Verdict.FASTER: "good", Verdict.SLOWER: "bad", Verdict.INCONCLUSIVE: "dim"}
_MOST_DIFFERENCES = 12


def section(
    runs: Sequence[tuple[str, StoredRun]],
    whole: Sequence[StoredRun],
    machines: Sequence[str],
    allowed: Collection[str],
    palette: Palette,
) -> Section:
    """Each later run against the first: what differs, and what that lets be said.

    ``whole`` are the same runs with the records that are not shown; ``machines`` are the names of
    those of the runs, empty ones where there is one machine.
    """
    (first, baseline), *others = runs
    paragraphs: list[str] = []
    pictures: list[Picture] = []
    for (letter, run), all_of_it, machine in zip(others, whole[1:], machines[1:], strict=True):
        names = f"Run {letter} against run {first}"
        try:
            matched, aside = _matched((machines[0], baseline), (machine, run), allowed)
            # What is not shown of a run is in it all the same.
            every, _ = _matched((machines[0], whole[0]), (machine, all_of_it), allowed)
            matched = replace(matched, only_a=every.only_a, only_b=every.only_b)
        except SpecError as error:
            paragraphs.append(f"{names}: {error}")
            continue
        said, picture = _one(names, first, letter, matched, allowed, palette)
        paragraphs += [*said, *([aside] if aside else [])]
        if picture is not None:
            pictures.append(picture)
    return Section(
        "between",
        "Between the machines" if len(set(machines)) > 1 else "Between the runs",
        paragraphs=tuple(paragraphs),
        pictures=tuple(pictures),
        remarks=(
            f"Run {first} is the baseline. Ratios are of times (of a query, or of a sample), the "
            "later run over the baseline: below 1 is faster. `bench compare` tells more.",
        ),
    )


def _matched(
    baseline: tuple[str, StoredRun], other: tuple[str, StoredRun], allowed: Collection[str]
) -> tuple[Matched, str]:
    """What two runs have in common, and what of that is not compared. Raises `SpecError` where
    there is nothing."""
    (machine, one), (other_machine, run) = baseline, other
    if machine != other_machine:
        both = {machine: [one], other_machine: [run]}
        return comparable_ones(match_machines(both, machine), allowed)
    try:
        return match_runs(one, run), ""
    except SpecError as error:
        words = "they have no cell in common, so there is nothing to compare."
        raise SpecError(words) from error


def _one(
    names: str,
    first: str,
    letter: str,
    matched: Matched,
    allowed: Collection[str],
    palette: Palette,
) -> tuple[list[str], Picture | None]:
    if not any(match.a.machine for match in matched.matches):  # else these have names
        matched = replace(matched, names=(f"run {first}", f"run {letter}"))
    report = compare(matched, allowed)
    only = only_notes(matched)
    differing = [line.strip() for line in difference_lines(report)[1 : _MOST_DIFFERENCES + 1]]
    try:
        refuse(report.differences, allowed)
    except SpecError:
        kinds = dict.fromkeys(d.words for d in not_allowed(report.differences, allowed))
        return [
            f"{names}: not comparable, they differ in {', '.join(kinds)}. "
            f"{'; '.join(differing)}. To compare them all the same: --allow KIND.",
            *only,
        ], None
    said = [f"{names}: {' '.join((*sentences(report), *canary_notes(report)))}"]
    if differing:
        said.append(f"What differs ({first} / {letter}): {'; '.join(differing)}.")
    return [*said, *only], _picture(report, letter, first, palette)


def _picture(report: Report, letter: str, first: str, palette: Palette) -> Picture | None:
    found = [c for c in report.comparisons if c.effect is not None]
    if not found:
        return None
    alike = Alike(comparison.match.b.cell for comparison in report.comparisons)
    lanes = [_lane(comparison, palette, alike) for comparison in found[:MOST_LANES]]
    spec, height = dot_plot(
        lanes,
        Axis(f"{letter} over {first}, times (log scale)", log=True, reference=1.0, suffix="x"),
    )
    name = f"between-{letter.lower()}"
    share = f"{100 * report.confidence:g}%"
    return Picture(
        name=name,
        title=f"Time in run {letter} over time in run {first}",
        words="Left of the dotted line is faster than the baseline, right is slower. All intervals "
        f"hold together at {share}. {' '.join(sentences(report))}"
        f"{cut_words(len(lanes), len(found), 'cells')}",
        spec=checked(spec),
        table=_table(report, f"{name}-data", alike),
        height=height,
        wide=True,
    )


def _label(comparison: Comparison, alike: Alike) -> str:
    cell = comparison.match.b.cell
    return f"{lane_label(cell, alike.apart(cell))} · {cell.scenario} batch {cell.batch}"


def _lane(comparison: Comparison, palette: Palette, alike: Alike) -> Lane:
    effect = comparison.effect
    assert effect is not None
    value, low, high = effect.ratio.estimate, effect.ratio.low, effect.ratio.high
    label = in_picture(_label(comparison, alike))
    hover = f"<b>{label}</b><br>{ratio(value, low, high)}: {effect.verdict.value}"
    cell = comparison.match.b.cell
    dot = Dot(value, low, high, hover, palette.colour(cell.model.name), palette.symbol(cell.target))
    group = f"{model_and_variant(cell)} · {cell.scenario} batch {cell.batch}"
    words = f"{certain_bound(value, low, high) or ratio(value)} {effect.verdict.value}"
    return Lane(in_picture(target_words(cell, alike.apart(cell))), (dot,), in_picture(group), words)


def _table(report: Report, name: str, alike: Alike) -> Table:
    columns = (
        Column(("cell",), "Cell"),
        Column(("measure",), "Measure"),
        Column(bounds("time_ratio"), "Time, ratio", numeric=True),
        Column(("verdict",), "Verdict"),
    )
    rows = []
    for comparison in report.comparisons:
        effect = comparison.effect
        if effect is None:
            names = names_of(comparison.match, report.matched)
            reason = Entry(shown(named(comparison.missing, names)), tone="dim")
            absent = Entry(MISSING, values=(None, None, None), tone="dim")
            rows.append((Entry(_label(comparison, alike)), Entry(MISSING), absent, reason))
            continue
        value, low, high = effect.ratio.estimate, effect.ratio.low, effect.ratio.high
        text, interval = ratio_parts(value, low, high)
        rows.append(
            (
                Entry(_label(comparison, alike)),
                Entry(effect.measure),
                Entry(text, interval, (value, low, high)),
                Entry(effect.verdict.value, tone=_TONES.get(effect.verdict, "")),
            )
        )
    return Table(name, "Cell by cell", columns, tuple(rows))
