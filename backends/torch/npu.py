"""PyTorch on Huawei's NPUs, through the package ``torch-npu`` (`torch.npu` mirrors `torch.cuda`).

Options behind ``?``: ``mode=graph`` compiles the module through torchair, Huawei's backend of
``torch.compile``; ``streams`` is a number of streams that offline queries are launched into.

Importing torch imports an installed torch_npu by itself, which fails without Huawei's libraries and
takes torch down with it. So that is switched off, and torch_npu is imported here. Written after the
documents of torch_npu and torchair and tested against a stand-in; it has never touched an NPU.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import ClassVar, Mapping, Optional

from bench.backend import Device, ModelFile, Options
from bench.capabilities import EnergyReading, Reading
from bench.errors import Unavailable, without_stop

from ..shared.checks import ANY_NUMBER, first_line, read_extra
from ..shared.huawei import driver_trouble
from . import device as torch_device
from .compiled import Compiler, compiled_session
from .device import NPU, find_devices, find_place
from .eager import TorchEager
from .module import import_torch, load_module
from .session import TorchSession

_KINDS = ("npu",)
_OPTIONS = {"mode": ("eager", "graph"), "streams": ANY_NUMBER}


class TorchNpu:
    """Adapter to ``torch_npu``."""

    name: ClassVar[str] = "torch-npu"
    forms: ClassVar[tuple[str, ...]] = ("torch",)
    distributions: ClassVar[tuple[str, ...]] = ("torch", "torch-npu")
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16")
    trials: ClassVar[tuple[Mapping[str, str], ...]] = ({"mode": "graph"},)
    #: it imports torch; without it, nothing spends seconds on that
    preload: ClassVar[tuple[str, ...]] = ("torch_npu",)
    #: the driver's file descriptors and threads don't live through fork
    fork_safe: ClassVar[bool] = False
    environment: ClassVar[Mapping[str, str]] = TorchEager.environment
    # A release of torch-npu fits one release of torch; yaml it imports without asking for it.
    requirements: ClassVar[Mapping[str, tuple[tuple[str, ...], ...]]] = {
        "torch-npu": (
            ("torch==2.13.0", "torch-npu==2.13.0", "numpy>=1.24", "pyyaml", "safetensors>=0.4"),
        )
    }

    def version(self) -> str:
        _, torch_npu = _import()
        return str(torch_npu.__version__)

    def devices(self) -> list[Device]:
        torch, _ = _import()
        found = find_devices(torch, _KINDS)
        if not found:
            why = without_stop(driver_trouble())
            if why:
                raise Unavailable(f"torch-npu is not available: {why}.", NPU.remedy)
            raise NPU.absences(torch, self.name)[NPU.type]
        return found

    def absent_devices(self) -> Mapping[str, Unavailable]:
        """Why NPUs don't answer beside others."""
        torch, _ = _import()
        return NPU.absences(torch, self.name)

    def compile(self, model: ModelFile, device: Device, options: Options) -> TorchSession:
        torch, _ = _import()
        extra = read_extra(f"{self.name}:{device.id}", options.extra, _OPTIONS)
        place = find_place(torch, self.name, device.id, _KINDS)
        where = f"{model.name} on {self.name}:{device.id}"
        compiler = _torchair() if extra["mode"] == "graph" else None
        module = load_module(torch, model, self.name, place, options.threads)
        if compiler is None:
            return TorchSession(torch, module, place, where)
        return compiled_session(torch, module, place, where, compiler, options)

    def device_memory(self, device: Device) -> Optional[tuple[int, int]]:
        """Free and total bytes of the NPU's memory."""
        torch, _ = _import()
        return torch_device.device_memory(torch, device)

    def telemetry(self, device: Device) -> Reading:
        """What torch's allocator took on the NPU; its driver isn't asked."""
        torch, _ = _import()
        return torch_device.telemetry(torch, device)

    def energy(self, device: Device) -> EnergyReading:
        """The power of the NPU, as its driver's tool tells."""
        torch, _ = _import()
        return torch_device.energy(torch, device)


def _import() -> tuple[ModuleType, ModuleType]:
    """torch, and the torch_npu that has put `torch.npu` into it. Raises `Unavailable`."""
    if "torch_npu" not in sys.modules and importlib.util.find_spec("torch_npu") is None:
        raise _unavailable(ModuleNotFoundError("No module named 'torch_npu'", name="torch_npu"))
    try:
        torch = import_torch("torch-npu")
    except RuntimeError as error:  # the environment was not set, and torch imported torch_npu
        raise _unavailable(error) from error
    try:
        torch_npu = importlib.import_module("torch_npu")
    except Exception as error:  # whatever it does without its libraries, or with another torch
        raise _unavailable(error) from error
    return torch, torch_npu


def _unavailable(error: Exception) -> Unavailable:
    reason = first_line(error)
    if isinstance(error, ModuleNotFoundError) and error.name == "torch_npu":
        remedy = (
            "Install Huawei's CANN toolkit and source its set_env.sh, then `bench env create "
            "torch-npu`, which installs it with the matching release of torch."
        )
    elif ".so" in reason:  # libascendcl.so, libhccl.so: cannot open shared object file
        remedy = "Install Huawei's CANN toolkit, and source its set_env.sh before you start bench."
    else:
        remedy = "Its release must match torch's, and its CANN toolkit the one it requires."
    return Unavailable(f"torch-npu is not available: {reason}.", remedy)


def _torchair() -> Compiler:
    """The compiler of graph mode, with its own defaults. Raises `Unavailable`."""
    causes = []
    # As a package, or inside torch_npu, which loads it at its first use only.
    for name in ("torchair", "torch_npu.dynamo.torchair"):
        try:
            torchair = importlib.import_module(name)
            config = torchair.CompilerConfig()
            return Compiler("torchair", torchair.get_npu_backend(compiler_config=config))
        except Exception as error:
            causes.append(first_line(error))
    raise Unavailable(
        f"torch-npu's mode=graph is not available: {causes[0]}.",
        "Install a torch-npu that includes torchair, or leave mode=graph out.",
    )
