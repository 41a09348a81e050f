"""``bench report RUN...``: stored runs, or a certificate, as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.chosen import runs_argument
from bench.commands.flags import read_list, unchecked_option
from bench.commands.matrix import known_prices
from bench.commands.output import warn
from bench.errors import SpecError
from bench.numbers import size

if TYPE_CHECKING:
    from bench.present.page.page import Page
    from bench.store.run import StoredRun


@click.command(name="report")
@runs_argument()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--portability",
    "portability_file",
    type=click.Path(path_type=Path),
    help="What `bench portability --json` printed: adds the heat map.",
)
@click.option(
    "--allow",
    multiple=True,
    callback=read_list,
    metavar="KIND,...",
    help="Compare runs despite this difference (as `bench compare`).",
)
@click.option("--title", default="", help="The title of the page.")
@click.option(
    "--png",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write each picture as a PNG file into this folder.",
)
@unchecked_option
def command(
    runs: tuple[Path, ...],
    output: Path,
    portability_file: Path | None,
    allow: tuple[str, ...],
    title: str,
    png: Path | None,
    *,
    unchecked: bool,
) -> None:
    """Write the stored runs RUN as one page: directories, folders of them, bundles, or labels.

    The page is one self-contained file: answers in words, pictures with intervals, a table to
    filter, sort and copy. Without RUN: the latest. With several runs the first is the baseline.

    A certificate (the folder that `bench certify` writes) is written as its own page.
    """
    from bench.store.certificates import is_certificate  # pydantic: start-up

    if any(map(is_certificate, runs)):
        _write(output, _certificate(runs, title, portability_file, allow, png))
        return
    from bench.judge.differences import check_allowed_kinds  # numpy: start-up
    from bench.present.page.page import make_page, render
    from bench.present.page.portability import portability, read_portability
    from bench.store.bundle.opened import look_anyway
    from bench.store.run import no_collection

    check_allowed_kinds(allow)
    _refuse_twice(runs)
    matrix = portability(read_portability(portability_file)) if portability_file else None
    with no_collection():
        paths = look_anyway(runs) if unchecked else runs
        page = make_page(_read(paths), matrix, allow, title, known_prices(runs))
        _write(output, render(page))
    if png is not None:
        _write_pictures(page, png)


def _certificate(runs: tuple[Path, ...], *others: object) -> str:
    """The page of one certificate, to which nothing else can be added."""
    from bench.present.page.certificate import certificate_html, certificate_page  # numpy: start-up
    from bench.store.certificates import StoredEvidence, read_certificate

    if len(runs) > 1 or any(others):
        raise SpecError(
            "A certificate gets its own page. Give only one certificate, and no option but -o."
        )
    folder = runs[0].parent if runs[0].is_file() else runs[0]
    certificate = read_certificate(folder)
    return certificate_html(certificate_page(certificate, StoredEvidence(folder, certificate).read))


def _read(runs: Sequence[Path]) -> list[StoredRun]:
    """The runs in the order in which they are named; of a folder the oldest first."""
    from bench.store.frames import read_runs  # numpy: start-up

    found = []
    for path in runs:
        some, skipped = read_runs(path)
        found += some
        for warning in skipped:
            warn(warning)
    return found


def _refuse_twice(runs: tuple[Path, ...]) -> None:
    seen: set[Path] = set()
    for path in runs:
        if path.resolve() in seen:
            raise SpecError(f"{path} is named twice. Name each run once.")
        seen.add(path.resolve())


def _write(path: Path, text: str) -> None:
    """Raises `SpecError` where the file can't be written."""
    data = text.encode("utf-8", "replace")
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SpecError(
            f"{path}: the page can't be written: {error.strerror}. Name another file with -o."
        ) from error
    click.echo(f"wrote {path} ({size(len(data))})")


def _write_pictures(page: Page, folder: Path) -> None:
    from bench.present.page.png import write_pictures  # pydantic: start-up

    count = write_pictures(page.pictures, folder)
    click.echo(f"wrote {count} pictures into {folder}")
