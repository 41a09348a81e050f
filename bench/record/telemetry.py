"""What devices told of themselves between timed blocks: power, clock, throttling, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.record.facts import Reading
from bench.record.result import Check, Invocation

#: nvbench discards a sample whose clock is below this share of the device's default.
LOWEST_CLOCK_SHARE = 0.75


def summarise(
    readings: Sequence[Reading], before: Sequence[Reading] = (), raising: Sequence[int] = ()
) -> dict[str, Any]:
    """The fields of an `Invocation` that its readings right after and before each block give, and
    the calls that brought the device to its clock."""
    power = [r.power_w for r in readings if r.power_w is not None]
    clock = [r.clock_hz for r in readings if r.clock_hz is not None]
    began = [r.clock_hz for r in before if r.clock_hz is not None]
    memory = [r.memory_clock_hz for r in readings if r.memory_clock_hz is not None]
    warm = [r.temperature_c for r in readings if r.temperature_c is not None]
    default = [r.default_clock_hz for r in readings if r.default_clock_hz is not None]
    return {
        "device_readings": len(readings),
        "device_memory_bytes": max((r.memory_bytes or 0 for r in readings), default=0) or None,
        "power_w": median(power) if power else None,
        "clock_hz": median(clock) if clock else None,
        "default_clock_hz": default[-1] if default else None,
        "throttled": _throttled(readings),
        "clock_before_hz": median(began) if began else None,
        "memory_clock_hz": median(memory) if memory else None,
        "temperature_c": max(warm, default=None),
        "raising_calls": sum(raising),
    }


def _throttled(readings: Sequence[Reading]) -> dict[str, int] | None:
    """In how many readings each reason was given; None where the device doesn't tell reasons."""
    told = [reading.throttled for reading in readings if reading.throttled is not None]
    return dict(Counter(why for reasons in told for why in reasons)) if told else None


def telemetry_checks(invocations: Sequence[Invocation]) -> list[Check]:
    """Whether the device ran as fast as it can, where it tells; nothing where it doesn't."""
    found = []
    readings = sum(i.device_readings for i in invocations if i.throttled is not None)
    if readings:
        reasons: Counter[str] = Counter()
        for invocation in invocations:
            reasons.update(invocation.throttled or {})
        words = ", ".join(f"{why} in {n} of {readings} readings" for why, n in reasons.items())
        detail = f"device throttled: {words}" if words else f"in none of {readings} readings"
        found.append(Check(name="unthrottled", ok=not reasons, detail=detail))
    shares = [
        i.clock_hz / i.default_clock_hz for i in invocations if i.clock_hz and i.default_clock_hz
    ]
    if shares:
        slow = sum(share < LOWEST_CLOCK_SHARE for share in shares)
        detail = (
            f"device clock below {LOWEST_CLOCK_SHARE:.0%} of its default in {slow} of "
            f"{len(shares)} invocations; the lowest was {min(shares):.0%}"
        )
        found.append(Check(name="device-clock", ok=slow == 0, detail=detail))
    return found
