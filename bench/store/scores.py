"""How the scores that are stored are read."""

from __future__ import annotations

from bench.cards.tasks import find_metric
from bench.cards.tasks.base import MetricRow
from bench.record.result import Record


def metric_of(record: Record) -> MetricRow:
    """Which way the metric of a scored record is better, and how it is written."""
    assert record.accuracy is not None
    return find_metric(record.cell.model.task, record.accuracy.metric)
