"""``bench check-results PATH``: does a publication or certificate say what its raw data says?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench import __version__
from bench.errors import SpecError

if TYPE_CHECKING:
    from bench.record.certificate import Certificate
    from bench.record.differing import Problem

_MOST = 20


@click.command(name="check-results")
@click.argument("path", type=click.Path(path_type=Path))
def command(path: Path) -> int:
    """Derive the publications and certificates at or below PATH again from their raw data, and
    compare whole files.

    Exit code 0: all that can be derived agrees, and it is said how many numbers can't be; 1: some
    of it differs, and each difference is named.
    """
    from bench.judge.certify.check import certificates  # scipy: start-up
    from bench.present.publication.check import publications

    published, certified = publications(path), certificates(path)
    if not published and not certified:
        raise SpecError(
            f"{path}: there is no publication and no certificate of bench at or below it (no "
            "published.json, no certificate.json). Make one with `bench publish`, or with "
            "`bench certify`."
        )
    differences = sum(_publication(folder) for folder in published)
    differences += sum(_certificate(folder) for folder in certified)
    return 1 if differences else 0


def _publication(folder: Path) -> int:
    """How many differences there are; each is printed."""
    from bench.present.publication.check import check  # scipy: start-up
    from bench.store.bundle.opened import taken_in_words

    account = check(folder)
    verdict = _told(folder, account.problems)
    click.echo(
        f"{folder}: {account.numbers} numbers of {account.runs} runs derived again; {verdict}."
    )
    if account.problems and account.written_by:
        click.echo(
            f"{folder}: {account.written_by} wrote it, and its tables are compared with those "
            "of this one. Where only their words and columns differ, publish its runs again "
            "with `bench publish`."
        )
    if account.taken:
        click.echo(f"{folder}: {taken_in_words(account.taken)}.")
    return len(account.problems)


def _certificate(folder: Path) -> int:
    """The same of a certificate."""
    from bench.judge.certify.check import check  # scipy: start-up

    account = check(folder)
    problems = [*account.problems]
    if not problems:
        problems += _page(folder, account.certificate)
    verdict = _told(folder, problems)
    parties = len(account.certificate.findings)
    click.echo(
        f"{folder}: {account.numbers} numbers of {parties} verdicts derived again; {verdict}."
    )
    return len(problems)


def _page(folder: Path, certificate: Certificate) -> Iterator[Problem]:
    """The page beside a certificate, line by line, where there is one."""
    from bench.present.page.certificate import (  # numpy: start-up
        certificate_html,
        certificate_page,
    )
    from bench.present.publication.check import compare_table
    from bench.store.certificates import PAGE, StoredEvidence

    path = folder / PAGE
    if not path.is_file():
        return
    if certificate.bench_version != __version__:
        click.echo(
            f"{path}: bench {certificate.bench_version} drew it, so it is not compared. "
            "`bench report` draws it again."
        )
        return
    page = certificate_page(certificate, StoredEvidence(folder, certificate).read)
    problems: list[Problem] = []
    published = path.read_bytes().decode("utf-8", errors="replace")
    compare_table(PAGE, published, certificate_html(page), problems)
    yield from problems


def _told(folder: Path, problems: Sequence[Problem]) -> str:
    for problem in problems[:_MOST]:
        click.echo(f"{folder}/{problem}")
    if len(problems) > _MOST:
        click.echo(f"{folder}: {len(problems) - _MOST} more differences.")
    return f"{len(problems)} differ" if problems else "all agree"
