"""The page about the Python API, from the docstrings: ``python -m bench.api.reference PAGE``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.api import public
from bench.api.measure import Settings
from bench.files import write_text
from bench.spec import OVERVIEW, Suite

_HEAD = """\
# The Python API

Every public name of `bench`, from its docstrings; [python.md](python.md) shows how to use them.
This page is generated: `python -m bench.api.reference docs/api.md`.
"""
#: In the order in which they are needed; `bench.api.public` has them by the alphabet.
_FUNCTIONS = ("run", "open", "load")
_CLASSES = ("Run", "Comparison", "Deal")
#: What annotations mean to a reader.
_ALIASES = {
    "Unpack[Settings]": "...",
    "pandas.DataFrame": "DataFrame",
    "Model": "str | Path",
    "Preset": "'quick' | 'thorough'",
    "Paths": "str | Path | Iterable[str | Path]",
    "What": "str",
    "Cost": "str",
}
_WIDTH = 88  #: of a signature in one line
_ERRORS = ("BenchError", "Interrupted", "ResultsWarning")


def page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for name in _FUNCTIONS:
        parts.append(_function(f"bench.{name}", getattr(public, name)))
        parts += [_settings()] if name == "run" else []
    parts += [_class(name) for name in _CLASSES]
    parts.append("## Errors and warnings\n")
    parts += [f"- `bench.{name}`: {_text(getattr(public, name))}" for name in _ERRORS]
    return "\n".join(parts) + "\n"


def _function(name: str, function: Any, level: str = "##") -> str:
    return f"{level} {name}\n\n{_signature(name, function)}\n{_text(function)}\n"


def _signature(name: str, function: Any) -> str:
    """As code, one parameter a line where it is long; without ``self``."""
    found = inspect.signature(function)
    kept = [_written(p) for n, p in found.parameters.items() if n != "self"]
    shown = found.replace(parameters=kept, return_annotation=_Type(found.return_annotation))
    line = f"{name}{shown}"
    if len(line) > _WIDTH:
        star = [p.name for p in kept if p.kind is p.KEYWORD_ONLY][:1]
        lines = [f"    {'*, ' if p.name in star else ''}{p}," for p in kept]
        line = "\n".join([f"{name}(", *lines, f") -> {shown.return_annotation}"])
    return f"```text\n{line}\n```\n"


def _written(parameter: inspect.Parameter) -> inspect.Parameter:
    default = parameter.default
    shown = str(default) if isinstance(default, Path) else default
    return parameter.replace(annotation=_Type(parameter.annotation), default=shown)


class _Type(str):
    """An annotation as a reader has it: without quotes and without names of ours."""

    def __new__(cls, text: str) -> _Type:
        for name, meaning in _ALIASES.items():
            text = re.sub(rf"\b{re.escape(name)}(?!\w)", meaning, text)
        return super().__new__(cls, text)

    def __repr__(self) -> str:
        return str(self)


def _text(described: Any) -> str:
    """A docstring as Markdown: what stands in two backticks stands in one."""
    return (inspect.getdoc(described) or "").replace("``", "`")


def _settings() -> str:
    """The keywords of `run` that are fields of a suite."""
    overview = " and ".join(f"`{name}={value!r}`" for name, value in OVERVIEW.items())
    lines = [
        "The defaults are those of a suite file. Models without a suite are measured as an "
        f"overview: {overview}. Without models and suite, the default suite's values hold.\n",
        "| keyword | type | default | what |",
        "| --- | --- | --- | --- |",
    ]
    for name, kind in Settings.__annotations__.items():
        field = Suite.model_fields[name]
        default = field.get_default(call_default_factory=True)
        shown = "" if isinstance(default, BaseModel) else f"`{default!r}`"
        typed = str(getattr(kind, "__forward_arg__", kind)).replace("|", "\\|")
        what = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | `{typed}` | {shown} | {what} |")
    return "\n".join(lines) + "\n"


def _class(name: str) -> str:
    kind = getattr(public, name)
    parts = [f"## bench.{name}\n", f"{_text(kind)}\n"]
    attributes = [(n, m) for n, m in _members(kind) if not inspect.isfunction(m)]
    if attributes:
        parts.append("| attribute | what |\n| --- | --- |")
        parts += [f"| `{n}` | {_first(m)} |" for n, m in attributes]
        parts.append("")
    methods = [(n, m) for n, m in _members(kind) if inspect.isfunction(m)]
    parts += [_function(f"{name}.{n}", m, "###") for n, m in methods]
    return "\n".join(parts)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Properties and methods in the order in which they are written."""
    for name, member in vars(kind).items():
        if not name.startswith("_") and inspect.getdoc(member) and hasattr(member, "__get__"):
            yield name, member


def _first(member: Any) -> str:
    """A docstring in one line."""
    return " ".join(_text(member).split()).replace("|", "\\|")


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), page())
