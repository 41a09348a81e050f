"""The result table: one line for each model, variant, target and batch, drawn from records.

A model is a heading and its targets are lines under it, which leaves 80 columns enough room for
figures with their intervals. Units stand in the header, chosen once a column; what doesn't fit a
cell (why a cell failed, which check failed) is a numbered note below the table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from bench.cards.tasks.base import MetricRow
from bench.cell import Cell, ModelIdentity
from bench.judge.alike import UNUSUAL, Alike, settings_in_words, settings_of
from bench.judge.sweeps import sweep_end
from bench.numbers import (
    BYTE_UNITS,
    MISSING,
    NAME_LIMIT,
    RATE_UNITS,
    TIME_UNITS,
    Scale,
    Unit,
    column_unit,
    common_scale,
    counted,
    half_width,
    in_unit,
    printable,
    significant,
    size,
)
from bench.present.columns import RESULT_COLUMNS
from bench.present.devices import busy_remark, copy_notes, roofline_notes
from bench.present.layout import (
    FAILED,
    FOREIGN,
    MARKED,
    NOTHING,
    OK,
    SHORT_MESSAGE,
    WRONG,
    Figure,
    Line,
    clip,
    lay_out,
    wrap,
)
from bench.present.pivot import Batch, batches_of
from bench.present.queries import query_notes
from bench.present.ranges import form_of, in_ranges
from bench.present.told import told
from bench.record.assemble import COMPLETE
from bench.record.placement import is_all_on_device, share_on_device, share_percent
from bench.record.result import (
    Check,
    Estimate,
    Failure,
    Foreign,
    Percentile,
    Record,
    SweepEnd,
    value_of,
)
from bench.scenarios import find_scenario
from bench.store.cached import token_bytes_held
from bench.store.scores import metric_of
from bench.variants import MADE_UP

#: Behind the label of a row whose figures are of something else than was asked for.
WRONG_ROW = "WRONG"
#: Behind the label of a row of which an interrupt left less than was asked for.
PARTIAL_ROW = "partial"
#: Details of another tool that a note tells.
_MOST_DETAILS = 3
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


# -- laying out lines -----------------------------------------------------------------------------


# -- joining records ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """Everything on one model, variant and target."""

    label: str
    records: tuple[Record, ...]
    batches: tuple[Batch, ...]


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
    general = (
        *_legend(batches),
        *_lone_notes(records),
        *_percentile_notes(batches),
        *_metric_notes(batches),
        *_token_notes(records),
        *query_notes(records),
        *copy_notes(
            [r for r in records if r.status == "ok"], row_labels([r.cell for r in records])
        ),
        *roofline_notes([r for r in records if r.status == "ok"]),
        *(f"{MISSING} {words}" for words in told([r for b in batches for r in b.records])),
    )
    for note in (*general, *notes.texts(), _summary(rows)):
        text.append(wrap(note, width, indent=2) + "\n", style="dim")
    return text


def _groups(records: Sequence[Record]) -> list[tuple[str, list[_Row]]]:
    """Headings (one for each model and variant) with their rows, in the order of the records."""
    several_variants = len({r.cell.variant for r in records}) > 1
    label = row_labels([record.cell for record in records])
    originals = {r.cell.model.distilled_from for r in records}
    grouped: dict[tuple[str, str, str], dict[str, list[Record]]] = {}
    for record in records:
        cell = record.cell
        rows = grouped.setdefault((cell.model.name, cell.model.sha256, cell.variant), {})
        rows.setdefault(label(cell), []).append(record)
    return [
        (
            _heading(
                [record for found in rows.values() for record in found],
                several_variants=several_variants,
                originals=originals,
            ),
            [_Row(label, tuple(found), batches_of(found)) for label, found in rows.items()],
        )
        for rows in grouped.values()
    ]


def row_labels(cells: Collection[Cell]) -> Callable[[Cell], str]:
    """What rows of results call each of these: its target, its load where it is a special one, and
    what is unusual in it or another in others."""
    threads = ["threads"] if len({cell.threads for cell in cells}) > 1 else []
    alike = Alike(cells, _called, ("settings", "shape"))

    def label(cell: Cell) -> str:
        target = printable(cell.target, limit=NAME_LIMIT)
        told = settings_of(cell, (*UNUSUAL, "bound", *threads))
        words = settings_in_words(told, alike.apart(cell))
        return ", ".join(filter(None, (target, find_scenario(cell.scenario).label, words)))

    return label


def _called(cell: Cell) -> tuple[str, ...]:
    return cell.model.name, cell.model.sha256, cell.variant, cell.target, cell.scenario


def _heading(
    records: Sequence[Record], *, several_variants: bool, originals: Set[str | None]
) -> str:
    record = records[0]
    model = record.cell.model
    bytes_known = size(model.file_bytes) if model.file_bytes else ""
    guessed = f"calibrated on {MADE_UP}" if MADE_UP in record.variant_method else ""
    was = f"was {printable(model.stored_as, limit=NAME_LIMIT)}" if model.stored_as else ""
    cached = _cached(records)
    facts = [
        _role(model, originals),
        was,
        bytes_known,
        cached,
        _parameters(model.parameters),
        guessed,
    ]
    if several_variants and not record.foreign:
        facts.insert(0, record.cell.variant)
    return f"{printable(model.name, limit=NAME_LIMIT)}  {', '.join(filter(None, facts))}"


def _cached(records: Sequence[Record]) -> str:
    """What a token adds to a language model's cache, foretold and as it was measured."""
    told = next((r.footprint.cache_token_bytes for r in records if r.footprint), None)
    if told is None:
        return ""
    held = token_bytes_held(records)
    measured = f" (measured: {size(held)})" if held is not None else ""
    return f"cache {size(told)} a token{measured}"


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


