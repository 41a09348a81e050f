"""Files that a person wrote: reading them, and one clear sentence for what is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bench.discover import no_such
from bench.errors import SpecError, as_given, listed


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
        raise no_such(noun, path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: can't be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not valid TOML: {error}.") from error


def first_problem(error: ValidationError, known_keys: Collection[str]) -> str:
    """The first complaint: which key, what stands there, and what was expected."""
    return _words(_most_exact(error.errors()), known_keys)


def problems(error: ValidationError, known_keys: Collection[str]) -> str:
    """All complaints: one of each key, and of a list one of each item."""
    by_key: dict[object, list[ErrorDetails]] = {}
    for one in error.errors():
        by_key.setdefault(one["loc"][:1], []).append(one)
    found = [each for rivals in by_key.values() for each in _alike(rivals)]
    return listed(_words(one, known_keys) for one in found)


def _alike(rivals: list[ErrorDetails]) -> list[ErrorDetails]:
    """The most exact complaint of a key, and the same of other items of its list."""
    closest = _most_exact(rivals)
    items = [_without_types(one) for one in rivals]
    return [closest, *(one for one in items if one != closest and _shape(one) == _shape(closest))]


def _shape(problem: ErrorDetails) -> tuple[object, ...]:
    return tuple("" if isinstance(part, int) else part for part in problem["loc"])


def _words(problem: ErrorDetails, known_keys: Collection[str]) -> str:
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
    if isinstance(problem["input"], str) and repr(problem["input"]) in message:
        return f"`{key}`: {message}{end}"
    return f"`{key}` is {as_given(problem['input'])}, but {message[0].lower()}{message[1:]}{end}"


def _most_exact(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """The first complaint; where a value may be of several types, that of the type which it came
    closest to, whose name is no key."""
    first, *others = errors
    rivals = [o for o in others if o["loc"][:1] == first["loc"][:1]]
    return _without_types(max([first, *rivals], key=lambda one: len(one["loc"])))


def _without_types(problem: ErrorDetails) -> ErrorDetails:
    """With keys alone: pydantic names the types that a value may be of among them."""
    keys = tuple(part for part in problem["loc"] if not (isinstance(part, str) and "[" in part))
    return {**problem, "loc": keys}
