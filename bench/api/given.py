"""What a public function is given: one value or several, and one sentence for what is wrong.

What a suite's fields may be is for `bench.spec.Suite` to say.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from bench.discover import nearest
from bench.errors import SpecError, as_given
from bench.numbers import fraction_of


def wrong(name: str, value: object, wanted: str) -> SpecError:
    """The error for a value: the argument, what it is, and what it should be."""
    return SpecError(f"`{name}` is {as_given(value)}, but should be {wanted}.")


def a_path(name: str, value: object) -> Path:
    """A path; an empty text is none, although it would mean the current folder."""
    if not isinstance(value, str | os.PathLike) or value == "":
        raise wrong(name, value, "a path")
    return Path(value)


def a_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise wrong(name, value, "text")
    return value


def a_share(name: str, value: object, least: float = 0.0) -> float:
    """A fraction from ``least`` to below 1, given as one or as a percentage (``"2%"``)."""
    wanted = f"at least {least:g} and below 1, or a percentage such as '2%'"
    try:
        found = fraction_of(value) if isinstance(value, str) else float(value)  # type: ignore
    except (TypeError, ValueError):
        raise wrong(name, value, wanted) from None
    if isinstance(value, bool) or not least <= found < 1:  # NaN is not
        raise wrong(name, value, wanted)
    return found


def one_of(name: str, value: object, known: Collection[str]) -> str:
    """One of some words."""
    if isinstance(value, str) and value in known:
        return value
    close = nearest(value, known) if isinstance(value, str) else []
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SpecError(f"{wrong(name, value, 'one of ' + ', '.join(known))}{hint}")


def several(name: str, value: object, *, optional: bool = True) -> tuple[object, ...]:
    """One value or several, always as several; paths as text."""
    if isinstance(value, str) and not value:
        raise wrong(name, value, "a name or several")
    if isinstance(value, str | bytes | os.PathLike) or not isinstance(value, Iterable):
        value = (value,)
    found = tuple(os.fspath(one) if isinstance(one, os.PathLike) else one for one in value)
    if not found:
        otherwise = ", or leave it out" if optional else ""
        raise SpecError(f"`{name}` is empty. Give at least one{otherwise}.")
    return found


def texts(name: str, value: object) -> Sequence[str]:
    """One text or several; none is none."""
    if not isinstance(value, str) and isinstance(value, Collection) and not value:
        return ()
    return tuple(a_text(name, one) for one in several(name, value))
