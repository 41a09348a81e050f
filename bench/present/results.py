"""The result table: one line for each model, variant, target and batch, drawn from records.

A model is a heading and its targets are lines under it, which leaves 80 columns enough room for
figures with their intervals. Units stand in the header, chosen once a column; what doesn't fit a
cell (why a cell failed, which check failed) is a numbered note below the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from bench.cell import ModelIdentity
from bench.numbers import (
    BYTE_UNITS,
    MISSING,
    NAME_LIMIT,
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    column_unit,
    duration,
    half_width,
    in_unit,
    printable,
    significant,
    size,
)
from bench.present.columns import RESULT_COLUMNS, RESULT_FIELDS, Column
from bench.record.placement import is_all_on_device, share_on_device, share_percent
from bench.record.result import Accuracy, Check, Estimate, Failure, Foreign, Percentile, Record

INDENT = 2
GAP = 2
NARROWEST_LABEL = 18
TIED = "\u00a0"  #: a space at which `wrap` doesn't break
SHORT_MESSAGE = 48  #: what a failed row has room for at 80 columns
OK, MARKED, FAILED, FOREIGN = "✓", "!", "✗", "·"
_STYLES = {OK: "green", MARKED: "yellow", FAILED: "red"}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


# -- laying out lines -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """What stands in one cell of a table: a number, its interval, and the note it refers to."""

    value: str
    interval: str = ""
    style: str = ""


NOTHING = Figure(MISSING, style="dim")


@dataclass(frozen=True)
class Line:
    """A heading (no mark), or a marked label with figures or with a message in their place."""

    label: str
    mark: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class _Width:
    value: int
    interval: int

    @property
    def total(self) -> int:
        return self.value + (1 + self.interval if self.interval else 0)


def lay_out(
    columns: Sequence[Column], units: Mapping[str, str], lines: Sequence[Line], width: int
) -> Text:
    """The header and the lines as text, no line wider than ``width``."""
    rows = [line for line in lines if line.figures]
    columns = [c for c in columns if _says_something(c, rows)]
    widths = {c.key: _column_width(c, units, rows) for c in columns}
    longest = max((cell_len(line.label) for line in lines if line.mark), default=0)
    label_width = max(NARROWEST_LABEL, min(longest, width))
    shown = _fitting(columns, widths, INDENT + label_width, width)
    figures_width = sum(widths[c.key].total + GAP for c in shown)
    label_width = max(1, min(label_width, width - INDENT - figures_width))
    text = _header(shown, units, widths, INDENT + label_width)
    for line in lines:
        text.append_text(_line(line, shown, widths, label_width, width))
    return text


def _says_something(column: Column, rows: Sequence[Line]) -> bool:
    return any(row.figures.get(column.key, NOTHING).value != MISSING for row in rows)


def _column_width(column: Column, units: Mapping[str, str], rows: Sequence[Line]) -> _Width:
    figures = [row.figures[column.key] for row in rows if column.key in row.figures]
    value = max((cell_len(f.value) for f in figures if f.interval), default=0)
    interval = max((cell_len(f.interval) for f in figures), default=0)
    whole = max((cell_len(f.value) for f in figures if not f.interval), default=0)
    whole = max(whole, cell_len(column.title), cell_len(units.get(column.key, "")))
    missing = whole - (value + (1 + interval if interval else 0))
    return _Width(value + max(0, missing), interval)


def _fitting(
    columns: Sequence[Column], widths: Mapping[str, _Width], used: int, width: int
) -> list[Column]:
    """The essential columns, and the others in order while they fit."""
    used += sum(widths[c.key].total + GAP for c in columns if c.essential)
    shown = [c for c in columns if c.essential]
    for column in columns:
        needed = widths[column.key].total + GAP
        if not column.essential and used + needed <= width:
            shown.append(column)
            used += needed
    return [c for c in columns if c in shown]


def _header(
    columns: Sequence[Column], units: Mapping[str, str], widths: Mapping[str, _Width], used: int
) -> Text:
    text = Text()
    for words in ({c.key: c.title for c in columns}, units):
        line = " " * used
        for column in columns:
            line += " " * GAP + words.get(column.key, "").rjust(widths[column.key].total)
        if line.strip():
            text.append(line.rstrip() + "\n", style="bold" if words is not units else "dim")
    return text


def _line(
    line: Line,
    columns: Sequence[Column],
    widths: Mapping[str, _Width],
    label_width: int,
    width: int,
) -> Text:
    if not line.figures and not line.message:
        heading = clip(line.label, width)
        return Text(heading + "\n", style="" if line.mark else "bold")
    text = Text().append(line.mark.ljust(INDENT), style=_STYLES.get(line.mark, ""))
    if cell_len(line.label) <= label_width:
        text.append(pad(line.label, label_width))
    else:
        text.append(clip(line.label, width - INDENT) + "\n" + " " * (INDENT + label_width))
    if line.message:
        room = width - INDENT - label_width - GAP
        text.append(" " * GAP + clip(line.message, room), style="red")
    for column in () if line.message else columns:
        text.append(" " * GAP)
        text.append_text(_figure(line.figures.get(column.key), widths[column.key]))
    text.rstrip()
    return text.append("\n")


def _figure(figure: Figure | None, width: _Width) -> Text:
    if figure is None:
        return Text(" " * width.total)
    if not figure.interval:
        right = width.value if figure.value == MISSING else width.total
        value = " " * (right - cell_len(figure.value)) + figure.value
        return Text(pad(value, width.total), style=figure.style)
    value = " " * (width.value - cell_len(figure.value)) + figure.value
    text = Text().append(value, style=figure.style)
    return text.append(" " + pad(figure.interval, width.interval), style="dim")


def pad(text: str, width: int) -> str:
    """``text`` filled with spaces to ``width`` terminal cells."""
    return text + " " * (width - cell_len(text))


def clip(text: str, width: int) -> str:
    """``text`` cut to ``width`` terminal cells, with an ellipsis where something is lost."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def wrap(text: str, width: int, indent: int = 0) -> str:
    """``text`` as lines of at most ``width`` terminal cells, all but the first indented."""
    lines: list[str] = []
    lead = " " * (len(text) - len(text.lstrip(" ")))
    current = ""
    for word in filter(None, text.split(" ")):
        if current and cell_len(lead + current + " " + word) <= width:
            current += " " + word
            continue
        if current:
            lines.append(lead + current)
            lead = " " * indent
        current = clip(word, width - len(lead))
    return "\n".join([*lines, lead + current]).replace(TIED, " ")


