"""What a table says of devices that compute apart from their host: copies, who waits for whom."""

from __future__ import annotations

from collections.abc import Sequence

from bench.numbers import MISSING, NAME_LIMIT, duration, printable
from bench.record.assemble import device_of
from bench.record.result import Estimate, Record

#: What people call a kind of device.
_KINDS = {"cuda": "GPU", "gpu": "GPU", "npu": "NPU"}


def busy_remark(record: Record) -> str | None:
    """That a cell is launch-bound, where it surely is."""
    if record.busy is None or record.simulated or not record.busy.launch_bound:
        return None
    kind = _KINDS.get(device_of(record.cell.target).partition(":")[0], "device")
    most = "at most " if record.busy.at_most else ""
    return (
        f"launch-bound at batch {record.cell.batch}: the {kind} was busy {most}"
        f"{share(record.busy.share)} of the time, and waited for its host in the rest."
    )


def share(estimate: Estimate) -> str:
    """``31% (29–33%)``."""
    value, low, high = (f"{100 * x:.0f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value}% ({low}–{high}%)"


def copy_notes(records: Sequence[Record]) -> list[str]:
    """What copying takes that no figure of the prepared call has in it."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        if record.h2d_ns is None or record.d2h_ns is None or record.simulated:
            continue
        cell = record.cell
        where = f"{printable(cell.model.name, limit=NAME_LIMIT)} on {cell.target}"
        there, back = duration(record.h2d_ns.value), duration(record.d2h_ns.value)
        words = f"{there} there and {back} back at batch {cell.batch}"
        found.setdefault(printable(where, limit=2 * NAME_LIMIT), {})[words] = None
    if not found:
        return []
    copies = "; ".join(f"{where}: {', '.join(words)}" for where, words in found.items())
    return [
        f"{MISSING} copies between host and device are in none of the figures (--lane api has them "
        f"in): {copies}."
    ]
