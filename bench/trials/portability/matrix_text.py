"""The portability report for a terminal: counts first, then the operators, then what failed."""

from __future__ import annotations

from collections.abc import Sequence, Set

from rich.text import Text

from bench.errors import as_sentence
from bench.numbers import duration, percent, printable
from bench.present.columns import PORTABILITY_COLUMNS, PORTABILITY_MODEL_COLUMNS, Column
from bench.present.layout import Figure, Line, lay_out, wrap
from bench.record.portability import ModelRow, OperatorRow, PortabilityReport, TargetRow
from bench.trials.portability.matrix import (
    MARKS,
    MODEL_MARKS,
    Matrix,
    MatrixRow,
    cell_words,
    matrix_of,
    suite_words,
)
from bench.variants import suffix

#: Failing operators told for each target; ``--all`` tells every one.
FAILURES_SHOWN = 12
_LABEL_WIDTH = 44


def report_text(report: PortabilityReport, width: int = 80, *, everything: bool = False) -> Text:
    """The report, no line wider than ``width``; with ``everything`` the operators that pass
    everywhere have rows too, and no failure is left out."""
    text = Text()
    matrix = matrix_of(report)
    if report.operators:
        text.append(wrap(suite_words(report), width, 2) + "\n\n")
    text.append_text(_summary(report, width))
    if matrix.rows:
        text.append_text(_matrix(matrix, width, everything=everything))
        text.append_text(_failures(matrix, width, everything=everything))
    if text and report.models:
        text.append("\n")
    text.append_text(_models(report.models, width))
    for note in report.notes:
        text.append(wrap(f"- {printable(note, limit=500)}", width, 2) + "\n")
    if text and not text.plain.endswith("\n"):
        text.append("\n")
    return text


def _summary(report: PortabilityReport, width: int) -> Text:
    tested = [row for row in report.targets if row.counts]
    seen = {outcome for row in tested for outcome in row.counts}
    lines = [_target_line(row, seen) for row in tested]
    text = lay_out(PORTABILITY_COLUMNS, {}, lines, width) if lines else Text()
    simulated = [row.target for row in tested if row.simulated]
    if simulated:
        text.append(wrap(f"{', '.join(simulated)}: simulated.", width, 2) + "\n")
    for row in report.targets:
        if row.unavailable:
            text.append(wrap(f"? {row.target}: {printable(row.unavailable)}", width, 2) + "\n")
    return text


def _target_line(row: TargetRow, seen: Set[str]) -> Line:
    """Its counts; of the rare outcomes those alone that some target has."""
    counts = row.counts
    total = sum(counts.values())
    always = {"pass", "wrong", "unsupported"}
    figures = {
        name: Figure(str(counts.get(name, 0)))
        for name in ("pass", "wrong", "unsupported", "crash", "timeout")
        if name in seen | always
    }
    figures["share"] = Figure(percent(counts.get("pass", 0) / total if total else None))
    figures["seconds"] = Figure(duration(row.seconds * 1e9 if row.seconds else None))
    return Line(printable(row.target, limit=40), " ", figures)


def _matrix(matrix: Matrix, width: int, *, everything: bool) -> Text:
    shown = [row for row in matrix.rows if everything or not row.good]
    text = Text("\n")
    good = [row.label for row in matrix.rows if row.good]
    if good and not everything:
        words = f"{len(good)} of {len(matrix.rows)} operators pass on every target."
        text.append(wrap(words, width, 2) + "\n")
    if not shown:
        return text
    columns = _target_columns(matrix, width)
    lines = [
        Line(
            printable(row.label, limit=_LABEL_WIDTH),
            " ",
            {t: Figure(cell_words(row.cells.get(t)).ljust(7)) for t in matrix.targets},
        )
        for row in shown
    ]
    text.append_text(lay_out(columns, {}, lines, width))
    if any(column.title != column.key for column in columns):
        legend = ", ".join(f"{c.title} {c.key}" for c in columns)
        text.append(wrap(legend, width, 2) + "\n")
    marks = {cell.worst for row in shown for cell in row.cells.values()}
    words = "; ".join(f"{m} {meaning}" for key, (m, meaning) in MARKS.items() if key in marks)
    text.append(wrap(f"{words}. Numbers are tests.", width, 2) + "\n")
    return text


