"""The kinds of devices that torch computes on besides the CPU.

Each has a module that mirrors ``torch.cuda``: ``torch.npu`` for Huawei's, once torch_npu is
imported. Everything else about them is the same to the adapters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Union

from bench.backend import Device
from bench.capabilities import EnergyReading, Reading
from bench.errors import Unavailable, without_stop

from ..shared import huawei, nvidia
from ..shared.absent import unanswered
from ..shared.busy import DeviceApi
from ..shared.checks import first_line
from ..shared.host import cpu_device
from ..shared.huawei import cann_version
from ..shared.visible import pci_address

#: Cycles a second of the fastest GPUs; a slower clock makes a sleep longer, which does no harm.
_CYCLES_PER_S = 2e9


@dataclass(frozen=True)
class Kind:
    """One kind: ``type`` is what torch calls it, and the name of its module."""

    type: str
    vendor: str
    remedy: str  #: where there is none
    tool: str  #: of its vendor, which lists who uses one
    driver: Callable[[ModuleType], str]
    exact: Callable[[ModuleType], None]  #: have fp32 computed as fp32
    telemetry: Callable[[int], Reading]
    energy: Callable[[int], EnergyReading]

    def api(self, torch: ModuleType) -> Any:
        return getattr(torch, self.type)

    def count(self, torch: ModuleType) -> int:
        api = self.api(torch)
        return int(api.device_count()) if api.is_available() else 0

    def tried(self, torch: ModuleType) -> Iterator[tuple[str, Union[Device, str]]]:
        """For each device's id the device, where a sum on it comes out right; else why it doesn't,
        in torch's own words."""
        for index in range(self.count(torch)):
            device_id = f"{self.type}:{index}"
            try:
                total = torch.ones(8, device=device_id).sum().item()
                facts = self.api(torch).get_device_properties(index)
            except RuntimeError as error:
                yield device_id, first_line(error)
                continue
            if total != 8:
                yield device_id, f"the sum of eight ones is {total:g} there"
                continue
            name, memory = str(facts.name), int(facts.total_memory)
            driver, pci = self.driver(torch), _bus_address(facts)
            yield device_id, Device(device_id, self.vendor, name, driver, memory, pci=pci)

    def devices(self, torch: ModuleType) -> list[Device]:
        """Those on which a sum comes out right."""
        return [found for _, found in self.tried(torch) if isinstance(found, Device)]

    def absences(self, torch: ModuleType, backend: str) -> Mapping[str, Unavailable]:
        """Why devices don't compute: by id, or by kind where torch shows none of it."""
        tried = list(self.tried(torch))
        if not tried:
            reason = f"{backend}:{self.type} is not available: {self._trouble(torch)}."
            return {self.type: Unavailable(reason, self.remedy)}
        found = [one for _, one in tried if isinstance(one, Device)]
        silent = {
            device_id: Unavailable(
                f"{backend}:{device_id} is not available: {without_stop(why)}.",
                f"`{self.tool}` shows what else uses it.",
            )
            for device_id, why in tried
            if isinstance(why, str)
        }
        return unanswered(found, silent)

    def _trouble(self, torch: ModuleType) -> str:
        """Why torch shows none, in its own words."""
        try:
            self.api(torch).init()
        except (AssertionError, RuntimeError) as error:  # the first where torch is built without
            return first_line(error)
        return "torch finds no usable device"


