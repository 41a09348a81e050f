"""The portability report as one self-contained page: a heat map, light and dark, without scripts.

Every cell says in words what its colour shows, so that it can be read without seeing it; what
failed is in `details` elements, which a keyboard opens. Nothing is loaded from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from bench.numbers import percent
from bench.record.portability import ModelRow, OperatorRow, PortabilityReport, TargetRow
from bench.trials.portability.matrix import (
    MARKS,
    MODEL_MARKS,
    Matrix,
    MatrixRow,
    body_words,
    cell_words,
    matrix_of,
    suite_words,
)

#: Background and text in light, then in dark; each pair has a contrast of at least 7 to 1.
_COLOURS: dict[str, tuple[str, str, str, str]] = {
    "pass": ("#c9f0d5", "#0b3d1f", "#0f3d22", "#d2f5de"),
    "partial": ("#fdf0b8", "#4a3700", "#453500", "#fff0b3"),
    "wrong": ("#fbd0c4", "#5c1500", "#5a1a06", "#ffdccf"),
    "unsupported": ("#e3e5ea", "#2b2f38", "#34383f", "#e8eaee"),
    "crash": ("#7a0026", "#ffffff", "#f59ab5", "#2b000d"),
    "timeout": ("#4b2a86", "#ffffff", "#c9b3f5", "#1d0a40"),
    "not-expressible": ("#ffffff", "#4d525c", "#16181d", "#b8bdc7"),
    "unavailable": ("#ffffff", "#4d525c", "#16181d", "#b8bdc7"),
}
#: A model's outcome in the colours of an operator's.
_MODEL_COLOURS = {"runs": "pass", "fallback": "partial", "not-tried": "not-expressible"}

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1e24; --line: #c6cad2; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181d; --ink: #e8eaee; --line: #434852; }
}
body { background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif;
  margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem; }
.scroll { overflow-x: auto; }
.tall { max-height: 75vh; overflow: auto; border: 1px solid var(--line); }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .6rem; text-align: left;
  vertical-align: top; }
td.number { text-align: right; }
thead th { background: var(--page); position: sticky; top: 0; }
tbody th { font-weight: normal; }
.heat td { border-left: 2px solid var(--page); white-space: nowrap; }
.mark { display: inline-block; min-width: 1.1em; }
.hidden { position: absolute; clip-path: inset(50%); height: 1px; width: 1px; overflow: hidden;
  white-space: nowrap; }
.swatch { display: inline-block; padding: .1rem .5rem; margin: 0 .5rem .3rem 0; }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
:focus-visible { outline: 3px solid #2f6fde; outline-offset: 2px; }
li { overflow-wrap: anywhere; } code { overflow-wrap: anywhere; }
"""


