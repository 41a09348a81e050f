"""How long a device works on one call, whichever runtime launches it.

Host and device work at the same time, so the time of a call says little of how long the device
worked in it: a small network's kernels are short, and the device waits for each to be launched. A
pair of events around a call has those pauses in it (seen on an H200: 1324 of a call's 1294 us, of
which kernels took 127). So the device is kept asleep until its host has launched several calls,
which it then runs in one go: what events tell then is the device's own time, with the fractions of
a microsecond that it needs itself from one kernel to the next. On that H200, events around queued
graphs of 55 to 98 kernels told 8% more to 1% less than CUPTI counted for the kernels alone; but to
load CUPTI takes each process 6 s.

A device without such a sleep (``torch.npu``), and a call that waits for the device, or launches
more than the driver queues (about 1000 kernels), leave the plain span: it tells the most that the
device can have worked, and that is said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Callable, Optional, Protocol

from bench.capabilities import DeviceTime

Queue = Callable[[], object]
#: Why nothing is told of calls that several streams share.
SEVERAL_STREAMS = "work in several streams has no common start and end"
#: Calls that the device runs in one go, at first.
_AT_ONCE = 4
#: How much longer the device sleeps than launching took before.
_SLEEP_FACTOR = 2.0
#: No sleep is longer: launching that takes as long is no matter of the host's speed any more.
_LONGEST_SLEEP_S = 0.5


class Event(Protocol):
    """A moment in a device's work, as ``torch.cuda.Event`` has it."""

    def record(self) -> object:
        """Be reached when the device has done all that was launched before."""
        ...

    def query(self) -> bool:
        """Whether it is reached."""
        ...

    def synchronize(self) -> object:
        """Wait until it is."""
        ...

    def elapsed_time(self, end: Any) -> float:
        """From this one to another, in ms, once both are reached."""
        ...


@dataclass(frozen=True)
class DeviceApi:
    """How a device is timed where its calls are launched: in the stream that they use.

    ``sleep`` has it wait for so many seconds before what is launched next, and returns at once;
    None where it can't.
    """

    event: Callable[[], Event]
    synchronize: Callable[[], object]
    sleep: Optional[Callable[[float], object]] = None


def device_time(api: DeviceApi, queue: Queue, calls: int) -> DeviceTime:
    """The time of one of about so many calls, whose work ``queue`` launches without waiting."""
    spans_ms: list[float] = []
    at_once = min(_AT_ONCE, calls) if api.sleep is not None else 0
    while at_once and len(spans_ms) * at_once < calls:
        span_ms = _ahead(api, queue, at_once)
        if span_ms is not None:
            spans_ms.append(span_ms)
        else:  # the device overtook its host: with fewer launches it may not
            spans_ms, at_once = [], at_once // 2
    if spans_ms:
        return DeviceTime(median(spans_ms) * 1e6, gaps=False)
    return DeviceTime(median(_span(api, queue) for _ in range(calls)) * 1e6, gaps=True)


def _ahead(api: DeviceApi, queue: Queue, calls: int) -> Optional[float]:
    """The time of a call in ms where the host had launched all of them before the device began;
    None where it had not."""
    assert api.sleep is not None
    began = time.perf_counter()
    queue()
    launching_s = time.perf_counter() - began
    api.synchronize()
    start, end = api.event(), api.event()
    api.sleep(min(_LONGEST_SLEEP_S, _SLEEP_FACTOR * launching_s * calls))
    start.record()
    for _ in range(calls):
        queue()
    end.record()
    was_ahead = not start.query()
    end.synchronize()
    return start.elapsed_time(end) / calls if was_ahead else None


def _span(api: DeviceApi, queue: Queue) -> float:
    """From the first kernel's beginning to the last one's end, in ms."""
    start, end = api.event(), api.event()
    start.record()
    queue()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)
