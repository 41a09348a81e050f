"""GitHub-flavoured Markdown, for a step summary or the comment on a change.

GitHub refuses a step summary above 1 MiB and a comment above 65,536 characters; rows that don't fit
are left out, the less important first, and their number is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.files import write_text
from bench.judge.finding import Outcome
from bench.judge.gate import Judgement
from bench.numbers import NAME_LIMIT, printable
from bench.present.ci.base import Subject
from bench.present.ci.tables import Table, results_table
from bench.present.gate import (
    ORDER,
    figures_text,
    found_text,
    limit_text,
    notes,
    summary,
    where,
)
from bench.present.told import told
from bench.variants import suffix

#: GitHub's limit is 1 MiB; a little is left for what is appended to the same summary.
LIMIT = 1_000_000
_MESSAGE_LIMIT = 300
#: Of a cell of a table: what was found of something, and what to do.
_CELL_LIMIT = 2 * _MESSAGE_LIMIT
#: What needs no escaping anywhere in Markdown, once it stands in a code span.
_PLAIN = re.compile(r"[A-Za-z0-9 .,:;/?=&%+()'_~^≤≥±µ→–-]+")
#: What needs no escaping in the middle of a line.
_HARMLESS = " .,:;/()%+-='≤≥±µ→–❌✅⚠️⏭🆕"
_NAMED = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_SYMBOLS = {
    Outcome.ERROR: "❌",
    Outcome.FAIL: "❌",
    Outcome.MISSING: "❌",
    Outcome.INCONCLUSIVE: "⚠️",
    Outcome.PASS: "✅",
    Outcome.SKIPPED: "⏭️",
    Outcome.NEW: "🆕",
}


class Markdown:
    def write(self, subject: Subject, path: Path) -> None:
        write_text(path, markdown_text(subject))


def markdown_text(subject: Subject) -> str:
    """The whole document, never longer than the limit in bytes."""
    limit = subject.markdown_limit or LIMIT
    judgement = subject.judgement
    if judgement is not None:
        lead = _gate_lead(judgement)
        table, end = _gate_table(judgement), _gate_notes(judgement)
    else:
        lead = [f"### Benchmark of {code(subject.run.header.suite.name)}", ""]
        table, end = results_table(subject.run.records), _run_notes(subject)
    command = "bench gate" if judgement is not None else "bench show RUN"
    return _within(limit, lead, table, end, _all_rows(subject.link, command))


# -- escaping -------------------------------------------------------------------------------------


def text(words: str, limit: int = _MESSAGE_LIMIT) -> str:
    """Text from outside as plain words: no markup, link, mention or table cell comes out of it."""
    shown = cell_text(words, limit)
    return f"&#45;{shown[1:]}" if shown.startswith("-") else shown


def cell_text(words: str, limit: int = _CELL_LIMIT) -> str:
    """The same in a cell of a table, where a leading dash begins no list."""
    return _entities(printable(words, limit=limit))


def code(words: str, limit: int = NAME_LIMIT) -> str:
    """A name in a code span, in which GitHub looks for no mentions and no issues either."""
    shown = printable(words, limit=limit)
    if _PLAIN.fullmatch(shown) and shown == shown.strip():
        return f"`{shown}`"
    return f"<code>{_entities(shown)}</code>"


def _entities(shown: str) -> str:
    """Every character that means something in Markdown or HTML as its entity.

    GitHub looks for mentions, issues and addresses after entities are decoded: an invisible word
    joiner (U+2060) behind what begins one keeps it from finding any.
    """
    safe = "".join(
        c if c.isalnum() or c in _HARMLESS else _NAMED.get(c, f"&#{ord(c)};") for c in shown
    )
    for beginning in ("&#64;", "&#35;", "://", "www."):
        safe = safe.replace(beginning, f"{beginning}&#8288;")
    return safe


# -- tables ---------------------------------------------------------------------------------------


def _gate_lead(judgement: Judgement) -> list[str]:
    symbol = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}[judgement.counts_as.value]
    return [f"### {symbol} {text(summary(judgement))}", ""]


def _gate_table(judgement: Judgement) -> Table:
    header = ("", "Model", "Target", "Limit on", "Baseline", "Run", "Found", "Allowed", "Why")
    found = sorted(judgement.findings, key=lambda finding: ORDER.index(finding.outcome))
    rows = []
    for finding in found:
        variant = suffix(finding.cell.variant)
        rows.append(
            (
                f"{_SYMBOLS[finding.outcome]} {finding.outcome.value}",
                finding.cell.model.name + variant,
                where(finding),
                finding.kind,
                *figures_text(finding),
                found_text(finding),
                limit_text(finding),
                " ".join(filter(None, (finding.words, finding.advice))),
            )
        )
    return Table(header, rows, numbers=frozenset({4, 5, 6, 7}), names=frozenset({1, 2}))


def _gate_notes(judgement: Judgement) -> list[str]:
    """What the terminal says below the table, and on standard error."""
    lines = (*notes(judgement), *judgement.warnings)
    return ["", *[f"- {text(line.strip(), 500)}" for line in lines]]


def _run_notes(subject: Subject) -> list[str]:
    header = subject.run.header
    machine = printable(str(header.facts.get("cpu_model", "")), limit=NAME_LIMIT)
    confidence = 100 * header.suite.confidence
    notes_told = [f"- {text(words, 500)}" for words in told(subject.run.records)]
    return [
        *(["", *notes_told] if notes_told else []),
        "",
        f"± is the {confidence:g}% interval; p99 is an upper bound at 99% confidence.",
        "",
        f"{code(header.command, 500)}, {text(header.created_at)}"
        + (f", on {text(machine)}" if machine else ""),
    ]


def table_lines(table: Table) -> list[str]:
    """The table as Markdown, one line a row."""
    rule = ["---:" if column in table.numbers else "---" for column in range(len(table.header))]
    rows = [
        [code(cell) if n in table.names else cell_text(cell) for n, cell in enumerate(row)]
        for row in table.rows
    ]
    return [_row_line(table.header), _row_line(rule), *map(_row_line, rows)]


def _row_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _within(limit: int, lead: Sequence[str], table: Table, end: Sequence[str], more: str) -> str:
    """As many rows as there is room for, and how many were left out; ``more`` says where they
    are."""
    head, rows = table_lines(table)[:2], table_lines(table)[2:]
    if _size([*lead, *head, *rows, *end]) <= limit:
        return "\n".join([*lead, *head, *rows, *end]) + "\n"
    room = limit - _size([*lead, *head, *_notice(len(rows), len(rows), more), *end])
    if room < 0:
        # Not even the notes fit: the verdict and the notice do.
        room += _size(end)
        end = []
    kept: list[str] = []
    for row in rows:
        room -= _size([row])
        if room < 0:
            break
        kept.append(row)
    notice = _notice(len(rows) - len(kept), len(rows), more)
    return "\n".join([*lead, *head, *kept, *notice, *end]) + "\n"


def _all_rows(link: str, command: str) -> str:
    return f"[All of them]({_url(link)})." if link else f"`{command}` prints all of them."


def _notice(left_out: int, rows: int, more: str) -> list[str]:
    return ["", f"{left_out} of {rows} rows are left out here to keep to the size limit. {more}"]


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _url(link: str) -> str:
    """A link's address without what would end it."""
    return "".join(c for c in link if c.isprintable() and c not in "()<>[]\\ \"'`")
