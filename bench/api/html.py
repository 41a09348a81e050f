"""What a notebook shows of runs, comparisons and deals: plain HTML tables and sentences.

No style sheet and no script: notebooks and the pages that show them remove both.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.present.ci.tables import Table, without_empty_columns
from bench.present.templates import environment


def notebook_html(
    title: str, tables: Sequence[Table] = (), said: Sequence[str] = (), warnings: Sequence[str] = ()
) -> str:
    """A title, tables without their empty columns, sentences, and warnings below them."""
    template = environment("bench.api").get_template("notebook.html.jinja")
    shown = [without_empty_columns(table) for table in tables if table.rows]
    return template.render(title=title, tables=shown, said=said, warnings=warnings)
