"""A stand-in for the module ``pynvml`` of nvidia-ml-py: the functions that are asked, by their
documented names, units and errors. A fact that is None is one that the GPU doesn't support."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
TOTAL_BYTES = 140 * 2**30
NOT_SUPPORTED, DRIVER_NOT_LOADED, INVALID_ARGUMENT, UNINITIALIZED = 3, 9, 2, 1
NO_PERMISSION, GPU_IS_LOST = 4, 15
NOT_FOUND = 6


class NVMLError(Exception):
    """Its text is what NVML says of the code."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __str__(self) -> str:
        return {
            NOT_SUPPORTED: "Not Supported",
            DRIVER_NOT_LOADED: "Driver Not Loaded",
            INVALID_ARGUMENT: "Invalid Argument",
            UNINITIALIZED: "Uninitialized",
            NO_PERMISSION: "Insufficient Permissions",
            GPU_IS_LOST: "GPU is lost",
            NOT_FOUND: "Not Found",
        }[self.value]


@dataclass
class Gpu:
    uuid: str = "GPU-8f5c7b1e-0000"
    milliwatts: int | None = 312_500
    millijoules: int | None = 13_189_151
    sm_mhz: int | None = 1980
    default_mhz: int | None = 1965
    max_mhz: int | None = 1980
    memory_mhz: int | None = 3201
    celsius: int | None = 41
    reasons: int | None = 0
    free_bytes: int | None = 130 * 2**30
    mig: bool | None = False  #: whether it is in parts; None where it can't be
    bus: int | None = 0x06  #: on PCI; None where it isn't told
    refuses: int = 0  #: with this error it refuses to be asked at all
    processes: dict[int, int | None] | None = field(
        default_factory=lambda: {os.getpid(): 3 * 2**30, 1: 9}
    )
    utilization: list[Any] = field(default_factory=list)


class Nvml:
    """What stands for the module; ``old`` lacks the function that driver 535 named anew."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM = NVML_CLOCK_SM, NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = NVML_TEMPERATURE_GPU
    NVMLError = NVMLError
    NVML_ERROR_NO_PERMISSION, NVML_DEVICE_MIG_ENABLE = NO_PERMISSION, 1

    def __init__(self, *gpus: Gpu, driver: bool = True, old: bool = False) -> None:
        self.gpus, self.driver, self.ready, self.inits = gpus, driver, False, 0
        name = "Throttle" if old else "Event"
        setattr(self, f"nvmlDeviceGetCurrentClocks{name}Reasons", self.reasons)

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError(DRIVER_NOT_LOADED)
        self.ready, self.inits = True, self.inits + 1

    def nvmlDeviceGetCount(self) -> int:
        self.check()
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:
        self.check()
        if not 0 <= index < len(self.gpus):
            raise NVMLError(INVALID_ARGUMENT)
        if self.gpus[index].refuses:
            raise NVMLError(self.gpus[index].refuses)
        return self.gpus[index]

    def nvmlDeviceGetPciInfo(self, gpu: Gpu) -> Any:
        return SimpleNamespace(domain=0, bus=self.supported(gpu.bus), device=0)

    def nvmlDeviceGetUUID(self, gpu: Gpu) -> str:
        return gpu.uuid

    def nvmlDeviceGetPowerUsage(self, gpu: Gpu) -> int:
        return self.supported(gpu.milliwatts)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: Gpu) -> int:
        return self.supported(gpu.millijoules)

    def nvmlDeviceGetClockInfo(self, gpu: Gpu, kind: int) -> int:
        if kind == NVML_CLOCK_MEM:
            return self.supported(gpu.memory_mhz)
        return self.supported(gpu.sm_mhz, kind)

    def nvmlDeviceGetTemperature(self, gpu: Gpu, sensor: int) -> int:
        if sensor != NVML_TEMPERATURE_GPU:
            raise NVMLError(INVALID_ARGUMENT)
        return self.supported(gpu.celsius)

    def nvmlDeviceGetDefaultApplicationsClock(self, gpu: Gpu, kind: int) -> int:
        return self.supported(gpu.default_mhz, kind)

    def nvmlDeviceGetMaxClockInfo(self, gpu: Gpu, kind: int) -> int:
        return self.supported(gpu.max_mhz, kind)

    def nvmlDeviceGetMemoryInfo(self, gpu: Gpu) -> Any:
        free = self.supported(gpu.free_bytes)
        return SimpleNamespace(total=TOTAL_BYTES, free=free, used=TOTAL_BYTES - free)

    def nvmlDeviceGetMigMode(self, gpu: Gpu) -> list[int]:
        """The mode now, and that of after the next reset."""
        mode = self.supported(None if gpu.mig is None else int(gpu.mig))
        return [mode, 1 - mode]

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: Gpu) -> list[Any]:
        self.check()
        if gpu.processes is None:
            raise NVMLError(NOT_SUPPORTED)
        return [SimpleNamespace(pid=p, usedGpuMemory=n) for p, n in gpu.processes.items()]

    @staticmethod
    def used(pid: int, at_us: int, percent: int) -> Any:
        """A sample of what a process did."""
        return SimpleNamespace(pid=pid, timeStamp=at_us, smUtil=percent)

    def nvmlDeviceGetProcessUtilization(self, gpu: Gpu, last_seen_us: int) -> list[Any]:
        self.check()
        new = [one for one in gpu.utilization if one.timeStamp > last_seen_us]
        if not new:
            raise NVMLError(NOT_FOUND)
        return new

    def reasons(self, gpu: Gpu) -> int:
        return self.supported(gpu.reasons)

    def supported(self, fact: int | None, kind: int = NVML_CLOCK_SM) -> int:
        self.check()
        if kind != NVML_CLOCK_SM:
            raise NVMLError(INVALID_ARGUMENT)
        if fact is None:
            raise NVMLError(NOT_SUPPORTED)
        return fact

    def check(self) -> None:
        if not self.ready:
            raise NVMLError(UNINITIALIZED)
