"""PyTorch compiled by inductor (``torch.compile``), on the CPU and on CUDA.

Options behind ``?``: ``mode`` (default, reduce-overhead, max-autotune) and ``cache``. Inductor
keeps what it compiled on the disk (TORCHINDUCTOR_CACHE_DIR) and finds it again in the next process,
so the load time of a second run is far below that of a first; ``cache=0`` compiles anew.

The whole model has to become one graph: parts that Python would run in between are a fallback,
which is refused unless it is allowed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sysconfig
from collections import Counter
from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping, Optional

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement
from bench.errors import BenchError, OutOfMemory, Unavailable, Unsupported

from .checks import Array, describe_feeds, first_line, is_out_of_memory, read_extra
from .host import cpu_device
from .torch import TorchEager, TorchSession
from .torch_module import cuda_devices, import_torch, load_module, precision_of

_OPTIONS = {"mode": ("default", "reduce-overhead", "max-autotune"), "cache": ("1", "0")}


class TorchCompile:
    """Adapter to ``torch.compile``."""

    name: ClassVar[str] = "torch-compile"
    forms: ClassVar[tuple[str, ...]] = ("torch",)
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16")
    preload: ClassVar[tuple[str, ...]] = (*TorchEager.preload, "torch._inductor.compile_fx")
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        **TorchEager.environment,
        # Compile in this process: a pool of compiler processes would outlive the compilation.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }

    def version(self) -> str:
        return str(import_torch(self.name).__version__)

    def devices(self) -> list[Device]:
        torch = import_torch(self.name)
        _require_compiler()
        return [cpu_device(), *cuda_devices(torch)]

    def compile(self, model: ModelFile, device: Device, options: Options) -> CompiledSession:
        torch = import_torch(self.name)
        extra = read_extra(f"{self.name}:{device.id}", options.extra, _OPTIONS)
        place, module = load_module(torch, model, self.name, device.id, options.threads)
        _require_compiler()
        where = f"{model.name} on {self.name}:{device.id}"
        session = CompiledSession(torch, module, place, where, extra, options.allow_fallback)
        try:
            session.compile_for(options.shapes)
        except BaseException:
            session.close()
            raise
        return session


class CompiledSession(TorchSession):
    """A module compiled for the types and shapes of its inputs, once for each."""

    def __init__(
        self,
        torch: ModuleType,
        module: Any,
        place: Any,
        where: str,
        extra: Mapping[str, str],
        allow_fallback: bool,
    ) -> None:
        super().__init__(torch, module, place, where)
        self._extra = extra
        self._allow_fallback = allow_fallback
        #: for each graph that inductor was given, its nodes by device
        self._graphs: list[Counter[str]] = []
        self._graphs_bound: list[Counter[str]] = []
        compiled = torch.compile(
            module, backend=self._inductor, dynamic=False, fullgraph=not allow_fallback
        )
        # Under the wrapper's __call__, whose hooks nobody uses; the module's own hooks do run.
        self._forward = compiled.forward

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

    def placement(self) -> Placement:
        """What inductor was given; parts that fell back to Python show as further graphs."""
        nodes: Counter[str] = sum(self._graphs_bound, Counter())
        here = str(self._place)
        elsewhere = tuple(f"{count} nodes ({at})" for at, count in nodes.items() if at != here)
        source = f"torch.compile: nodes given to inductor in {len(self._graphs_bound)} graph(s)"
        return Placement(dict(nodes), source, elsewhere, precision_of(self._module))

    def _inductor(self, graph: Any, example_inputs: Any) -> Any:
        """Inductor as a backend of ``torch.compile``, with a note of what it was given."""
        from torch._inductor import list_mode_options
        from torch._inductor.compile_fx import compile_fx

        nodes: Counter[str] = Counter()
        for node in graph.graph.nodes:
            if node.op.startswith("call_"):
                value = node.meta.get("example_value")
                nodes[str(getattr(value, "device", self._place))] += 1
        self._graphs.append(nodes)
        mode = self._extra["mode"]
        patches = {} if mode == "default" else dict(list_mode_options(mode))
        patches["force_disable_caches"] = self._extra["cache"] == "0"
        return compile_fx(graph, example_inputs, config_patches=patches)

    def _call_eagerly(self, feeds: Feeds) -> None:
        """Whether the module takes these inputs, before their faults look like the compiler's."""
        tensors = self._tensors(feeds)
        try:
            self._module(*tensors)
        except Exception as error:
            raise self._refusal(error, describe_feeds(feeds)) from error

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

    def _compile_error(self, error: Exception) -> BenchError:
        if is_out_of_memory(error):
            return OutOfMemory(f"{self._where}: {first_line(error)}. Use a smaller batch.")
        hint = ""
        if type(error).__module__.startswith("torch._dynamo"):
            hint = " Use --allow-fallback to let Python run what can't be compiled."
        kind = type(error).__name__
        return Unsupported(f"{self._where}: torch.compile: {kind}: {first_line(error)}.{hint}")


def _require_compiler() -> None:
    """Raise `Unavailable` unless a C++ compiler takes Python's headers, as inductor needs."""
    compiler = _find_compiler()
    remedy = "Install one and Python's headers, for example: apt install g++ python3-dev."
    if compiler is None:
        raise Unavailable("torch-compile is not available: no C++ compiler is found.", remedy)
    headers = sysconfig.get_paths()["include"]
    command = [compiler, "-x", "c++", "-fsyntax-only", f"-I{headers}", "-"]
    try:
        done = subprocess.run(
            command, input="#include <Python.h>\n", capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"{compiler}: {first_line(error)}"
        raise Unavailable(f"torch-compile is not available: {reason}.", remedy) from error
    if done.returncode != 0:
        reason = f"{compiler}: {done.stderr.strip().splitlines()[0]}"
        raise Unavailable(f"torch-compile is not available: {reason}.", remedy)


def _find_compiler() -> Optional[str]:
    """Where inductor looks: CXX, else the usual names."""
    for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    return None