# -- figures --------------------------------------------------------------------------------------


def _units(batches: Sequence[Batch]) -> dict[str, Unit]:
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
        "load": column_unit([value_of(r.load_ns) for r in records], TIME_UNITS),
        "first": column_unit([value_of(r.first_inference_ns) for r in records], TIME_UNITS),
    }


def _unit_names(units: Mapping[str, Unit], batches: Sequence[Batch]) -> dict[str, str]:
    names = {key: unit.name for key, unit in units.items()}
    names["p90"] = names["p99"] = names["latency"]
    scale = _scale(batches)
    if scale is not None:
        names["accuracy"] = scale.unit
    if {b.latency.cell.batch for b in batches if b.latency} == {1}:
        names["latency"] += ", batch 1"
    return names


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
    label = f"{row.label}, {WRONG_ROW}" if mark == WRONG else row.label
    label += f", {PARTIAL_ROW}" if any(r.partial for r in row.records) else ""
    first = Line(label + marks, mark, {**lines[0].figures, **whole})
    return [first, *lines[1:]]


def _mark(row: _Row) -> str:
    if any(r.status == "failed" for r in row.records):
        return FAILED
    if any(r.standing == "wrong" for r in row.records):
        return WRONG
    if any(r.foreign is not None for r in row.records):
        return FOREIGN
    marked = any(not check.ok for r in row.records for check in r.checks)
    return MARKED if marked else OK


def _short_failure(failure: Failure | None) -> str:
    """The kind and as much of the message as a row has room for."""
    return "failed" if failure is None else f"failed, {clip(_failure_text(failure), SHORT_MESSAGE)}"


def _failure_text(failure: Failure) -> str:
    return f"{failure.kind}: {printable(failure.message, limit=400)}"


def _figures(batch: Batch, row: _Row, units: Mapping[str, Unit]) -> dict[str, Figure]:
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


