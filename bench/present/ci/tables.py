"""Tables as rows of plain text, which Markdown and HTML each draw in their own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.cards.tasks.base import Change
from bench.cell import Cell
from bench.judge.alike import UNUSUAL, Alike, Setting, settings_in_words, settings_of
from bench.judge.pairs import Pair, Ratio
from bench.numbers import (
    BYTE_UNITS,
    MISSING,
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    common_scale,
    half_width,
    p_value,
    percent,
    printable,
    ratio,
    with_unit,
)
from bench.present.devices import busy_remark
from bench.record.result import Estimate, Record
from bench.store.scores import metric_of
from bench.variants import suffix


@dataclass(frozen=True)
class Table:
    """Header cells and rows of plain text; ``numbers`` are the columns that align right, ``names``
    those whose text comes from outside and is shown as it is written."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[int] = frozenset()
    names: frozenset[int] = frozenset()


def filled_columns(table: Table) -> tuple[int, ...]:
    """The columns that have something in some row."""
    return tuple(
        place
        for place in range(len(table.header))
        if any(row[place] not in ("", MISSING) for row in table.rows)
    )


def without_empty_columns(table: Table) -> Table:
    """The table without the columns that have nothing in any row."""
    kept = filled_columns(table)
    places = {old: new for new, old in enumerate(kept)}
    return Table(
        header=tuple(table.header[place] for place in kept),
        rows=[tuple(row[place] for place in kept) for row in table.rows],
        numbers=frozenset(places[n] for n in table.numbers if n in places),
        names=frozenset(places[n] for n in table.names if n in places),
    )


#: Characters of a cell on a page.
CELL_LIMIT = 1000
#: A sign that says nothing to who can't see it.
_NAMED = {"✅": "✅ ok"}


def for_page(table: Table) -> Table:
    """The table in printable words, without the columns that have nothing in any row."""
    full = without_empty_columns(table)
    return replace(
        full,
        header=tuple(printable(head, limit=CELL_LIMIT) for head in full.header),
        rows=[
            tuple(printable(_NAMED.get(cell, cell), limit=CELL_LIMIT) for cell in row)
            for row in full.rows
        ],
    )


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
    alike = Alike((record.cell for record in records), _shown_as)
    rows = [_result_row(record, alike.apart(record.cell)) for record in records]
    return Table(header, rows, numbers=frozenset({3, 4, 5, 6, 7}), names=frozenset({0, 1}))


def _shown_as(cell: Cell) -> tuple[object, ...]:
    return cell.model.name, cell.variant, cell.target, cell.scenario, cell.batch


def _result_row(record: Record, apart: Sequence[Setting]) -> tuple[str, ...]:
    cell = record.cell
    variant = suffix(cell.variant)
    batch = "" if cell.batch == 1 else f"batch {cell.batch}"
    settings = settings_in_words(settings_of(cell, UNUSUAL), apart)
    latency = record.latency if not (cell.is_rate or record.simulated) else None
    median = latency.median_ns if latency else None
    rate = None if record.simulated else record.throughput
    peak = record.memory.peak_rss_bytes if record.memory else None
    return (
        f"{cell.model.name}{variant}",
        cell.target,
        ", ".join(filter(None, (cell.scenario, batch, settings))),
        _estimate(median, TIME_UNITS, record.lone_ns),
        with_unit(latency.p99.value_ns if latency else None, TIME_UNITS),
        _estimate(rate, RATE_UNITS, record.lone_rate),
        with_unit(peak, BYTE_UNITS),
        _score(record),
        _state(record),
    )


def _estimate(estimate: Estimate | None, units: tuple[Unit, ...], lone: float | None) -> str:
    """An estimate with its half-width; else the ``lone`` figure that has no interval."""
    if estimate is None:
        return with_unit(lone, units)
    width = half_width(estimate.value, estimate.low, estimate.high)
    return f"{with_unit(estimate.value, units)} {width}"


def _score(record: Record) -> str:
    if record.accuracy is None:
        return MISSING
    found = record.accuracy.value
    return metric_of(record).scale.value(found.value, found.low, found.high)


def _state(record: Record) -> str:
    if record.failure is not None:
        return f"❌ {record.failure.kind}: {record.failure.message}"
    if record.status == "failed":
        return "❌ failed"
    failed = [check.name for check in record.checks if not check.ok]
    if record.wrong:
        return f"❌ WRONG: {', '.join(failed)}"
    words = ["partial"] if record.partial else []
    words += ["simulated"] if record.simulated else []
    words += [f"failed: {', '.join(failed)}"] if failed else []
    remark = busy_remark(record)  # which is no doubt about the figures
    said = "; ".join([*words, remark] if remark else words)
    return f"{'⚠️' if words else '✅'} {said}".strip()


def pairs_table(pairs: Sequence[Pair]) -> Table:
    """One row a pair and target."""
    header = (
        "Model",
        "Against",
        "Target",
        "Speed-up",
        "Throughput",
        _change_title(pairs),
        "p",
        "Kept",
    )
    rows = [_pair_row(pair) for pair in pairs]
    return Table(header, rows, numbers=frozenset({3, 4, 5, 6, 7}), names=frozenset({0, 1, 2}))


def _pair_row(pair: Pair) -> tuple[str, ...]:
    change = pair.accuracy
    kept = change.retained if change else None
    return (
        f"{pair.model}{_variant(pair.variant)}",
        f"{pair.other}{_variant(pair.other_variant)}",
        pair.where,
        _ratio(pair.speedup) if pair.speedup else pair.missing or MISSING,
        _ratio(pair.throughput),
        _change(change),
        p_value(change.p) if change else MISSING,
        percent(kept.estimate) if kept else MISSING,
    )


def _change_title(pairs: Sequence[Pair]) -> str:
    scale = common_scale(pair.accuracy.metric.scale for pair in pairs if pair.accuracy)
    return f"Accuracy, {scale.steps}" if scale and scale.steps else "Accuracy"


def _change(change: Change | None) -> str:
    if change is None:
        return MISSING
    found, scale = change.difference, change.metric.scale
    low, high = scale.difference(found.low), scale.difference(found.high)
    return f"{scale.difference(found.estimate)} ({low} to {high})"


def _variant(variant: str) -> str:
    return suffix(variant)


def _ratio(found: Ratio | None) -> str:
    return MISSING if found is None else ratio(found.value, found.low, found.high)
