"""``bench ci init github|gitlab``: a workflow that compares and keeps a trend page.

What is written is read again as the shell will: each of its `bench` commands goes through that
command's own parser, and its suite, targets and models through what `bench compare --base` does
with them. So a value that would not work there is refused here, in the same words.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands import compare, publish, run
from bench.commands.ci import installed
from bench.commands.flags import LISTED_MODELS, LISTED_TARGETS
from bench.commands.given import sort_given
from bench.commands.output import warn
from bench.commands.revisions import suite_of
from bench.errors import SpecError
from bench.files import make_folder, write_text

if TYPE_CHECKING:
    from bench.trials.revisions.models import Pairs

_TEMPLATES = Path(__file__).with_name("templates")
#: Where each service looks for its file.
_FILES = {"github": Path(".github/workflows/benchmark.yml"), "gitlab": Path(".gitlab-ci.yml")}
#: Where the trend page is kept unless it is said: GitLab's job token can't push a branch.
_KEPT = {"github": "branch", "gitlab": "cache"}
_RUNNERS = {"github": "ubuntu-latest", "gitlab": ""}
#: What stands in YAML without quotes, and in a shell.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
#: The oldest Python that has `bench`, 3.11, and newer ones.
_PYTHON = re.compile(r"3\.(1[1-9]|[2-9]\d)(\.\d+)?")
_INVOCATIONS = 10
#: A command of a script: a line of its own, but for what is done with its exit code.
_BENCH = re.compile(r"^\s*(?:- )?bench (.+?)(?: \|\| code=\$\?)?$", re.MULTILINE)
_PARSERS = {"compare": compare.command, "run": run.command, "publish": publish.command}


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
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]SHAPE",
    help="What a PyTorch module takes, as for `bench run`.",
)
@click.option(
    "--max-slowdown",
    default="5%",
    show_default=True,
    metavar="SHARE",
    help="Maximum slowdown against the base.",
)
@click.option(
    "--min-accuracy",
    multiple=True,
    metavar="[MODEL=]SHARE",
    help="Minimum accuracy of every model, or of one; default: no limit.",
)
@click.option(
    "--min-invocations",
    type=click.IntRange(2),
    default=_INVOCATIONS,
    show_default=True,
    metavar="N",
    help="Worker processes per cell; more find smaller changes.",
)
@click.option("--max-time", default="20s", show_default=True, metavar="TIME", help="Time per cell.")
@click.option(
    "--python",
    default="3.12",
    show_default=True,
    metavar="VERSION",
    help="The version of Python to run.",
)
@click.option("--branch", default="main", show_default=True, help="The branch with the trend.")
@click.option(
    "--keep",
    type=click.Choice(["branch", "cache", "none"]),
    help="Where the trend page is kept; default: a branch on GitHub, a cache on GitLab.",
)
@click.option(
    "--runner",
    metavar="NAME",
    help="GitHub's runs-on (default ubuntu-latest), or a tag of GitLab's runners (default: none).",
)
@click.option(
    "--install",
    metavar="REQUIREMENT",
    help="What pip installs, or -r FILE; default: infer-bench from where this one came.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; default: where the service looks for it.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def command(
    service: str,
    suite: Path | None,
    models: tuple[str, ...],
    targets: tuple[str, ...],
    inputs: tuple[str, ...],
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
    top = _top()
    named = sort_given([str(suite)] if suite else [])
    models = tuple(dict.fromkeys((*named.models, *models)))
    if named.suite is None and not models:
        raise click.UsageError(
            "name what to measure: a SUITE or -m MODEL, files of the repository."
        )
    file = output or _FILES[service]
    if file.exists() and not force:
        raise SpecError(f"{file} is there already. Replace it with --force, or choose another -o.")
    for path in ([named.suite] if named.suite else []) + [_file_of(model) for model in models]:
        _check_file(path, top)
    kept = keep or _KEPT[service]
    if (service, kept) == ("gitlab", "branch"):
        raise SpecError("GitLab's job token can't push a branch: use --keep cache or none.")
    given = targets or (() if named.suite else ("onnxruntime:cpu",))
    flags = ["--min-invocations", str(min_invocations), "--max-time", max_time]
    whats = [str(named.suite)] if named.suite else []
    asked = [*_each("-m", models), *_each("-t", given), *_each("--input", inputs)]
    measured = [*whats, *asked, *flags]
    limits = ["--max-slowdown", max_slowdown, *_each("--min-accuracy", min_accuracy)]
    wanted, reachable = _check_measured([*measured, *limits], top, install)
    text = _rendered(
        service,
        measured=_line(measured),
        limits=_line(limits),
        install=_line(["pip", "install", *wanted]),
        python=_checked_python(python),
        branch=_plain("--branch", branch),
        runner=_plain("--runner", runner) if runner else _RUNNERS[service],
        keep=kept,
    )
    for words in _BENCH.findall(text):
        _parsed(shlex.split(words))
    make_folder(file.parent)
    write_text(file, text)
    click.echo(f"wrote {file}; commit it.")
    if service == "github" and kept == "branch":
        click.echo("For the trend page: Settings, Pages, deploy from the branch bench-trend.")
    if not reachable:
        warn(installed.NOWHERE)


def _top() -> Path:
    """Where the command runs, which has to be the top of a git repository."""
    from bench.trials.revisions.repository import top_of  # start-up

    here = Path.cwd()
    top = top_of(here)
    if top is None:
        raise SpecError(f"{here}: not in a git repository, and a CI service runs what is in one.")
    if not os.path.samefile(top, here):
        raise SpecError(f"{here}: not the top of its git repository. Run it in {top}.")
    return top


def _file_of(model: str) -> Path:
    """A model's file: that of ``file.py:factory`` is the part before the colon."""
    return Path(model.rpartition(":")[0] if ".py:" in model else model)


