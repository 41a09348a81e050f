"""Messages as JSON-ready objects with arrays beside them, and back, each value checked.

A message becomes ``{"message": its class, "fields": {...}}``; an array in it becomes its place in
the list of arrays. What may stand where follows from the types of the dataclass's fields.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections import abc
from pathlib import Path
from typing import (
    Any,
    Dict,
    List,
    Literal,
    Mapping,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from bench.errors import WorkerCrashed
from bench.worker.wire import can_be_sent

#: Characters of one text in a message: far above any name, and a screen of a runtime's words.
MOST_TEXT = 10_000
_MOST = 1 << 63

Array = np.ndarray[Any, Any]
Encoded = Tuple[Dict[str, Any], List[Array]]
_Message = TypeVar("_Message")


class MessageError(WorkerCrashed):
    """What was said is not what both sides agreed on."""


def encode(message: object) -> Encoded:
    """A message as a JSON-ready object and the arrays in it.

    Raises `MessageError` for a field that isn't of its type, which an adapter may have filled.
    """
    arrays: List[Array] = []
    name = type(message).__name__
    fields = _plain(message, arrays)
    _read(type(message), fields, arrays, name)
    return {"message": name, "fields": fields}, arrays


def decode(data: object, arrays: Sequence[Array], expected: Sequence[Type[_Message]]) -> _Message:
    """The message, which has to be one of ``expected``. Raises `MessageError`."""
    if not isinstance(data, dict) or set(data) != {"message", "fields"}:
        raise MessageError(f"a message needs a name and fields: {_brief(data)}.")
    kinds = {kind.__name__: kind for kind in expected}
    kind = kinds.get(data["message"])
    if kind is None:
        wanted = " or ".join(kinds)
        raise MessageError(f"unknown message {_brief(data['message'])}; expected {wanted}.")
    found: _Message = _read(kind, data["fields"], arrays, kind.__name__)
    return found


def _plain(value: Any, arrays: List[Array]) -> Any:
    if isinstance(value, np.ndarray):
        if not can_be_sent(value.dtype):
            raise MessageError(f"an array of Python objects ({_brief(value)}) can't be sent.")
        arrays.append(value)
        return len(arrays) - 1
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, abc.Mapping):
        return {key: _plain(item, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, arrays) for item in value]
    return value


def _read(kind: Any, data: Any, arrays: Sequence[Array], where: str) -> Any:
    """``data`` as a value of the type ``kind``."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind(**_read_fields(kind, _names(kind), data, arrays, where))
    if isinstance(kind, type) and issubclass(kind, dict):  # a TypedDict of optional fields
        _require(isinstance(data, dict), data, where, "a mapping")
        return _read_fields(kind, frozenset(), data, arrays, where)
    if origin is Union:  # Optional
        return None if data is None else _read(inner[0], data, arrays, where)
    if origin is tuple:
        return _read_tuple(inner, data, arrays, where)
    if origin is list:
        return list(_read_tuple((inner[0], ...), data, arrays, where))
    if origin is abc.Mapping:
        _require(isinstance(data, dict), data, where, "a mapping")
        _require(all(isinstance(key, str) for key in data), data, where, "a mapping of names")
        return {
            _text(key): _read(inner[1], item, arrays, f"{where}.{_text(key)}")
            for key, item in data.items()
        }
    if origin is Literal:
        _require(data in inner, data, where, " or ".join(map(repr, inner)))
        return data
    if origin is np.ndarray:
        return _read_array(inner, data, arrays, where)
    return _read_leaf(kind, data, where)


def _read_leaf(kind: Any, data: Any, where: str) -> Any:
    if kind is Path:
        _require(isinstance(data, str), data, where, "a path")
        return Path(data)
    if kind is float:
        _require(type(data) is int or isinstance(data, float), data, where, "float")
        return float(data)
    _require(type(data) is kind, data, where, kind.__name__)
    if kind is int:
        _require(abs(data) < _MOST, data, where, "a number of 64 bits")
    return _text(data) if kind is str else data


def _text(data: str) -> str:
    """What can be written to a file: no halves of a character, and no novel."""
    return data[:MOST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _read_fields(
    kind: Any, required: abc.Set[str], data: Any, arrays: Sequence[Array], where: str
) -> Dict[str, Any]:
    _require(isinstance(data, dict), data, where, "fields")
    types = _types(kind)
    for name in sorted(required - set(data)):
        raise MessageError(f"{where} lacks the field {name!r}.")
    for name in sorted(set(data) - set(types), key=str):
        raise MessageError(f"{where} has an unknown field {_brief(name)}.")
    return {n: _read(types[n], item, arrays, f"{where}.{n}") for n, item in data.items()}


def _read_tuple(
    inner: Tuple[Any, ...], data: Any, arrays: Sequence[Array], where: str
) -> Tuple[Any, ...]:
    _require(isinstance(data, (list, tuple)), data, where, "a sequence")
    kinds = [inner[0]] * len(data) if inner[-1] is ... else list(inner)
    _require(len(kinds) == len(data), data, where, f"{len(kinds)} values")
    return tuple(
        _read(kind, item, arrays, f"{where}[{place}]")
        for place, (kind, item) in enumerate(zip(kinds, data))
    )


def _read_array(inner: Tuple[Any, ...], data: Any, arrays: Sequence[Array], where: str) -> Array:
    _require(type(data) is int and 0 <= data < len(arrays), data, where, "an array")
    array: Array = arrays[data]
    dtype = next(iter(get_args(inner[1])), None) if len(inner) > 1 else None
    if isinstance(dtype, type) and array.dtype != np.dtype(dtype):
        wanted = np.dtype(dtype).name
        raise MessageError(f"{where} is an array of {array.dtype.name}, but must be of {wanted}.")
    return array


@functools.lru_cache(maxsize=None)
def _types(kind: Any) -> Mapping[str, Any]:
    """The types of the fields, evaluated where the class was written."""
    names = vars(sys.modules[kind.__module__])
    return get_type_hints(kind, names)


@functools.lru_cache(maxsize=None)
def _names(kind: Any) -> abc.Set[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))


def _require(fine: bool, data: object, where: str, wanted: str) -> None:
    if not fine:
        told = f"{_brief(data)} ({type(data).__name__})"
        raise MessageError(f"{where} is {told}, but must be {wanted}.")


def _brief(data: object) -> str:
    try:
        text = repr(data)
    except Exception:  # of an object that an adapter made
        text = f"a {type(data).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
