"""What a table says of devices: copies, who waits for whom, shares of what they can do at most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.cell import Cell
from bench.errors import without_stop
from bench.numbers import MISSING, NAME_LIMIT, duration, printable, significant
from bench.record.assemble import device_of
from bench.record.result import Busy, Estimate, Record
from bench.variants import DEFAULT, in_words, suffix

#: What people call a kind of device.
_KINDS = {"cuda": "GPU", "gpu": "GPU", "npu": "NPU"}


def busy_of(record: Record) -> Busy | None:
    """How busy its device was; None where that isn't known, or the device is simulated."""
    return None if record.simulated else record.busy


def busy_remark(record: Record) -> str | None:
    """``launch-bound at batch 1: the GPU was busy 31% (29–33%) of the time``; None for a cell that
    isn't, or may not be.

    A row may show cells of several batches, so it names that of this one.
    """
    busy = busy_of(record)
    if busy is None or not busy.launch_bound:
        return None
    kind = _KINDS.get(device_of(record.cell.target).partition(":")[0], "device")
    most = "at most " if busy.at_most else ""
    batch = record.cell.batch
    return (
        f"launch-bound at batch {batch}: the {kind} was busy {most}{share(busy.share)} of the time"
    )


def share(estimate: Estimate) -> str:
    """``31% (29–33%)``."""
    value, low, high = (f"{100 * x:.0f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value}% ({low}–{high}%)"


def copy_notes(records: Sequence[Record], label: Callable[[Cell], str]) -> list[str]:
    """What copying takes that no figure of the prepared call has in it, by row of the table, which
    ``label`` tells from others of its model and variant. Cells of one row and batch copy the same.
    """
    found: dict[str, dict[int, str]] = {}
    for record in records:
        if record.h2d_ns is None or record.d2h_ns is None or record.simulated:
            continue
        cell = record.cell
        name = printable(f"{cell.model.name}{suffix(cell.variant)}", limit=NAME_LIMIT)
        where = printable(f"{name} on {label(cell)}", limit=3 * NAME_LIMIT)
        there, back = duration(record.h2d_ns.value), duration(record.d2h_ns.value)
        words = f"{there} there and {back} back at batch {cell.batch}"
        found.setdefault(where, {}).setdefault(cell.batch, words)
    if not found:
        return []
    copies = "; ".join(f"{where}: {', '.join(words.values())}" for where, words in found.items())
    return [
        f"{MISSING} copies between host and device are not part of the figures (--lane api "
        f"includes them): {copies}."
    ]


@dataclass(frozen=True)
class Shares:
    """What a cell reaches of its target's peaks; ``compute`` is None where that of its precision
    isn't known."""

    compute: float | None
    memory: float

    @property
    def limit(self) -> str:
        """What it is nearer to, as the end of a sentence; above a peak, how that can be."""
        above = []
        if self.compute is not None and self.compute > 1:
            above.append("an algorithm needs fewer operations (such as Winograd's)")
        if self.memory > 1:
            above.append("caches keep data from query to query (such as weights)")
        if above:
            reasons = ", or ".join((*above, "other programs disturbed the measurement of the peak"))
            return f": above the measured peak, because {reasons}"
        if self.compute is None:
            return ""
        return f": closer to {'compute' if self.compute > self.memory else 'memory'}-bound"


def shares_of(record: Record) -> Shares | None:
    """The work of a query over its time, over the peaks; None where there is no roofline."""
    query_s = _query_s(record)
    if record.roofline is None or query_s is None or record.simulated:
        return None
    line = record.roofline
    peak, known = line.peak_operations_per_s, line.peak_of or record.cell.variant == DEFAULT
    return Shares(
        compute=line.operations / query_s / peak if peak is not None and known else None,
        memory=line.bytes / query_s / line.peak_bytes_per_s,
    )


def _query_s(record: Record) -> float | None:
    """The median time of a query; of a rate the time that it leaves for each, since queries that
    wait or run side by side take longer."""
    if record.cell.is_rate:
        return record.cell.batch / record.throughput.value if record.throughput else None
    return record.latency.median_ns.value / 1e9 if record.latency else None


def roofline_notes(records: Sequence[Record]) -> list[str]:
    """What cells reach of what their targets can do at most, a note for each; and why some have no
    such share."""
    notes = []
    for record in records:
        found = shares_of(record)
        if found is None:
            continue
        cell = record.cell
        parts = [f"at least {_percent(found.memory)} of the measured copy bandwidth"]
        if found.compute is not None:
            parts.insert(0, f"{_least(record)}{_percent(found.compute)} of {_peak(record)}")
        where = printable(f"{cell.model.name}{suffix(cell.variant)} on {cell.target}", limit=240)
        words = f"{where}, {cell.scenario} batch {cell.batch}: {', '.join(parts)}{found.limit}"
        notes.append(f"{MISSING} {words}{_uncounted(record)}{_no_peak(record)}.")
    return [*notes, *_without_roofline(records)]


def _without_roofline(records: Sequence[Record]) -> list[str]:
    """Why cells have none although it was asked for, once for each model and target."""
    found: dict[str, None] = {}
    for record in records:
        if record.no_roofline:
            cell = record.cell
            where = printable(
                f"{cell.model.name}{suffix(cell.variant)} on {cell.target}", limit=240
            )
            why = without_stop(printable(record.no_roofline, limit=2 * NAME_LIMIT))
            found[f"{MISSING} {where} has no roofline: {why}."] = None
    return list(found)


def _peak(record: Record) -> str:
    precision = record.roofline.peak_of if record.roofline else ""
    return f"the measured peak of matrix products{in_words(precision or DEFAULT)}"


def _least(record: Record) -> str:
    """Operators that are not counted make the share larger."""
    return "at least " if record.roofline and record.roofline.unknown else ""


def _no_peak(record: Record) -> str:
    """Why there is no share of what it could compute."""
    line = record.roofline
    if line is None or not line.no_peak:
        return ""
    why = without_stop(printable(line.no_peak, limit=NAME_LIMIT))
    return f"; no share of compute, because no matrix product was measured in {line.peak_of}: {why}"


def _percent(fraction: float) -> str:
    return f"{significant(100 * fraction, 2)}%"


def _uncounted(record: Record) -> str:
    """The operators that are not in the work."""
    unknown = record.roofline.unknown if record.roofline else {}
    if not unknown:
        return ""
    names = ", ".join(f"{count} {name}" for name, count in unknown.items())
    return f" (not counted: {printable(names, limit=NAME_LIMIT)})"
