"""What every adapter checks in the same words: options behind ``?``, files, arrays it is fed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.backend import Feeds, ModelFile, TensorSpec
from bench.errors import SpecError, Unsupported, says_out_of_memory
from bench.errors import first_line as first_line  # adapters take all they need from here

Array = np.ndarray[Any, Any]

#: In `read_extra`: a whole number above 0, and empty where the user says nothing.
ANY_NUMBER = ("",)
#: In `read_extra`: whatever the runtime takes, and empty where the user says nothing.
ANY_TEXT = ("", "*")


def read_extra(
    target: str, extra: Mapping[str, str], known: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The value of every known option: what the user wrote, else the first of its values.

    ``known`` maps an option to the values that it may have, or to `ANY_NUMBER` or `ANY_TEXT`. An
    empty first value stands for the runtime's own default, which a user gets by saying nothing.
    """
    for key, value in extra.items():
        if key not in known:
            hint = f"It knows: {', '.join(known)}." if known else "It knows none."
            raise SpecError(f"{target} has no option {key!r}. {hint}")
        values = known[key]
        if tuple(values) == ANY_NUMBER:
            if not (value.isascii() and value.isdigit() and int(value) > 0):
                raise SpecError(f"{target}: {key}={value}: give a whole number above 0.")
        elif tuple(values) == ANY_TEXT:
            if not value:
                raise SpecError(f"{target}: {key} is empty: give it a value, or leave it out.")
        elif value not in filter(None, values):
            allowed = ", ".join(filter(None, values))
            raise SpecError(f"{target}: {key}={value}: give one of {allowed}.")
    return {key: extra.get(key, values[0]) for key, values in known.items()}


def require_onnx(model: ModelFile, target: str) -> Path:
    """The model's ONNX file, which is there and not empty."""
    if model.onnx is None:
        raise Unsupported(f"{model.name} has no ONNX file, which {target} needs.")
    if not model.onnx.is_file():
        raise SpecError(f"{model.onnx}: no such file.")
    if model.onnx.stat().st_size == 0:
        raise SpecError(f"{model.onnx}: the file is empty.")
    return model.onnx


def check_feeds(where: str, specs: Sequence[TensorSpec], feeds: Feeds) -> list[Array]:
    """The arrays in the order of ``specs``.

    Raises `SpecError`, naming the input, for one that is missing, unknown, or of another type or
    shape. A spec without a dtype (a runtime that takes what it is given) is checked by name only.
    """
    names = [spec.name for spec in specs]
    for name in feeds:
        if name not in names:
            raise SpecError(f"{where}: no input {name!r}; it has {', '.join(names)}.")
    return [_checked(where, spec, feeds.get(spec.name)) for spec in specs]


def check_shapes(
    where: str, specs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]]
) -> None:
    """Raise `SpecError` where a shape to compile for is not one that the model takes."""
    known = {spec.name: spec.shape for spec in specs}
    for name, shape in shapes.items():
        if name not in known:
            raise SpecError(f"{where}: no input {name!r}; it has {', '.join(known)}.")
        if not _fits(shape, known[name]):
            raise _bad_shape(where, name, shape, known[name])


def _checked(where: str, spec: TensorSpec, array: Array | None) -> Array:
    if array is None:
        raise SpecError(f"{where}: input {spec.name!r} is missing.")
    if not spec.dtype:
        return array
    if array.dtype.name != spec.dtype:
        raise SpecError(
            f"{where}: input {spec.name!r} has the type {array.dtype.name}, "
            f"but the model takes {spec.dtype}."
        )
    if not _fits(array.shape, spec.shape):
        raise _bad_shape(where, spec.name, array.shape, spec.shape)
    return array


def _fits(have: Sequence[int], want: Sequence[int]) -> bool:
    return len(have) == len(want) and all(w in (-1, h) for w, h in zip(want, have))


def _bad_shape(where: str, name: str, have: Sequence[int], want: Sequence[int]) -> SpecError:
    return SpecError(
        f"{where}: input {name!r} has the shape {_shape(have)}, but the model takes {_shape(want)}."
    )


def describe_feeds(feeds: Feeds) -> str:
    """``x float32 [1, 3], ids int64 [1, 7]``."""
    return ", ".join(f"{n} {a.dtype.name} {_shape(a.shape)}" for n, a in feeds.items())


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join("?" if dim == -1 else str(dim) for dim in shape) + "]"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a runtime's error says that memory ran out."""
    return memory_error(error) is not None


def memory_error(error: BaseException) -> BaseException | None:
    """The error itself, or whichever of those that led to it, that says that memory ran out."""
    return next(filter(_says_out_of_memory, chain(error)), None)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that led to it as a traceback shows them, the latest first."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _says_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or says_out_of_memory(str(error))
