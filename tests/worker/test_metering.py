"""A worker that reads a meter again and again."""

from __future__ import annotations

from typing import Any

from bench.backend import Device
from bench.worker.messages import EnergyWatched, WatchEnergy
from bench.worker.metering import watch_energy

GPU = Device("cuda:0", "NVIDIA", "H", "1")


class Clock:
    """Ns that pass while something sleeps or a meter is read."""

    now = 1_000_000_000

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


class Board:
    """A meter that takes 4 ms to answer, and asserts that it is asked about its own device."""

    def __init__(self, clock: Clock, **told: Any) -> None:
        self.clock, self.told = clock, told

    def energy(self, device: Device) -> dict[str, Any]:
        assert device is GPU
        self.clock.sleep(0.004)
        joules = {"energy_j": self.clock.now / 1e7} if "power_w" not in self.told else {}
        return {"scope": "gpu-board", "meter": "GPU-1", **joules, **self.told}


def watch(board: object, clock: Clock, watch_s: float) -> EnergyWatched:
    asked = WatchEnergy(GPU, watch_s, 0.02)
    return watch_energy(board, asked, clock, clock.sleep)  # type: ignore[arg-type]


def test_readings_come_at_even_times_in_whole_units() -> None:
    clock = Clock()
    found = watch(Board(clock), clock, 0.05)
    assert (found.scope, found.meter) == ("gpu-board", "GPU-1")
    assert found.at_ns.tolist() == [1_002_000_000, 1_022_000_000, 1_042_000_000, 1_062_000_000]
    assert found.energy_uj.tolist() == [100_400_000, 102_400_000, 104_400_000, 106_400_000]
    assert found.power_mw.tolist() == [-1] * 4


def test_one_reading_is_taken_however_short_the_time() -> None:
    clock = Clock()
    found = watch(Board(clock, power_w=41.5), clock, 0.0)
    assert found.power_mw.tolist() == [41_500]
    assert found.energy_uj.tolist() == [-1]


def test_a_device_without_a_meter_gives_no_readings() -> None:
    clock = Clock()
    without = Board(clock)
    without.energy = lambda device: {}  # type: ignore[method-assign]
    for board in (object(), without):
        found = watch(board, clock, 1.0)
        assert (found.scope, len(found.at_ns)) == ("", 0)


def test_a_meter_that_can_t_be_read_says_why() -> None:
    clock = Clock()
    broken = Board(clock)
    broken.energy = lambda device: {"missing": "no driver"}  # type: ignore[method-assign]
    found = watch(broken, clock, 1.0)
    assert (found.scope, len(found.at_ns), found.missing) == ("", 0, "no driver")
    assert watch(Board(clock), clock, 0.05).missing == ""


def test_processes_of_any_reading_are_told() -> None:
    clock = Clock()
    board = Board(clock)
    plain, told = board.energy, [{"present": [3, 2], "computing": [3]}, {}, {"present": [2, 1]}]
    board.energy = lambda device: plain(device) | (told.pop(0) if told else {})  # type: ignore[method-assign]
    found = watch(board, clock, 0.1)
    assert (found.present, found.computing) == ((1, 2, 3), (3,))
