"""Files that a person wrote: reading them, and one clear sentence for what is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bench.errors import SpecError

_LONGEST_VALUE = 60


def refuse_newer(path: Path, version: object, newest: int) -> None:
    """Raise `SpecError` unless ``version`` is a schema version that this bench can read."""
    if not isinstance(version, int) or version > newest:
        raise SpecError(
            f"{path}: its schema version is {version}, this bench reads up to {newest}. "
            "Update bench."
        )


def read_toml(path: Path, noun: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises `SpecError` that names the file; ``noun`` is what it is."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such {noun}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: can't be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not valid TOML: {error}.") from error


def first_problem(error: ValidationError, known_keys: Collection[str]) -> str:
    """The first complaint: which key, what stands there, and what was expected."""
    problem = _most_exact(error)
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key.rpartition(".")[2], known_keys, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"Known: {', '.join(known_keys)}."
        return f"`{key}` is not a known key. {hint}"
    if problem["type"] == "missing":
        return f"the key `{key}` is missing."
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    end = "" if message.endswith((".", "?")) else "."
    if not key:
        return f"{message}{end}"
    return f"`{key}` is {_short(problem['input'])}, but {message[0].lower()}{message[1:]}{end}"


def _most_exact(error: ValidationError) -> ErrorDetails:
    """The first complaint; where a value may be of several types, that of the type which it came
    closest to, whose name is no key."""
    first, *others = error.errors()
    rivals = [o for o in others if o["loc"][:1] == first["loc"][:1]]
    closest = max([first, *rivals], key=lambda one: len(one["loc"]))
    keys = tuple(part for part in closest["loc"] if not (isinstance(part, str) and "[" in part))
    return {**closest, "loc": keys}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