# -- joining records ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Batch:
    """What one line shows: a latency record, a throughput record, or both."""

    latency: Record | None = None
    offline: Record | None = None

    @property
    def records(self) -> list[Record]:
        return [record for record in (self.latency, self.offline) if record is not None]


@dataclass(frozen=True)
class _Row:
    """Everything on one model, variant and target."""

    label: str
    records: tuple[Record, ...]
    batches: tuple[_Batch, ...]


def result_table(records: Sequence[Record], width: int = 80) -> Text:
    """The whole table with its notes, no line wider than ``width``."""
    if not records:
        return Text("no cell has been measured.\n")
    records = list({record.cell_id: record for record in records}.values())
    notes = _Notes()
    groups = _groups(records)
    rows = [row for _, found in groups for row in found]
    batches = [b for row in rows for b in row.batches]
    units = _units(batches)
    lines: list[Line] = []
    for heading, found in groups:
        lines.append(Line(heading))
        for row in found:
            lines.extend(_lines(row, units, notes))
    text = lay_out(RESULT_COLUMNS, _unit_names(units, batches), lines, width)
    text.append("\n")
    general = (*_legend(batches), *_percentile_notes(batches), *_metric_notes(batches))
    for note in (*general, *notes.texts(), _summary(rows)):
        text.append(wrap(note, width, indent=2) + "\n", style="dim")
    return text


def _groups(records: Sequence[Record]) -> list[tuple[str, list[_Row]]]:
    """Headings (one for each model and variant) with their rows, in the order of the records."""
    several_variants = len({r.cell.variant for r in records}) > 1
    several_threads = len({r.cell.threads for r in records}) > 1
    originals = {r.cell.model.distilled_from for r in records}
    grouped: dict[tuple[str, str, str], dict[str, list[Record]]] = {}
    for record in records:
        cell = record.cell
        rows = grouped.setdefault((cell.model.name, cell.model.sha256, cell.variant), {})
        rows.setdefault(_label(record, several_threads), []).append(record)
    return [
        (
            _heading(next(iter(rows.values()))[0], several_variants, originals),
            [_Row(label, tuple(found), _batches(found)) for label, found in rows.items()],
        )
        for rows in grouped.values()
    ]


