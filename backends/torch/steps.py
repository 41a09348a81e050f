"""Decoding step by step in PyTorch: the tensors of the state stay on the device."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Callable, List, Sequence

from bench.capabilities import EachLogits, Logits
from bench.decoding import Decoder
from bench.errors import BenchError
from bench.steps import RewindingSteps

from ..shared.checks import Array
from .tensors import flatten


class TorchSteps(RewindingSteps):
    """What a forward pass returns, logits first, is what the next one is given; a module that
    makes steps with a cache of its own (`bench.cards.language.causal`) makes those."""

    def __init__(
        self,
        torch: ModuleType,
        forward: Callable[..., Any],
        cached_steps: Callable[[], Any] | None,
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
        self._cached_steps = cached_steps
        self._cached: Any = None
        self._place = place
        self._explain = explain
        taken = {tensor.input: index for index, tensor in enumerate(decoder.state)}
        #: for each input its place in the state, or its name
        self._order: List[Any] = [taken.get(name, name) for name in names]
        self._state: List[Any] = []
        self.reset()

    def _begin(self) -> None:
        if self._cached_steps is not None:
            self._cached = self._cached_steps()
            return
        self._state = [self._on_device(array) for array in self._first_state()]

    def _advance(self, tokens: Array, end: int) -> Logits:
        return self._logits(tokens, end, slice(-1, None))[:, 0]

    def _advance_each(self, tokens: Array, end: int) -> EachLogits:
        return self._logits(tokens, end, slice(None))

    def _logits(self, tokens: Array, end: int, wanted: slice) -> EachLogits:
        try:
            found = self._pass(tokens, end) if self._cached is None else self._cached_pass(tokens)
            # The copy waits until the device has computed them.
            logits: EachLogits = found[:, wanted].float().cpu().numpy()
        except Exception as error:
            raise self._explain(error, f"a step after {self._position} tokens") from error
        return logits.copy()

    def _held(self) -> Any:
        if self._cached is None:
            return list(self._state)
        return self._cached.state() if self._position else []

    def _hold(self, held: Any) -> None:
        if self._cached is None:
            self._state = list(held)
        elif self._position:
            self._cached.put_back(held, self._position)
        else:
            self._begin()

    def _cut(self, position: int) -> None:
        both = zip(self._held(), self._decoder.state)
        cut = [tensor[self._first(position, described)] for tensor, described in both]
        if self._cached is None:
            self._state = cut
        else:
            self._cached.put_back(cut, position)

    def _cached_pass(self, tokens: Array) -> Any:
        return self._cached(self._on_device(tokens))

    def _pass(self, tokens: Array, end: int) -> Any:
        beside = {name: self._on_device(array) for name, array in self._beside(tokens, end)}
        state = self._state
        given = [state[key] if isinstance(key, int) else beside[key] for key in self._order]
        logits, *found = (tensor for _, tensor in flatten(self._torch, "", self._forward(*given)))
        self._state = found[: len(state)]
        return logits

    def _on_device(self, array: Array) -> Any:
        return self._torch.from_numpy(array).to(self._place)
