"""A session on a module that ``torch.compile`` gave to a compiler, whichever it is."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, Mapping

import numpy as np

from bench.backend import Feeds, Options, Placement
from bench.decoding import Decoder
from bench.errors import BenchError, Unsupported

from ..shared.checks import Array, describe_feeds, first_line
from .module import precision_of
from .session import TorchSession
from .steps import TorchSteps
from .tensors import flatten


@dataclass(frozen=True)
class Compiler:
    """What makes a callable of a graph and example inputs (a backend of ``torch.compile``)."""

    name: str
    build: Callable[[Any, Any], Any]
    overwrites: bool = False  #: it makes CUDA graphs, whose next replay overwrites earlier outputs


class CompiledSession(TorchSession):
    """A module compiled for the types and shapes of its inputs, once for each."""

    def __init__(
        self,
        torch: ModuleType,
        module: Any,
        place: Any,
        where: str,
        compiler: Compiler,
        allow_fallback: bool,
    ) -> None:
        super().__init__(torch, module, place, where)
        self._compiler = compiler
        self._allow_fallback = allow_fallback
        #: for each graph that the compiler was given, its nodes by device
        self._graphs: list[Counter[str]] = []
        self._graphs_bound: list[Counter[str]] = []
        compiled = torch.compile(
            module, backend=self._noted, dynamic=False, fullgraph=not allow_fallback
        )
        # Under the wrapper's __call__, whose hooks nobody uses; the module's own hooks do run.
        self._forward = self._bound_forward = compiled.forward
        if compiler.overwrites:
            self._replaying(compiled.forward)

    def compile_for(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compile now, so that it counts as loading, where the inputs' types can be guessed.

        A module doesn't tell the types of its inputs: whichever of float32 and int64 it accepts is
        taken. Where that fails, and for other types, `bind` compiles.
        """
        if any(spec.name not in shapes for spec in self.inputs):
            return
        for dtype in (np.float32, np.int64):
            # Zeros are an index into any table.
            feeds = {spec.name: np.zeros(shapes[spec.name], dtype) for spec in self.inputs}
            with contextlib.suppress(BenchError):
                self._call_eagerly(feeds)
                break
        else:
            return
        self._compile(feeds)

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        self._call_eagerly(feeds)
        self._compile(feeds)
        return super().bind(feeds)

    def run(self, feeds: Feeds) -> list[Array]:
        self._call_eagerly(feeds)
        return self._to_numpy(self._compile(feeds))

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        self._call_eagerly(feeds)
        self._compile(feeds)
        return super().api_call(feeds)

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> TorchSteps:
        """Compiled for lengths that change: once for prompts and once for single tokens.

        A class whose state has windows or groups asks how long they are, and would be compiled
        anew for each answer.
        """
        if self._compiler.overwrites:
            raise Unsupported(
                f"{self._where}: it replays CUDA graphs, which have fixed lengths, but texts "
                "grow. Leave mode= out."
            )
        if decoder.boundaries():
            raise Unsupported(
                f"{self._where}: {self._compiler.name} would recompile it for each length of the "
                "windows and groups in its state. Use eager mode."
            )
        compiled = self._torch.compile(
            self._module, backend=self._noted, dynamic=True, fullgraph=not self._allow_fallback
        )
        return self._steps(compiled.forward, decoder, batch, capacity)

    def placement(self) -> Placement:
        """What the compiler was given; parts that fell back to Python show as further graphs."""
        nodes: Counter[str] = sum(self._graphs_bound, Counter())
        here = str(self._place)
        elsewhere = tuple(f"{count} nodes ({at})" for at, count in nodes.items() if at != here)
        count = len(self._graphs_bound)
        source = f"torch.compile: nodes given to {self._compiler.name} in {count} graph(s)"
        return Placement(dict(nodes), source, elsewhere, precision_of(self._module))

    def _launch_into_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        if self._compiler.overwrites:
            raise Unsupported(f"{self._where}: a CUDA graph can't be replayed by several streams.")
        self._call_eagerly(feeds)
        self._compile(feeds)
        return super()._launch_into_streams(feeds, streams)

    def _noted(self, graph: Any, example_inputs: Any) -> Any:
        """The compiler as a backend of ``torch.compile``, with a note of what it was given."""
        nodes: Counter[str] = Counter()
        for node in graph.graph.nodes:
            if node.op.startswith("call_"):
                value = node.meta.get("example_value")
                nodes[str(getattr(value, "device", self._place))] += 1
        self._graphs.append(nodes)
        return self._compiler.build(graph, example_inputs)

    def _replaying(self, forward: Any) -> None:
        """Have ``forward``, which replays CUDA graphs, called as inductor's cudagraph trees ask:
        each call begins a step, and what the last step returned is lost with it."""
        begin = self._torch.compiler.cudagraph_mark_step_begin

        def step(*tensors: Any) -> Any:
            begin()
            return forward(*tensors)

        def apart(*tensors: Any) -> Any:
            """A step outside the bound call, whose last result `fetch` may still want."""
            if self._bound is not None and self._bound.result is not None:
                kept = flatten(self._torch, "output", self._bound.result)
                self._bound.result = {name: tensor.clone() for name, tensor in kept}
            return step(*tensors)

        self._bound_forward, self._forward = step, apart

    def _call_eagerly(self, feeds: Feeds) -> None:
        """Whether the module takes these inputs, before their faults look like the compiler's."""
        tensors = self._tensors(feeds)
        try:
            self._module(*tensors)
        except Exception as error:
            raise self._refusal(error, describe_feeds(feeds)) from error
        self._look_for_writes(tensors)

    def _compile(self, feeds: Feeds) -> Any:
        """Compile for these inputs, if that has not been done, and run once."""
        before = len(self._graphs)
        try:
            result = self._forward(*self._tensors(feeds))
        except Exception as error:
            raise self._compile_error(error) from error
        if self._allow_fallback:  # what is compiled now may lean on graphs that were there before
            before = 0
        self._graphs_bound = self._graphs[before:] or self._graphs_bound
        return result

    def _step_error(self, error: Exception, what: str) -> BenchError:
        return self._compile_error(error)

    def _compile_error(self, error: Exception) -> BenchError:
        # A compiler's own error is told by one of torch's, whose first line says that it failed.
        cause = getattr(error, "inner_exception", error)
        ran_out = self._out_of_memory(cause)
        if ran_out is not None:
            return ran_out
        hint = ""
        if type(error).__module__.startswith("torch._dynamo"):
            hint = " Use --allow-fallback to let Python run what can't be compiled."
        kind = type(cause).__name__
        return Unsupported(f"{self._where}: torch.compile: {kind}: {first_line(cause)}.{hint}")


def compiled_session(
    torch: ModuleType, module: Any, place: Any, where: str, compiler: Compiler, options: Options
) -> CompiledSession:
    """A session that is compiled for ``options.shapes``; none is left open where that fails."""
    session = CompiledSession(torch, module, place, where, compiler, options.allow_fallback)
    try:
        session.compile_for(options.shapes)
    except BaseException:
        session.close()
        raise
    return session
