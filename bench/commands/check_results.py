"""``bench publish --check``: does a publication or certificate say what its raw data says?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench import __version__
from bench.errors import SpecError
from bench.numbers import counted

if TYPE_CHECKING:
    from bench.record.certificate import Certificate
    from bench.record.differing import Problem

_MOST = 20


def check_results(path: Path) -> int:
    """How many differences there are between the publications, certificates, bundles and runs at or
    below a path and what their raw data says; each is printed."""
    from bench.judge.certify.check import certificates  # numpy: start-up
    from bench.present.publication.check import publications

    published, certified = publications(path), certificates(path)
    packed, runs = _bundles(path), _runs(path, published)
    if not (published or certified or packed or runs):
        raise SpecError(
            f"{path}: no publication, certificate, bundle or run of bench at or below it "
            "(no published.json, certificate.json, *.bench, run.json). Make one with `bench "
            "publish`, `bench certify`, `bench results pack` or `bench run`."
        )
    differences = sum(_publication(folder) for folder in published)
    differences += sum(_certificate(folder, str(folder)) for folder in certified)
    differences += sum(_bundle(file) for file in packed)
    return differences + sum(_run(folder) for folder in runs)


def _bundles(path: Path) -> list[Path]:
    """The bundles at or below a path."""
    from bench.store.files import BUNDLE  # pydantic: start-up
    from bench.store.find import is_bundle

    return sorted(path.rglob(f"*{BUNDLE}")) if path.is_dir() else [path] * is_bundle(path)


def _runs(path: Path, published: Sequence[Path]) -> list[Path]:
    """The run directories at or below a path that are part of no publication: merged runs' too."""
    from bench.store.find import run_folders  # pydantic: start-up

    found = run_folders(path)
    return [run for run in found if not any(run.is_relative_to(folder) for folder in published)]


def _bundle(file: Path) -> int:
    """How many differences there are in a bundle and its certificates; each is printed."""
    from bench.store.bundle.opened import judge, unpacked  # pydantic: start-up

    found = unpacked(file)
    verdict = judge(found)
    manifest = found.manifest
    differences = 0
    if manifest.runs:
        told = _told(file, verdict.problems)
        click.echo(
            f"{file}: {verdict.numbers} numbers of {counted(len(manifest.runs), 'run')} derived "
            f"again; {told}."
        )
        _further(str(file), verdict.taken, verdict.reworded)
        differences += len(verdict.problems)
    for folder in found.certificates:
        differences += _certificate(folder, f"{file}: {folder.name}")
    return differences


def _run(folder: Path) -> int:
    """The same of a run directory."""
    from bench.store.check import check_run, reworded  # numpy: start-up
    from bench.store.run import read_run

    account = check_run(read_run(folder), folder.name)
    differing = [problem for problem in account.problems if not reworded(problem)]
    told = _told(folder.parent, differing)
    click.echo(f"{folder}: {account.numbers} numbers derived again; {told}.")
    _further(str(folder), account.taken, len(account.problems) - len(differing))
    return len(differing)


def _further(name: str, taken: Mapping[str, int], words: int) -> None:
    """What of a run or bundle could not be derived, and what is only worded otherwise."""
    from bench.store.bundle.opened import reworded_in_words, taken_in_words  # pydantic: start-up

    if taken:
        click.echo(f"{name}: {taken_in_words(taken)}.")
    if words:
        click.echo(f"{name}: {reworded_in_words(words)}.")


def _publication(folder: Path) -> int:
    """How many differences there are; each is printed."""
    from bench.present.publication.check import check  # numpy: start-up
    from bench.store.bundle.opened import taken_in_words

    account = check(folder)
    verdict = _told(folder, account.problems)
    click.echo(
        f"{folder}: {account.numbers} numbers of {counted(account.runs, 'run')} derived again; "
        f"{verdict}."
    )
    if account.problems and account.written_by:
        click.echo(
            f"{folder}: {account.written_by} wrote it, but its tables are compared with those of "
            "this version. If only words and columns differ, publish its runs again with `bench "
            "publish`."
        )
    if account.taken:
        click.echo(f"{folder}: {taken_in_words(account.taken)}.")
    return len(account.problems)


def _certificate(folder: Path, name: str) -> int:
    """The same of a certificate, which is called ``name``."""
    from bench.judge.certify.check import check  # numpy: start-up

    account = check(folder)
    problems = [*account.problems]
    if not problems:
        problems += _page(folder, account.certificate)
    verdict = _told(name, problems)
    parties = len(account.certificate.findings)
    click.echo(
        f"{name}: {account.numbers} numbers of {counted(parties, 'verdict')} derived again; "
        f"{verdict}."
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
            f"{path}: bench {certificate.bench_version} wrote this page, so it is not compared. "
            "`bench report` writes it again."
        )
        return
    page = certificate_page(certificate, StoredEvidence(folder, certificate).read)
    problems: list[Problem] = []
    published = path.read_bytes().decode("utf-8", errors="replace")
    compare_table(PAGE, published, certificate_html(page), problems)
    yield from problems


def _told(folder: Path | str, problems: Sequence[Problem | str]) -> str:
    for problem in problems[:_MOST]:
        click.echo(f"{folder}/{problem}")
    if len(problems) > _MOST:
        click.echo(f"{folder}: {len(problems) - _MOST} more differences.")
    return f"{len(problems)} differ" if problems else "all agree"
