"""``bench gate RUN --save FILE``: a run as one file that a repository can commit."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.output import warn
from bench.files import write_text
from bench.numbers import printable, size


def save_baseline(run: Path, output: Path) -> None:
    """Write a stored run as one file, for `bench gate --baseline FILE`.

    It holds what comparisons need: records, invocations and predictions; no samples. A baseline
    that is there already is replaced, as CI has to, and it is said which.
    """
    from bench.store.baseline import baseline_text, make_baseline, there_already  # numpy: start-up
    from bench.store.run import read_run

    stored = read_run(run)
    content, problems = make_baseline(stored)
    text = baseline_text(content)
    before = there_already(output)
    write_text(output, text)
    for problem in (*stored.remarks, *problems):
        warn(problem)
    click.echo(
        f"{output}: {len(content.records)} cells of {printable(str(stored.path))}, "
        f"{size(len(text.encode()))}{f'; replaced {before}' if before else ''}."
    )
