"""``bench portability``: which operators and which models run where, and right."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.flags import (
    DURATION,
    LISTED_MODELS,
    LISTED_TARGETS,
    LISTED_VARIANTS,
    read_list,
    read_sizes,
)
from bench.commands.output import print_drawing, warn
from bench.defaults import GOES_AWAY
from bench.discover import backend_entry_points, card_paths
from bench.errors import BenchError, SpecError
from bench.files import write_text
from bench.folders import cache_folder

if TYPE_CHECKING:
    from bench.cards.card import Card
    from bench.record.portability import PortabilityReport
    from bench.runtimes.targets import Choice
    from bench.trials.portability.survey import Request

_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130
_STDOUT = "-"


@click.command(name="portability")
@click.option(
    "-t",
    "--target",
    "targets",
    **LISTED_TARGETS,
    help="Targets; default: all present.",
)
@click.option(
    "--operator",
    "operators",
    multiple=True,
    metavar="NAME,...",
    callback=read_list,
    help="Only these, e.g. Conv or 'Reduce*'.",
)
@click.option(
    "--opset", type=click.IntRange(min=1), help="Only operators as defined in this opset."
)
@click.option(
    "-m",
    "--model",
    "models",
    **LISTED_MODELS,
    help="Only these models.",
)
@click.option(
    "--variant",
    "variants",
    **LISTED_VARIANTS,
    help="Precision forms of the models; default: fp32.",
)
@click.option("--shape", "shapes", multiple=True, callback=read_sizes, help="Sizes, e.g. seq=128.")
@click.option(
    "--try/--no-try",
    "tries",
    default=True,
    show_default=True,
    help="Run the models, or only predict.",
)
@click.option("--no-models", is_flag=True, help="Skip the installed models.")
@click.option("--refresh", is_flag=True, help="Ignore cached results of earlier runs.")
@click.option(
    "--timeout",
    "timeout_s",
    type=DURATION,
    default="30s",
    show_default=True,
    help="Time limit of a test's loading, and of its computation.",
)
@click.option(
    "--model-timeout",
    "model_timeout_s",
    type=DURATION,
    default="5m",
    show_default=True,
    help="Time limit of a model's loading, and of its run.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Workers at once; default: the cores.")
@click.option("--all", "everything", is_flag=True, help="Also print operators that pass.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the matrix to this file.")
@click.option(
    "--html", type=click.Path(path_type=Path), help="Write a page with a heat map to this file."
)
@click.option(
    "--json",
    "json_file",
    # It took a file before, and does until `bench.defaults.GONE_IN`.
    is_flag=False,
    flag_value=_STDOUT,
    metavar="",
    help="Print the raw report as JSON.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    targets: tuple[str, ...],
    operators: tuple[str, ...],
    opset: int | None,
    models: tuple[str, ...],
    variants: tuple[str, ...],
    shapes: dict[str, int],
    *,
    tries: bool,
    no_models: bool,
    refresh: bool,
    timeout_s: float,
    model_timeout_s: float,
    workers: int | None,
    everything: bool,
    markdown: Path | None,
    html: Path | None,
    json_file: str | None,
    quiet: bool,
) -> int:
    """Check which ONNX operators and models each target runs, and runs correctly.

    Operators are tested with ONNX's own node tests; a crash or a hang only costs one test. With -m
    only models are checked: the tests of their operators predict failures before they are tried.
    Exit status: 1 if a named model does not run, or a named target is not available.
    """
    from bench.runtimes.targets import default_threads  # numpy: start-up
    from bench.spec import Suite, with_flags
    from bench.trials.portability.survey import Request

    _check_opset(opset)
    checked = with_flags(Suite(), {"variants": variants} if variants else {})
    whole = () if not models else None
    request = Request(
        operators=operators or whole,
        opset=opset,
        models=_cards(models, wanted=not (no_models or operators or opset)),
        variants=checked.variants,
        shapes=shapes,
        try_models=tries,
        refresh=refresh,
        timeout_s=timeout_s,
        workers=workers or default_threads(),
    )
    try:
        report, absent = _survey(request, targets or ("*",), model_timeout_s, quiet=quiet)
    except KeyboardInterrupt:
        click.echo(
            "bench: interrupted; finished tests are kept. Run the same command again to resume.",
            err=True,
        )
        return _EXIT_INTERRUPTED
    _write(report, markdown, html, json_file)
    if json_file != _STDOUT:
        _print(report, everything=everything)
    broken = bool(models) and any(
        row.outcome not in ("runs", "fallback", "not-tried")
        or (row.outcome == "not-tried" and row.predicted == "fails")
        for row in report.models
    )
    return _EXIT_FAILED if broken or absent else 0


def _check_opset(opset: int | None) -> None:
    """Raises `SpecError` for an opset that the installed ONNX doesn't have."""
    import onnx  # start-up

    newest = onnx.defs.onnx_opset_version()
    if opset is not None and opset > newest:
        raise SpecError(
            f"--opset {opset}: the newest that onnx {onnx.__version__} has is {newest}."
        )


