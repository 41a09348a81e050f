"""LoadGen's own figures beside ours from the same tests: the table, and why the two differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.text import Text

from bench.errors import as_sentence
from bench.numbers import (
    NAME_LIMIT,
    TIME_UNITS,
    Unit,
    column_unit,
    duration,
    half_width,
    in_unit,
    printable,
    rate,
)
from bench.present.columns import LOADGEN_COLUMNS
from bench.present.layout import MARKED, NOTHING, OK, Figure, Line, lay_out, wrap
from bench.record.loadgen import LoadGenSaid
from bench.record.result import Amount, Percentile, Record
from bench.variants import suffix

#: Said wherever its figures are shown: what MLCommons asks for of results that it has not reviewed
#: (mlcommons/policies, MLPerf_Results_Messaging_Guidelines.adoc).
DISCLAIMER = (
    "Unverified. Result not verified by MLCommons Association: LoadGen issued the queries, and "
    "these are not MLPerf results."
)
#: Scenario -> the percentile that its figure estimates.
_ESTIMATED = {"SingleStream": "p90", "MultiStream": "p99"}
_LONGEST_REASON = 200


def loadgen_records(records: Sequence[Record]) -> list[tuple[Record, list[LoadGenSaid]]]:
    """The latest record of each cell that LoadGen drove, with what LoadGen says of each test; those
    of one model together."""
    latest = {record.cell_id: record for record in records}.values()
    told = [(r, [i.loadgen for i in r.invocations if i.loadgen is not None]) for r in latest]
    names = list(dict.fromkeys(_name(record) for record, _ in told))
    found = [(record, tests) for record, tests in told if tests]
    return sorted(found, key=lambda pair: names.index(_name(pair[0])))


def _name(record: Record) -> str:
    cell = record.cell
    return printable(cell.model.name, limit=NAME_LIMIT) + suffix(cell.variant)


def loadgen_table(records: Sequence[Record], width: int = 80) -> Text:
    """Two lines a cell: what LoadGen says, and what we say of the same tests."""
    found = loadgen_records(records)
    unit = column_unit([mean_of(tests, "p50_ns") for _, tests in found], TIME_UNITS)
    lines: list[Line] = []
    heading = ""
    for record, tests in found:
        name = _name(record)
        if name != heading:
            lines.append(Line(name))
            heading = name
        lines += [_theirs(record, tests, unit), _ours(record, tests, unit)]
    text = Text(f"LoadGen {printable(found[0][1][0].version, limit=40)} (unverified), and bench\n")
    text.append_text(
        lay_out(LOADGEN_COLUMNS, dict.fromkeys(("p50", "p90", "p99"), unit.name), lines, width)
    )
    text.append("\n")
    for note in loadgen_notes(found):
        text.append(wrap(note, width, indent=2) + "\n", style="dim")
    return text


def _theirs(record: Record, tests: Sequence[LoadGenSaid], unit: Unit) -> Line:
    valid = sum(one.valid for one in tests)
    offline = tests[0].scenario == "Offline"
    times = ("p50", "p90", "p99")
    figures = {
        name: NOTHING if offline else _number(mean_of(tests, f"{name}_ns"), unit) for name in times
    }
    figures["figure"] = _figure(mean_of(tests, "figure"), tests[0])
    figures["valid"] = Figure(f"{valid}/{len(tests)}")
    return Line(f"LoadGen {_load(record)}", OK if valid == len(tests) else MARKED, figures)


def _ours(record: Record, tests: Sequence[LoadGenSaid], unit: Unit) -> Line:
    figures: dict[str, Figure] = {}
    latency = record.latency
    if latency is not None and tests[0].scenario != "Offline":
        figures["p50"] = _estimate(latency.median_ns, unit)
        figures["p90"] = _number(latency.p90.value_ns, unit)
        figures["p99"] = _number(latency.p99.value_ns, unit)
    figures["figure"] = _figure(our_figure(record, tests[0]), tests[0])
    return Line(f"bench {_load(record)}", OK, figures)


def our_figure(record: Record, told: LoadGenSaid) -> float | None:
    """What we have of the kind that LoadGen's figure is: a rate, or an estimate of a percentile."""
    if told.is_rate:
        return record.throughput.value if record.throughput is not None else None
    if record.latency is None:
        return None
    estimates: dict[str, Percentile] = {"p90": record.latency.p90, "p99": record.latency.p99}
    return estimates[_ESTIMATED[told.scenario]].value_ns


