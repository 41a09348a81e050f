"""What meters said in windows of seconds, as they said it: the raw data behind energies.

A line of energy.jsonl is a window. In a round every cell has one and the machine, idle, has one
before and one after; in all of them the same meters are read in the same way.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.cell import MOST, Count, Frozen, Positive

#: The cell of windows in which nothing computes.
IDLE = "idle"
#: What an energy is of, those of a device first. ``package`` is the CPUs, without their memory
#: (``dram``); ``platform`` is what RAPL calls psys; none of them is ever added to another.
Scope = Literal["gpu-board", "npu", "package", "wall", "dram", "platform"]
#: Scopes of a device: what else uses the CPUs doesn't disturb them.
OF_DEVICES: tuple[Scope, ...] = ("gpu-board", "npu")
#: Scopes of a device that has no meter of its own, be it the CPU or a GPU on the same chip. Of a
#: device that has one they are what its host takes beside it.
OF_CPUS: tuple[Scope, ...] = ("package", "dram", "platform")
Kind = Literal["counter", "power"]
Moment = Annotated[int, Field(ge=-MOST, le=MOST)]


class Trace(Frozen):
    """The readings of one meter around a window: a counter's in uJ, or powers in mW."""

    scope: Scope
    meter: str
    kind: Kind
    at_ns: tuple[Moment, ...] = ()  #: from the window's beginning
    values: tuple[Count, ...] = ()
    wraps_at_uj: Positive | None = None
    missing: str = ""  #: why there are no readings
    others: tuple[Count, ...] = ()  #: processes that computed on the device and are not bench's

    @model_validator(mode="after")
    def _one_value_a_time(self) -> Trace:
        if len(self.at_ns) != len(self.values):
            raise ValueError("each reading has a time and a value")
        if any(b <= a for a, b in zip(self.at_ns, self.at_ns[1:], strict=False)):
            raise ValueError("readings come one after the other")
        return self


class Window(Frozen):
    """So much time in which one cell computed, or none did."""

    cell_id: str
    index: Count  #: of the round, among all of the run
    position: Count  #: its turn within the round
    began_at: str  #: UTC
    began_ns: Count  #: on the clock that orders the windows of a round
    span_ns: Count
    queries: Count
    disturbed: tuple[str, ...] = ()  #: what else was seen of the CPUs
    throttled: tuple[str, ...] = ()  #: why the device was slower than it can be
    failed: str = ""  #: why nothing was computed
    traces: tuple[Trace, ...] = ()