def _check_file(path: Path, top: Path) -> None:
    from bench.trials.revisions.repository import tracked  # start-up

    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(top))
    if path.is_absolute() or not path.exists() or not inside:
        raise SpecError(
            f"{path}: not a file of this repository, relative to its top, where the workflow runs. "
            "A model that comes with bench is the same in every revision."
        )
    if not tracked(top, path):
        warn(f"{path} is not in git yet: commit it with the workflow.")


def _check_measured(words: Sequence[str], top: Path, install: str | None) -> tuple[list[str], bool]:
    """What pip has to install, and whether others can. Raises where `bench compare --base` would
    not measure what ``words`` say."""
    context = _parsed(["compare", "--base", "HEAD^1", *words])
    suite = suite_of(context.params["runs"], context.params)
    _check_backends(suite.targets, elsewhere=install is not None)
    pairs = _models(suite.models, suite.inputs, top)
    if install is not None:
        return installed.chosen(_checked(install.strip()), top), True
    torch = any(one.card.source.torch is not None for one in pairs.models)
    return installed.found(suite.targets, torch=torch)


def _check_backends(targets: Sequence[str], *, elsewhere: bool) -> None:
    """Raise `SpecError` for a backend that is not known here; warn where the workflow installs what
    somebody said, which may bring others than are installed on this machine."""
    from bench.discover import backend_entry_points, unknown  # start-up
    from bench.runtimes.targets import parse_target

    known = backend_entry_points()
    for target in (text for text in targets if text != "*"):
        name = parse_target(target).backend
        if name in known:
            continue
        error = unknown("backend", name, known)
        if not elsewhere:
            raise error
        warn(f"{target}: on this machine {error} The workflow needs one that --install brings.")


def _models(models: Sequence[str], inputs: Sequence[str], top: Path) -> Pairs:
    """The models as they are now, on both sides."""
    from bench.trials.revisions.models import models_of  # numpy: start-up
    from bench.trials.revisions.repository import Revision

    base, head = Revision("HEAD^1", "", top), Revision("HEAD", "", top)
    pairs = models_of(models, top, Path.cwd(), base, head, inputs)
    for note in pairs.notes:
        warn(note)
    for one in pairs.models:
        if isinstance(one.error, SpecError):
            raise one.error
    return pairs


def _parsed(words: Sequence[str]) -> click.Context:
    """A command line as its own command reads it. What that refuses is told as of this command,
    which has the same flags."""
    name, *arguments = words
    try:
        return _PARSERS[name].make_context(f"bench {name}", list(arguments))
    except click.UsageError as error:
        error.ctx = click.get_current_context()
        raise


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]


def _line(words: Sequence[str]) -> str:
    return _checked(shlex.join(words))


def _checked(text: str) -> str:
    """What can stand in a line of a script of a workflow."""
    if not text.isprintable() or "${{" in text:
        raise SpecError(f"{text!r} can't stand in a workflow: use one line without ${{{{.")
    return text


def _checked_python(version: str) -> str:
    if not _PYTHON.fullmatch(version):
        raise SpecError(f"--python {version!r}: bench needs Python 3.11 or later, like 3.12.")
    return version


def _plain(flag: str, text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise SpecError(f"{flag} {text!r}: use letters, digits, dots, dashes and slashes.")
    return text


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
