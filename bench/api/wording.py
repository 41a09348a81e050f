"""What the engine says, in the words of Python: ``--allow input`` is ``allow="input"``.

Messages are worded for the terminal. What a public function raises or warns of passes through here
(`says_python`), so that it names the argument that its caller has.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, ParamSpec, TypeVar, cast, get_args

from bench import bounds
from bench.cell import Driver, Lane
from bench.errors import BenchError, Unavailable
from bench.judge.differences import ALL, REFUSED, TOLD
from bench.measure.listener import Listener
from bench.scenarios import SCENARIOS
from bench.spec import AUTO, FLAG_NAMES, Goal, Suite
from bench.variants import VARIANTS

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")

#: Options without a value.
SWITCHES: Final = {
    "quick": 'preset="quick"',
    "thorough": 'preset="thorough"',
    "no-accuracy": "accuracy=False",
    "energy": "energy=True",
    "roofline": "roofline=True",
    "allow-fallback": "allow_fallback=True",
}
#: Options with a value that are not called like the argument, without their dashes.
RENAMED: Final = {
    "cell": "cells",
    **{flag: field for field, flag in FLAG_NAMES.items() if flag not in SWITCHES},
}
#: Arguments that are no fields of a suite.
_OTHERS = ("allow", "confidence", "label", "margin", "results")
ARGUMENTS: Final = {
    **{name.replace("_", "-"): name for name in (*Suite.model_fields, *_OTHERS)},
    **RENAMED,
}
#: Values that are words. Another word behind an option goes on with the sentence.
_WORDS: Final[dict[str, Collection[str]]] = {
    "allow": (*REFUSED, *TOLD, ALL),
    "scenario": [row.name for row in SCENARIOS.built_in],
    "variant": [row.name for row in VARIANTS.built_in],
    "lane": get_args(Lane),
    "driver": get_args(Driver),
    "goal": get_args(Goal),
    "bounds": [row.name for row in bounds.PRESETS],
    "batch": (AUTO,),
}
#: Quoted, a list of numbers, ``NAME=...``, or up to the end of a word.
_VALUE = r"""(?:'[^']*'|"[^"]*"|\d+(?:,\d+)+|\S+=\.{3}|(?!--)[^\s;,()]*[^\s;,().:])"""
_OPTION = re.compile(
    rf"(?<![\w/-])--(?P<name>[a-z][a-z-]*)(?![\w=-])"
    rf"(?P<values>(?: {_VALUE}(?: --(?P=name) {_VALUE})*)?)(?P<colon>:?)"
)
#: Commands stay what they are: they are for the terminal.
_COMMAND = re.compile(r"(`bench [^`]+`)")


def in_python(text: str) -> str:
    """A message with the arguments of Python instead of options."""
    text = text.replace("`bench run`", "`bench.run`")
    parts = _COMMAND.split(text)
    return "".join(p if n % 2 else _said(p) for n, p in enumerate(parts))


def _said(text: str) -> str:
    """Arguments that stand beside each other are those of one call; other quotes stay apart."""
    said, end = "", 0
    for found in _OPTION.finditer(text):
        between, argument = text[end : found.start()], _argument(found)
        if end and between == " " and said.endswith("`") and argument.startswith("`"):
            said = f"{said[:-1]}, {argument[1:]}"
        else:
            said += between + argument
        end = found.end()
    return said + text[end:]


def _argument(found: re.Match[str]) -> str:
    name, rest = found["name"], found["values"] + found["colon"]
    if name in SWITCHES:
        return f"`{SWITCHES[name]}`{rest}"
    if name not in ARGUMENTS:
        return found[0]
    values = found["values"].strip().split(f" --{name} ")
    if all(_is_value(name, value, ends=bool(found["colon"])) for value in values):
        return f"`{ARGUMENTS[name]}={_literal(name, values)}`{found['colon']}"
    return f"`{ARGUMENTS[name]}`{rest}"


def _is_value(name: str, text: str, *, ends: bool) -> bool:
    """Whether what follows an option is its value; it is if the clause ends there."""
    if not text:
        return False
    if ends or text[0] in "'\"" or text[0].isdigit() or "=" in text or "@" in text:
        return True
    return text.isupper() or text in _WORDS.get(name, ())


def _literal(name: str, values: list[str]) -> str:
    if name == "shape":
        sizes = (value.split("=", 1) for value in values if "=" in value)
        return "{" + ", ".join(f'"{key}": {size}' for key, size in sizes) + "}"
    found = [_one(name, value) for value in values]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


def _one(name: str, text: str) -> str:
    if ARGUMENTS[name].endswith("_s"):
        text = text.removesuffix("s")
    if re.fullmatch(r"[\d.]*\d", text) or text[0] in "'\"":
        return text
    if re.fullmatch(r"\d+(,\d+)+", text):
        return f"[{text.replace(',', ', ')}]"
    return json.dumps(text, ensure_ascii=False)


def all_in_python(texts: Iterable[str]) -> list[str]:
    """Several messages, each once."""
    return list(dict.fromkeys(map(in_python, texts)))


def says_python(function: Callable[_Given, _Found]) -> Callable[_Given, _Found]:
    """A function whose errors name arguments."""

    @functools.wraps(function)
    def called(*args: _Given.args, **kwargs: _Given.kwargs) -> _Found:
        try:
            return function(*args, **kwargs)
        except BenchError as error:
            error.args = tuple(in_python(a) if isinstance(a, str) else a for a in error.args)
            if isinstance(error, Unavailable):
                error.reason, error.remedy = in_python(error.reason), in_python(error.remedy)
            raise

    return called


class _InPython:
    """Passes everything on, notes in the words of Python."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def note(self, text: str) -> None:
        self._listener.note(in_python(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


def told_in_python(listener: Listener) -> Listener:
    """A listener that hears notes in the words of Python."""
    return cast(Listener, _InPython(listener))
