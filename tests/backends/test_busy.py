"""How long a GPU works on a call: by a stand-in of torch.cuda whose host and device each go on by
their own time, where events come to pass when the device reaches them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from bench.backends.shared import busy
from bench.backends.shared.busy import device_time
from bench.backends.torch import device
from bench.backends.torch.device import timed_api


@dataclass
class Gpu:
    """A call is ``kernels`` launches of ``launch_us`` each on the host; each takes the device
    ``kernel_us`` once it has been launched. ``depth`` launches fit in the driver's queue; the last
    of a call waits for the device where it ``waits``."""

    kernels: int = 10
    launch_us: float = 20.0
    kernel_us: float = 2.0
    depth: int = 1000
    waits: bool = False
    host_us: float = 0.0
    device_us: float = 0.0  #: when the device has done what was launched
    queued: list[float] = field(default_factory=list)  #: when each launch will be done
    sleeps: int = 0

    def launch(self, takes_us: float) -> None:
        self.host_us += self.launch_us
        self.queued = [done for done in self.queued if done > self.host_us]
        if len(self.queued) >= self.depth:
            self.host_us = self.queued[-self.depth]
        self.device_us = max(self.device_us, self.host_us) + takes_us
        self.queued.append(self.device_us)

    def call(self) -> None:
        for _ in range(self.kernels):
            self.launch(self.kernel_us)
        if self.waits:
            self.synchronize()

    def synchronize(self) -> None:
        self.host_us = max(self.host_us, self.device_us)

    def _sleep(self, cycles: int) -> None:
        self.sleeps += 1
        self.launch(cycles / 2e9 * 1e6)

    def Event(self, enable_timing: bool = False) -> Event:
        return Event(self, enable_timing)


class Npu(Gpu):
    """A device without a sleep."""

    _sleep = property()  # type: ignore[assignment]


@dataclass
class Event:
    """As torch.cuda.Event: made for timing, and reached by the device."""

    gpu: Gpu
    timed: bool
    at_us: float | None = None

    def record(self) -> None:
        self.gpu.launch(0.0)
        self.at_us = self.gpu.device_us

    def query(self) -> bool:
        assert self.at_us is not None
        return self.at_us <= self.gpu.host_us

    def synchronize(self) -> None:
        assert self.at_us is not None
        self.gpu.host_us = max(self.gpu.host_us, self.at_us)

    def elapsed_time(self, end: Event) -> float:
        assert self.timed
        assert end.timed
        assert self.query(), "device not ready"
        assert end.query(), "device not ready"
        assert self.at_us is not None
        assert end.at_us is not None
        return (end.at_us - self.at_us) / 1e3


PLACE = SimpleNamespace(type="cuda")


@pytest.fixture(autouse=True)
def _stands_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "device_api", lambda torch, place: torch)


def timed(gpu: Gpu, monkeypatch: pytest.MonkeyPatch, calls: int = 20) -> Any:
    clock = SimpleNamespace(perf_counter=lambda: gpu.host_us / 1e6)
    monkeypatch.setattr(busy, "time", clock)
    return device_time(timed_api(gpu, PLACE), gpu.call, calls)  # type: ignore[arg-type]


def test_a_gpus_own_time_is_told_although_its_host_is_slower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """200 us of the host for 10 kernels of 2 us."""
    gpu = Gpu()
    found = timed(gpu, monkeypatch)
    assert (found.ns, found.gaps) == (pytest.approx(20_000), False)
    assert gpu.sleeps == 5


def test_a_gpu_that_its_host_is_ahead_of_anyway_is_told_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = timed(Gpu(launch_us=2, kernel_us=50), monkeypatch)
    assert (found.ns, found.gaps) == (pytest.approx(500_000), False)


def test_fewer_calls_are_launched_at_once_where_the_queue_holds_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = timed(Gpu(kernels=400), monkeypatch)
    assert (found.ns, found.gaps) == (pytest.approx(800_000), False)


@pytest.mark.parametrize("gpu", [Gpu(waits=True), Gpu(kernels=1100), Npu()])
def test_where_the_host_cannot_be_ahead_the_span_is_the_most_that_it_can_be(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pauses and all: 20 us a launch, and the event's own."""
    found = timed(gpu, monkeypatch)
    assert found.gaps
    assert found.ns == pytest.approx((gpu.kernels * 20 + 20) * 1e3, rel=0.1)
