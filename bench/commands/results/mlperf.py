"""``bench results mlperf pack RUN``: LoadGen's tests of a run as MLPerf's submission checker reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.chosen import run_argument
from bench.commands.output import warn
from bench.errors import SpecError
from bench.numbers import printable

if TYPE_CHECKING:
    from bench.record.header import RunHeader
    from bench.store.mlperf.checker import Verdict
    from bench.store.mlperf.layout import Packed

#: Lines of the checker's that are shown.
_MOST_COMPLAINTS = 40


@click.group(name="mlperf")
def command() -> None:
    """Lay out what LoadGen measured; nothing here is a submission or a result of MLPerf."""


@command.command(name="pack", short_help="Lay out tests for the submission checker.")
@run_argument()
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option("--submitter", required=True, help="Name of the submitter.")
@click.option(
    "--division",
    type=click.Choice(["open"]),
    default="open",
    show_default=True,
    help="MLPerf division; only open is supported.",
)
@click.option(
    "--status",
    type=click.Choice(["available", "preview", "rdi"]),
    default="rdi",
    show_default=True,
    help="MLPerf availability category of the system: available, preview, or rdi (research, "
    "development or internal).",
)
@click.option(
    "--system-type",
    type=click.Choice(["edge", "datacenter", "datacenter,edge"]),
    default="edge",
    show_default=True,
    help="MLPerf system type: edge, datacenter or both.",
)
@click.option("--system-name", help="Name of the machine; default: the run's.")
@click.option(
    "--system-json",
    type=click.Path(path_type=Path),
    help="Fields of the system that bench does not know, as JSON.",
)
@click.option("--benchmark", default="", help="Official benchmark to check against, e.g. resnet.")
@click.option("--cell", "cells", multiple=True, help="Id of a cell to pack; default: all.")
@click.option(
    "--checker",
    type=click.Path(path_type=Path),
    help="A clone of mlcommons/inference; runs its submission checker.",
)
@click.option(
    "--round", "version", default="v6.1", show_default=True, help="MLPerf version for the checker."
)
def pack_command(
    run: Path,
    output: Path,
    submitter: str,
    division: str,
    status: str,
    system_type: str,
    system_name: str | None,
    system_json: Path | None,
    benchmark: str,
    cells: tuple[str, ...],
    checker: Path | None,
    version: str,
) -> int:
    """Lay out the tests of RUN as the submission checker wants them; with --checker, run it.

    Packs the first test of each cell that LoadGen reports as valid, or the first test if none is.
    Exit status: 1 if the checker finds problems, which are printed.
    """
    from bench.store.mlperf.checker import check, find_checker  # pydantic: start-up
    from bench.store.mlperf.layout import Asked, pack
    from bench.store.run import read_run

    if checker is not None:
        find_checker(checker)  # before anything is written
    stored = read_run(run)
    asked = Asked(
        submitter=submitter,
        status=status,
        system_type=system_type,
        system_name=system_name or _machine(stored.header),
        benchmark=benchmark,
        system=_fields(system_json),
    )
    _print_packed(pack(stored, cells, asked, output), output)
    if checker is None:
        return 0
    verdict = check(output, asked, checker, version)
    _print_verdict(verdict, version)
    return 0 if verdict.ok else 1


def _machine(header: RunHeader) -> str:
    """What the run calls its machine; one that has no name is called by its CPU."""
    return header.machine_name or str(header.facts.get("cpu_model") or "unknown machine")


def _fields(path: Path | None) -> dict[str, Any]:
    """What a JSON object holds. Raises `SpecError` for what is none."""
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: it can't be read as JSON: {error}.") from error
    if not isinstance(found, dict):
        raise SpecError(f"{path}: give an object with fields like host_storage_type.")
    return found


def _print_packed(packed: list[Packed], output: Path) -> None:
    for one in packed:
        verdict = "VALID" if one.said.valid else f"INVALID: {'; '.join(one.said.why)}"
        click.echo(printable(f"{one.folder}  {verdict}"))
        if not one.accuracy:
            warn(f"{one.folder}: no accuracy test; the run was made with --no-accuracy.")
    click.echo(printable(f"Packed into {output}: not a submission, and not an MLPerf result."))


def _print_verdict(verdict: Verdict, version: str) -> None:
    click.echo(f"The submission checker ({version}): {printable(verdict.summary)}.")
    for text in verdict.complaints[:_MOST_COMPLAINTS]:
        click.echo(f"- {printable(text, limit=400)}")
    left = len(verdict.complaints) - _MOST_COMPLAINTS
    if left > 0:
        click.echo(f"- and {left} more")
