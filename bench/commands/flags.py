"""Flags that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.judge.gate import Judgement
    from bench.store.run import StoredRun

_FILE = click.Path(path_type=Path, dir_okay=False)


def read_sizes(
    context: click.Context, flag: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    """``batch=8,seq=128`` as a mapping."""
    sizes: dict[str, int] = {}
    for item in ",".join(values).split(","):
        if not item.strip():
            continue
        name, _, size = item.partition("=")
        if not size.strip().isdigit() or int(size) < 1:
            raise click.BadParameter(f"{item!r} is not of the form name=size, for example seq=128")
        sizes[name.strip()] = int(size)
    return sizes


#: the parameters that `output_options` adds
OUTPUTS = ("markdown", "markdown_limit", "link", "junit", "bencher", "github_action")


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The files for CI that a command can write beside what it prints; see `write_outputs`."""
    for option in reversed(
        (
            click.option("--markdown", type=_FILE, help="Write Markdown (a step summary)."),
            click.option(
                "--markdown-limit",
                type=click.IntRange(min=2_000),
                metavar="BYTES",
                help="Cut its rows to this size; default 1000000.",
            ),
            click.option("--link", metavar="URL", help="Where all of it is, for cut Markdown."),
            click.option("--junit", type=_FILE, help="Write JUnit XML."),
            click.option("--bencher", type=_FILE, help="Write Bencher Metric Format."),
            click.option(
                "--github-action",
                type=click.Path(path_type=Path, file_okay=False),
                metavar="DIRECTORY",
                help="Write github-action-benchmark's JSON.",
            ),
        )
    ):
        command = option(command)
    return command


def write_outputs(
    outputs: Mapping[str, Any], run: StoredRun, judgement: Judgement | None = None
) -> None:
    """Write each file that was asked for. Raises `SpecError` where one can't be written."""
    given = {name: value for name, value in outputs.items() if value is not None}
    if not given:
        return
    from bench.present.ci import FORMATS, Subject  # scipy: start-up

    subject = Subject(
        run,
        judgement,
        link=given.get("link", ""),
        markdown_limit=given.get("markdown_limit"),
    )
    for name, form in FORMATS.items():
        if name in given:
            form.write(subject, given[name])