def _cards(models: tuple[str, ...], *, wanted: bool) -> tuple[Card, ...]:
    """The models named; else, where ``wanted``, the installed ones that need nothing further."""
    from bench.cards.catalog import find_model  # numpy: start-up

    if models:
        return tuple(find_model(text) for text in dict.fromkeys(models))
    found = []
    for name in card_paths() if wanted else ():
        try:
            card = find_model(name)
        except BenchError:  # the files that a package would bring are not here
            continue
        if not card.provenance.install:
            found.append(card)
    return tuple(found)


def _survey(
    request: Request, targets: tuple[str, ...], model_timeout_s: float, *, quiet: bool
) -> tuple[PortabilityReport, list[str]]:
    """The report, and the named targets that could not be had."""
    from bench.cards.ready import card_forms  # numpy: start-up
    from bench.runtimes.declarations import references_for
    from bench.runtimes.processes import launcher
    from bench.runtimes.targets import choose_targets, discover_backends, requested_backends
    from bench.trials.portability.progress import telling
    from bench.trials.portability.survey import Machinery, missing, survey

    known = list(backend_entry_points())
    names = requested_backends(targets, known)
    references = references_for(card_forms(request.models)) if request.models else []
    probed = list(dict.fromkeys([*names, *references]))
    with (
        tempfile.TemporaryDirectory(prefix="bench-portability-") as folder,
        telling(quiet=quiet) as teller,
        launcher(Path(folder), model_timeout_s) as processes,
    ):
        teller.phase("looking for targets")
        reports = {r.name: r for r in discover_backends(probed, processes)}
        choices: list[Choice] = choose_targets(targets, {name: reports[name] for name in names})
        machinery = Machinery(processes, reports, Path(folder), cache_folder(), teller)
        report = survey(request, choices, machinery)
        return report, missing(report, choices)


def _write(
    report: PortabilityReport, markdown: Path | None, html: Path | None, json_file: str | None
) -> None:
    """The files asked for; nothing that exists is lost where writing fails."""
    if json_file == _STDOUT:
        click.echo(report.model_dump_json(indent=1))
    elif json_file is not None:
        warn(f"use `--json > {json_file}`. `--json FILE` {GOES_AWAY}.")
        _write_file(Path(json_file), report.model_dump_json(indent=1) + "\n")
    if markdown is not None:
        from bench.trials.portability.matrix_markdown import report_markdown  # pydantic: start-up

        _write_file(markdown, report_markdown(report))
    if html is not None:
        from bench.trials.portability.matrix_html import report_html  # pydantic: start-up

        _write_file(html, report_html(report))


def _write_file(path: Path, text: str) -> None:
    if not path.parent.is_dir():
        raise SpecError(f"{path}: can't be written: {path.parent} is not a folder.")
    write_text(path, text)


def _print(report: PortabilityReport, *, everything: bool) -> None:
    from bench.trials.portability.matrix_text import report_text  # pydantic: start-up

    print_drawing(lambda width: report_text(report, width, everything=everything))
