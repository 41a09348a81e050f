"""What failed and why, each reason once with all the cells that it ended."""

from __future__ import annotations

from collections.abc import Sequence

from bench.judge.alike import Alike
from bench.numbers import printable
from bench.present.page.names import lane_label
from bench.present.page.parts import Column, Entry, Section, Table, first_rows, number_entry
from bench.record.result import Record

_MOST_ROWS = 200
_MOST_CELLS = 12
_MESSAGE_LIMIT = 1_000
_LOG_LIMIT = 4_000
#: What the reader does next, by kind; the messages say more (docs/method.md, "Marks").
_NEXT = {
    "unsupported": "the runtime can't do this; leave it out, or try another variant",
    "unavailable": "`bench doctor` says how to get it",
    "spec": "correct the request named in the message",
    "model-changed": "leave the model's files alone during a run; then run again",
    "crashed": "read the log below, then resume the run with `--retry-failed`",
    "timeout": "allow more time, or leave it out",
    "node-lost": "start the machine again, then measure these cells in a new run",
    "out-of-memory": "free memory, or take a smaller batch",
    "export-failed": "`bench model export` tries this model alone",
    "WRONG": "`bench debug bisect` finds the first tensor that differs",
    "accuracy-failed": "`bench debug bisect` finds the first tensor that differs",
}


def section(failed: Sequence[Record], prefix: str) -> Section:
    """Empty where nothing failed."""
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in failed:
        failure = record.failure
        key = (failure.kind, failure.message) if failure else _without_failure(record)
        grouped.setdefault(key, []).append(record)
    columns = (
        Column(("kind",), "Kind"),
        Column(("cells",), "Cells", numeric=True),
        Column(("which",), "Which"),
        Column(("message",), "What happened"),
        Column(("next",), "What to do"),
    )
    alike = Alike(record.cell for record in failed)
    rows, left_out = first_rows(
        [_row(kind, message, found, alike) for (kind, message), found in grouped.items()],
        _MOST_ROWS,
        "`bench show RUN --json`",
    )
    table = Table(f"{prefix}failures-data", "Failures by reason", columns, rows, left_out)
    total = len(failed)
    words = f"{total:,} {'cell' if total == 1 else 'cells'} failed, for {len(grouped):,} "
    words += f"{'reason' if len(grouped) == 1 else 'reasons'}. Pictures leave them out."
    return Section(
        f"{prefix}failures",
        "What failed and why",
        paragraphs=(words,) if failed else (),
        tables=(table,) if failed else (),
    )


def _without_failure(record: Record) -> tuple[str, str]:
    """Kind and message of a cell that ran, and gave something else than was asked for."""
    wrong = [
        f"{check.name}: {check.detail}" for check in record.checks if check.name in record.wrong
    ]
    return ("WRONG", "; ".join(wrong)) if wrong else ("failed", "no reason was recorded")


def _row(kind: str, message: str, records: Sequence[Record], alike: Alike) -> tuple[Entry, ...]:
    names = [
        f"{lane_label(cell, alike.apart(cell))} {cell.scenario} batch {cell.batch}"
        for cell in (record.cell for record in records)
    ]
    more = f"; and {len(names) - _MOST_CELLS:,} more" if len(names) > _MOST_CELLS else ""
    log = next((r.failure.log_tail for r in records if r.failure and r.failure.log_tail), "")
    lines = [printable(line) for line in log.splitlines()]
    return (
        Entry(printable(kind, limit=60), tone="bad"),
        number_entry(len(records)),
        Entry("; ".join(names[:_MOST_CELLS]) + more),
        Entry(printable(message, limit=_MESSAGE_LIMIT), detail="\n".join(lines)[-_LOG_LIMIT:]),
        Entry(_NEXT.get(kind, "read the message")),
    )
