"""What a PyTorch module is, as one hash: its weights, its structure, and the code of its own files.

The hash is the same on every machine and with every version of torch, so that a run can be compared
with one of last month; what torch's own layers compute is not part of it.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from bench.guest import own_modules
from bench.unchanged import file_sha256

#: What a hash can hold of an attribute.
_PLAIN = (bool, int, float, str, type(None))


def module_digest(module: Any, file: Path) -> str:
    """SHA-256 over all that decides what a module from the Python file ``file`` computes."""
    import torch  # torch: optional

    digest = hashlib.sha256()
    standard = set(vars(torch.nn.Module()))
    for name, part in module.named_modules():
        digest.update(f"{name}:{type(part).__qualname__}({part.extra_repr()})\n".encode())
        if not type(part).__module__.startswith("torch."):
            for key, value in sorted(vars(part).items()):
                if key not in standard:
                    _update(digest, key, value)
            for constant in _constants_of(type(part), file):
                _update(digest, *constant)
    for name, value in _state(module):
        _update(digest, name, value)
    for sha256 in sorted(file_sha256(path) for path in own_files(file)):
        digest.update(sha256.encode())
    return digest.hexdigest()


def state_bytes(module: Any) -> int:
    """Size of the weights and buffers."""
    held = {id(t): t for t in [*module.parameters(), *module.buffers()]}
    return sum(tensor.numel() * tensor.element_size() for tensor in held.values())


def own_files(file: Path) -> tuple[Path, ...]:
    """The Python files that ``file`` imported from its own folders, and itself."""
    found = {Path(module.__file__) for module in own_modules(file) if module.__file__}
    return tuple(sorted(p for p in {file, *found} if p.suffix == ".py" and p.is_file()))


def _state(module: Any) -> Iterator[tuple[str, Any]]:
    """All tensors and whatever else a state dict holds, by name."""
    held = dict(module.state_dict())
    held.update(module.named_parameters(remove_duplicate=False))
    held.update(module.named_buffers(remove_duplicate=False))  # some are in no state dict
    yield from sorted(held.items())


def _update(digest: Any, name: str, value: Any) -> None:
    """Add a value as far as it is data: tensors, numbers, words that are no path, and what holds
    such."""
    import torch  # torch: optional

    if isinstance(value, torch.Tensor):
        digest.update(f"{name}:{value.dtype}{tuple(value.shape)}".encode())
        plain = value.detach().cpu()
        plain = plain.dequantize() if plain.is_quantized else plain.to_dense()
        digest.update(plain.contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, _PLAIN):
        if not (isinstance(value, str) and (os.sep in value or "\\" in value)):
            digest.update(f"{name}={value!r};".encode())
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            _update(digest, f"{name}.{index}", item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _update(digest, f"{name}.{key}", item)


def _constants_of(kind: type, file: Path) -> Iterator[tuple[str, Any]]:
    """Numbers and words outside of it that the methods of a class read, with their values."""
    own = {module.__name__ for module in own_modules(file)} | {kind.__module__}
    seen: set[CodeType] = set()
    for base in kind.__mro__:
        if base.__module__ in own:
            for method in vars(base).values():
                yield from _constants(inspect.unwrap(method), own, seen)


def _constants(
    function: Callable[..., Any], own: set[str], seen: set[CodeType]
) -> Iterator[tuple[str, Any]]:
    """The globals that a function and the functions it names read, in the order of the code."""
    code = getattr(function, "__code__", None)
    if code is None or code in seen:
        return
    seen.add(code)
    outside = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    for name in _names_in(code):
        value = outside.get(name)
        if isinstance(value, _PLAIN) and value is not None:
            yield name, value
        elif inspect.isfunction(value) and value.__module__ in own:
            yield from _constants(value, own, seen)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
