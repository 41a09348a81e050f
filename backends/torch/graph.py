"""A module whose bound calls are CUDA graphs: captured once, then replayed as one launch."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Optional, Sequence

import numpy as np

from bench.backend import Feeds
from bench.decoding import Decoder
from bench.errors import BenchError, Unsupported

from ..shared.checks import chain, describe_feeds, first_line
from .constants import Constants, origin
from .session import Bound, Launch, TorchSession, on_copies
from .steps import TorchSteps
from .tensors import from_outside

#: Calls before a capture, so that libraries have chosen and loaded their kernels: as often as in
#: PyTorch's notes on CUDA semantics ("Whole-network capture").
_WARM_UP_CALLS = 3
#: A pass may move to the device in a capture what it doesn't elsewhere: each such tensor costs one
#: more. So many are far more than any model that was seen.
_MOST_CAPTURES = 20


@dataclass(frozen=True)
class Captured:
    """A graph with all the memory that it uses. It has the addresses alone: what nobody holds is
    given to others, or back to the driver, and a replay computes on whatever is there then."""

    graph: Any
    result: Any
    #: inputs, constants, parameters, and what the module keeps for itself until it replaces it
    held: Sequence[Any]

    def replay(self) -> None:
        self.graph.replay()


class GraphSession(TorchSession):
    """The inputs of a bound call stay where they are, as a graph needs it; so do its outputs.

    `run` and `placement` compute eagerly, so they leave the memory of graphs alone.
    """

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        captured = self._capture(self._tensors(feeds), describe_feeds(feeds))
        self._bound = bound = Bound()
        wait = self._api.current_stream(self._place).synchronize
        replay = captured.graph.replay

        def call() -> None:
            replay()
            wait()
            bound.result = captured.result

        self._launch = Launch(captured.replay)
        return call

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        """From numpy to numpy: into the graph's inputs, and out of its outputs."""
        tensors = self._tensors(feeds)
        captured = self._capture(tensors, describe_feeds(feeds))
        arrays = [np.array(feeds[spec.name], order="C") for spec in self.inputs]

        def call() -> object:
            for tensor, array in zip(tensors, arrays):
                tensor.copy_(self._torch.from_numpy(array))
            captured.replay()
            return self._to_numpy(captured.result)

        return call

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> TorchSteps:
        raise Unsupported(
            f"{self._where}: a CUDA graph has fixed lengths, but texts grow. Leave cuda_graph=1 "
            "out."
        )

    def _launch_into_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        raise Unsupported(f"{self._where}: a CUDA graph can't be replayed by several streams.")

    def _capture(self, tensors: list[Any], fed: str) -> Captured:
        """What replays the forward pass on these tensors.

        What the pass makes on the CPU is put on the device before. Raises `Unsupported` where the
        pass can't be captured, for example because it waits for the device to decide what comes
        next.
        """
        constants = Constants(self._torch, self._place)
        self._warm_up(tensors, constants, fed)
        for _ in range(_MOST_CAPTURES):
            try:
                captured = self._attempt(tensors, constants)
            except Exception as error:
                raise self._no_graph(error) from error
            if captured is not None and self._stays(captured, constants):
                return captured
        raise Unsupported(
            f"{self._where}: its forward pass moves other tensors to the device on each call, "
            "which a CUDA graph can't do. Leave cuda_graph=1 out."
        )

    def _attempt(self, tensors: list[Any], constants: Constants) -> Optional[Captured]:
        """One capture; None where it had to learn of another constant."""
        forward = on_copies(self._forward) if self._writes else self._forward
        graph = self._api.CUDAGraph()
        try:
            with self._into(graph), from_outside(self._torch) as held, constants.given():
                result = forward(*tensors)
        except Exception:
            if constants.learnt():
                return None
            raise
        if constants.learnt():  # the module made something of that error itself
            return None
        return Captured(graph, result, [*tensors, *held])

    def _stays(self, captured: Captured, constants: Constants) -> bool:
        """Whether its replays leave the constants as they are; else another capture has copies."""
        try:
            captured.replay()
            self._api.synchronize(self._place)
        except Exception as error:
            ran_out = self._out_of_memory(error)
            if ran_out is None:
                raise
            raise ran_out from error
        return not constants.restored()

    @contextlib.contextmanager
    def _into(self, graph: Any) -> Iterator[None]:
        """``torch.cuda.graph``, for passes that may fail.

        Where an operator has broken the capture, to end it raises an error of its own in place of
        the operator's, and the capture's stream stays the current one.
        """
        with self._api.stream(self._api.current_stream(self._place)):
            capture = self._api.graph(graph)
            capture.__enter__()
            try:
                yield
            except BaseException:
                with contextlib.suppress(Exception):
                    capture.__exit__(*sys.exc_info())
                raise
            capture.__exit__(None, None, None)

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
        fault = _fault(error)
        line = origin(self._torch, fault)
        refused = Unsupported(
            f"{self._where}: its forward pass can't be captured as a CUDA graph"
            f"{f' (at {line})' if line else ''}: {first_line(fault)}. Leave cuda_graph=1 out."
        )
        return self._out_of_memory(error) or refused


def _fault(error: Exception) -> BaseException:
    """torch's own error, where the module has made another one of it. What the module raises and
    handles itself in every pass is of other types, a KeyError for example."""
    of_torch = [each for each in chain(error) if isinstance(each, RuntimeError)]
    return of_torch[-1] if of_torch else error
