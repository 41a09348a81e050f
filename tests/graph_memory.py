"""A captured graph as to memory: it owns what was made in its capture, and of all other memory it
has the addresses alone. Whoever frees that leaves it to compute on what others put there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class Address:
    """Where a tensor was; that its memory is still there is for others to see to."""

    memory: StorageWeakRef
    dtype: torch.dtype
    offset: int
    size: torch.Size
    stride: tuple[int, ...]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Address:
        memory = StorageWeakRef(tensor.untyped_storage())
        return cls(memory, tensor.dtype, tensor.storage_offset(), tensor.size(), tensor.stride())

    def tensor(self) -> torch.Tensor:
        storage = torch.UntypedStorage._new_with_weak_ptr(self.memory.cdata)
        assert storage is not None, "a replay uses memory that was freed"
        return torch.empty(0, dtype=self.dtype).set_(storage, self.offset, self.size, self.stride)


class Recording:
    """Operators on tensors of the CPU, as they were captured."""

    def __init__(self) -> None:
        self._operators: list[tuple[Callable[..., Any], Any, Any, Any]] = []
        self._pool: dict[int, torch.Tensor] = {}  #: by the memory that it holds

    def own(self, tensor: torch.Tensor) -> None:
        """It was made in the capture."""
        self._pool.setdefault(tensor.untyped_storage()._cdata, tensor)

    def note(self, func: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> None:
        """An operator, with the tensors that it had and what it returned."""
        before = {_memory(value) for value in tree_leaves((args, kwargs)) if _is_tensor(value)}
        for made in filter(_is_tensor, tree_leaves(result)):
            if _memory(made) not in before:
                self.own(made)
        kept = tree_map(self._kept, (args, kwargs, result))
        self._operators.append((func, *kept))

    def replay(self) -> None:
        """All of it again, on the same memory."""
        for func, *kept in self._operators:
            args, kwargs, result = tree_map(_found, kept)
            again = tree_leaves(func(*args, **kwargs))
            for old, new in zip(tree_leaves(result), again, strict=True):
                if _is_tensor(old) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    def forget_results(self) -> None:
        """Capturing computes nothing: whoever reads before a replay reads rubbish."""
        for tensor in self._pool.values():
            tensor.fill_(113)

    def _kept(self, value: Any) -> Any:
        if not _is_tensor(value) or _memory(value) in self._pool:
            return value
        return Address.of(value)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _found(kept: Any) -> Any:
    return kept.tensor() if isinstance(kept, Address) else kept