def mean_of(tests: Sequence[LoadGenSaid], name: str) -> float | None:
    """The mean over the tests that have it."""
    values = [value for one in tests if (value := getattr(one, name)) is not None]
    return float(np.mean(values)) if values else None


def figure_words(value: float | None, told: LoadGenSaid) -> str:
    """LoadGen's figure with its unit."""
    return rate(value) if told.is_rate else duration(value)


def _figure(value: float | None, told: LoadGenSaid) -> Figure:
    return NOTHING if value is None else Figure(figure_words(value, told))


def _number(value: float | None, unit: Unit) -> Figure:
    return NOTHING if value is None else Figure(in_unit(value, unit))


def _estimate(found: Amount, unit: Unit) -> Figure:
    width = half_width(found.value, found.low, found.high)
    return Figure(in_unit(found.value, unit), width)


def _load(record: Record) -> str:
    cell = record.cell
    parts = [printable(cell.target, limit=NAME_LIMIT), cell.scenario]
    if cell.batch != 1:
        parts.append(f"batch {cell.batch}")
    return " ".join(parts)


def loadgen_notes(found: Sequence[tuple[Record, Sequence[LoadGenSaid]]]) -> list[str]:
    """Why LoadGen's figures and ours differ, what it calls invalid, and what they are not."""
    told = [one for _, tests in found for one in tests]
    scenarios = {one.scenario for one in told}
    said: list[str] = []
    if scenarios - {"Offline"}:
        said.append(
            "Latencies are of the same queries. LoadGen takes element int(n p) of those of a test, "
            "here the mean over its tests; our p50 is the typical test with its interval, our p90 "
            "and p99 are upper bounds at 99% confidence over the queries of all tests."
        )
    if "SingleStream" in scenarios or "MultiStream" in scenarios:
        said.append(
            "The figure is MLPerf's early-stopping estimate, of p90 (single-stream) or p99 "
            "(multi-stream): LoadGen's per test, ours over the queries of all tests, by the same "
            "rule."
        )
    if "Server" in scenarios:
        said.append(
            "For a server, the figure is the queries completed per second, and latencies count "
            "from when a query was due."
        )
    if "Offline" in scenarios:
        said.append(
            "Offline: LoadGen counts from its one query to the last answer, including the "
            "reporting of each sample; our rate covers the calls only."
        )
    said += [_call_words(record, tests) for record, tests in found if _shows_call(tests)]
    untraced = [r.cell.label for r, tests in found if not all(t.traced or t.is_rate for t in tests)]
    if untraced:
        said.append(
            "Timed with our clock, around the call only, because LoadGen's trace would be too "
            "long: "
            f"{printable(', '.join(untraced), limit=_LONGEST_REASON)}."
        )
    why = dict.fromkeys(words for one in told if not one.valid for words in one.why)
    said += [f"INVALID: {as_sentence(printable(words, limit=_LONGEST_REASON))}" for words in why]
    said.append(DISCLAIMER)
    return said


def _shows_call(tests: Sequence[LoadGenSaid]) -> bool:
    return tests[0].scenario == "SingleStream" and all(one.traced for one in tests)


def _call_words(record: Record, tests: Sequence[LoadGenSaid]) -> str:
    """How much of a latency is not the call."""
    call_ns, p50_ns = mean_of(tests, "call_ns"), mean_of(tests, "p50_ns")
    return (
        f"{_name(record)}, {_load(record)}: of LoadGen's p50 of {duration(p50_ns)} the call took "
        f"{duration(call_ns)}; the rest is spent getting into Python and back."
    )
