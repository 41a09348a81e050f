"""What a forward pass makes on the CPU and moves to the device, moved there before a capture.

A CUDA graph can't hold a copy from the CPU's own memory. But such a copy in a forward pass can only
carry what doesn't depend on its inputs: masks, positions, numbers written in the code. So passes
before the capture tell what is carried, by content, and the capture is given what lies on the
device already.
"""

from __future__ import annotations

import contextlib
import functools
import os
import traceback
from types import ModuleType
from typing import Any, Dict, Iterator, Optional, Tuple

#: Operators that take tensors of the CPU among those of a device, and copy these in silence. All
#: others read a CPU tensor of no dimension as a number, or refuse.
_COPYING = (
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::where",
)

_Key = Tuple[str, Tuple[int, ...], bytes]


class Constants:
    """Tensors by what is in them: as the CPU has them, and as the device has them."""

    def __init__(self, torch: ModuleType, place: Any) -> None:
        self._torch, self._place = torch, place
        self._known: Dict[_Key, Tuple[Any, Any]] = {}
        self._copied: set[_Key] = set()  # the pass writes into these
        self._missing: Optional[Any] = None
        self._given: set[_Key] = set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """A pass in which what is moved to the device is noted."""
        with self._visible(), _mode(self._torch, self._place, self._note):
            yield

    @contextlib.contextmanager
    def given(self) -> Iterator[None]:
        """A pass in which what is moved is there already; one that wasn't noted ends it."""
        self._missing = None
        self._given.clear()
        with self._visible(), _mode(self._torch, self._place, self._give):
            yield

    def learnt(self) -> bool:
        """Whether the last pass that was `given` asked for what wasn't noted; it is now."""
        if self._missing is None:
            return False
        missing, self._missing = self._missing, None
        self._note(missing, fresh=True)
        return True

    def restored(self) -> bool:
        """Whether any that was given was written into: restored, and a copy from now on."""
        written = set()
        for key in self._given:
            ours, theirs = self._known[key]
            if _key(self._torch, theirs.cpu()) != key:
                theirs.copy_(ours)
                written.add(key)
        self._copied |= written
        return bool(written)

    def _note(self, tensor: Any, *, fresh: bool) -> Any:
        key = _key(self._torch, tensor)
        if key not in self._known:
            self._known[key] = (tensor.clone(), tensor.to(self._place))
        there = self._known[key][1]
        return there.clone() if fresh else there

    def _give(self, tensor: Any, *, fresh: bool) -> Any:
        key = _key(self._torch, tensor)
        if key not in self._known:
            self._missing = tensor.clone()
            raise Unnoted("a tensor is only moved to the device during the capture")
        self._given.add(key)
        there = self._known[key][1]
        return there.clone() if fresh and key in self._copied else there

    @contextlib.contextmanager
    def _visible(self) -> Iterator[None]:
        """Have ``torch.tensor(..., device=...)`` move what it makes in the open, as it does for
        torch's own fake tensors; without, nothing sees it."""
        api = self._torch._C
        if not hasattr(api, "_set_only_lift_cpu_tensors"):
            yield
            return
        before = api._only_lift_cpu_tensors()
        api._set_only_lift_cpu_tensors(True)
        try:
            yield
        finally:
            api._set_only_lift_cpu_tensors(before)


class Unnoted(Exception):
    """What a pass moves was not moved by the passes before it."""


def _key(torch: ModuleType, tensor: Any) -> _Key:
    """The content of a CPU tensor."""
    flat = tensor.detach().contiguous().reshape(-1)
    return str(tensor.dtype), tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()


def _mode(torch: ModuleType, place: Any, move: Any) -> Any:
    """A mode in which ``move`` makes of a CPU tensor what an operator takes on the device."""
    return _moving_mode(torch)(place, move)


@functools.lru_cache(maxsize=None)
def _moving_mode(torch: ModuleType) -> Any:
    """Made once: a class is part of reference cycles, and would keep what its methods refer to."""
    from torch.utils._python_dispatch import TorchDispatchMode

    def is_here(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.device.type == "cpu"

    class Moving(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self, place: Any, move: Any) -> None:
            super().__init__()
            self._place, self._move = place, move

        def _is_there(self, value: Any) -> bool:
            device = value.device if isinstance(value, torch.Tensor) else value
            return isinstance(device, torch.device) and device.type == self._place.type

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs, move = kwargs or {}, self._move
            values = list(_flat([*args, *kwargs.values()]))
            if not (any(map(is_here, values)) and any(map(self._is_there, values))):
                return func(*args, **kwargs)
            # In inference mode operators come whole: their parts come here in turn.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
            name = func._schema.name
            if name == "aten::_to_copy":
                # A memory format is that of the CPU's tensor; the device's has the same values.
                there, dtype = move(args[0], fresh=True), kwargs.get("dtype")
                return there if dtype in (None, there.dtype) else there.to(dtype)
            if name == "aten::copy_" and is_here(args[1]):
                return func(args[0], move(args[1], fresh=False), *args[2:])
            if name in _COPYING:
                args = _changed(args, lambda v: move(v, fresh=False) if is_here(v) else v)
            return func(*args, **kwargs)

    return Moving


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _changed(value: Any, change: Any) -> Any:
    """Nested lists and tuples with each leaf changed."""
    if isinstance(value, (list, tuple)):
        return type(value)(_changed(item, change) for item in value)
    return change(value)


def origin(torch: ModuleType, error: BaseException) -> str:
    """``file:line`` of the model's own code that raised it, as near to the fault as can be told;
    empty where none of its code took part."""
    inner = (os.path.dirname(str(torch.__file__)), os.path.dirname(__file__))
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if place and frame.filename == __file__:  # an operator of the model, on its way through
            break
        if not frame.filename.startswith((*inner, "<")) and frame.filename != contextlib.__file__:
            place = f"{frame.filename}:{frame.lineno}"
    return place
