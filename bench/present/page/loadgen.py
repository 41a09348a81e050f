"""LoadGen's figures beside ours: a row a cell."""

from __future__ import annotations

from collections.abc import Sequence

from bench.numbers import TIME_UNITS, Unit, column_unit, in_unit
from bench.present.loadgen import (
    figure_words,
    loadgen_notes,
    loadgen_records,
    mean_of,
    our_figure,
)
from bench.present.page.names import model_and_variant, target_words
from bench.present.page.parts import Column, Entry, Section, Table
from bench.record.loadgen import LoadGenSaid
from bench.record.result import Record

TITLE = "MLPerf's LoadGen (unverified)"


def section(records: Sequence[Record], prefix: str) -> Section:
    """A table of what LoadGen says of its tests; empty where it drove none."""
    found = loadgen_records(records)
    if not found:
        return Section(f"{prefix}loadgen", TITLE)
    unit = column_unit([mean_of(tests, "p50_ns") for _, tests in found], TIME_UNITS)
    columns = (
        Column(("model",), "Model"),
        Column(("target",), "Target"),
        Column(("scenario",), "Scenario"),
        Column(("valid",), "VALID"),
        Column(("p50_ns",), "p50", unit.name, numeric=True),
        Column(("our_p50_ns",), "p50, ours", unit.name, numeric=True),
        Column(("p99_ns",), "p99", unit.name, numeric=True),
        Column(("our_p99_ns",), "p99, ours", unit.name, numeric=True),
        Column(("figure",), "Figure", numeric=True),
        Column(("our_figure",), "Figure, ours", numeric=True),
    )
    rows = tuple(_row(record, tests, unit) for record, tests in found)
    return Section(
        f"{prefix}loadgen",
        TITLE,
        tables=(Table(f"{prefix}loadgen-data", TITLE, columns, rows),),
        remarks=tuple(loadgen_notes(found)),
    )


def _row(record: Record, tests: Sequence[LoadGenSaid], unit: Unit) -> tuple[Entry, ...]:
    valid = sum(one.valid for one in tests)
    latency = None if tests[0].scenario == "Offline" else record.latency
    theirs = [None if latency is None else mean_of(tests, n) for n in ("p50_ns", "p99_ns")]
    ours = [latency.median_ns.value, latency.p99.value_ns] if latency else [None, None]
    figure, our = mean_of(tests, "figure"), our_figure(record, tests[0])
    return (
        Entry(model_and_variant(record.cell)),
        Entry(target_words(record.cell)),
        Entry(record.cell.scenario),
        Entry(f"{valid} of {len(tests)}", tone="" if valid == len(tests) else "warn"),
        _number(theirs[0], unit),
        _number(ours[0], unit),
        _number(theirs[1], unit),
        _number(ours[1], unit),
        Entry(figure_words(figure, tests[0]), values=(figure,)),
        Entry(figure_words(our, tests[0]), values=(our,)),
    )


def _number(value: float | None, unit: Unit) -> Entry:
    return Entry(in_unit(value, unit), values=(value,))
