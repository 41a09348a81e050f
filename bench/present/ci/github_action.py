"""The JSON of github-action-benchmark: ``[{name, unit, value, range, extra}]``.

Its tools ``customSmallerIsBetter`` and ``customBiggerIsBetter`` each read a file of their own
(benchmark-action/github-action-benchmark, README), so a folder with two files is written.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.files import write_text
from bench.numbers import half_width_percent
from bench.present.ci.base import Subject, names
from bench.present.devices import busy_remark
from bench.record.result import Estimate, Record
from bench.store.scores import metric_of

SMALLER = "smaller-is-better.json"
BIGGER = "bigger-is-better.json"
Row = dict[str, object]


class GithubAction:
    def write(self, subject: Subject, path: Path) -> None:
        for name, rows in github_action_rows(subject).items():
            write_text(path / name, json.dumps(rows, indent=1, allow_nan=False) + "\n")


def github_action_rows(subject: Subject) -> dict[str, list[Row]]:
    """The entries of each of the two files; failed cells and simulated latencies are absent."""
    called = names(subject.run.records)
    rows: dict[str, list[Row]] = {SMALLER: [], BIGGER: []}
    for record in subject.run.records:
        if record.standing != "ok":
            continue
        name, extra = called[record.cell_id], _extra(record)
        if not record.simulated:
            _timed(rows, record, name, extra)
        if record.accuracy is not None:
            value, metric = record.accuracy.value, metric_of(record)
            kind, scale = BIGGER if metric.sign > 0 else SMALLER, metric.scale
            what, unit = f"{name}: {metric.name}", scale.unit or metric.name
            rows[kind].append(_row(what, unit, value, extra, scale.factor, points=True))
    return rows


def _timed(rows: dict[str, list[Row]], record: Record, name: str, extra: str) -> None:
    if record.latency is not None and not record.cell.is_rate:
        row = _row(f"{name}: latency", "ns", record.latency.median_ns, extra)
        rows[SMALLER].append(row)
    if record.memory is not None and record.memory.peak_rss_bytes is not None:
        peak: Row = {"name": f"{name}: peak memory", "unit": "bytes"}
        rows[SMALLER].append({**peak, "value": record.memory.peak_rss_bytes, "extra": extra})
    if record.throughput is not None:
        rows[BIGGER].append(_row(f"{name}: throughput", "samples/s", record.throughput, extra))


def _row(
    name: str, unit: str, estimate: Estimate, extra: str, scale: float = 1, *, points: bool = False
) -> Row:
    side = estimate.half_width
    width = half_width_percent(side / abs(estimate.value)) if estimate.value else ""
    return {
        "name": name,
        "unit": unit,
        "value": scale * estimate.value,
        "range": f"± {scale * side:.2g}" if points else width.replace("±", "± "),
        "extra": extra,
    }


def _extra(record: Record) -> str:
    latency = record.latency
    facts = [
        f"{len(record.invocations)} invocations",
        f"{latency.samples} samples" if latency is not None else "",
        f"device {record.device_name}" if record.device_name else "",
        f"runtime {record.runtime_version}" if record.runtime_version else "",
        *[f"check failed: {check.name}" for check in record.checks if not check.ok],
        busy_remark(record) or "",
    ]
    return "\n".join(fact for fact in facts if fact)
