"""The portability report as Markdown: for a repository, a pull request, a step summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.numbers import percent, printable
from bench.record.portability import ModelRow, PortabilityReport, TargetRow
from bench.trials.portability.matrix import (
    MARKS,
    MODEL_MARKS,
    Matrix,
    body_words,
    cell_words,
    matrix_of,
    suite_words,
)

_DETAIL_LIMIT = 200


def report_markdown(report: PortabilityReport) -> str:
    """The whole report; what comes from outside is escaped."""
    matrix = matrix_of(report)
    parts = ["# What runs where", _provenance(report)]
    if report.suite is not None:
        parts.append(_escape(suite_words(report)))
    parts.append(_targets(report.targets))
    if report.models:
        parts += ["## Models", _models(report.models)]
    if matrix.rows:
        parts += ["## Operators", _legend(), _operators(matrix), "## What fails"]
        parts += [_failures(matrix, target) for target in matrix.targets]
    parts += [f"- {_escape(note)}" for note in report.notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def _provenance(report: PortabilityReport) -> str:
    machine = report.facts.get("cpu_model") or report.facts.get("architecture") or ""
    return (
        f"Made by `{_code(report.command)}` (bench {report.bench_version}) on "
        f"{report.created_at[:10]}, {_escape(str(machine))}."
    )


def _targets(rows: Sequence[TargetRow]) -> str:
    names = ("pass", "wrong", "unsupported", "crash", "timeout")
    body = []
    for row in rows:
        total = sum(row.counts.values())
        share = percent(row.counts.get("pass", 0) / total if total else None)
        about = row.unavailable or row.device_name + (" (simulated)" if row.simulated else "")
        counts = [str(row.counts.get(name, 0)) if total else "-" for name in names]
        body.append([row.target, row.version, *counts, share, about])
    return _table(["target", "version", *names, "of tests", "device"], body)


def _models(rows: Iterable[ModelRow]) -> str:
    body = []
    for row in rows:
        predicted = row.predicted + (" (wrong)" if row.prediction_held is False else "")
        detail = row.detail + (f" Nodes: {', '.join(row.nodes)}" if row.nodes else "")
        mark = MODEL_MARKS[row.outcome]
        body.append(
            [row.model, row.variant, row.target, f"{mark} {row.outcome}", predicted, detail]
        )
    return _table(["model", "variant", "target", "outcome", "predicted", "detail"], body)


def _legend() -> str:
    return "; ".join(f"{mark} {meaning}" for mark, meaning in MARKS.values()) + (
        ". Numbers are tests; Conv-22 means Conv as defined since opset 22."
    )


def _operators(matrix: Matrix) -> str:
    body = [
        [row.label, *(cell_words(row.cells.get(target)) for target in matrix.targets)]
        for row in matrix.rows
    ]
    return _table(["operator", *matrix.targets], body)


def _failures(matrix: Matrix, target: str) -> str:
    lines = []
    for row in matrix.rows:
        cell = row.cells.get(target)
        if cell is not None and cell.detail:
            body = body_words(cell)
            detail = _escape(printable(cell.detail, limit=_DETAIL_LIMIT))
            lines.append(
                f"- {_escape(row.label)}: {cell_words(cell)}, {detail}"
                + (f" ({body})" if body else "")
            )
    return "\n".join([f"### {_escape(target)}", "", *lines]) if lines else ""


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head)]
    rows += [[_escape(printable(cell, limit=_DETAIL_LIMIT)) for cell in row] for row in body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escape(text: str) -> str:
    """Text that Markdown takes as text, in a table too."""
    text = printable(text)
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def _code(text: str) -> str:
    """Text within backticks, which Markdown shows as it is."""
    return printable(text).replace("`", "'")