#: The prepared call is what every unlabelled line shows.
_LANE_LABELS = {"api": "user API", "native": "native loop"}


def _label(record: Record, several_threads: bool) -> str:
    cell = record.cell
    parts = [printable(cell.target, limit=NAME_LIMIT)]
    if cell.scenario == "multi-stream":
        parts.append("multi-stream")
    if cell.latency_bound_ns is not None:
        parts.append(f"server, p99 ≤ {duration(cell.latency_bound_ns)}")
    if cell.lane in _LANE_LABELS:
        parts.append(_LANE_LABELS[cell.lane])
    if several_threads:
        parts.append(f"{cell.threads} thread{'' if cell.threads == 1 else 's'}")
    if cell.allow_fallback:
        parts.append("fallback allowed")
    return ", ".join(parts)


def _heading(record: Record, several_variants: bool, originals: Set[str | None]) -> str:
    model = record.cell.model
    bytes_known = size(model.file_bytes) if model.file_bytes or not record.foreign else ""
    facts = [_role(model, originals), bytes_known, _parameters(model.parameters)]
    if several_variants and not record.foreign:
        facts.insert(0, record.cell.variant)
    return f"{printable(model.name, limit=NAME_LIMIT)}  {', '.join(filter(None, facts))}"


def _role(model: ModelIdentity, originals: Set[str | None]) -> str:
    if model.control_of:
        return f"control of {printable(model.control_of, limit=NAME_LIMIT)}"
    if model.distilled_from:
        return f"distilled from {printable(model.distilled_from, limit=NAME_LIMIT)}"
    return "original" if model.name in originals else ""


def _parameters(count: int | None) -> str:
    if not count:
        return ""
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{significant(count / scale)}{letter} parameters"
    return f"{count} parameters"


def _batches(records: Sequence[Record]) -> tuple[_Batch, ...]:
    """One line for each batch; a latency at batch 1 alone shares the line of the first batch."""
    latency = {r.cell.batch: r for r in records if r.cell.scenario != "offline"}
    offline = {r.cell.batch: r for r in records if r.cell.is_rate}
    if set(latency) == {1} and offline and 1 not in offline:
        first, *rest = sorted(offline)
        joined = _Batch(latency[1], offline[first])
        return (joined, *(_Batch(None, offline[batch]) for batch in rest))
    return tuple(
        _Batch(latency.get(batch), offline.get(batch)) for batch in sorted({*latency, *offline})
    )


# -- figures --------------------------------------------------------------------------------------


def _units(batches: Sequence[_Batch]) -> dict[str, Unit]:
    """One unit for each column (the latency columns share theirs)."""
    timed = [b.latency for b in batches if b.latency and not b.latency.simulated]
    latencies = [_typical_ns(r) for r in timed]
    rated = [_rate_record(b) for b in batches]
    rates = [_rate(r) for r in rated if r is not None and not r.simulated]
    records = [r for b in batches for r in b.records]
    return {
        "latency": column_unit(latencies, TIME_UNITS),
        "throughput": column_unit(rates, RATE_UNITS),
        "memory": column_unit([_peak([r]) for r in records], BYTE_UNITS),
        "load": column_unit([_value(r.load_ns) for r in records], TIME_UNITS),
        "first": column_unit([_value(r.first_inference_ns) for r in records], TIME_UNITS),
    }


def _unit_names(units: Mapping[str, Unit], batches: Sequence[_Batch]) -> dict[str, str]:
    names = {key: unit.name for key, unit in units.items()}
    names["p90"] = names["p99"] = names["latency"]
    names["accuracy"] = "%"
    if {b.latency.cell.batch for b in batches if b.latency} == {1}:
        names["latency"] += ", batch 1"
    return names


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _peak(records: Iterable[Record]) -> float | None:
    found = [r.memory.peak_rss_bytes for r in records if r.memory and r.memory.peak_rss_bytes]
    return max(found, default=None)


