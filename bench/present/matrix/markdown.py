"""The matrix as Markdown, for a pull request or a page of documentation."""

from __future__ import annotations

from collections.abc import Sequence

from bench.judge.matrix.answer import Answered
from bench.judge.matrix.cells import Entry
from bench.judge.matrix.front import Front
from bench.present.ci.markdown import text
from bench.present.matrix.text import said_of, title_of
from bench.present.matrix.words import (
    Figures,
    machine_name,
    notes,
    place_name,
    row_name,
    target_name,
)

#: Sentences name many targets.
_LONG = 2000


def matrix_markdown(answered: Answered) -> str:
    """Models down, machines and targets across; the answer; the fronts; the small print."""
    matrix, figures = answered.matrix, Figures(answered.matrix)
    heads = [f"{text(machine_name(c))}<br>{text(target_name(c))}" for c in matrix.columns]
    lines = [
        [text(row_name(row)), *(_cell(entry, figures) for entry in matrix.of_row(row))]
        for row in matrix.rows
    ]
    parts = [f"## {title_of(matrix, figures)}"]
    parts += [f"⚠️ {text(mark, _LONG)}" for mark in answered.unchecked]
    parts.append(_table(["", *heads], lines))
    parts += [f"- {text(said, _LONG)}" for said in said_of(answered)]
    for front in answered.fronts:
        parts += [f"### Pareto front, {text(front.dataset)}", _front(front, figures)]
    small = notes(matrix, answered.machines, answered.problems)
    parts += ["<small>", *(f"- {text(note, _LONG)}" for note in small), "</small>"]
    return "\n\n".join(parts) + "\n"


def _cell(entry: Entry, figures: Figures) -> str:
    shown = " ".join(filter(None, figures.figure(entry)))
    return f"**{shown}** \\*" if entry.best else f"{shown} {figures.mark(entry)}".strip()


def _front(front: Front, figures: Figures) -> str:
    shown = [p for p in front.points if p.standing.state != "dominated"]
    lines = [
        [
            text(row_name(point.entry.row)),
            text(place_name(point.entry.column)),
            " ".join(figures.figure(point.entry)),
            point.metric.scale.value(
                point.score.value.value, point.score.value.low, point.score.value.high
            ),
            point.standing.state,
        ]
        for point in shown
    ]
    cost = f"Cost, {figures.unit_name}" if figures.unit_name else "Cost"
    return _table(["Model", "Where", cost, "Accuracy", ""], lines)


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
