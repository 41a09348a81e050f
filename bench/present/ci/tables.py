"""Tables as rows of plain text, which Markdown and HTML each draw in their own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.judge.pairs import Pair, Ratio
from bench.numbers import (
    BYTE_UNITS,
    MISSING,
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    half_width,
    p_value,
    percent,
    points,
    ratio,
    with_unit,
)
from bench.record.result import Estimate, Record
from bench.variants import suffix


@dataclass(frozen=True)
class Table:
    """Header cells and rows of plain text; ``numbers`` are the columns that align right, ``names``
    those whose text comes from outside and is shown as it is written."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[int] = frozenset()
    names: frozenset[int] = frozenset()


def results_table(records: Sequence[Record]) -> Table:
    """One row a record."""
    header = (
        "Model",
        "Target",
        "Scenario",
        "Latency, median",
        "p99",
        "Throughput",
        "Memory",
        "Accuracy",
        "",
    )
    rows = [_result_row(record) for record in records]
    return Table(header, rows, numbers=frozenset({3, 4, 5, 6, 7}), names=frozenset({0, 1}))


def _result_row(record: Record) -> tuple[str, ...]:
    cell = record.cell
    variant = suffix(cell.variant)
    batch = "" if cell.batch == 1 else f", batch {cell.batch}"
    latency = record.latency if not (cell.is_rate or record.simulated) else None
    peak = record.memory.peak_rss_bytes if record.memory else None
    accuracy = record.accuracy.value if record.accuracy else None
    return (
        f"{cell.model.name}{variant}",
        cell.target,
        f"{cell.scenario}{batch}",
        _estimate(latency.median_ns if latency else None, TIME_UNITS),
        with_unit(latency.p99.value_ns if latency else None, TIME_UNITS),
        _estimate(None if record.simulated else record.throughput, RATE_UNITS),
        with_unit(peak, BYTE_UNITS),
        percent(accuracy.value, accuracy.low, accuracy.high) if accuracy else MISSING,
        _state(record),
    )


def _estimate(estimate: Estimate | None, units: tuple[Unit, ...]) -> str:
    if estimate is None:
        return MISSING
    width = half_width(estimate.value, estimate.low, estimate.high)
    return f"{with_unit(estimate.value, units)} {width}"


def _state(record: Record) -> str:
    if record.failure is not None:
        return f"❌ {record.failure.kind}: {record.failure.message}"
    if record.status == "failed":
        return "❌ failed"
    failed = [check.name for check in record.checks if not check.ok]
    words = ["simulated"] if record.simulated else []
    words += [f"failed: {', '.join(failed)}"] if failed else []
    return f"⚠️ {'; '.join(words)}" if words else "✅"


def pairs_table(pairs: Sequence[Pair]) -> Table:
    """One row a pair and target."""
    header = (
        "Model",
        "Against",
        "Target",
        "Speed-up",
        "Throughput",
        "Accuracy, points",
        "p",
        "Kept",
    )
    rows = [_pair_row(pair) for pair in pairs]
    return Table(header, rows, numbers=frozenset({3, 4, 5, 6, 7}), names=frozenset({0, 1, 2}))


def _pair_row(pair: Pair) -> tuple[str, ...]:
    change = pair.accuracy
    difference = change.difference if change else None
    kept = change.retained if change else None
    return (
        f"{pair.model}{_variant(pair.variant)}",
        f"{pair.other}{_variant(pair.other_variant)}",
        pair.target,
        _ratio(pair.speedup) if pair.speedup else pair.missing or MISSING,
        _ratio(pair.throughput),
        f"{points(difference.estimate)} ({points(difference.low)} to {points(difference.high)})"
        if difference
        else MISSING,
        p_value(change.p) if change else MISSING,
        percent(kept.estimate) if kept else MISSING,
    )


def _variant(variant: str) -> str:
    return suffix(variant)


def _ratio(found: Ratio | None) -> str:
    return MISSING if found is None else ratio(found.value, found.low, found.high)
