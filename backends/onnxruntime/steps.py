"""Decoding step by step in ONNX Runtime: what one step leaves is handed to the next as it is."""

from __future__ import annotations

import ctypes
import math
from types import ModuleType
from typing import Any, Callable, List, Tuple

import numpy as np

from bench.capabilities import EachLogits, Logits
from bench.decoding import Decoder
from bench.errors import OutOfMemory, SpecError
from bench.steps import RewindingSteps, last_logits

from ..shared.checks import Array, first_line, is_out_of_memory


class OrtSteps(RewindingSteps):
    """The state stays on the device, in memory that ONNX Runtime's arena gives to each step anew
    out of what the state before last has left: two buffers in turn, as long as they have to be. So
    nothing is bound for ``capacity`` tokens, and lengths of any law are right. The logits alone
    come to the host.

    `run_with_ortvaluevector` passes all values at once. For 60 tensors of state that costs 0.1 to
    0.2 ms a step less than binding each, and 0.6 ms less than binding views of buffers.
    """

    def __init__(
        self,
        ort: ModuleType,
        session: Any,
        device: Any,
        numbers: Callable[[Any], Array],
        where: str,
        decoder: Decoder,
        batch: int,
        capacity: int,
    ) -> None:
        """``numbers`` copies out logits that aren't float32."""
        super().__init__(where, decoder, batch, capacity)
        state = ort.capi.onnxruntime_pybind11_state
        self._vector = state.OrtValueVector
        host = ort.OrtDevice.make("cpu", 0)._get_c_device()
        self._value, self._host = state.OrtValue.ortvalue_from_numpy, host
        self._run = getattr(session, "_sess", session).run_with_ortvaluevector
        self._options = ort.RunOptions()
        self._takes = [name for name, _ in self._beside(np.zeros((batch, 1), np.int64), 1)]
        self._takes += [tensor.input for tensor in decoder.state]
        self._gives = [decoder.logits, *(tensor.output for tensor in decoder.state)]
        self._devices = [host, *[device] * len(decoder.state)]
        self._on_host = device.device_type() == host.device_type()
        self._numbers_of = numbers
        self._past: List[Any] = []
        self._kept: List[Array] = []  #: what values on the host look at, since they don't own it
        self.reset()

    def _begin(self) -> None:
        self._kept = self._first_state()
        self._past = [self._value(array, self._host) for array in self._kept]

    def _advance(self, tokens: Array, end: int) -> Logits:
        logits = self._pass(tokens, end)
        if logits.data_type() != "tensor(float)":
            return last_logits(self._numbers_of(logits))
        if tokens.shape[1] > 1:
            return _last(logits)
        copied: Logits = logits.numpy()[:, 0]
        return copied

    def _advance_each(self, tokens: Array, end: int) -> EachLogits:
        logits = self._pass(tokens, end)
        copied = logits.data_type() == "tensor(float)"
        return np.array(logits.numpy() if copied else self._numbers_of(logits), np.float32)

    def _pass(self, tokens: Array, end: int) -> Any:
        """The logits of a step, as ONNX Runtime's value."""
        given = self._vector()
        beside = self._beside(tokens, end)
        for _, array in beside:
            given.push_back(self._value(array, self._host))
        for past in self._past:
            given.push_back(past)
        found = self._vector()
        try:
            self._run(self._options, self._takes, given, self._gives, found, self._devices)
        except Exception as error:
            reason = first_line(error)
            if is_out_of_memory(error):
                raise OutOfMemory(f"{self._where}: {reason}. Use a smaller batch.") from error
            if "INVALID_ARGUMENT" in str(error):  # an index beyond a table, for example
                raise SpecError(f"{self._where}: a step was rejected: {reason}.") from error
            raise
        # One by one: the end of an iteration over them is an exception in C++, which takes 50 us.
        self._past = [found[place] for place in range(1, len(self._gives))]
        return found[0]

    @property
    def cuts(self) -> bool:
        """On the host: elsewhere ONNX Runtime's Python copies no part of a tensor."""
        return self._on_host and self._decoder.cuts

    def _held(self) -> Tuple[List[Any], List[Array]]:
        return self._past, self._kept

    def _hold(self, held: Tuple[List[Any], List[Array]]) -> None:
        self._past, self._kept = held

    def _cut(self, position: int) -> None:
        both = zip(self._past, self._decoder.state)
        self._kept = [
            np.ascontiguousarray(_whole(value, tensor.dtype)[self._first(position, tensor)])
            for value, tensor in both
        ]
        self._past = [self._value(array, self._host) for array in self._kept]


def _whole(value: Any, dtype: str) -> Array:
    """A tensor on the host, where it lies."""
    shape, kind = value.shape(), np.dtype(dtype)
    there = (ctypes.c_char * (math.prod(shape) * kind.itemsize)).from_address(value.data_ptr())
    return np.frombuffer(there, kind).reshape(shape)


def _last(logits: Any) -> Logits:
    """Behind the last token; those of the rest of a prompt, which may be many, aren't copied."""
    return last_logits(_whole(logits, "float32"))
