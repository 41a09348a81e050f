"""How long a device that torch computes on works on one call.

Host and device go on at the same time, so the time of a call says little of how long the device
worked in it: a small network's kernels are short, and the device waits for each to be launched. A
pair of events around a call has those pauses in it (seen on an H200: 1324 of a call's 1294 us, of
which kernels took 127). So the device is kept asleep while its host launches several calls, and
works them off in one go: what events tell then is the device's own time, with the fractions of a
microsecond that it needs itself from one kernel to the next. On that H200, events around queued
graphs of 55 to 98 kernels told 8% more to 1% less than CUPTI counted for the kernels alone; but to
load CUPTI takes each process 6 s.

A device without such a sleep (``torch.npu``), and a forward pass that waits for the device, or
launches more than the driver queues (about 1000 kernels), leave the plain span: it tells the most
that the device can have worked, and that is said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from types import ModuleType
from typing import Any, Callable, Optional

from bench.capabilities import DeviceTime
from bench.errors import BenchError

from .device import device_api

Queue = Callable[[], object]
#: Calls that are worked off in one go, at first.
_AT_ONCE = 4
#: How much longer the device sleeps than launching took before.
_SLEEP_FACTOR = 2.0
#: Cycles a second of the fastest GPUs (`torch.cuda._sleep` counts the device's cycles); a slower
#: clock makes the sleep longer, which does no harm.
_CYCLES_PER_S = 2e9
#: No sleep is longer: launching that takes as long is no matter of the host's speed any more.
_LONGEST_SLEEP_S = 0.5


@dataclass(frozen=True)
class Launch:
    """What puts all the work of a bound call into the current stream and doesn't wait for it; None
    where several streams share the work."""

    queue: Optional[Queue]


def device_time(torch: ModuleType, place: Any, launch: Launch, calls: int) -> DeviceTime:
    """The time of one of about so many calls. Raises `BenchError` where unknown."""
    if launch.queue is None:
        raise BenchError(f"{place}: work in several streams has no common start and end.")
    api = device_api(torch, place)
    spans_ms: list[float] = []
    at_once = min(_AT_ONCE, calls) if hasattr(api, "_sleep") else 0
    while at_once and len(spans_ms) * at_once < calls:
        span_ms = _ahead(api, launch.queue, at_once)
        if span_ms is not None:
            spans_ms.append(span_ms)
        else:  # the device overtook its host: with fewer launches it may not
            spans_ms, at_once = [], at_once // 2
    if spans_ms:
        return DeviceTime(median(spans_ms) * 1e6, gaps=False)
    return DeviceTime(median(_span(api, launch.queue) for _ in range(calls)) * 1e6, gaps=True)


def _ahead(api: Any, queue: Queue, calls: int) -> Optional[float]:
    """The time of a call in ms where the host had launched all of them before the device began;
    None where it had not."""
    began = time.perf_counter()
    queue()
    launching_s = time.perf_counter() - began
    api.synchronize()
    sleep_s = min(_LONGEST_SLEEP_S, _SLEEP_FACTOR * launching_s * calls)
    start, end = api.Event(enable_timing=True), api.Event(enable_timing=True)
    api._sleep(round(sleep_s * _CYCLES_PER_S))
    start.record()
    for _ in range(calls):
        queue()
    end.record()
    was_ahead = not start.query()
    end.synchronize()
    return start.elapsed_time(end) / calls if was_ahead else None


def _span(api: Any, queue: Queue) -> float:
    """From the first kernel's beginning to the last one's end, in ms."""
    start, end = api.Event(enable_timing=True), api.Event(enable_timing=True)
    start.record()
    queue()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))  # in ms (torch.cuda.Event.elapsed_time)
