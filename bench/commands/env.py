"""``bench env``: private environments for runtimes that can't be installed beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from bench.commands.output import print_json
from bench.discover import unknown
from bench.errors import SpecError
from bench.numbers import printable
from bench.runtimes.environments.installer import choose_installer

if TYPE_CHECKING:
    from bench.runtimes.environments.find import Environment

_LONGEST_LINE = 200
#: What pip and uv say that a person waiting wants to read.
_OF_INTEREST = ("Collecting", "Downloading", "Building", "Installing", "Resolved", "Prepared")


@click.group(name="env")
def command() -> None:
    """Private environments for runtimes that can't be installed beside each other.

    A target names one behind an @: onnxruntime@onnxruntime-openvino:cpu.
    """


@command.command(short_help="Create an environment, or resume its creation.")
@click.argument("name")
@click.option("--python", default="", help="The Python to create it from; default: this one.")
@click.option(
    "--installer",
    type=click.Choice(["pip", "uv"]),
    help="Installer; default: uv if it is on PATH, else pip.",
)
def create(name: str, python: str, installer: str | None) -> None:
    """Create the environment NAME as its backend declares it; resumes if interrupted."""
    from bench.runtimes.environments.create import Wish  # pydantic: start-up
    from bench.runtimes.environments.create import create as make
    from bench.runtimes.environments.created import environments_folder
    from bench.runtimes.environments.declared import declared_environments

    _refuse_configured(name)
    declared = declared_environments()
    if name not in declared:
        raise unknown("declared environment", name, declared)
    wish = Wish(declared[name], choose_installer(installer), python)
    with _progress(name) as tell:
        record = make(wish, tell)
    click.echo(
        f"{name} is complete: Python {record.python}, {len(record.packages)} packages, in "
        f"{environments_folder() / name}."
    )
    for backend in record.backends:
        click.echo(f"Use it: bench run -t {backend}@{name}")


def _refuse_configured(name: str) -> None:
    """The configuration may add to an environment of ours, but one that brings its own
    interpreter can't be made."""
    from bench.config import config_path, load_config  # pydantic: start-up

    table = load_config().environments.get(name)
    if table is not None and table.python is not None:
        raise SpecError(
            f"{name} is an environment of {config_path()}, which brings its own interpreter; "
            "there is nothing to create."
        )


@contextmanager
def _progress(name: str) -> Iterator[Callable[[str], None]]:
    """Where what happens is told: a line that changes on a terminal, else a line for each step."""
    from rich.console import Console  # rich: start-up

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: _tell_steps(name, text)
        return
    with console.status(name) as status:

        def tell(text: str) -> None:
            words = printable(text, limit=_LONGEST_LINE)
            if text.startswith(("step ", "virtual ", "another ", "it is ")):
                console.print(f"{name}: {words}", markup=False, highlight=False)
            elif text.startswith(_OF_INTEREST):
                from rich.text import Text  # rich: start-up

                status.update(Text(words[: console.width - 4]))

        yield tell


def _tell_steps(name: str, text: str) -> None:
    if text.startswith(("step ", "virtual ", "another ", "it is ", "Downloading")):
        click.echo(f"{name}: {text[:_LONGEST_LINE]}", err=True)


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List environments: created, configured, or declared by backends.

    whole can be used; stale can be used, but its backend asks for other packages today; unfinished
    and broken can't.
    """
    from bench.runtimes.environments.find import all_environments  # pydantic: start-up

    environments = all_environments()
    if as_json:
        print_json([_as_json(environment) for environment in environments])
        return
    if not environments:
        click.echo("no environments: none created or configured, and no backend declares one")
        return
    for line in environment_lines(environments):
        click.echo(line)


def environment_lines(environments: list[Environment]) -> list[str]:
    """Name, state, and what to know of each environment, in columns."""
    names = [printable(environment.name, limit=40) for environment in environments]
    width = max(map(len, names))
    state_width = max(len(environment.state) for environment in environments)
    return [
        f"{name:<{width}}  {e.state:<{state_width}}  {printable(_about(e), limit=200)}"
        for name, e in zip(names, environments, strict=True)
    ]


def _about(environment: Environment) -> str:
    backends = ", ".join(environment.backends) or "no backend"
    record = environment.record
    if environment.origin == "declared":
        return f"{backends}; bench env create {environment.name}"
    if environment.origin == "configured" and environment.interpreter is not None:
        return f"{backends}; {environment.interpreter.python}"
    if record is None:
        return f"its {environment.name}/environment.json can't be read"
    if not record.whole:
        return f"{backends}; {record.done} of {len(record.steps)} steps done"
    again = "" if environment.state == "whole" else f"; bench env create {environment.name}"
    return f"{backends}; Python {record.python}, {len(record.packages)} packages{again}"


def _as_json(environment: Environment) -> dict[str, object]:
    interpreter, record = environment.interpreter, environment.record
    return {
        "name": environment.name,
        "state": environment.state,
        "origin": environment.origin,
        "backends": list(environment.backends),
        "python": interpreter.python if interpreter is not None else None,
        "variables": sorted(interpreter.variables) if interpreter is not None else [],
        "setup": str(interpreter.setup) if interpreter and interpreter.setup else None,
        "unusable": str(environment.unusable) if environment.unusable is not None else None,
        "made_from": record.model_dump(mode="json") if record is not None else None,
    }


@command.command(short_help="Trust the bench.toml of this folder.")
def trust() -> None:
    """Trust the bench.toml of this folder and its scripts, with their current contents."""
    from bench.config import LOCAL, load_config  # pydantic: start-up
    from bench.trust import Untrusted

    if not LOCAL.is_file():
        raise SpecError(f"no {LOCAL} in this folder.")
    try:
        load_config()
    except Untrusted as error:
        error.grant()
    click.echo(f"{LOCAL} is trusted, until it or a script that it names changes.")


@command.command()
@click.argument("name")
def remove(name: str) -> None:
    """Delete the environment NAME, which `bench env create` made."""
    from bench.runtimes.environments.created import created_environments  # pydantic: start-up
    from bench.runtimes.environments.created import remove as delete

    if name not in created_environments():
        _refuse_configured_removal(name)
    delete(name)
    click.echo(f"{name} is removed.")


def _refuse_configured_removal(name: str) -> None:
    from bench.config import config_path, load_config  # pydantic: start-up

    if name in load_config().environments:
        raise SpecError(f"{name} is an environment of {config_path()}; remove it there.")
