"""Finding the tensors: in what a module returns, and in what its operators do."""

from __future__ import annotations

import contextlib
from types import ModuleType
from typing import Any, Mapping


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
    from torch.utils._python_dispatch import TorchDispatchMode

    record: list[tuple[str, str]] = []

    class Recorder(TorchDispatchMode):  # type: ignore[misc]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Nothing is compiled here, and to keep dynamo off, torch imports it, for a second."""
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            for _, tensor in flatten(torch, "", result):
                record.append((str(func), str(tensor.device)))
                break
            return result

    with Recorder():
        yield record
