"""Which processes compute on an NVIDIA GPU, as far as NVML tells."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Callable

from bench.capabilities import EnergyReading

#: How often it is asked. NVML samples what processes do several times a second at most (nvml.h,
#: ``nvmlDeviceGetProcessUtilization``), and an answer may take a millisecond or two.
EVERY_S = 0.5


@dataclass
class Occupants:
    """The processes on one GPU; ``ask`` is what NVML says to a function's name and arguments, None
    where this release or this GPU doesn't tell."""

    ask: Callable[..., Any]
    clock_s: Callable[[], float] = time.monotonic
    _asked_s: float = -math.inf
    _seen_us: int = 0  #: when the last sample was taken, by the driver's clock

    def told(self, handle: Any) -> EnergyReading:
        """Those of an `EnergyReading`; nothing where they were asked for a moment ago, or where the
        GPU doesn't tell."""
        now_s, before_s = self.clock_s(), self._asked_s
        if now_s - before_s < EVERY_S:
            return {}
        self._asked_s = now_s
        present = self.ask("nvmlDeviceGetComputeRunningProcesses", handle)
        if present is None:
            return {}
        # It says that there is nothing new as an error.
        samples = self.ask("nvmlDeviceGetProcessUtilization", handle, self._seen_us) or []
        self._seen_us = max([self._seen_us, *(int(sample.timeStamp) for sample in samples)])
        # The first answer is of the time before anybody asked; a share above 100% is none.
        computing = [s.pid for s in samples if 0 < s.smUtil <= 100 and before_s > -math.inf]
        return {"present": [process.pid for process in present], "computing": computing}
