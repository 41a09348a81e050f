"""Bringing a device to its working clock: untimed calls until the clock has stopped rising."""

from __future__ import annotations

from dataclasses import dataclass

from bench.capabilities import Reading
from bench.worker.clocks import WorkingClock


@dataclass
class Gpu:
    """Whose clock rises while it computes and falls while it idles; a call takes 1 ms."""

    hz: float
    top: float = 2e9
    rise: float = 2e7  #: a call
    now_ns: int = 0
    calls: int = 0

    def call(self) -> None:
        self.calls += 1
        self.now_ns += 1_000_000
        self.hz = min(self.top, self.hz + self.rise)

    def read(self) -> Reading:
        return {"clock_hz": self.hz}

    def clock(self) -> int:
        return self.now_ns


def test_an_idle_device_is_called_until_its_clock_has_stopped_rising() -> None:
    gpu = Gpu(hz=1e9)
    reading, calls = WorkingClock(gpu.clock).reach(gpu.call, gpu.read)
    assert reading["clock_hz"] == gpu.top
    assert calls == gpu.calls
    assert 50 <= calls <= 70  # 50 to the top, and three bursts of 5 ms that see it stay


def test_a_device_that_kept_its_clock_is_left_alone() -> None:
    gpu = Gpu(hz=2e9)
    clock = WorkingClock(gpu.clock)
    clock.reach(gpu.call, gpu.read)
    for hz in (2e9, 1.99e9):  # a step of its clock is no fall
        gpu.hz = hz
        assert clock.reach(gpu.call, gpu.read)[1] == 0
    gpu.hz = 1.5e9
    assert clock.reach(gpu.call, gpu.read)[1] >= 25


def test_a_device_that_is_throttled_settles_where_it_can() -> None:
    """And is then left alone there, although it was faster before."""
    gpu = Gpu(hz=2e9)
    clock = WorkingClock(gpu.clock)
    clock.reach(gpu.call, gpu.read)
    gpu.hz = gpu.top = 1.7e9
    reading, calls = clock.reach(gpu.call, gpu.read)
    assert reading["clock_hz"] == 1.7e9
    assert calls == 15
    assert clock.reach(gpu.call, gpu.read)[1] == 0


def test_a_clock_that_rises_slowly_takes_no_longer_than_the_budget() -> None:
    gpu = Gpu(hz=1e8, top=1e12, rise=1e8)
    _, calls = WorkingClock(gpu.clock).reach(gpu.call, gpu.read)
    assert 295 <= calls <= 305


def test_a_call_longer_than_a_burst_is_made_whole() -> None:
    gpu = Gpu(hz=2e9)

    def call() -> None:
        gpu.call()
        gpu.now_ns += 1_000_000_000

    assert WorkingClock(gpu.clock).reach(call, gpu.read)[1] == 1


def test_a_device_that_tells_no_clock_is_not_called() -> None:
    gpu = Gpu(hz=2e9)
    assert WorkingClock(gpu.clock).reach(gpu.call, lambda: {"power_w": 3.0}) == ({"power_w": 3}, 0)
    assert gpu.calls == 0
