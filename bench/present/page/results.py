"""The results table: a row a record, with the keys of `bench.store.fields.RESULT_FIELDS` in CSV."""

from __future__ import annotations

from collections.abc import Sequence

from bench.numbers import (
    BYTE_UNITS,
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    column_unit,
)
from bench.present.page.names import shown, target_words
from bench.present.page.parts import (
    Column,
    Entry,
    Table,
    bounds,
    estimate_entry,
    number_entry,
    score_entry,
    score_unit,
)
from bench.record.result import Record

#: The letter of the run, the name of its machine (empty where there is one machine), the record.
_Lettered = tuple[str, str, Record]


def results_table(found: Sequence[_Lettered], name: str, left_out: str) -> Table:
    """All records of all runs, each with the letter of its run and the name of its machine, where
    there are several."""
    records = [record for *_, record in found]
    units = _units(records)
    runs = len({letter for letter, *_ in found}) > 1
    machines = any(machine for _, machine, _ in found)
    columns = [
        Column(("model",), "Model"),
        Column(("variant",), "Variant"),
        Column(("target",), "Target"),
        Column(("scenario",), "Scenario"),
        Column(("batch",), "Batch", numeric=True, meaning="samples in one query"),
        Column(
            ("status",), "Status", meaning="ok, marked (a check failed), WRONG, simulated, failed"
        ),
        Column(bounds("median", "ns"), "Latency", units["latency"].name, numeric=True),
        Column(("p99_ns",), "p99", units["latency"].name, numeric=True),
        Column(bounds("throughput", "per_s"), "Throughput", units["rate"].name, numeric=True),
        Column(("peak_rss_bytes",), "Memory", units["memory"].name, numeric=True),
        Column(bounds("accuracy"), "Accuracy", score_unit(records), numeric=True),
        Column(("load_ns",), "Load", units["load"].name, numeric=True),
        Column(("first_inference_ns",), "First run", units["first"].name, numeric=True),
        Column(("invocations",), "Invocations", numeric=True),
        Column(("cell_id",), "Cell"),
    ]
    if machines:
        columns.insert(0, Column(("machine",), "Machine"))
    if runs:
        columns.insert(0, Column(("run",), "Run"))
    rows = []
    for letter, machine, record in found:
        before = [Entry(letter)] * runs + [Entry(shown(machine))] * machines
        rows.append((*before, *_row(record, units)))
    filters = tuple(
        place
        for place, column in enumerate(columns)
        if column.keys[0] in ("run", "machine", "model", "variant", "target", "scenario", "status")
    )
    return Table(name, "Every cell", tuple(columns), tuple(rows), left_out, filters)


def _units(records: Sequence[Record]) -> dict[str, Unit]:
    timed = [r for r in records if not r.simulated]
    return {
        "latency": column_unit(
            [r.latency.median_ns.value for r in timed if r.latency and not r.cell.is_rate],
            TIME_UNITS,
        ),
        "rate": column_unit([r.throughput.value for r in timed if r.throughput], RATE_UNITS),
        "memory": column_unit([r.memory.peak_rss_bytes for r in timed if r.memory], BYTE_UNITS),
        "load": column_unit([r.load_ns.value for r in timed if r.load_ns], TIME_UNITS),
        "first": column_unit(
            [r.first_inference_ns.value for r in timed if r.first_inference_ns], TIME_UNITS
        ),
    }


def _row(record: Record, units: dict[str, Unit]) -> tuple[Entry, ...]:
    cell = record.cell
    latency = record.latency if not (record.simulated or cell.is_rate) else None
    throughput = record.throughput if not record.simulated else None
    memory = record.memory.peak_rss_bytes if record.memory and not record.simulated else None
    start = record if not record.simulated else None
    p99 = latency.p99.value_ns if latency else None
    return (
        Entry(shown(cell.model.name)),
        Entry(cell.variant),
        Entry(target_words(cell)),
        Entry(cell.scenario),
        number_entry(cell.batch),
        _status(record),
        estimate_entry(latency.median_ns if latency else None, units["latency"]),
        number_entry(p99, units["latency"]),
        estimate_entry(throughput, units["rate"]),
        number_entry(memory, units["memory"]),
        score_entry(record),
        number_entry(start.load_ns.value if start and start.load_ns else None, units["load"]),
        number_entry(
            start.first_inference_ns.value if start and start.first_inference_ns else None,
            units["first"],
        ),
        number_entry(len(record.invocations)),
        Entry(record.cell_id, tone="dim"),
    )


def _status(record: Record) -> Entry:
    if record.status == "failed":
        kind = shown(record.failure.kind) if record.failure else ""
        return Entry("failed", kind, tone="bad")
    if record.simulated:
        return Entry("simulated", tone="warn")
    if record.wrong:
        return Entry("WRONG", ", ".join(record.wrong), tone="bad")
    marks = [shown(check.name) for check in record.checks if not check.ok]
    if marks:
        return Entry("marked", ", ".join(marks), tone="warn")
    return Entry("ok", tone="good")
