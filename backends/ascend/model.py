"""An offline model on an Ascend device, and what it says of its inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.backend import TensorSpec
from bench.errors import BenchError, SpecError, Unsupported

from ..shared.checks import Array
from .acl import Acl, Held

#: pyACL: aclDataType. 27 is bfloat16, which numpy has not.
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int8",
    3: "int32",
    4: "uint8",
    6: "int16",
    7: "uint16",
    8: "uint32",
    9: "int64",
    10: "uint64",
    11: "float64",
    12: "bool",
}
#: The input that atc adds to a model with gears; the batch size is set through it.
_GEAR_INPUT = "ascend_mbatch_shape_data"


@dataclass(frozen=True)
class Slot:
    """One input or output of a model: its place, its spec, and its bytes on the device (0 where no
    bound is known)."""

    index: int
    spec: TensorSpec
    size: int


class OfflineModel:
    """A ``.om`` file, loaded in the current context; ``held`` unloads it.

    With gears, batch sizes that it was compiled for, an input more carries the one that is set.
    ``outputs`` are what the ONNX file calls its outputs, as far as that is known.
    """

    def __init__(self, acl: Acl, om: Path, held: Held, outputs: Sequence[str] = ()) -> None:
        self._acl = acl
        self._own_outputs = outputs
        self.id: int = acl.get("mdl.load_from_file", str(om))
        held.keep(acl.do, "mdl.unload", self.id)
        self._desc = acl.handle("mdl.create_desc")
        held.keep(acl.do, "mdl.destroy_desc", self._desc)
        acl.do("mdl.get_desc", self._desc, self.id)
        takes = [self._slot("input", i) for i in range(self._count("input"))]
        gives = [self._slot("output", i) for i in range(self._count("output"))]
        self.gear_slot = next((slot for slot in takes if slot.spec.name == _GEAR_INPUT), None)
        self.gears: tuple[int, ...] = ()
        if self.gear_slot is not None:
            facts = acl.get("mdl.get_dynamic_batch", self._desc)
            self.gears = tuple(int(size) for size in facts["batch"])
        self.taken = [slot for slot in takes if slot is not self.gear_slot]
        self.given = [self._with_dynamic_batch(slot) for slot in gives]

    def set_batch(self, inputs: int, arrays: Sequence[Array]) -> None:
        """Say in the dataset ``inputs`` which gear it is for, once all its buffers are in it."""
        batch = self._batch(arrays)
        index = self._acl.get("mdl.get_input_index_by_name", self._desc, _GEAR_INPUT)
        self._acl.do("mdl.set_dynamic_batch_size", self.id, inputs, index, batch)

    def require_dims(self, count: int) -> None:
        """Raise `BenchError` unless it has so many gears of dimensions."""
        found = int(self._acl.get("mdl.get_input_dynamic_gear_count", self._desc, -1))
        if self.gear_slot is None or found != count:
            raise BenchError(
                f"{self._acl.where}: the compiled model has {found} gears of its dimensions, but "
                f"{count} were requested."
            )

    def set_dims(self, inputs: int, dims: Sequence[int]) -> None:
        """Say in the dataset ``inputs`` which gear it is for, as the dimensions of all inputs."""
        index = self._acl.get("mdl.get_input_index_by_name", self._desc, _GEAR_INPUT)
        told = {"name": "", "dimCount": len(dims), "dims": list(dims)}
        self._acl.do("mdl.set_input_dynamic_dims", self.id, inputs, index, told)

    def output_shape(self, slot: Slot) -> tuple[int, ...]:
        """For the batch that was set last."""
        dims = self._acl.get("mdl.get_cur_output_dims", self._desc, slot.index)["dims"]
        return tuple(int(dim) for dim in dims)

    def check_batch(self, arrays: Sequence[Array]) -> None:
        """Raise `SpecError` where the inputs' dynamic batch is not one gear."""
        for slot, array in self._dynamic(arrays):
            if len(array) not in self.gears or len(array) != self._batch(arrays):
                gears = ", ".join(map(str, self.gears))
                raise SpecError(
                    f"{self._acl.where}: input {slot.spec.name!r} has a batch of {len(array)}, "
                    f"but the model is compiled for {gears}, the same for all inputs."
                )

    def _dynamic(self, arrays: Sequence[Array]) -> list[tuple[Slot, Array]]:
        return [(s, a) for s, a in zip(self.taken, arrays) if s.spec.shape[:1] == (-1,)]

    def _batch(self, arrays: Sequence[Array]) -> int:
        return next((len(array) for _, array in self._dynamic(arrays)), 1)

    def _count(self, kind: str) -> int:
        count = int(self._acl.ask(f"mdl.get_num_{kind}s", self._desc))
        if not count:
            raise BenchError(f"{self._acl.where}: the compiled model has no {kind}.")
        return count

    def _slot(self, kind: str, index: int) -> Slot:
        ask, desc = self._acl.ask, self._desc
        name = str(ask(f"mdl.get_{kind}_name_by_index", desc, index) or "")
        if kind == "output":
            name = name_in_file(name, self._own_outputs)
        if not name:
            raise BenchError(
                f"{self._acl.where}: {kind} {index} of the compiled model has no name."
            )
        code = ask(f"mdl.get_{kind}_data_type", desc, index)
        if code not in _DTYPES:
            raise Unsupported(
                f"{self._acl.where}: {kind} {name!r} has a type that numpy lacks (acl's {code})."
            )
        dims = self._acl.get(f"mdl.get_{kind}_dims", desc, index)["dims"]
        size = int(ask(f"mdl.get_{kind}_size_by_index", desc, index))
        if not size and (kind == "input" or min(dims, default=1) > 0):
            raise BenchError(
                f"{self._acl.where}: {kind} {name!r} of the compiled model has no size."
            )
        return Slot(index, TensorSpec(name, _DTYPES[code], tuple(int(d) for d in dims)), size)

    def _with_dynamic_batch(self, slot: Slot) -> Slot:
        """An output of a model with gears, whose dims are those of the largest gear."""
        shape = slot.spec.shape
        if not self.gears or shape[:1] != (max(self.gears),):
            return slot
        return replace(slot, spec=replace(slot.spec, shape=(-1, *shape[1:])))


def name_in_file(told: str, own: Sequence[str]) -> str:
    """The output among ``own`` that the compiled model calls ``told``.

    An input keeps its name; an output becomes ``node:number:tensor`` (atc: omg.cc). Names of nodes
    and of tensors may hold colons themselves (``onnx::Flatten_0``, ``output:0``), so the file's own
    names decide; where it has none that fits, the first ``:number:`` is taken for the border.
    """
    fitting = [name for name in own if re.fullmatch(rf"(.*:\d+:)?{re.escape(name)}", told, re.S)]
    if fitting:
        return max(fitting, key=len)
    border = re.match(r".*?:\d+:(?=.)", told, re.S)
    return told[border.end() :] if border else told
