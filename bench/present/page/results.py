"""The results table: a row for each model, target and batch, as on the terminal, with the keys of
`bench.store.fields.RESULT_FIELDS` in CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.numbers import (
    BYTE_UNITS,
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    column_unit,
)
from bench.present.devices import busy_remark
from bench.present.page.names import shown
from bench.present.page.parts import (
    Column,
    Entry,
    Table,
    bounds,
    figure_entry,
    number_entry,
    score_entry,
    score_unit,
)
from bench.present.pivot import Batch, batches_of
from bench.present.results import row_labels
from bench.record.result import Record, value_of

#: The letter of the run, the name of its machine (empty where there is one machine), the record.
_Lettered = tuple[str, str, Record]


@dataclass(frozen=True)
class _Row:
    """One line: its run, its machine, what it is of, and its figures."""

    letter: str
    machine: str
    target: str
    batch: Batch


def results_table(found: Sequence[_Lettered], name: str, left_out: str) -> Table:
    """All records of all runs, each with the letter of its run and the name of its machine, where
    there are several."""
    records = [record for *_, record in found]
    units = _units(records)
    runs = len({letter for letter, *_ in found}) > 1
    machines = any(machine for _, machine, _ in found)
    lines = list(_lines(found))
    columns = _columns(records, units, lines)
    if machines:
        columns.insert(0, Column(("machine",), "Machine"))
    if runs:
        columns.insert(0, Column(("run",), "Run"))
    rows = []
    for line in lines:
        before = [Entry(line.letter)] * runs + [Entry(shown(line.machine))] * machines
        rows.append((*before, *_row(line, units)))
    filters = tuple(
        place
        for place, column in enumerate(columns)
        if column.keys[0] in ("run", "machine", "model", "variant", "target", "status")
    )
    return Table(name, "Every cell", tuple(columns), tuple(rows), left_out, filters)


def _columns(
    records: Sequence[Record], units: dict[str, Unit], lines: Sequence[_Row]
) -> list[Column]:
    latency = units["latency"].name
    alone = {line.batch.latency.cell.batch for line in lines if line.batch.latency} == {1}
    one = len({record.cell.variant for record in records}) == 1
    return [
        Column(("model",), "Model"),
        Column(("variant",), "Variant", csv_only=one),
        Column(("target",), "Target"),
        Column(
            ("status",),
            "Status",
            meaning="ok, marked (a check failed), partial (stopped), WRONG, simulated, failed",
        ),
        Column(
            bounds("median", "ns"),
            "Latency",
            f"{latency}, batch 1" if alone else latency,
            numeric=True,
        ),
        Column(("p99_ns",), "p99", latency, numeric=True),
        Column(bounds("throughput", "per_s"), "Throughput", units["rate"].name, numeric=True),
        Column(("batch",), "Batch", numeric=True, meaning="samples in one query"),
        Column(("peak_rss_bytes",), "Memory", units["memory"].name, numeric=True),
        Column(bounds("accuracy"), "Accuracy", score_unit(records), numeric=True),
        Column(("load_ns",), "Load", units["load"].name, numeric=True),
        Column(("first_inference_ns",), "First run", units["first"].name, numeric=True),
        Column(("scenarios",), "Scenarios", csv_only=True),
        Column(("invocations",), "Invocations", numeric=True, csv_only=True),
        Column(("cell_ids",), "Cells", csv_only=True),
    ]


def _lines(found: Sequence[_Lettered]) -> Iterator[_Row]:
    """Latency and throughput of a model on a target beside each other, batch by batch."""
    label = row_labels([record.cell for *_, record in found])
    grouped: dict[tuple[str, ...], list[Record]] = {}
    for letter, machine, record in found:
        model = record.cell.model
        key = (letter, machine, model.name, model.sha256, record.cell.variant, label(record.cell))
        grouped.setdefault(key, []).append(record)
    for (letter, machine, *_, target), records in grouped.items():
        rest = list(records)
        while rest:
            batches = batches_of(rest)
            told = {record.cell_id for batch in batches for record in batch.records}
            yield from (_Row(letter, machine, target, batch) for batch in batches)
            rest = [record for record in rest if record.cell_id not in told] if told else []


def _units(records: Sequence[Record]) -> dict[str, Unit]:
    timed = [r for r in records if not r.simulated]
    return {
        "latency": column_unit(
            [
                r.latency.median_ns.value if r.latency else r.lone_ns
                for r in timed
                if not r.cell.is_rate
            ],
            TIME_UNITS,
        ),
        "rate": column_unit(
            [r.throughput.value if r.throughput else r.lone_rate for r in timed], RATE_UNITS
        ),
        "memory": column_unit([r.memory.peak_rss_bytes for r in timed if r.memory], BYTE_UNITS),
        "load": column_unit([r.load_ns.value for r in timed if r.load_ns], TIME_UNITS),
        "first": column_unit(
            [r.first_inference_ns.value for r in timed if r.first_inference_ns], TIME_UNITS
        ),
    }


def _row(line: _Row, units: dict[str, Unit]) -> tuple[Entry, ...]:
    records = line.batch.records
    real = [record for record in records if not record.simulated]
    timed = line.batch.latency
    latency = timed.latency if timed is not None and not timed.simulated else None
    rated = line.batch.offline
    throughput = rated.throughput if rated is not None and not rated.simulated else None
    peaks = [r.memory.peak_rss_bytes for r in real if r.memory and r.memory.peak_rss_bytes]
    start = timed or rated
    start = start if start is not None and not start.simulated else None
    cell = (rated or records[0]).cell
    return (
        Entry(shown(cell.model.name)),
        Entry(cell.variant),
        Entry(line.target),
        _with_remarks(min(map(_status, records), key=_badness), records),
        figure_entry(
            latency.median_ns if latency else None,
            timed.lone_ns if timed else None,
            units["latency"],
        ),
        number_entry(latency.p99.value_ns if latency else None, units["latency"]),
        figure_entry(throughput, rated.lone_rate if rated else None, units["rate"]),
        _batch(rated, cell.batch),
        number_entry(max(peaks, default=None), units["memory"]),
        score_entry(next((r for r in records if r.accuracy is not None), None)),
        number_entry(value_of(start.load_ns) if start else None, units["load"]),
        number_entry(value_of(start.first_inference_ns) if start else None, units["first"]),
        Entry(" ".join(record.cell.scenario for record in records)),
        number_entry(sum(len(record.invocations) for record in records)),
        Entry(" ".join(record.cell_id for record in records), tone="dim"),
    )


def _batch(rated: Record | None, batch: int) -> Entry:
    """A latency alone is at batch 1, which needs no telling."""
    return number_entry(batch) if rated is not None or batch != 1 else Entry("", values=(batch,))


_WORST_FIRST = ("failed", "WRONG", "partial", "simulated", "marked", "ok")


def _badness(status: Entry) -> int:
    return _WORST_FIRST.index(status.text)


def _with_remarks(status: Entry, records: Sequence[Record]) -> Entry:
    """The status with what is no doubt about the figures, for those who ask."""
    remarks = [words for record in records if (words := busy_remark(record)) is not None]
    if not remarks:
        return status
    return replace(status, detail="\n".join(remarks), detail_title="launch-bound")


def _status(record: Record) -> Entry:
    if record.status == "failed":
        kind = shown(record.failure.kind) if record.failure else ""
        return Entry("failed", kind, tone="bad")
    if record.simulated:
        return Entry("simulated", tone="warn")
    if record.wrong:
        return Entry("WRONG", ", ".join(record.wrong), tone="bad")
    marks = [shown(check.name) for check in record.checks if not check.ok]
    if record.partial:
        return Entry("partial", ", ".join(marks), tone="warn")
    if marks:
        return Entry("marked", ", ".join(marks), tone="warn")
    return Entry("ok", tone="good")
