"""What a notebook shows of runs, comparisons and deals: plain HTML tables and sentences.

No style sheet and no script: notebooks and the pages that show them remove both.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.numbers import MISSING
from bench.present.ci.tables import Table


def notebook_html(
    title: str, tables: Sequence[Table] = (), said: Sequence[str] = (), warnings: Sequence[str] = ()
) -> str:
    """A title, tables without their empty columns, sentences, and warnings below them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # jinja2: start-up

    environment = Environment(
        loader=PackageLoader("bench.api", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("notebook.html.jinja")
    shown = [without_empty_columns(table) for table in tables if table.rows]
    return template.render(title=title, tables=shown, said=said, warnings=warnings)


def without_empty_columns(table: Table) -> Table:
    """The table without the columns that have nothing in any row."""
    kept = [
        place
        for place in range(len(table.header))
        if any(row[place] not in ("", MISSING) for row in table.rows)
    ]
    places = {old: new for new, old in enumerate(kept)}
    return Table(
        header=tuple(table.header[place] for place in kept),
        rows=[tuple(row[place] for place in kept) for row in table.rows],
        numbers=frozenset(places[n] for n in table.numbers if n in places),
        names=frozenset(places[n] for n in table.names if n in places),
    )
