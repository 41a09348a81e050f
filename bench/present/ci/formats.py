"""The kinds of file that CI services read. One row says all that commands ask about one.

A distribution adds a row of its own through the entry-point group ``bench.ci_formats``, which maps
its name to ``module:ROW``. A row's module is imported to print the help of a command, so it has to
be light; what writes the file (`CiFormat.writer`) is imported when it is written.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from bench.discover import Catalogue
from bench.errors import BenchError


@dataclass(frozen=True)
class CiOption:
    """A further option of a format, whose value is the field of `bench.present.ci.base.Subject` of
    that name: text (a ``metavar`` says what of), or a whole number from ``least`` on."""

    field: str
    help: str
    metavar: str
    least: int | None = None


@dataclass(frozen=True)
class CiFormat:
    """One kind of file, or of folder, and the option ``--name`` that asks for it.

    ``writer`` is ``module:Class`` of a `bench.present.ci.base.Format`.
    """

    name: str
    help: str
    writer: str
    folder: bool = False
    options: tuple[CiOption, ...] = ()

    @property
    def field(self) -> str:
        """The name of the option as a parameter."""
        return self.name.replace("-", "_")


MARKDOWN = CiFormat(
    "markdown",
    "Write Markdown (a step summary).",
    "bench.present.ci.markdown:Markdown",
    options=(
        CiOption(
            "markdown_limit",
            "Maximum size; rows beyond it are dropped; default 1000000.",
            "BYTES",
            least=2_000,
        ),
        CiOption("link", "URL of the full results, shown if rows were dropped.", "URL"),
    ),
)
JUNIT = CiFormat("junit", "Write JUnit XML.", "bench.present.ci.junit:JUnit")
BENCHER = CiFormat("bencher", "Write Bencher Metric Format.", "bench.present.ci.bencher:Bencher")
GITHUB_ACTION = CiFormat(
    "github-action",
    "Write github-action-benchmark's JSON.",
    "bench.present.ci.github_action:GithubAction",
    folder=True,
)
CI_FORMATS = Catalogue("CI format", "bench.ci_formats", (MARKDOWN, JUNIT, BENCHER, GITHUB_ACTION))


def ci_formats() -> list[CiFormat]:
    """All rows, ours first; one of another distribution that can't be loaded has no option."""
    found = []
    for name in CI_FORMATS.names():
        with contextlib.suppress(BenchError):
            found.append(CI_FORMATS.find(name))
    return found
