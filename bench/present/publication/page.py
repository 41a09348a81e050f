"""The page of a publication: plain HTML without scripts, readable in light, dark and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.numbers import printable
from bench.present.ci.tables import Table

Part = tuple[str, list[tuple[str, str]], Table, "Table | None", list[str]]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 78rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; text-align: left; white-space: nowrap; }
td { border-bottom: 1px solid #8884; }
td:last-child:not(.number) { white-space: normal; min-width: 9rem; }
th { border-bottom: 2px solid #8888; }
.number { text-align: right; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; font-size: .92em; }
@media print { .wide { overflow: visible; } body { max-width: none; font-size: 9pt; } }
""".strip()


def page(title: str, parts: Sequence[Part]) -> str:
    """The whole page, one table row a line; every text is escaped."""
    shown = _text(title)
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{shown}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f"<h1>{shown}</h1>",
        "<p>Written by <code>bench publish</code>; <code>bench publish --check</code> derives "
        'every number again from the runs beside this page. Full precision: <a href="results.csv">'
        'results.csv</a>, <a href="pairs.csv">pairs.csv</a>. ± is the interval; p99 is an upper '
        "bound at 99% confidence, and absent where the samples are too few for one. ⚠️ names the "
        "checks that failed: where <code>undisturbed</code> did, other programs used the CPU "
        "meanwhile; where <code>steady-state</code> did, a warm-up had not settled.</p>",
    ]
    for name, facts, results, pairs, sentences in parts:
        lines += [f"<h2>{_text(name)}</h2>", "<dl>"]
        lines += [f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in facts]
        lines += ["</dl>", *_table(results, f"Results of {name}")]
        if pairs is not None:
            lines += [*_table(pairs, f"Pairs of {name}"), "<ul>"]
            lines += [f"<li>{_text(words)}</li>" for words in sentences]
            lines += ["</ul>"]
    return "\n".join([*lines, "</html>"]) + "\n"


def _table(table: Table, name: str) -> list[str]:
    """Wide tables scroll in a region of their own, which the keyboard reaches."""
    label = escape(printable(name), quote=True)
    return [
        f'<div class="wide" role="region" aria-label="{label}" tabindex="0"><table>',
        f"<thead>{_row(table, table.header, 'th')}</thead>",
        "<tbody>",
        *[_row(table, row, "td") for row in table.rows],
        "</tbody>",
        "</table></div>",
    ]


def _row(table: Table, cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(_cell(table, n, cell, tag) for n, cell in enumerate(cells)) + "</tr>"


def _cell(table: Table, number: int, cell: str, tag: str) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    kind = ' class="number"' if number in table.numbers else ""
    shown = _text(cell or "Status") if tag == "th" else _text(cell)
    if tag == "td" and number in table.names:
        shown = f"<code>{shown}</code>"
    return f"<{tag}{scope}{kind}>{shown}</{tag}>"


def _text(words: str) -> str:
    return escape(printable(words, limit=1000), quote=True)
