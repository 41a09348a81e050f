"""PyTorch compiled by inductor (``torch.compile``), on the CPU and on CUDA.

Options behind ``?``: ``mode`` (default, reduce-overhead, max-autotune) and ``cache``. Inductor
keeps what it compiled on the disk (TORCHINDUCTOR_CACHE_DIR, else below the cache of bench) and
finds it again in the next process, so the load time of a second run is far below that of a first;
``cache=0`` compiles anew.

The whole model has to become one graph: parts that Python would run in between are a fallback,
which is refused unless it is allowed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from functools import cache
from typing import Any, ClassVar, Mapping, Optional

from bench.backend import Device, ModelFile, Options
from bench.capabilities import EnergyReading, Reading, Tunable
from bench.errors import Unavailable
from bench.folders import cache_folder
from bench.programs import ask

from ..shared.checks import first_line, read_extra
from . import device as torch_device
from .compiled import CompiledSession, Compiler, compiled_session
from .device import find_devices, find_place
from .eager import TorchEager
from .module import import_torch, load_module

_KINDS = ("cpu", "cuda")
_OPTIONS = {"mode": ("default", "reduce-overhead", "max-autotune"), "cache": ("1", "0")}


class TorchCompile:
    """Adapter to ``torch.compile``."""

    name: ClassVar[str] = "torch-compile"
    forms: ClassVar[tuple[str, ...]] = ("torch",)
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16")
    tunables: ClassVar[Mapping[str, Tunable]] = {"mode": Tunable(_OPTIONS["mode"])}
    preload: ClassVar[tuple[str, ...]] = TorchEager.preload
    imports_to_load: ClassVar[tuple[str, ...]] = (f"{__package__}.primed",)
    fork_safe: ClassVar[bool] = True
    moves: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        **TorchEager.environment,
        # Compile in this process: a pool of compiler processes would outlive the compilation.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }

    def version(self) -> str:
        return str(import_torch(self.name).__version__)

    def devices(self) -> list[Device]:
        torch = import_torch(self.name)
        require_compiler()
        return find_devices(torch, _KINDS)

    def absent_devices(self) -> Mapping[str, Unavailable]:
        """Why GPUs don't answer, or there is none."""
        return torch_device.absences(import_torch(self.name), self.name)

    def compile(self, model: ModelFile, device: Device, options: Options) -> CompiledSession:
        torch = import_torch(self.name)
        extra = read_extra(f"{self.name}:{device.id}", options.extra, _OPTIONS)
        place = find_place(torch, self.name, device.id, _KINDS)
        module = load_module(torch, model, self.name, place, options.threads)
        require_compiler()
        where = f"{model.name} on {self.name}:{device.id}"
        compiler = _inductor(extra["mode"], extra["cache"] == "1", place.type)
        return compiled_session(torch, module, place, where, compiler, options)

    def device_memory(self, device: Device) -> Optional[tuple[int, int]]:
        """Free and total bytes of a GPU's memory."""
        return torch_device.device_memory(import_torch(self.name), device)

    def telemetry(self, device: Device) -> Reading:
        """What a GPU tells of itself."""
        return torch_device.telemetry(import_torch(self.name), device)

    def energy(self, device: Device) -> EnergyReading:
        """What a GPU's board used."""
        return torch_device.energy(import_torch(self.name), device)


def _inductor(mode: str, cache: bool, kind: str) -> Compiler:
    """Inductor in one of its modes; on a GPU those that replay CUDA graphs."""
    keep_compiled()
    from torch._inductor import list_mode_options
    from torch._inductor.compile_fx import compile_fx

    patches = {} if mode == "default" else dict(list_mode_options(mode))
    graphs = kind == "cuda" and bool(patches.get("triton.cudagraphs"))
    patches["force_disable_caches"] = not cache

    def build(graph: Any, example_inputs: Any) -> Any:
        return compile_fx(graph, example_inputs, config_patches=patches)

    return Compiler("inductor", build, overwrites=graphs)


def keep_compiled() -> None:
    """Have inductor keep what it compiles in the cache of bench, unless the user names a place."""
    # Its own is a folder below /tmp whose name everybody can guess.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torchinductor"))


@cache
def require_compiler() -> None:
    """Raise `Unavailable` unless a C++ compiler takes Python's headers, as inductor needs."""
    compiler = _find_compiler()
    remedy = "Install one and Python's headers, for example: apt install g++ python3-dev."
    if compiler is None:
        raise Unavailable("torch-compile is not available: no C++ compiler was found.", remedy)
    headers = sysconfig.get_paths()["include"]
    command = [compiler, "-x", "c++", "-fsyntax-only", f"-I{headers}", "-"]
    try:
        done = ask(command, 60, "#include <Python.h>\n")
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"{compiler}: {first_line(error)}"
        raise Unavailable(f"torch-compile is not available: {reason}.", remedy) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        reason = f"{compiler}: {said[0]}"
        raise Unavailable(f"torch-compile is not available: {reason}.", remedy)


def _find_compiler() -> Optional[str]:
    """Where inductor looks: CXX, else the usual names."""
    for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    return None
