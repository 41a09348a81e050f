"""Bencher Metric Format: ``{benchmark: {measure: {value, lower_value, upper_value}}}``.

Source: bencher.dev, "Bencher Metric Format". ``latency`` (ns) and ``throughput`` (operations a
second) are its own measures; ``accuracy`` (a percentage) and ``peak-memory`` (bytes) are made where
they are first sent.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.files import write_text
from bench.present.ci.base import Subject, names
from bench.record.result import Estimate, Record
from bench.store.scores import metric_of


class Bencher:
    def write(self, subject: Subject, path: Path) -> None:
        write_text(path, bencher_text(subject))


def bencher_text(subject: Subject) -> str:
    """One object; cells without a figure (failed, of a simulated device) are absent."""
    records = subject.run.records
    called = names(records)
    found = {called[record.cell_id]: metrics(record) for record in records}
    kept = {name: measures for name, measures in found.items() if measures}
    return json.dumps(kept, indent=1, allow_nan=False) + "\n"


def metrics(record: Record) -> dict[str, dict[str, float]]:
    """The measures of one record, by Bencher's slugs."""
    measures: dict[str, dict[str, float]] = {}
    if record.standing != "ok":
        return measures
    if not record.simulated:
        if record.latency is not None and not record.cell.is_rate:
            measures["latency"] = _metric(record.latency.median_ns)
        if record.throughput is not None:
            measures["throughput"] = _metric(record.throughput)
        if record.memory is not None and record.memory.peak_rss_bytes is not None:
            measures["peak-memory"] = {"value": record.memory.peak_rss_bytes}
    if record.accuracy is not None:
        metric = metric_of(record)
        # A measure has one unit and one direction, so another metric is another measure.
        slug = "accuracy" if metric.scale.is_fraction else _slug(metric.name)
        measures[slug] = _metric(record.accuracy.value, metric.scale.factor)
    return measures


def _slug(name: str) -> str:
    """``bits per byte`` is ``bits-per-byte``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _metric(estimate: Estimate, scale: float = 1) -> dict[str, float]:
    return {
        "value": scale * estimate.value,
        "lower_value": scale * estimate.low,
        "upper_value": scale * estimate.high,
    }
