"""A module whose bound calls are CUDA graphs: captured once, then replayed as one launch."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from bench.backend import Feeds
from bench.decoding import Decoder
from bench.errors import BenchError, OutOfMemory, Unsupported

from ..shared.checks import describe_feeds, first_line, is_out_of_memory
from .busy import Launch
from .constants import Constants, origin
from .session import Bound, TorchSession, on_copies
from .steps import TorchSteps

#: Calls before a capture, so that libraries have chosen and loaded their kernels: as often as in
#: PyTorch's notes on CUDA semantics ("Whole-network capture").
_WARM_UP_CALLS = 3
#: A pass may move to the device in a capture what it doesn't elsewhere: each such tensor costs one
#: more. So many are far more than any model that was seen.
_MOST_CAPTURES = 20


class GraphSession(TorchSession):
    """The inputs of a bound call stay where they are, as a graph needs it; so do its outputs.

    `run` and `placement` compute eagerly, so they leave the memory of graphs alone.
    """

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        replay, result = self._capture(self._tensors(feeds), describe_feeds(feeds))
        self._bound = bound = Bound()
        wait = self._api.current_stream(self._place).synchronize

        def call() -> None:
            replay()
            wait()
            bound.result = result

        self._launch = Launch(replay)
        return call

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        """From numpy to numpy: into the graph's inputs, and out of its outputs."""
        tensors = self._tensors(feeds)
        replay, result = self._capture(tensors, describe_feeds(feeds))
        arrays = [np.array(feeds[spec.name], order="C") for spec in self.inputs]

        def call() -> object:
            for tensor, array in zip(tensors, arrays):
                tensor.copy_(self._torch.from_numpy(array))
            replay()
            return self._to_numpy(result)

        return call

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> TorchSteps:
        raise Unsupported(
            f"{self._where}: a CUDA graph has fixed lengths, but texts grow. Leave cuda_graph=1 "
            "out."
        )

    def _launch_into_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        raise Unsupported(f"{self._where}: a CUDA graph can't be replayed by several streams.")

    def _capture(self, tensors: list[Any], fed: str) -> tuple[Callable[[], None], Any]:
        """What replays the forward pass on these tensors, and what it leaves its result in.

        What the pass makes on the CPU is put on the device before. Raises `Unsupported` where the
        pass can't be captured, for example because it waits for the device to decide what comes
        next.
        """
        constants = Constants(self._torch, self._place)
        self._warm_up(tensors, constants, fed)
        forward = on_copies(self._forward) if self._writes else self._forward
        for _ in range(_MOST_CAPTURES):
            graph = self._api.CUDAGraph()
            try:
                with self._api.graph(graph), constants.given():
                    result = forward(*tensors)
            except Exception as error:
                if constants.learnt():
                    continue
                raise self._no_graph(error) from error
            if constants.learnt():  # the module made something of that error itself
                continue
            graph.replay()
            self._api.synchronize(self._place)
            if not constants.restored():
                return graph.replay, result
        raise Unsupported(
            f"{self._where}: its forward pass moves other tensors to the device on each call, "
            "which a CUDA graph can't do. Leave cuda_graph=1 out."
        )

    def _warm_up(self, tensors: list[Any], constants: Constants, fed: str) -> None:
        """The calls before a capture."""
        api = self._api
        aside = api.Stream(device=self._place)
        aside.wait_stream(api.current_stream(self._place))
        try:
            with api.stream(aside), constants.watched():
                for _ in range(_WARM_UP_CALLS):
                    self._forward(*tensors)
        except Exception as error:
            raise self._refusal(error, fed) from error
        api.current_stream(self._place).wait_stream(aside)
        self._look_for_writes(tensors)

    def _no_graph(self, error: Exception) -> BenchError:
        if is_out_of_memory(error):
            return OutOfMemory(f"{self._where}: {first_line(error)}. Use a smaller batch.")
        line = origin(self._torch, error)
        return Unsupported(
            f"{self._where}: its forward pass can't be captured as a CUDA graph"
            f"{f' (at {line})' if line else ''}: {first_line(error)}. Leave cuda_graph=1 out."
        )
