"""``bench debug scaffold backend|model|task NAME``: a package to start from."""

from __future__ import annotations

import keyword
import re
import runpy
from collections.abc import Callable, Container
from pathlib import Path
from string import Template

import click

from bench.discover import backend_entry_points, card_paths, task_names
from bench.errors import SpecError
from bench.files import make_folder, write_text

_TEMPLATES = Path(__file__).with_name("templates")
#: What is written, and the template of each.
_PLUGIN = {
    "pyproject.toml": "pyproject.toml.in",
    "bench_${module}.py": "module.py.in",
    "test_bench_${module}.py": "test_module.py.in",
    "README.md": "README.md.in",
}
_MODEL = {
    "pyproject.toml": "pyproject.toml.in",
    "${module}_models/${name}.toml": "card.toml.in",
    "${module}_models/make.py": "make.py.in",
    "test_${module}_models.py": "test_module.py.in",
    "README.md": "README.md.in",
}
_FILES = {"backend": _PLUGIN, "model": _MODEL, "task": _PLUGIN}
_INSTALLED: dict[str, Callable[[], Container[str]]] = {
    "backend": backend_entry_points,
    "model": card_paths,
    "task": task_names,
}
#: Names that work in a target, in a file's name and, with `_` for `-`, in Python.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.command(name="scaffold")
@click.argument("kind", type=click.Choice(list(_FILES)))
@click.argument("name")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write; default: bench-NAME, for a model NAME-models.",
)
def command(kind: str, name: str, output: Path | None) -> None:
    """Write a small package that adds a backend, a model or a task called NAME to bench.

    It works as written: its test passes, and a backend passes the contract suite. Replace its parts
    with your own, one by one.
    """
    folder = output or Path(f"{name}-models" if kind == "model" else f"bench-{name}")
    texts = package(kind, name)
    if name in _INSTALLED[kind]():
        raise SpecError(f"a {kind} called {name!r} is already installed. Choose another name.")
    if folder.exists() and any(folder.iterdir()):
        raise SpecError(f"{folder} already exists and is not empty. Choose another with -o.")
    for file, text in texts.items():
        make_folder((folder / file).parent)
        write_text(folder / file, text)
    if kind == "model":
        _make_model(folder / f"{_module(name)}_models")
    click.echo(f"wrote {folder}; {folder / 'README.md'} explains how to try it")


def package(kind: str, name: str) -> dict[str, str]:
    """The text of each file of a package. Raises `SpecError` for a name that can't be used."""
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} can't name a {kind}. Use lower-case letters and digits, and - between them."
        )
    title = "".join(part.capitalize() for part in name.split("-"))
    values = {"name": name, "module": _module(name), "title": title}
    texts = {
        file: (_TEMPLATES / kind / source).read_text() for file, source in _FILES[kind].items()
    }
    imported = re.findall(r"^from \S+ import (.+)$", "\n".join(texts.values()), re.MULTILINE)
    if keyword.iskeyword(title) or title in ", ".join(imported).split(", "):
        raise SpecError(
            f"{name!r} can't name a {kind}: the class would be called {title}, which has another "
            "meaning there. Choose another name."
        )
    return {
        Template(file).substitute(values): Template(text).substitute(values)
        for file, text in texts.items()
    }


def _module(name: str) -> str:
    return name.replace("-", "_")


def _make_model(package: Path) -> None:
    """Run the package's own recipe: its ONNX file and its data are no text."""
    (package / "__init__.py").touch()
    runpy.run_path(str(package / "make.py"), run_name="__main__")