def _lines(row: _Row, units: Mapping[str, Unit], notes: _Notes) -> list[Line]:
    marks = notes.refer(row)
    mark = _mark(row)
    if all(r.status == "failed" for r in row.records):
        return [Line(row.label + marks, mark, message=_short_failure(row.records[0].failure))]
    lines = [Line("", figures=_figures(batch, row, units)) for batch in row.batches]
    whole = {"accuracy": _accuracy(row), "device": _on_device(row)}
    first = Line(row.label + marks, mark, {**lines[0].figures, **whole})
    return [first, *lines[1:]]


def _mark(row: _Row) -> str:
    if any(r.status == "failed" for r in row.records):
        return FAILED
    if any(r.foreign is not None for r in row.records):
        return FOREIGN
    marked = any(not check.ok for r in row.records for check in r.checks)
    return MARKED if marked else OK


def _short_failure(failure: Failure | None) -> str:
    """The kind and as much of the message as a row has room for."""
    return "failed" if failure is None else f"failed, {clip(_failure_text(failure), SHORT_MESSAGE)}"


def _failure_text(failure: Failure) -> str:
    return f"{failure.kind}: {printable(failure.message, limit=400)}"


def _figures(batch: _Batch, row: _Row, units: Mapping[str, Unit]) -> dict[str, Figure]:
    figures = {"memory": _number(_peak(batch.records), units["memory"])}
    if batch.latency is not None:
        figures |= _latency_figures(batch.latency, units)
    elif batch is row.batches[0]:
        figures |= {"latency": NOTHING, "p99": NOTHING}
    shown = batch.offline or batch.latency
    if shown is not None and (batch.offline or shown.cell.batch != 1):
        figures["batch"] = Figure(str(shown.cell.batch))
    figures["throughput"] = _throughput(_rate_record(batch), units["throughput"])
    return figures


def _rate_record(batch: _Batch) -> Record | None:
    """Other tools tell latency and throughput of the same calls."""
    if batch.offline is None and batch.latency is not None and batch.latency.foreign is not None:
        return batch.latency
    return batch.offline


def _latency_figures(record: Record, units: Mapping[str, Unit]) -> dict[str, Figure]:
    if record.status == "failed":
        return {"latency": Figure("failed", style="red"), "p99": NOTHING}
    if record.simulated:
        return {"latency": Figure("simulated", style="dim"), "p99": NOTHING}
    figures = {
        "load": _number(_value(record.load_ns), units["load"]),
        "first": _number(_value(record.first_inference_ns), units["first"]),
    }
    if record.parity is not None:
        error = record.parity.max_abs_error
        figures["error"] = Figure("NaN" if error is None else f"{error:.0e}".replace("e-0", "e-"))
    unit = units["latency"]
    if record.foreign is not None:
        return {**figures, **_foreign_figures(record.foreign, unit)}
    if record.latency is None:
        return {**figures, "latency": NOTHING, "p99": NOTHING}
    return {
        **figures,
        "latency": _estimate(record.latency.median_ns, unit),
        "p90": _percentile(record.latency.p90, unit),
        "p99": _percentile(record.latency.p99, unit),
        "samples": Figure(str(record.latency.samples)),
    }


def _typical_ns(record: Record) -> float | None:
    """The latency that a row shows: the median, or the mean where another tool tells no median."""
    if record.foreign is not None:
        found = record.foreign
        return found.mean_ns if found.median_ns is None else found.median_ns
    return record.latency.median_ns.value if record.latency else None


def _rate(record: Record) -> float | None:
    return record.foreign.throughput_per_s if record.foreign else _value(record.throughput)


def _foreign_figures(found: Foreign, unit: Unit) -> dict[str, Figure]:
    typical = found.mean_ns if found.median_ns is None else found.median_ns
    return {
        "latency": _number(typical, unit),
        "p90": _number(found.p90_ns, unit),
        "p99": _number(found.p99_ns, unit),
        "samples": NOTHING if found.samples is None else Figure(str(found.samples)),
    }


def _number(value: float | None, unit: Unit) -> Figure:
    return NOTHING if value is None else Figure(in_unit(value, unit))