def _rate_record(batch: Batch) -> Record | None:
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
        "load": _number(value_of(record.load_ns), units["load"]),
        "first": _number(value_of(record.first_inference_ns), units["first"]),
    }
    if record.parity is not None:
        error = record.parity.max_abs_error
        figures["error"] = Figure("NaN" if error is None else f"{error:.0e}".replace("e-0", "e-"))
    unit = units["latency"]
    if record.foreign is not None:
        return {**figures, **_foreign_figures(record.foreign, unit)}
    if record.latency is None:
        return {**figures, "latency": _number(record.lone_ns, unit), "p99": NOTHING}
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
    return record.latency.median_ns.value if record.latency else record.lone_ns


def _rate(record: Record) -> float | None:
    if record.foreign is not None:
        return record.foreign.throughput_per_s
    return record.lone_rate if record.throughput is None else record.throughput.value


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
    if record.throughput is None:
        return _number(record.lone_rate, unit)
    return _estimate(record.throughput, unit)


def _accuracy(row: _Row) -> Figure:
    found = [record for record in row.records if record.accuracy is not None]
    if not found:
        return NOTHING
    score, scale = found[0].accuracy, metric_of(found[0]).scale
    assert score is not None
    return Figure(scale.bare(score.value.value), scale.side(score.value.half_width))


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
    """The numbered notes under a table, each kind once: what differs between rows in numbers alone
    is one note with their range."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {}  #: by their form, what is said in it
        self._rows: dict[str, int] = {}

    def refer(self, row: _Row) -> str:
        """The superscript numbers of what there is to say about a row."""
        forms = dict.fromkeys(self._form(text) for text in _remarks(row))
        for form in forms:
            self._rows[form] = self._rows.get(form, 0) + 1
        places = list(self._said)
        return "˒".join(str(places.index(f) + 1).translate(_SUPERSCRIPTS) for f in forms)

    def _form(self, text: str) -> str:
        form = form_of(text) if text.startswith(_CONDITIONS) else text
        said = self._said.setdefault(form, [])
        if text not in said:
            said.append(text)
        return form

    def texts(self) -> list[str]:
        return [
            f"{str(number).translate(_SUPERSCRIPTS)} {self._joined(form, said)}"
            for number, (form, said) in enumerate(self._said.items(), 1)
        ]

    def _joined(self, form: str, said: Sequence[str]) -> str:
        if len(said) == 1:
            return said[0]
        name, _, rest = in_ranges(said).partition(": ")
        return f"{name} ({counted(self._rows[form], 'row')}): {rest}"


#: Checks of what went on while a row was measured, not of what it is: of many rows nobody reads
#: how much of it each had (`bench show --json` has that).
_CONDITIONS = ("own-cpu:", "undisturbed:", "steady-state:", f"{COMPLETE}:")


def _remarks(row: _Row) -> list[str]:
    checks = [
        f"{f'{WRONG_ROW}, ' if c.name in r.wrong else ''}{_check_text(c)}"
        for r in row.records
        for c in r.checks
        # What fails a cell fails its scoring too: that is said once.
        if not c.ok and (r.failure is None or c.detail != r.failure.message)
    ]
    checks = [_foreign_text(r.foreign) for r in row.records if r.foreign is not None] + checks
    checks += [_busy_text(words) for r in row.records if (words := busy_remark(r)) is not None]
    checks += [_sweep_text(r.sweep_end) for r in row.records if r.sweep_end is not None]
    failures = [_failure_text(r.failure) for r in row.records if r.failure is not None]
    in_full = len(failures) == len(row.records) and len(set(failures)) == 1
    if in_full and cell_len(failures[0]) <= SHORT_MESSAGE:
        return checks
    return failures + checks


def _busy_text(remark: str) -> str:
    return f"{remark}, and waited for its host the rest of the time."


def _sweep_text(end: SweepEnd) -> str:
    message = printable(end.failure.message, limit=400)
    return f"the sweep over the batch {sweep_end(end)}. {message}"


def _check_text(check: Check) -> str:
    return f"{printable(check.name, limit=60)}: {printable(check.detail, limit=400)}"


def _legend(batches: Sequence[Batch]) -> list[str]:
    """What ± and p99 mean, where the table shows any."""
    timed = [r.latency for b in batches for r in b.records if r.latency and not r.simulated]
    if not timed:
        return []
    confidence = 100 * timed[0].median_ns.confidence
    return [f"± is the {confidence:g}% interval; p99 is an upper bound at 99% confidence."]


def _lone_notes(records: Sequence[Record]) -> list[str]:
    if all(record.lone_ns is None and record.lone_rate is None for record in records):
        return []
    return [f"{MISSING} a figure without ± is of one invocation, which supports no interval."]


def _percentile_notes(batches: Sequence[Batch]) -> list[str]:
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


def _metric_notes(batches: Sequence[Batch]) -> list[str]:
    """What the accuracy column shows where that is no share of right answers."""
    words = {metric.words() for metric in _metrics(batches)}
    return [f"{MISSING} accuracy is {text}." for text in sorted(filter(None, words))]


#: What the latency of a language model's scenario is called, and what it is.
_TOKEN_WORDS = {
    "prompt": "the model's time to first token (ttft_model) for a prompt of {} tokens",
    "depth": "the time of one token (tpot) with {} tokens in the cache",
    "draft": "the time of a step that checks a draft, {1} tokens at once with {0} in the cache",
}


def _token_notes(records: Sequence[Record]) -> list[str]:
    """What the latency is where tokens are counted, and tokens a second."""
    found: dict[str, list[str]] = {}
    for record in records:
        scenario = find_scenario(record.cell.scenario)
        if (
            scenario.size is None
            or scenario.answer is not None
            or record.latency is None
            or record.simulated
        ):
            continue
        per_query = record.cell.batch * scenario.new_tokens
        speed = significant(per_query * 1e9 / record.latency.median_ns.value)
        words = f"{speed} tokens/s on {printable(record.cell.target, limit=NAME_LIMIT)}"
        if len({other.cell.model.name for other in records}) > 1:
            words += f" ({printable(record.cell.model.name, limit=NAME_LIMIT)})"
        found.setdefault(scenario.name, []).append(words)
    return [
        f"{MISSING} {name} is {_token_words(name)}: {', '.join(speeds)}."
        for name, speeds in found.items()
    ]


def _token_words(name: str) -> str:
    scenario = find_scenario(name)
    return _TOKEN_WORDS[scenario.counts].format(scenario.size, scenario.new_tokens)


def _metrics(batches: Sequence[Batch]) -> set[MetricRow]:
    records = [record for batch in batches for record in batch.records]
    return {metric_of(record) for record in records if record.accuracy is not None}


def _scale(batches: Sequence[Batch]) -> Scale | None:
    """That of the accuracies, where they have one."""
    return common_scale(metric.scale for metric in _metrics(batches))


def _summary(rows: Sequence[_Row]) -> str:
    marks = [_mark(row) for row in rows]
    meanings = {OK: "ok", MARKED: "measured with warnings", WRONG: WRONG_ROW, FAILED: "failed"}
    meanings[FOREIGN] = "measured by another tool"
    counts = [f"{m} {marks.count(m)} {words}" for m, words in meanings.items() if m in marks]
    return "; ".join(counts) + "."


def _foreign_text(found: Foreign) -> str:
    typical = "; the latency is the mean" if found.median_ns is None and found.mean_ns else ""
    return (
        f"measured by {printable(found.tool, limit=60)}, read from "
        f"{printable(found.source, limit=NAME_LIMIT)}: no interval and none of bench's "
        f"checks{typical}"
        f"{_told_instead(found)}"
    )


def _told_instead(found: Foreign) -> str:
    """The first that a tool says of what it didn't time, an accuracy for example."""
    if any((found.median_ns, found.mean_ns, found.throughput_per_s)):
        return ""
    said = [f"{name} {value}" for name, value in found.details.items()][:_MOST_DETAILS]
    return f"; it reports {printable(', '.join(said), limit=NAME_LIMIT)}" if said else ""


# -- rows as data ---------------------------------------------------------------------------------
