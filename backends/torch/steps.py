"""Decoding step by step in PyTorch: the tensors of the state stay on the device."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Callable, List, Sequence

from bench.capabilities import Logits
from bench.decoding import Decoder
from bench.errors import BenchError
from bench.steps import Steps

from ..shared.checks import Array
from .tensors import flatten


class TorchSteps(Steps):
    """What a forward pass returns, logits first, is what the next one is given."""

    def __init__(
        self,
        torch: ModuleType,
        forward: Callable[..., Any],
        names: Sequence[str],
        place: Any,
        explain: Callable[[Exception, str], BenchError],
        where: str,
        decoder: Decoder,
        batch: int,
        capacity: int,
    ) -> None:
        """``names`` are the inputs of ``forward`` in their order."""
        super().__init__(where, decoder, batch, capacity)
        self._torch = torch
        self._forward = forward
        self._place = place
        self._explain = explain
        taken = {tensor.input: index for index, tensor in enumerate(decoder.state)}
        #: for each input its place in the state, or its name
        self._order: List[Any] = [taken.get(name, name) for name in names]
        self._state: List[Any] = []
        self.reset()

    def _begin(self) -> None:
        self._state = [self._on_device(array) for array in self._first_state()]

    def _advance(self, tokens: Array, end: int) -> Logits:
        beside = {name: self._on_device(array) for name, array in self._beside(tokens, end)}
        state = self._state
        given = [state[key] if isinstance(key, int) else beside[key] for key in self._order]
        try:
            found = [tensor for _, tensor in flatten(self._torch, "", self._forward(*given))]
            # The copy waits until the device has computed them.
            logits: Logits = found[0][:, -1].float().cpu().numpy()
        except Exception as error:
            raise self._explain(error, f"a step behind {self._position} tokens") from error
        self._state = found[1 : len(state) + 1]
        return logits.copy()

    def _on_device(self, array: Array) -> Any:
        return self._torch.from_numpy(array).to(self._place)
