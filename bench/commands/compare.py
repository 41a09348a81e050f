"""``bench compare``: two runs, two cells of a run, or the targets of a run against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.chosen import RUN, latest_run, latest_two, named
from bench.commands.flags import SHARE, SHARE_ABOVE_ZERO, read_list
from bench.commands.output import print_drawing, print_json, warn
from bench.commands.revisions import compare_revisions, refuse_without_base, revision_options
from bench.defaults import CONFIDENCE, MARGIN
from bench.errors import SpecError

if TYPE_CHECKING:
    from bench.judge.compare import Report
    from bench.judge.matching import Matched


@click.command(name="compare")
@click.argument("runs", nargs=-1, type=RUN, metavar="[RUN]...")
@click.option("--base", metavar="REV", help="Measure this git revision, and --head, in turn.")
@click.option(
    "--head", metavar="REV", help="--base: compare this one with it; default: the working tree."
)
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="CELL",
    help="A cell: its id, or model@target[/scenario]. Twice in one run: compare these.",
)
@click.option(
    "--baseline", metavar="NAME", help="With several machines: the one to compare the others with."
)
@click.option(
    "--allow",
    multiple=True,
    callback=read_list,
    metavar="KIND,...",
    help="Compare despite this difference (model, input, threads, ..., or all).",
)
@click.option(
    "--margin",
    type=SHARE,
    default=f"{MARGIN:.0%}",
    show_default=True,
    help="Smaller differences count as the same.",
)
@click.option(
    "--confidence",
    type=SHARE_ABOVE_ZERO,
    default=f"{CONFIDENCE:.0%}",
    show_default=True,
    help="Joint confidence of all intervals.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@revision_options
def command(
    runs: tuple[Path, ...],
    base: str | None,
    head: str | None,
    cells: tuple[str, ...],
    baseline: str | None,
    allow: tuple[str, ...],
    margin: float,
    confidence: float,
    *,
    as_json: bool,
    **flags: Any,
) -> int:
    """Compare two stored runs A and B cell by cell, or what is in one run; or measure two git
    revisions and compare those.

    \b
    bench compare A B                     the cells that both have; A is the baseline
    bench compare RUN                     every two targets of each model
    bench compare RUN --cell X --cell Y   two cells; X is the baseline
    bench compare                         the latest run with the one before it
    bench compare FOLDER                  the two runs below a folder; of several
                                          machines each cell on each of them
    bench compare --base main SUITE       the models of SUITE (or named as for `bench run`) as they
                                          are in main and now, measured in turn in one run

    What is not comparable (another model's content, input, ...) is refused unless it is allowed.
    Two machines may be compared. The exit code is 0 whatever the verdicts; with --base it is
    that of `bench gate`: 0 pass, 1 fail, 2 wrong usage, 3 inconclusive.
    """
    if base is not None:
        if cells or baseline:
            raise click.UsageError("--base measures a suite or models: no --cell or --baseline.")
        return compare_revisions(
            runs, base, head, allow, margin, confidence, flags, as_json=as_json
        )
    if head is not None:
        raise click.UsageError("--head needs a --base to compare with.")
    refuse_without_base(flags)
    from bench.judge.differences import check_allowed_kinds  # numpy: start-up
    from bench.store.run import no_collection

    check_allowed_kinds(allow)
    runs = named(runs) or ((latest_run(),) if cells else latest_two())
    with no_collection():
        matched, skipped = _matched(runs, cells, baseline, allow)
        _compare(matched, skipped, allow, margin, confidence, as_json=as_json)
    return 0


def _compare(
    matched: Matched,
    skipped: list[str],
    allow: tuple[str, ...],
    margin: float,
    confidence: float,
    *,
    as_json: bool,
) -> None:
    from bench.judge.compare import compare  # numpy: start-up
    from bench.judge.differences import refuse
    from bench.present.compare import difference_lines
    from bench.present.sides import common_names

    report = compare(matched, allow, margin, confidence)
    try:
        refuse(report.differences, allow, common_names(matched))
    except Exception:
        click.echo("\n".join(difference_lines(report)), err=True)
        raise
    for warning in (*skipped, *report.warnings):
        warn(warning)
    _print(report, as_json=as_json)


def _matched(
    given: tuple[Path, ...], cells: tuple[str, ...], baseline: str | None, allow: tuple[str, ...]
) -> tuple[Matched, list[str]]:
    """What is compared with what, and what has to be told of the runs."""
    from bench.judge.between import between_machines  # numpy: start-up
    from bench.judge.matching import match_cells, match_runs, match_targets
    from bench.store.machines import by_machine
    from bench.store.run import read_results

    copies: list[str] = []
    stored = [read_results(path) for path in _runs(given, copies)]
    remarks = [*copies, *(f"{run.shown}: {text}" for run in stored for text in run.remarks)]
    machines = by_machine(stored)
    if len(machines) > 1:
        matched, told = between_machines(machines, baseline, cells, allow)
        return matched, [*remarks, *told]
    if baseline is not None:
        raise SpecError(f"--baseline {baseline}: these runs are of one machine.")
    if len(stored) > 2:
        raise click.UsageError(
            f"name one run or two, not {len(stored)} of one machine. `bench show --history` "
            "shows a cell over many."
        )
    if len(stored) == 2:
        return match_runs(stored[0], stored[1], cells), remarks
    if cells:
        return match_cells(stored[0], cells), remarks
    return match_targets(stored[0]), remarks


def _runs(given: tuple[Path, ...], notes: list[str]) -> list[Path]:
    """The runs in the order in which they are named; of a folder each once."""
    from bench.store.find import find_runs, without_copies  # pydantic: start-up

    if len(given) > 1:
        return [run for path in given for run in find_runs([path])]
    found, copies = without_copies(find_runs(given))
    notes += copies
    return found


def _print(report: Report, *, as_json: bool) -> None:
    from bench.present.compare import report_json, report_text  # numpy: start-up

    if as_json:
        print_json(report_json(report))
    else:
        print_drawing(lambda width: report_text(report, width))
