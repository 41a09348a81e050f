"""The portability report as one self-contained page: a heat map, light and dark, without scripts.

Every cell says in words what its colour shows, so that it can be read without seeing it; what
failed is in `details` elements, which a keyboard opens. Nothing is loaded from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.numbers import MISSING, percent, printable
from bench.present.page.parts import Column, Entry, Table, number_entry
from bench.present.page.portability import Grid, Portability, portability
from bench.present.page.template import rendered
from bench.record.portability import ModelRow, PortabilityReport, TargetRow
from bench.trials.portability.matrix import (
    MODEL_MARKS,
    Matrix,
    body_words,
    cell_words,
    matrix_of,
    suite_words,
)

_LIMIT = 1000
_COUNTED = ("pass", "wrong", "unsupported", "crash", "timeout")
#: A model's outcome in the colours of a table.
_TONES = {"runs": "good", "fallback": "warn", "wrong": "bad", "crash": "bad", "timeout": "bad"}

#: An operator, its outcome, and what happened.
_Line = tuple[str, str, str]


@dataclass(frozen=True)
class _Page:
    """All that is said and shown."""

    title: str
    command: str
    made: str
    suite: str
    notes: tuple[str, ...]
    portability: Portability
    targets: Table
    models: Grid | None
    remarks: Table  #: on models of which there is more to say
    operators: Grid | None
    failures: tuple[tuple[str, tuple[_Line, ...]], ...]


def report_html(report: PortabilityReport) -> str:
    """The whole page; the template escapes all text."""
    matrix = matrix_of(report)
    drawn = portability(report, most=None)
    machine = report.facts.get("cpu_model") or report.facts.get("architecture") or ""
    grids = {grid.what: grid for grid in drawn.grids}
    found = ((target, tuple(_failures(matrix, target))) for target in matrix.targets)
    page = _Page(
        title="What runs where",
        command=_text(report.command),
        made=_text(f"bench {report.bench_version}, {report.created_at[:10]}, {machine}"),
        suite=_text(suite_words(report)),
        notes=tuple(map(_text, report.notes)),
        portability=drawn,
        targets=_targets(report.targets),
        models=grids.get("Model"),
        remarks=_models([row for row in report.models if _tells(row)]),
        operators=grids.get("Operator"),
        failures=tuple((_text(target), lines) for target, lines in found if lines),
    )
    return rendered("portability.html.jinja", page=page)


def _text(words: str) -> str:
    return printable(words, limit=_LIMIT)


def _targets(rows: Iterable[TargetRow]) -> Table:
    columns = (
        Column(("target",), "Target"),
        Column(("version",), "Version"),
        *(Column((name,), name.capitalize(), numeric=True) for name in _COUNTED),
        Column(("share",), "Pass", "of tests", numeric=True),
        Column(("device",), "Device"),
    )
    return Table("targets", "Tests by target and outcome", columns, tuple(map(_target, rows)))


def _target(row: TargetRow) -> tuple[Entry, ...]:
    total = sum(row.counts.values())
    counts = [number_entry(row.counts.get(name, 0) if total else None) for name in _COUNTED]
    share = percent(row.counts.get("pass", 0) / total if total else None)
    about = row.unavailable or row.device_name + (" (simulated)" if row.simulated else "")
    return (
        Entry(_text(row.target)),
        Entry(_text(row.version)),
        *counts,
        Entry(share),
        Entry(_text(about), tone="warn" if row.unavailable else ""),
    )


def _tells(row: ModelRow) -> bool:
    """Whether there is more to say than that it runs, as was predicted."""
    return bool(row.detail or row.nodes or row.prediction_held is False or row.outcome != "runs")


def _models(rows: Iterable[ModelRow]) -> Table:
    titles = ("Model", "Variant", "Target", "Outcome", "Predicted", "Detail")
    columns = tuple(Column((title.lower(),), title) for title in titles)
    return Table(
        "models",
        "Models that don't run as predicted, or not everywhere",
        columns,
        tuple(map(_model, rows)),
    )


def _model(row: ModelRow) -> tuple[Entry, ...]:
    predicted = row.predicted + (" (wrong)" if row.prediction_held is False else "")
    nodes = f" Nodes: {', '.join(row.nodes)}" if row.nodes else ""
    outcome = f"{MODEL_MARKS[row.outcome]} {row.outcome}"
    return (
        Entry(_text(row.model)),
        Entry(_text(row.variant)),
        Entry(_text(row.target)),
        Entry(outcome, tone=_TONES.get(row.outcome, "")),
        Entry(_text(predicted) or MISSING),
        Entry(_text(row.detail + nodes)),
    )


def _failures(matrix: Matrix, target: str) -> Iterable[_Line]:
    """The operators that don't pass all their tests on a target, with the worst of them."""
    for row in matrix.rows:
        cell = row.cells.get(target)
        if cell is not None and cell.detail:
            body = body_words(cell)
            yield _text(row.label), cell_words(cell), _text(cell.detail) + (body and f" ({body})")