def _estimate(estimate: Estimate | None, unit: Unit) -> Figure:
    if estimate is None:
        return NOTHING
    width = half_width(estimate.value, estimate.low, estimate.high)
    return Figure(in_unit(estimate.value, unit), width)


def _percentile(percentile: Percentile, unit: Unit) -> Figure:
    return _number(percentile.value_ns, unit)


def _throughput(record: Record | None, unit: Unit) -> Figure:
    if record is None:
        return NOTHING
    if record.status == "failed":
        return Figure("failed", style="red")
    if record.simulated:
        return Figure("simulated", style="dim")
    if record.foreign is not None:
        return _number(record.foreign.throughput_per_s, unit)
    return _estimate(record.throughput, unit)


def _accuracy(row: _Row) -> Figure:
    found: list[Accuracy] = [r.accuracy for r in row.records if r.accuracy is not None]
    if not found:
        return NOTHING
    score = found[0].value
    side = max(score.high - score.value, score.value - score.low)
    return Figure(f"{100 * score.value:.1f}", f"±{100 * side:.1f}")


def _on_device(row: _Row) -> Figure:
    """The smallest share of any of the row's cells, where it could be less than all."""
    shown = [
        r.placement
        for r in row.records
        if r.placement is not None
        and share_on_device(r.placement) is not None
        and (r.cell.allow_fallback or not is_all_on_device(r.placement))
    ]
    if not shown:
        return NOTHING
    least = min(shown, key=lambda fact: (is_all_on_device(fact), share_on_device(fact)))
    return Figure(share_percent(least), style="" if is_all_on_device(least) else "yellow")


# -- notes ----------------------------------------------------------------------------------------


