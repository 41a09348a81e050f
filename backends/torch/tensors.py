"""Finding the tensors: in what a module returns, and in what its operators do."""

from __future__ import annotations

import contextlib
import functools
from types import ModuleType
from typing import Any, Callable, Mapping


def flatten(torch: ModuleType, name: str, value: Any) -> Any:
    """Every tensor in nested tuples, lists and mappings, with a name."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(torch, str(key), item)
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from flatten(torch, f"{name}_{index}", item)


@contextlib.contextmanager
def recording(torch: ModuleType) -> Any:
    """A list that fills with (operator, device of its result) while the context lasts."""
    record: list[tuple[str, str]] = []

    def note(func: Any, given: Any, result: Any) -> None:
        for _, tensor in flatten(torch, "", result):
            record.append((str(func), str(tensor.device)))
            break

    with _seeing(note):
        yield record


@contextlib.contextmanager
def from_outside(torch: ModuleType) -> Any:
    """A list that fills with the tensors that operators are given, and that none of them made,
    while the context lasts. What they made is not held."""
    from torch.utils.weak import WeakIdKeyDictionary

    outside: list[Any] = []
    seen = WeakIdKeyDictionary()

    def note(func: Any, given: Any, result: Any) -> None:
        for _, tensor in flatten(torch, "", given):
            if tensor not in seen:
                outside.append(tensor)
                seen[tensor] = None
        for _, tensor in flatten(torch, "", result):
            seen[tensor] = None

    with _seeing(note):
        yield outside


def _seeing(note: Callable[[Any, Any, Any], None]) -> Any:
    """A context in which ``note`` gets each operator, what it is given, and what it returns."""
    return _seeing_mode()(note)


@functools.lru_cache(maxsize=None)
def _seeing_mode() -> Any:
    """Made once: a class is part of reference cycles, and would keep what its methods refer to."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Seeing(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self, note: Callable[[Any, Any, Any], None]) -> None:
            super().__init__()
            self._note = note

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Nothing is compiled here, and to keep dynamo off, torch imports it, for a second."""
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            result = func(*args, **kwargs)
            self._note(func, (args, kwargs), result)
            return result

    return Seeing