def _cuda_exact(torch: ModuleType) -> None:
    """TF32 would change the numbers in silence."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _npu_exact(torch: ModuleType) -> None:
    """HF32 is on for convolutions by default (op-plugin's torch_npu-npu-conv-allow_hf32.md)."""
    torch.npu.matmul.allow_hf32 = False
    torch.npu.conv.allow_hf32 = False


CUDA = Kind(
    type="cuda",
    vendor="NVIDIA",
    remedy="A GPU needs a CUDA build of torch and its driver.",
    tool="nvidia-smi",
    driver=lambda torch: f"CUDA {torch.version.cuda}",
    exact=_cuda_exact,
    telemetry=nvidia.telemetry,
    energy=nvidia.energy,
)
#: torch's builds for ROCm call AMD's GPUs by the names of CUDA (PyTorch's notes, "HIP (ROCm)
#: semantics"). NVIDIA's library, which may be there for a GPU of theirs beside, knows none of them.
ROCM = replace(
    CUDA,
    vendor="AMD",
    remedy="A GPU needs a ROCm build of torch and its driver.",
    tool="rocm-smi",
    driver=lambda torch: f"ROCm {torch.version.hip}",
    telemetry=lambda index: {},
    energy=lambda index: {},
)
NPU = Kind(
    type="npu",
    vendor="Huawei",
    remedy="`npu-smi info` lists the devices; ASCEND_RT_VISIBLE_DEVICES may hide some.",
    tool="npu-smi info",
    driver=lambda torch: f"CANN {cann_version() or 'of unknown version'}",
    exact=_npu_exact,
    telemetry=lambda index: {},
    energy=huawei.energy,
)


def kinds_of(torch: ModuleType) -> Mapping[str, Kind]:
    """By torch's name for the type of a device, as this build of it has them."""
    cuda = ROCM if getattr(torch.version, "hip", None) else CUDA
    return {kind.type: kind for kind in (cuda, NPU)}


def device_api(torch: ModuleType, place: Any) -> Any:
    """The module for a device that isn't the CPU: ``torch.cuda``."""
    return kinds_of(torch)[place.type].api(torch)


def timed_api(torch: ModuleType, place: Any) -> DeviceApi:
    """How that device is timed, in torch's current stream of it."""
    api = device_api(torch, place)
    event = partial(api.Event, enable_timing=True)
    if not hasattr(api, "_sleep"):
        return DeviceApi(event, api.synchronize)
    return DeviceApi(event, api.synchronize, lambda s: api._sleep(round(s * _CYCLES_PER_S)))


def find_devices(torch: ModuleType, kinds: Sequence[str]) -> list[Device]:
    """The devices of these kinds (``cpu``, ``cuda``, ``npu``) that compute."""
    found = [cpu_device()] if "cpu" in kinds else []
    for name, kind in kinds_of(torch).items():
        if name in kinds:
            found += kind.devices(torch)
    return found


def absences(torch: ModuleType, backend: str) -> Mapping[str, Unavailable]:
    """Why GPUs don't answer, or there is none."""
    return kinds_of(torch)[CUDA.type].absences(torch, backend)


def find_place(torch: ModuleType, backend: str, device_id: str, kinds: Sequence[str]) -> Any:
    """torch's device of that name, made the current one and exact. Raises `Unavailable`."""
    known = ["cpu"] if "cpu" in kinds else []
    there = kinds_of(torch)
    for name, kind in there.items():
        if name in kinds:
            known += [f"{name}:{index}" for index in range(kind.count(torch))]
    wanted = there.get(device_id.partition(":")[0])
    if device_id not in known:
        raise Unavailable(
            f"{backend}:{device_id} is not available: torch sees {', '.join(known) or 'none'}.",
            wanted.remedy if wanted is not None else "",
        )
    place = torch.device(device_id)
    if wanted is not None:
        wanted.exact(torch)
        wanted.api(torch).set_device(place)
    return place


def device_memory(torch: ModuleType, device: Device) -> Optional[tuple[int, int]]:
    """Free and total bytes of the device's memory now; None for a CPU."""
    found = _found(torch, device)
    if found is None:
        return None
    kind, index = found
    free, total = kind.api(torch).mem_get_info(index)
    return int(free), int(total)


def telemetry(torch: ModuleType, device: Device) -> Reading:
    """What the device's driver tells now, see `bench.capabilities`; nothing for a CPU.

    Where the driver doesn't tell what this process holds, it is the most that torch's allocator
    took, which leaves out what the driver itself needs for a process.
    """
    found = _found(torch, device)
    if found is None:
        return {}
    kind, index = found
    reading: Reading = {"memory_bytes": int(kind.api(torch).max_memory_reserved(index))}
    reading.update(kind.telemetry(index))
    return reading


def energy(torch: ModuleType, device: Device) -> EnergyReading:
    """What the device's meter says now; nothing for a CPU."""
    found = _found(torch, device)
    return {} if found is None else found[0].energy(found[1])


def _found(torch: ModuleType, device: Device) -> Optional[tuple[Kind, int]]:
    """The kind of a device and its number; None for a CPU."""
    name, _, index = device.id.partition(":")
    kind = kinds_of(torch).get(name)
    return None if kind is None else (kind, int(index))


def _bus_address(facts: Any) -> str:
    """The address on the PCI bus as the kernel writes it; empty where torch doesn't tell: before
    2.9, and for NPUs."""
    told = [getattr(facts, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    domain, bus, slot = (part if isinstance(part, int) else -1 for part in told)
    return pci_address(domain, bus, slot) if min(domain, bus, slot) >= 0 else ""
