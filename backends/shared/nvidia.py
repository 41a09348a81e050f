"""What NVIDIA's driver tells of a GPU at work, through NVML (package ``nvidia-ml-py``).

For every adapter that computes on ``cuda:N``. NVML numbers GPUs in its own order: which of them is
``cuda:N`` is asked of `visible`, and a GPU whose number could mean another one is not read at all.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, Iterator, Optional, Union

from bench.capabilities import EnergyReading, Reading

from .checks import first_line
from .occupants import Occupants
from .visible import Listed, Unknown, numbered, pci_address

#: How the log begins to say why a GPU can't be asked.
_UNREAD = "the GPU's power, clocks and memory aren't read"

#: Why a clock is below what the GPU sustains (nvml.h, ``nvmlClocksEventReason...``). A power cap
#: (0x4) is left out: large GPUs compute at theirs by design, and where it costs much the clock
#: itself tells.
_REASONS = {
    0x08: "hardware slowdown",
    0x20: "thermal slowdown by software",
    0x40: "thermal slowdown by hardware",
    0x80: "power brake",
}
#: These come with the general "hardware slowdown", which then says nothing more.
_HARDWARE = 0x40 | 0x80


@dataclass(frozen=True)
class Unread:
    """Why a GPU can't be asked."""

    why: str


