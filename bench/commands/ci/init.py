"""``bench ci init github|gitlab``: a workflow that compares and keeps a trend page, as written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from bench.commands.flags import LISTED_MODELS, LISTED_TARGETS
from bench.errors import SpecError
from bench.files import make_folder, write_text

_TEMPLATES = Path(__file__).with_name("templates")
#: Where each service looks for its file.
_FILES = {"github": Path(".github/workflows/benchmark.yml"), "gitlab": Path(".gitlab-ci.yml")}
#: Where the trend page is kept unless it is said: GitLab's job token can't push a branch.
_KEPT = {"github": "branch", "gitlab": "cache"}
_RUNNERS = {"github": "ubuntu-latest", "gitlab": ""}
#: The extra of infer-bench that brings a backend.
_EXTRAS = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "torch": "torch",
    "torch-compile": "torch",
    "iree": "iree",
    "mnn": "mnn",
    "tvm": "tvm",
    "tract": "tract",
}
#: What stands in YAML without quotes, and in a shell.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_INVOCATIONS = 10


@click.command(name="init")
@click.argument("service", type=click.Choice(list(_FILES)))
@click.argument("suite", required=False, type=click.Path(path_type=Path))
@click.option(
    "-m",
    "--model",
    "models",
    **LISTED_MODELS,
    help="Files of the repository.",
)
@click.option(
    "-t",
    "--target",
    "targets",
    **LISTED_TARGETS,
    help="Targets of the models; default: the suite's, else onnxruntime:cpu.",
)
@click.option("--max-slowdown", default="5%", show_default=True, metavar="SHARE")
@click.option("--min-accuracy", multiple=True, metavar="[MODEL=]SHARE")
@click.option(
    "--min-invocations",
    type=click.IntRange(2),
    default=_INVOCATIONS,
    show_default=True,
    metavar="N",
    help="Worker processes per cell; more find smaller changes.",
)
@click.option("--max-time", default="20s", show_default=True, metavar="TIME", help="Per cell.")
@click.option("--python", default="3.12", show_default=True, metavar="VERSION")
@click.option("--branch", default="main", show_default=True, help="The branch with the trend.")
@click.option(
    "--keep",
    type=click.Choice(["branch", "cache", "none"]),
    help="Where the trend page is kept; default: a branch on GitHub, a cache on GitLab.",
)
@click.option("--runner", metavar="NAME", help="GitHub's runs-on, or a tag of GitLab's runners.")
@click.option("--install", metavar="COMMAND", help="In place of `pip install infer-bench[...]`.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def command(
    service: str,
    suite: Path | None,
    models: tuple[str, ...],
    targets: tuple[str, ...],
    max_slowdown: str,
    min_accuracy: tuple[str, ...],
    min_invocations: int,
    max_time: str,
    python: str,
    branch: str,
    keep: str | None,
    runner: str | None,
    install: str | None,
    output: Path | None,
    *,
    force: bool,
) -> None:
    """Write a workflow for GitHub or GitLab. Run it at the top of the repository.

    A pull request measures its base and itself in turn in one job, posts a table, and fails if
    something became slower. A push to the main branch adds a run to a trend page.
    """
    if suite is None and not models:
        raise click.UsageError(
            "name what to measure: a SUITE or -m MODEL, files of the repository."
        )
    file = output or _FILES[service]
    if file.exists() and not force:
        raise SpecError(f"{file} is there already. Replace it with --force, or choose another -o.")
    for path in ([suite] if suite else []) + [Path(m.rpartition(":")[0] or m) for m in models]:
        _check_file(path)
    kept = keep or _KEPT[service]
    if (service, kept) == ("gitlab", "branch"):
        raise SpecError("GitLab's job token can't push a branch: use --keep cache or none.")
    given = targets or (() if suite else ("onnxruntime:cpu",))
    flags = ["--min-invocations", str(min_invocations), "--max-time", max_time]
    measured = [*([str(suite)] if suite else []), *_each("-m", models), *_each("-t", given), *flags]
    limits = ["--max-slowdown", max_slowdown, *_each("--min-accuracy", min_accuracy)]
    text = _rendered(
        service,
        measured=_line(measured),
        limits=_line(limits),
        install=_checked(install) if install else _install(given, models),
        python=_plain("--python", python),
        branch=_plain("--branch", branch),
        runner=_plain("--runner", runner) if runner else _RUNNERS[service],
        keep=kept,
    )
    make_folder(file.parent)
    write_text(file, text)
    click.echo(f"wrote {file}; commit it. docs/ci.md explains what it does.")
    if service == "github" and kept == "branch":
        click.echo("For the trend page: Settings, Pages, deploy from the branch bench-trend.")


def _check_file(path: Path) -> None:
    if path.is_absolute() or not path.exists():
        raise SpecError(
            f"{path}: not a file of this repository, relative to its top, where the workflow runs. "
            "A model that comes with bench is the same in every revision."
        )


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]


def _line(words: Sequence[str]) -> str:
    return _checked(shlex.join(words))


def _checked(text: str) -> str:
    """What can stand in a line of a script of a workflow."""
    if not text.isprintable() or "${{" in text:
        raise SpecError(f"{text!r} can't stand in a workflow: use one line without ${{{{.")
    return text


def _plain(flag: str, text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise SpecError(f"{flag} {text!r}: use letters, digits, dots, dashes and slashes.")
    return text


def _install(targets: Sequence[str], models: Sequence[str]) -> str:
    """Those extras that the targets and the models need; without targets, all for a CPU."""
    backends = dict.fromkeys(part for t in targets for part in [re.split("[:?@]", t)[0]])
    extras = dict.fromkeys(_EXTRAS[name] for name in backends if name in _EXTRAS)
    if any(".py:" in model for model in models):
        extras["torch"] = None
    return f"pip install 'infer-bench[{','.join(extras) or 'cpu'}]'"


def _rendered(service: str, **values: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # jinja2: start-up

    # Not for HTML, and the services have {{ }} of their own.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=False,
        undefined=StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{service}.yml.in").render(**values)
