"""Reading a device's energy meter again and again, beside the process that computes."""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Set

import numpy as np

from bench.backend import Backend
from bench.capabilities import MetersEnergy, Nanoseconds
from bench.worker.messages import EnergyWatched, WatchEnergy

#: Stands for a value that a reading doesn't have.
ABSENT = -1


def watch_energy(
    backend: Backend,
    asked: WatchEnergy,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> EnergyWatched:
    """Readings for so long as is asked for, one at least; none where there is no meter.

    A reading's time is the middle of the call that gave it.
    """
    at: List[int] = []
    energy: List[int] = []
    power: List[int] = []
    present: Set[int] = set()
    computing: Set[int] = set()
    scope = meter = missing = ""
    end = clock() + int(asked.watch_s * 1e9)
    while isinstance(backend, MetersEnergy):
        before = clock()
        reading = backend.energy(asked.device)
        after = clock()
        missing = reading.get("missing", "")
        if missing or not reading:
            break
        scope, meter = reading["scope"], reading["meter"]
        at.append((before + after) // 2)
        energy.append(_scaled(reading.get("energy_j"), 1e6))
        power.append(_scaled(reading.get("power_w"), 1e3))
        present.update(reading.get("present", []))
        computing.update(reading.get("computing", []))
        if after >= end:
            break
        sleep(max(0.0, asked.every_s - (after - before) / 1e9))
    readings = _array(at), _array(energy), _array(power)
    return EnergyWatched(
        scope,
        meter,
        *readings,
        present=tuple(sorted(present)),
        computing=tuple(sorted(computing)),
        missing=missing,
    )


def _scaled(value: Optional[float], factor: float) -> int:
    return ABSENT if value is None else round(value * factor)


def _array(values: List[int]) -> Nanoseconds:
    return np.array(values, dtype=np.int64)
