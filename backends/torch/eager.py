"""PyTorch in eager mode, on the CPU and on CUDA.

A model is a Python file with a factory, and safetensors weights. A module doesn't declare the
types and shapes of its inputs, so the specs of a session hold names alone (dtype ``""``), and
those of the outputs follow from the first outputs. Options behind ``?`` there are on CUDA alone:
``cuda_graph=1`` captures each bound call once and replays it, ``streams`` is a number of streams
that offline queries are launched into.
"""

from __future__ import annotations

import platform
from typing import ClassVar, Mapping, Optional

from bench.backend import Device, ModelFile, Options
from bench.capabilities import EnergyReading, Reading, ReferenceRole, Tunable
from bench.errors import Unavailable

from ..shared.checks import ANY_NUMBER, read_extra
from ..shared.visible import ORDER
from . import device as torch_device
from .device import find_devices, find_place
from .graph import GraphSession
from .module import import_torch, load_module
from .session import TorchSession

_KINDS = ("cpu", "cuda")
_CUDA_OPTIONS = {"cuda_graph": ("0", "1"), "streams": ANY_NUMBER}


class TorchEager:
    """Adapter to ``torch``."""

    name: ClassVar[str] = "torch"
    forms: ClassVar[tuple[str, ...]] = ("torch",)
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    #: The original itself, wherever a model is a PyTorch module.
    reference: ClassVar[ReferenceRole] = ReferenceRole(0)
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16")
    tunables: ClassVar[Mapping[str, Tunable]] = {
        "cuda_graph": Tunable(_CUDA_OPTIONS["cuda_graph"], kinds=("cuda",)),
        "streams": Tunable(kinds=("cuda",)),
    }
    preload: ClassVar[tuple[str, ...]] = ("torch", "safetensors.torch")
    fork_safe: ClassVar[bool] = True
    moves: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
        # torch would import whatever plugs a device into it, and torch_npu without Huawei's
        # libraries makes that import fail; nothing of the kind is used here.
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
        **ORDER,
        # numpy's BLAS would start threads on import, which the fork server must not have. On other
        # machines torch itself computes with OpenBLAS.
        **({"OPENBLAS_NUM_THREADS": "1"} if platform.machine() in ("x86_64", "AMD64") else {}),
    }

    def version(self) -> str:
        return str(import_torch(self.name).__version__)

    def devices(self) -> list[Device]:
        return find_devices(import_torch(self.name), _KINDS)

    def absent_devices(self) -> Mapping[str, Unavailable]:
        """Why GPUs don't answer, or there is none."""
        return torch_device.absences(import_torch(self.name), self.name)

    def compile(self, model: ModelFile, device: Device, options: Options) -> TorchSession:
        torch = import_torch(self.name)
        known = _CUDA_OPTIONS if device.id.startswith("cuda") else {}
        extra = read_extra(f"{self.name}:{device.id}", options.extra, known)
        place = find_place(torch, self.name, device.id, _KINDS)
        module = load_module(torch, model, self.name, place, options.threads)
        kind = GraphSession if extra.get("cuda_graph") == "1" else TorchSession
        return kind(torch, module, place, f"{model.name} on {self.name}:{device.id}")

    def device_memory(self, device: Device) -> Optional[tuple[int, int]]:
        """Free and total bytes of a GPU's memory."""
        return torch_device.device_memory(import_torch(self.name), device)

    def telemetry(self, device: Device) -> Reading:
        """What a GPU tells of itself."""
        return torch_device.telemetry(import_torch(self.name), device)

    def energy(self, device: Device) -> EnergyReading:
        """What a GPU's board used."""
        return torch_device.energy(import_torch(self.name), device)
