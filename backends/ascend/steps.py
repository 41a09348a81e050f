"""Decoding step by step on an Ascend device: one offline model with gears for the number of new
tokens, and buffers of the device that two executions take in turn for the state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np

from bench.backend import StaticStep
from bench.capabilities import Logits
from bench.decoding import POSITION, Decoder
from bench.errors import Unsupported
from bench.steps import Steps, last_logits

from ..shared.checks import Array
from .acl import Acl, Held
from .atc import Job
from .device import Npu
from .model import OfflineModel, Slot


@dataclass(frozen=True)
class Geared:
    """A graph with a static cache that takes any number of new tokens, and the numbers wanted."""

    step: StaticStep
    gears: Tuple[int, ...]

    def job(self, decoder: Decoder, where: str, soc: str, precision: str) -> Job:
        """What atc is asked for: the tokens' axis alone is left to the gears."""
        batch, capacity = self.step.batch, self.step.capacity
        shapes: Dict[str, Tuple[int, ...]] = {decoder.tokens: (batch, -1), POSITION: (1,)}
        shapes.update({t.input: decoder.buffer(t, batch, capacity) for t in decoder.state})
        return Job(self.step.path, where, soc, precision, shapes, dims=self.gears)


def geared(static: Sequence[StaticStep], batch: int, capacity: int, where: str) -> Geared:
    """The graph among ``static`` for texts of ``capacity`` tokens. Raises `Unsupported`."""
    fitting = [s for s in static if s.batch == batch and s.capacity >= capacity]
    free = min((s for s in fitting if not s.tokens), key=lambda s: s.capacity, default=None)
    if free is None:
        raise Unsupported(
            f"{where}: it takes only fixed shapes, but the model has no form with a static cache "
            f"for {capacity} tokens at batch {batch}."
        )
    # atc takes no single gear.
    sizes = {s.tokens for s in fitting if s.tokens} | {1}
    return Geared(free, tuple(sorted(sizes if len(sizes) > 1 else {1, 2})))


class AscendSteps(Steps):
    """The outputs of one execution are the inputs of the next: two sets of buffers and datasets,
    each the other's. Tokens and their place go to the device, the logits come back."""

    def __init__(
        self,
        acl: Acl,
        npu: Npu,
        stream: int,
        om: Path,
        outputs: Sequence[str],
        gears: Tuple[int, ...],
        held: Held,
        decoder: Decoder,
        batch: int,
        capacity: int,
    ) -> None:
        """``held`` takes what was acquired. ``outputs`` are what the ONNX file calls its own."""
        super().__init__(acl.where, decoder, batch, capacity)
        self._acl, self._npu, self._stream = acl, npu, stream
        self._gears = gears
        self._turn = 0
        npu.use()
        own = Held()
        try:
            self._model = OfflineModel(acl, om, own, outputs)
            self._model.require_dims(len(gears))
            self._allocate(own)
        except BaseException:
            own.release()
            raise
        held.absorb(own)

    def _allocate(self, held: Held) -> None:
        """Memory for all, zeroed where a mask hides it but a number has to be there."""
        model, decoder = self._model, self._decoder
        given_as = {tensor.output: tensor.input for tensor in decoder.state}
        beside = {s.spec.name: s for s in model.taken if s.spec.name not in given_as.values()}
        self._beside_at = {name: self._memory(slot, held) for name, slot in beside.items()}
        self._slots = beside
        state = [s for s in model.taken if s.spec.name in given_as.values()]
        sets = [{s.spec.name: self._memory(s, held) for s in state} for _ in range(2)]
        for slot in state:
            for memory in sets:
                self._npu.write(memory[slot.spec.name], slot.size, bytes(slot.size))
        (self._logits_slot,) = [s for s in model.given if s.spec.name not in given_as]
        self._logits_at = self._memory(self._logits_slot, held)
        assert model.gear_slot is not None
        gear_at = self._memory(model.gear_slot, held)
        self._inputs, self._outputs = [], []
        for taken, given in (sets, sets[::-1]):
            inputs = [({**self._beside_at, **taken}[s.spec.name], s.size) for s in model.taken]
            # atc puts it behind the model's own inputs.
            self._inputs.append(self._dataset([*inputs, (gear_at, model.gear_slot.size)], held))
            places = [
                (
                    given[given_as[s.spec.name]] if s.spec.name in given_as else self._logits_at,
                    s.size,
                )
                for s in model.given
            ]
            self._outputs.append(self._dataset(places, held))

    def _memory(self, slot: Slot, held: Held) -> int:
        return self._npu.malloc(slot.size, held)

    def _dataset(self, places: Sequence[Tuple[int, int]], held: Held) -> int:
        dataset = self._acl.handle("mdl.create_dataset")
        held.keep(self._acl.do, "mdl.destroy_dataset", dataset)
        for pointer, size in places:
            buffer = self._acl.handle("create_data_buffer", pointer, size)
            held.keep(self._acl.do, "destroy_data_buffer", buffer)
            self._acl.get("mdl.add_dataset_buffer", dataset, buffer)
        return dataset

    def _begin(self) -> None:
        """What lies behind the position is never looked at: nothing has to be cleared."""

    def _advance(self, tokens: Array, end: int) -> Logits:
        self._npu.use()
        first, place = end - tokens.shape[1], end - tokens.shape[1]
        while place < end:
            count = max(gear for gear in self._gears if gear <= end - place)
            self._execute(tokens[:, place - first : place - first + count], place)
            place += count
        shape = (self._batch, count, self._decoder.vocabulary)
        kind = np.dtype(self._logits_slot.spec.dtype)
        size = int(np.prod(shape)) * kind.itemsize
        found = np.frombuffer(self._npu.read(self._logits_at, size), kind)
        return last_logits(found.reshape(shape))

    def _execute(self, tokens: Array, place: int) -> None:
        turn, stream = self._turn, self._stream
        feeds = {self._decoder.tokens: tokens, POSITION: np.array([place])}
        for name, slot in self._slots.items():
            data = np.ascontiguousarray(feeds[name], slot.spec.dtype).tobytes()
            self._npu.write(self._beside_at[name], slot.size, data)
        self._model.set_dims(self._inputs[turn], self._dims(tokens.shape[1]))
        self._acl.do(
            "mdl.execute_async", self._model.id, self._inputs[turn], self._outputs[turn], stream
        )
        self._acl.do("rt.synchronize_stream", stream)
        self._turn = 1 - turn

    def _dims(self, count: int) -> List[int]:
        """The dimensions of all inputs, one behind the other, at a gear."""
        return [
            count if dim == -1 else dim for slot in self._model.taken for dim in slot.spec.shape
        ]