def telemetry(index: int) -> Reading:
    """What the driver tells now of the GPU that CUDA calls ``cuda:index``, as a `Reading`.

    Empty where NVML or the GPU can't be asked; a fact that this GPU doesn't tell is left out.
    """
    reached = _reach(index)
    if isinstance(reached, Unread):
        return {}
    nvml, handle = reached
    mega = 1e6  # NVML's clocks are in MHz, its power in mW

    def clock(function: str, kind: int = nvml.NVML_CLOCK_SM) -> Optional[float]:
        mhz = _ask(nvml, function, handle, kind)
        return mhz * mega if mhz else None

    milliwatts = _ask(nvml, "nvmlDeviceGetPowerUsage", handle)
    now = clock("nvmlDeviceGetClockInfo")
    memory = clock("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM)
    celsius = _ask(nvml, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU)
    default = _default_clock(nvml, index)
    reasons, held = _reasons(nvml, handle), _own_memory(nvml, handle)
    found: Reading = {}
    if milliwatts is not None:
        found["power_w"] = milliwatts / 1e3
    if now is not None:
        found["clock_hz"] = now
    if default is not None:
        found["default_clock_hz"] = default
    if reasons is not None:
        found["throttled"] = reasons
    if held is not None:
        found["memory_bytes"] = held
    if memory is not None:
        found["memory_clock_hz"] = memory
    if celsius is not None:
        found["temperature_c"] = float(celsius)
    return found


def energy(index: int) -> EnergyReading:
    """What the meter of the GPU's board says now, as an `EnergyReading`: the energy counted since
    the driver was loaded (Volta and later), and the power.

    The counter moves about every 100 ms; the power is a mean of the last second on many GPUs
    (nvml.h, ``nvmlDeviceGetPowerUsage``), so the two differ within short times.
    """
    reached = _reach(index)
    if isinstance(reached, Unread):
        return {"missing": reached.why}
    nvml, handle = reached
    millijoules = _ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", handle)
    milliwatts = _ask(nvml, "nvmlDeviceGetPowerUsage", handle)
    if millijoules is None and milliwatts is None:
        return {}
    found: EnergyReading = {"scope": "gpu-board", "meter": _uuid(nvml, index)}
    if millijoules is not None:
        found["energy_j"] = millijoules / 1e3
    if milliwatts is not None:
        found["power_w"] = milliwatts / 1e3
    found.update(_occupants(nvml, index).told(handle))
    return found


def memory(index: int) -> Optional[tuple[int, int]]:
    """Free and total bytes of the GPU's memory now; None where that isn't told."""
    reached = _reach(index)
    if isinstance(reached, Unread):
        return None
    nvml, handle = reached
    told = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    return None if told is None else (int(told.free), int(told.total))


def _reach(index: int) -> Union[tuple[ModuleType, Any], Unread]:
    """NVML and its handle of ``cuda:index``, or why one of the two isn't there."""
    nvml = _open()
    if isinstance(nvml, Unread):
        return nvml
    handle = _handle(nvml, index)
    return handle if isinstance(handle, Unread) else (nvml, handle)


@functools.lru_cache(maxsize=None)
def _occupants(nvml: ModuleType, index: int) -> Occupants:
    return Occupants(functools.partial(_ask, nvml))


@functools.lru_cache(maxsize=None)
def _uuid(nvml: ModuleType, index: int) -> str:
    """The GPU's own name, whatever its number."""
    return str(_ask(nvml, "nvmlDeviceGetUUID", _handle(nvml, index)) or f"GPU {index}")


@functools.lru_cache(maxsize=None)
def _open() -> Union[ModuleType, Unread]:
    """NVML, started once in a process; where it isn't there, why, which the worker's log says too.

    It is never shut down: the process ends soon.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        return _unread(f"{first_line(error)}; install it: pip install 'infer-bench[cuda]'")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _unread(f"NVML: {first_line(error)}")
    return nvml


@functools.lru_cache(maxsize=None)
def _handle(nvml: ModuleType, index: int) -> Any:
    """NVML's handle of ``cuda:index``; where that isn't sure, why, which the log says too."""
    try:
        return _find(nvml, index)
    except (nvml.NVMLError, LookupError) as error:
        return _unread(f"cuda:{index}: {first_line(error)}")


def _unread(why: str) -> Unread:
    print(f"{_UNREAD}: {why}.", file=sys.stderr, flush=True)
    return Unread(why)


@functools.lru_cache(maxsize=None)
def _default_clock(nvml: ModuleType, index: int) -> Optional[float]:
    """The clock that the GPU is meant to keep, in Hz. Asking takes a millisecond, and it stays."""
    handle = _handle(nvml, index)
    # Consumer GPUs have no default to set; the highest is what CUDA calls their clock rate.
    for function in ("nvmlDeviceGetDefaultApplicationsClock", "nvmlDeviceGetMaxClockInfo"):
        mhz = _ask(nvml, function, handle, nvml.NVML_CLOCK_SM)
        if mhz:
            return float(mhz) * 1e6
    return None


def _find(nvml: ModuleType, index: int) -> Any:
    """NVML's handle of what CUDA calls ``cuda:index``. Raises `LookupError`."""
    handles = list(_handles(nvml))
    places = numbered([_listed(nvml, handle) for handle in handles])
    if index >= len(places):
        raise LookupError("CUDA shows no such GPU to this process")
    place = places[index]
    if isinstance(place, Unknown):
        raise LookupError(place.why)
    return handles[place]


def _handles(nvml: ModuleType) -> Iterator[Any]:
    """Of each GPU but those that this user may not touch, which CUDA doesn't show either."""
    for place in range(nvml.nvmlDeviceGetCount()):
        try:
            yield nvml.nvmlDeviceGetHandleByIndex(place)
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_NO_PERMISSION:
                raise


def _listed(nvml: ModuleType, handle: Any) -> Listed:
    pci = _ask(nvml, "nvmlDeviceGetPciInfo", handle)
    modes = _ask(nvml, "nvmlDeviceGetMigMode", handle)  # now, and after the next reset
    return Listed(
        uuid=str(_ask(nvml, "nvmlDeviceGetUUID", handle) or ""),
        pci=pci_address(pci.domain, pci.bus, pci.device) if pci is not None else "",
        divided=modes is not None and modes[0] == nvml.NVML_DEVICE_MIG_ENABLE,
    )


def _ask(nvml: ModuleType, function: str, *arguments: Any) -> Any:
    """What a function of NVML says; None where this release or this GPU hasn't got it."""
    asked: Optional[Callable[..., Any]] = getattr(nvml, function, None)
    if asked is None:
        return None
    try:
        return asked(*arguments)
    except nvml.NVMLError:
        return None


def _reasons(nvml: ModuleType, handle: Any) -> Optional[list[str]]:
    """Why the GPU is slower than it could be, in words; None where it doesn't tell."""
    # The second is the first's name up to driver 530.
    bits = _ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle)
    if bits is None:
        bits = _ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    if bits is None:
        return None
    if bits & _HARDWARE:
        bits &= ~0x08
    return [words for bit, words in _REASONS.items() if bits & bit]


def _own_memory(nvml: ModuleType, handle: Any) -> Optional[int]:
    """Bytes that this process holds on the GPU; None where it isn't told, as in some containers,
    whose process numbers the driver doesn't know."""
    processes = _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) or ()
    held = [p.usedGpuMemory for p in processes if p.pid == os.getpid() and p.usedGpuMemory]
    return sum(held) or None
