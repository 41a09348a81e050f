"""Decoding step by step in OpenVINO: two requests in turn, each reading what the other has left."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Callable, Sequence

from bench.capabilities import Logits
from bench.decoding import Decoder
from bench.errors import BenchError
from bench.steps import Steps, last_logits

from .shared.checks import Array


class OpenVinoSteps(Steps):
    """An output tensor of one request is an input tensor of the other: nothing is copied between
    two steps, and OpenVINO allocates outputs as long as they have to be."""

    def __init__(
        self,
        ov: ModuleType,
        compiled: Any,
        names: Sequence[str],
        explain: Callable[[Exception, str], BenchError],
        where: str,
        decoder: Decoder,
        batch: int,
        capacity: int,
    ) -> None:
        """``names`` are the inputs', in the order of the compiled model's."""
        super().__init__(where, decoder, batch, capacity)
        self._tensor = ov.Tensor
        self._explain = explain
        self._inputs = {name: index for index, name in enumerate(names)}
        outputs = {
            name: index for index, port in enumerate(compiled.outputs) for name in port.get_names()
        }
        self._logits = outputs[decoder.logits]
        #: where each tensor of the state comes from and goes to; one may have no use for it
        self._handed_on = [
            (outputs[tensor.output], self._inputs[tensor.input])
            for tensor in decoder.state
            if tensor.input in self._inputs
        ]
        self._request, self._other = (compiled.create_infer_request() for _ in range(2))
        self.reset()

    def _begin(self) -> None:
        for tensor, array in zip(self._decoder.state, self._first_state()):
            self._feed(tensor.input, array)

    def _advance(self, tokens: Array, end: int) -> Logits:
        for name, array in self._beside(tokens, end):
            self._feed(name, array)
        request, other = self._request, self._other
        try:
            request.infer(share_outputs=True)
        except Exception as error:
            raise self._explain(error, f"a step after {self._position} tokens failed") from error
        for given, taken in self._handed_on:
            other.set_input_tensor(taken, request.get_output_tensor(given))
        self._request, self._other = other, request
        return last_logits(request.get_output_tensor(self._logits).data)

    def _feed(self, name: str, array: Array) -> None:
        if name in self._inputs:
            self._request.set_input_tensor(self._inputs[name], self._tensor(array))