class _Notes:
    """The numbered notes under a table, each text once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def refer(self, row: _Row) -> str:
        """The superscript numbers of what there is to say about a row."""
        texts = _remarks(row)
        numbers = [self._numbers.setdefault(t, len(self._numbers) + 1) for t in texts]
        return "˒".join(str(n).translate(_SUPERSCRIPTS) for n in dict.fromkeys(numbers))

    def texts(self) -> list[str]:
        return [f"{str(n).translate(_SUPERSCRIPTS)} {text}" for text, n in self._numbers.items()]


def _remarks(row: _Row) -> list[str]:
    checks = [_check_text(c) for r in row.records for c in r.checks if not c.ok]
    checks = [_foreign_text(r.foreign) for r in row.records if r.foreign is not None] + checks
    failures = [_failure_text(r.failure) for r in row.records if r.failure is not None]
    in_full = len(failures) == len(row.records) and len(set(failures)) == 1
    if in_full and cell_len(failures[0]) <= SHORT_MESSAGE:
        return checks
    return failures + checks


def _check_text(check: Check) -> str:
    return f"{printable(check.name, limit=60)}: {printable(check.detail, limit=400)}"


def _legend(batches: Sequence[_Batch]) -> list[str]:
    """What ± and p99 mean, where the table shows any."""
    timed = [r.latency for b in batches for r in b.records if r.latency and not r.simulated]
    if not timed:
        return []
    confidence = 100 * timed[0].median_ns.confidence
    return [f"± is the {confidence:g}% interval; p99 is an upper bound at 99% confidence."]


def _percentile_notes(batches: Sequence[_Batch]) -> list[str]:
    missing = [
        b.latency.latency.p99
        for b in batches
        if b.latency and b.latency.latency and not b.latency.simulated
        if b.latency.latency.p99.value_ns is None
    ]
    if not missing:
        return []
    fewest, most = min(p.samples for p in missing), max(p.samples for p in missing)
    have = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return [f"{MISSING} p99 needs {missing[0].samples_needed} samples; these rows have {have}."]


def _metric_notes(batches: Sequence[_Batch]) -> list[str]:
    """What the accuracy column shows where that is no share of right answers."""
    found = {
        record.accuracy.metric
        for batch in batches
        for record in batch.records
        if record.accuracy is not None
    }
    return [f"{MISSING} accuracy is {metric} x 100." for metric in sorted(found - {"top-1"})]


def _summary(rows: Sequence[_Row]) -> str:
    marks = [_mark(row) for row in rows]
    meanings = {OK: "ok", MARKED: "ok, but a check failed", FAILED: "failed"}
    meanings[FOREIGN] = "measured by another tool"
    counts = [f"{m} {marks.count(m)} {words}" for m, words in meanings.items() if m in marks]
    return "; ".join(counts) + "."


def _foreign_text(found: Foreign) -> str:
    typical = "; the latency is the mean" if found.median_ns is None and found.mean_ns else ""
    return (
        f"measured by {printable(found.tool, limit=60)}, read from "
        f"{printable(found.source, limit=NAME_LIMIT)}: no interval, none of our checks{typical}"
    )


# -- rows as data ---------------------------------------------------------------------------------


def result_rows(records: Sequence[Record]) -> list[dict[str, object]]:
    """One flat, JSON-ready row a record, with the keys of `bench.present.columns.RESULT_FIELDS`."""
    return [_raw_row(record) for record in records]


def _raw_row(record: Record) -> dict[str, object]:
    cell, model = record.cell, record.cell.model
    row: dict[str, object] = dict.fromkeys(RESULT_FIELDS)
    row |= {
        "cell_id": record.cell_id,
        "model": model.name,
        "model_sha256": model.sha256,
        "task": model.task,
        "distilled_from": model.distilled_from,
        "control_of": model.control_of,
        "file_bytes": model.file_bytes,
        "parameters": model.parameters,
        "variant": cell.variant,
        "target": cell.target,
        "device_name": record.device_name,
        "runtime_version": record.runtime_version,
        "simulated": record.simulated,
        "scenario": cell.scenario,
        "batch": cell.batch,
        "threads": cell.threads,
        "lane": cell.lane,
        "allow_fallback": cell.allow_fallback,
        "status": record.status,
        "stop": record.stop,
        "invocations": len(record.invocations),
        "load_ns": _value(record.load_ns),
        "first_inference_ns": _value(record.first_inference_ns),
        "h2d_ns": _value(record.h2d_ns),
        "d2h_ns": _value(record.d2h_ns),
        "checks_failed": [check.name for check in record.checks if not check.ok],
        "finished_at": record.finished_at,
        "canary_ns": _value(record.canary_ns),
    }
    row |= _raw_measures(record)
    return row if record.foreign is None else row | _raw_foreign(record.foreign, cell.threads)


def _raw_foreign(found: Foreign, threads: int) -> dict[str, object]:
    """What another tool told; there are no bounds in it."""
    return {
        "foreign": found.tool,
        "variant": None,
        "lane": None,
        "threads": threads or None,
        "median_ns": found.median_ns,
        "p90_ns": found.p90_ns,
        "p99_ns": found.p99_ns,
        "samples": found.samples,
        "throughput_per_s": found.throughput_per_s,
    }


def _raw_measures(record: Record) -> dict[str, object]:
    """The keys of those parts of a record that may be absent."""
    row: dict[str, object] = {}
    if record.failure is not None:
        row |= {"failure_kind": record.failure.kind, "failure_message": record.failure.message}
    if record.latency is not None:
        median = record.latency.median_ns
        row |= {
            "confidence": median.confidence,
            "median_ns": median.value,
            "median_low_ns": median.low,
            "median_high_ns": median.high,
            "floor_ns": record.latency.floor_ns.value,
            "p90_ns": record.latency.p90.value_ns,
            "p99_ns": record.latency.p99.value_ns,
            "p99_samples_needed": record.latency.p99.samples_needed,
            "samples": record.latency.samples,
        }
    if record.throughput is not None:
        row |= {
            "throughput_per_s": record.throughput.value,
            "throughput_low_per_s": record.throughput.low,
            "throughput_high_per_s": record.throughput.high,
        }
    if record.memory is not None:
        row |= record.memory.model_dump()
    if record.accuracy is not None:
        row |= {
            "accuracy_metric": record.accuracy.metric,
            "accuracy": record.accuracy.value.value,
            "accuracy_low": record.accuracy.value.low,
            "accuracy_high": record.accuracy.value.high,
            "accuracy_examples": record.accuracy.examples,
        }
    if record.parity is not None:
        row["max_abs_error"] = record.parity.max_abs_error
    if record.placement is not None:
        row |= {
            "on_device_share": record.placement.on_device_share,
            "on_device_time_share": record.placement.on_device_time_share,
            "off_device": list(record.placement.off_device),
        }
    return row
