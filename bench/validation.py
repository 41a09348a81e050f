"""One clear sentence for what pydantic found wrong with a file that a person wrote."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from pydantic import ValidationError

_LONGEST_VALUE = 60


def first_problem(error: ValidationError, known_keys: Collection[str]) -> str:
    """The first complaint: which key, what stands there, and what was expected."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key.rpartition(".")[2], known_keys, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"Known: {', '.join(known_keys)}."
        return f"`{key}` is not a known key. {hint}"
    if problem["type"] == "missing":
        return f"the key `{key}` is missing."
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not key:
        return f"{message}."
    return f"`{key}` is {_short(problem['input'])}, but {message[0].lower()}{message[1:]}."


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