def _target_columns(matrix: Matrix, width: int) -> tuple[Column, ...]:
    """Titled by their targets where these fit, else by letters that are explained below."""
    longest = max(len(row.label) for row in matrix.rows)
    room = width - min(longest, _LABEL_WIDTH) - sum(len(t) + 2 for t in matrix.targets)
    return tuple(
        Column(target, target if room > 0 else f"({place})", "its tests of the operator")
        for place, target in enumerate(matrix.targets, start=1)
    )


def _failures(matrix: Matrix, width: int, *, everything: bool) -> Text:
    """For each target the operators that fail, the worst first, with a reason."""
    text = Text()
    for target in matrix.targets:
        failing = [
            (row, row.cells[target])
            for row in matrix.rows
            if target in row.cells and row.cells[target].detail
        ]
        if not failing:
            continue
        failing.sort(key=_severity)
        limit = len(failing) if everything else FAILURES_SHOWN
        text.append(f"\n{target}: what fails\n", style="bold")
        for row, cell in failing[:limit]:
            line = f"{MARKS[cell.worst][0]} {row.label}: {printable(cell.detail, limit=160)}"
            text.append(wrap("  " + line, width, 4) + "\n")
        if len(failing) > limit:
            more = f"  and {len(failing) - limit} more operators: --all, or --markdown FILE\n"
            text.append(more, style="dim")
    return text


def _severity(item: tuple[MatrixRow, OperatorRow]) -> tuple[int, float, str]:
    """Crashes first, then what is wrong by the largest share of tests, then the rest."""
    row, cell = item
    order = ("crash", "timeout", "wrong", "partial", "unsupported", "unavailable")
    rank = order.index(cell.worst) if cell.worst in order else len(order)
    return rank, cell.passed / cell.tests if cell.tests else 1.0, row.label


def _models(rows: Sequence[ModelRow], width: int) -> Text:
    """A line for each model and target, with what is wrong below it."""
    text = Text()
    if not rows:
        return text
    lines: list[Line] = []
    for model in dict.fromkeys((row.model, row.variant) for row in rows):
        variant = suffix(model[1])
        lines.append(Line(printable(f"{model[0]}{variant}", limit=width - 2)))
        lines += [_on_target(row) for row in rows if (row.model, row.variant) == model]
    text.append_text(lay_out(PORTABILITY_MODEL_COLUMNS, {}, lines, width))
    for row in rows:
        for words in _model_details(row):
            text.append(wrap(words, width, 2) + "\n")
    return text


def _on_target(row: ModelRow) -> Line:
    figures = {"outcome": Figure(row.outcome), "predicted": Figure(_foretold(row))}
    return Line(printable(row.target, limit=60), MODEL_MARKS[row.outcome], figures)


def _foretold(row: ModelRow) -> str:
    if row.predicted == "unknown":
        return "-"
    return f"{row.predicted}, wrong" if row.prediction_held is False else row.predicted


def _model_details(row: ModelRow) -> list[str]:
    """What there is to say about a row beyond its words."""
    where = printable(f"{row.model} on {row.target}", limit=120)
    said = []
    if row.detail:
        names = ", ".join(printable(node, limit=80) for node in row.nodes)
        nodes = f" Nodes: {names}." if names else ""
        said.append(f"- {where}: {as_sentence(printable(row.detail, limit=300))}{nodes}")
    if row.predicted_detail and (row.predicted != "runs" or row.outcome != "runs"):
        predicted = as_sentence(printable(row.predicted_detail, limit=600))
        said.append(f"- predicted for {where}: {predicted}")
    return said