def report_html(report: PortabilityReport) -> str:
    """The whole page; all text is escaped."""
    matrix = matrix_of(report)
    parts = [
        "<h1>What runs where</h1>",
        _provenance(report),
        f"<p>{escape(suite_words(report))}</p>" if report.suite else "",
        _targets(report.targets),
        _models(report.models) if report.models else "",
        _heat_map(matrix) if matrix.rows else "",
        *(_failures(matrix, target) for target in matrix.targets),
        *(f"<p>{escape(note)}</p>" for note in report.notes),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>What runs where</title>\n"
        f"<style>{_STYLE}{_colour_rules()}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


def _colour_rules() -> str:
    light = dark = ""
    for name, (back, ink, dark_back, dark_ink) in _COLOURS.items():
        light += f".{name} {{ background: {back}; color: {ink}; }}\n"
        dark += f".{name} {{ background: {dark_back}; color: {dark_ink}; }}\n"
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _provenance(report: PortabilityReport) -> str:
    machine = report.facts.get("cpu_model") or report.facts.get("architecture") or ""
    return (
        f"<p>Made by <code>{escape(report.command)}</code> (bench {escape(report.bench_version)}) "
        f"on {escape(report.created_at[:10])}, {escape(str(machine))}.</p>"
    )


def _targets(rows: Iterable[TargetRow]) -> str:
    names = ("pass", "wrong", "unsupported", "crash", "timeout")
    head = "".join(
        f'<th scope="col">{escape(name)}</th>'
        for name in ("target", "version", *names, "of tests", "device")
    )
    body = ""
    for row in rows:
        total = sum(row.counts.values())
        counts = [str(row.counts.get(name, 0)) if total else "-" for name in names]
        counts.append(percent(row.counts.get("pass", 0) / total if total else None))
        about = row.unavailable or row.device_name + (" (simulated)" if row.simulated else "")
        body += (
            f'<tr><th scope="row">{escape(row.target)}</th><td>{escape(row.version)}</td>'
            + "".join(f'<td class="number">{escape(count)}</td>' for count in counts)
            + f"<td>{escape(about)}</td></tr>\n"
        )
    return f"<h2>Targets</h2>\n{_table(head, body, 'Tests by target and outcome')}"


def _models(rows: Iterable[ModelRow]) -> str:
    titles = ("model", "variant", "target", "outcome", "foretold", "detail")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    body = ""
    for row in rows:
        colour = _MODEL_COLOURS.get(row.outcome, row.outcome)
        foretold = row.predicted + (" (wrongly)" if row.prediction_held is False else "")
        detail = row.detail + (f" Nodes: {', '.join(row.nodes)}" if row.nodes else "")
        body += (
            f'<tr><th scope="row">{escape(row.model)}</th><td>{escape(row.variant)}</td>'
            f'<td>{escape(row.target)}</td><td class="{colour}">'
            f'<span class="mark" aria-hidden="true">{MODEL_MARKS[row.outcome]}</span> '
            f"{escape(row.outcome)}</td><td>{escape(foretold)}</td>"
            f"<td>{escape(detail)}</td></tr>\n"
        )
    return f"<h2>Models</h2>\n{_table(head, body, 'Models by target')}"


def _heat_map(matrix: Matrix) -> str:
    legend = "".join(
        f'<span class="swatch {name}">{mark} {escape(meaning)}</span>'
        for name, (mark, meaning) in MARKS.items()
    )
    head = '<th scope="col">operator</th>' + "".join(
        f'<th scope="col">{escape(target)}</th>' for target in matrix.targets
    )
    body = "".join(_heat_row(row, matrix.targets) for row in matrix.rows)
    return (
        "<h2>Operators</h2>\n"
        f"<p>{legend}</p>\n<p>Numbers are tests; behind an operator stands since which version "
        "of its domain it is defined so.</p>\n"
        f"{_table(head, body, 'Operators by target', kind='heat', tall=True)}"
    )


def _heat_row(row: MatrixRow, targets: Iterable[str]) -> str:
    cells = "".join(_heat_cell(row.cells.get(target)) for target in targets)
    return f'<tr><th scope="row">{escape(row.label)}</th>{cells}</tr>\n'


def _heat_cell(cell: OperatorRow | None) -> str:
    if cell is None:
        return "<td></td>"
    meaning = MARKS[cell.outcome][1]
    counted = f": {cell.passed} of {cell.tests} tests pass" if cell.tests else ""
    return (
        f'<td class="{cell.outcome}" title="{escape(cell.detail or meaning)}">'
        f'<span aria-hidden="true">{escape(cell_words(cell))}</span>'
        f'<span class="hidden">{escape(meaning + counted)}</span></td>'
    )


def _failures(matrix: Matrix, target: str) -> str:
    items = ""
    count = 0
    for row in matrix.rows:
        cell = row.cells.get(target)
        if cell is None or not cell.detail:
            continue
        count += 1
        body = body_words(cell)
        more = f" ({escape(body)})" if body else ""
        items += (
            f"<li><b>{escape(row.label)}</b> {escape(cell_words(cell))}: "
            f"{escape(cell.detail)}{more}</li>\n"
        )
    if not count:
        return ""
    title = f"{escape(target)}: {count} operators that don't pass all their tests"
    return f"<details><summary>{title}</summary>\n<ul>\n{items}</ul></details>"


def _table(head: str, body: str, caption: str, kind: str = "", *, tall: bool = False) -> str:
    """A table that scrolls by itself, and can be scrolled by keyboard."""
    scroll = "tall" if tall else "scroll"
    return (
        f'<div class="{scroll}" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption class="hidden">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )
