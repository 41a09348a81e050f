"""The meters of a run, each read beside what is measured, in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from bench.backend import Device
from bench.errors import BenchError
from bench.machine.powercap import Zone
from bench.machine.wall import MeterFile, read_command
from bench.measure.energy.asked import Asked, Grown, below_ns
from bench.record.windows import Kind, Scope, Trace, Window
from bench.runtimes.client import Worker
from bench.worker.family import descendants

#: NVML's counter moves every 100 ms, RAPL's every ms: an edge is known to this.
EVERY_S = 0.02
#: Mains meters tell a mean of about a second.
COMMAND_EVERY_S = 0.5
#: How long a worker reads before it is asked whether that is enough.
CHUNK_S = 0.2
#: How long is waited for the last lines of a meter's file.
_FILE_PATIENCE_S = 5.0
#: So near to a window all readings of a file are taken, before it is said which are of it.
_NEAR_S = 1.0


def bench_processes() -> set[int]:
    """The numbers of all processes that are bench's now."""
    return {os.getpid(), *descendants(os.getpid())}


@dataclass
class Series:
    """Readings of one meter on `time.perf_counter_ns`."""

    scope: Scope
    meter: str
    kind: Kind
    wraps_at_uj: int | None = None
    at_ns: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    missing: str = ""
    #: processes that computed on the device and are not bench's, by when that was known
    others: list[tuple[int, set[int]]] = field(default_factory=list)

    def take(self, at_ns: int, value: int) -> None:
        """One more reading; of two at one moment the first counts."""
        if not self.at_ns or at_ns > self.at_ns[-1]:
            self.at_ns.append(at_ns)
            self.values.append(value)

    def trace(self, began_ns: int, ended_ns: int) -> Trace:
        """Those of a window, from the last one before to the first one behind it."""
        before = [n for n, at in enumerate(self.at_ns) if at <= began_ns]
        after = [n for n, at in enumerate(self.at_ns) if at >= ended_ns]
        kept = slice(before[-1] if before else 0, after[0] + 1 if after else None)
        return Trace(
            scope=self.scope,
            meter=self.meter,
            kind=self.kind,
            wraps_at_uj=self.wraps_at_uj,
            at_ns=tuple(at - began_ns for at in self.at_ns[kept]),
            values=tuple(self.values[kept]),
            missing=self.missing,
            others=tuple(sorted(self._others(began_ns, ended_ns))),
        )

    def _others(self, began_ns: int, ended_ns: int) -> set[int]:
        """Those of a window, known within it or the first time behind it."""
        behind_ns = min((at for at, _ in self.others if at >= ended_ns), default=ended_ns)
        return {pid for at, pids in self.others if began_ns < at <= behind_ns for pid in pids}


class Meter(Protocol):
    """Something that is read until it is enough."""

    def watch(self, enough: threading.Event) -> list[Series]:
        """All readings; the last one is taken after ``enough`` was set. Raises nothing: what goes
        wrong is why readings are missing."""
        ...

    def programs_ns(self) -> int:
        """The CPU time so far of the programs that it asks."""
        ...


@dataclass(frozen=True)
class ZoneMeter:
    """RAPL's counters."""

    zones: Sequence[Zone]

    @property
    def scopes(self) -> set[Scope]:
        return {_rapl(zone) for zone in self.zones}

    def watch(self, enough: threading.Event) -> list[Series]:
        found = [Series(_rapl(z), z.name, "counter", z.wraps_at_uj) for z in self.zones]
        ended = False
        while not ended:
            ended = enough.wait(EVERY_S)
            for zone, series in zip(self.zones, found, strict=True):
                try:
                    series.take(time.perf_counter_ns(), zone.read_uj())
                except (OSError, ValueError) as error:
                    series.missing = f"{zone.name} could not be read: {error}"
        return found

    def programs_ns(self) -> int:
        return 0


def _rapl(zone: Zone) -> Scope:
    scopes: dict[str, Scope] = {"package": "package", "dram": "dram", "platform": "platform"}
    return scopes[zone.scope]


@dataclass
class DeviceMeter:
    """The meter of a device, read by a worker of its runtime that computes nothing; another one
    takes its place where it dies."""

    worker: Worker
    device: Device
    scope: Scope
    name: str
    own: Callable[[], set[int]] = bench_processes
    _used: Grown = field(default_factory=Grown)

    def read_by(self, worker: Worker) -> None:
        """Have another worker read it from the next window on."""
        self.worker, self._used = worker, Grown()

    def watch(self, enough: threading.Event) -> list[Series]:
        energy = Series(self.scope, self.name, "counter")
        power = Series(self.scope, self.name, "power")
        present, computing, own = set[int](), list[tuple[int, set[int]]](), self.own()
        missing = "the device reported no power"
        try:
            ended = False
            while not ended:
                ended = enough.is_set()
                told = self.worker.watch_energy(self.device, CHUNK_S, EVERY_S)
                missing = told.missing or missing
                present.update(told.present)
                computing.append((time.perf_counter_ns(), set(told.computing)))
                for at, uj, mw in zip(told.at_ns, told.energy_uj, told.power_mw, strict=True):
                    for series, value in ((energy, uj), (power, mw)):
                        if value >= 0:
                            series.take(int(at), int(value))
        except BenchError as error:
            energy.missing = f"the meter could not be read: {error}"
            return [energy]
        energy.others = power.others = _others(present, computing, own | self.own())
        return [series for series in (energy, power) if series.at_ns] or [
            Series(self.scope, self.name, "power", missing=missing)
        ]

    def programs_ns(self) -> int:
        """Of a vendor's tool: its worker starts nothing else. Of a worker that died it is what was
        told before."""
        there = self.worker.ended() is None  # else its number may be another process's
        return self._used.to(below_ns(self.worker.pid) if there else 0)


def _others(
    present: set[int], computing: Sequence[tuple[int, set[int]]], own: set[int]
) -> list[tuple[int, set[int]]]:
    """Which that computed are not bench's. None can be told where the device knows none of bench's
    processes: in containers the driver may have other numbers for all of them (nvidia-docker#1483),
    or for those that computed and not for those that are there (HAMi-core#112)."""
    if not present & own:
        return []
    return [(at_ns, pids & present - own) for at_ns, pids in computing]


@dataclass(frozen=True)
class CommandMeter:
    """A user's command that prints watts."""

    command: str
    asked: Asked = field(default_factory=Asked)

    @property
    def scopes(self) -> set[Scope]:
        return {"wall"}

    def programs_ns(self) -> int:
        return self.asked.used_ns()

    def watch(self, enough: threading.Event) -> list[Series]:
        series = Series("wall", "--wall-command", "power")
        ended = False
        while not ended:
            ended = enough.is_set()
            before = time.perf_counter_ns()
            try:
                with self.asked.asking():
                    watts = read_command(self.command)
            except BenchError as error:
                series.missing = str(error)
                break
            series.take((before + time.perf_counter_ns()) // 2, round(1e3 * watts))
            enough.wait(max(0.0, COMMAND_EVERY_S - (time.perf_counter_ns() - before) / 1e9))
        return [series]


@dataclass(frozen=True)
class FileReadings:
    """What is in a meter's file: unix times and watts, in order of time."""

    meter: str
    readings: Sequence[tuple[float, float]] = ()
    missing: str = ""

    def trace(self, window: Window) -> Trace:
        """Those of a window, by the time of day at which it began: whoever sets the clock between
        then and the reading of the file moves nothing."""
        series = Series("wall", self.meter, "power", missing=self.missing)
        began_s, span_s = began_unix_s(window), window.span_ns / 1e9
        for unix_s, watts in self._near(began_s, began_s + span_s):
            series.take(round(unix_s * 1e9), round(1e3 * watts))
        began_ns = round(began_s * 1e9)
        return series.trace(began_ns, began_ns + window.span_ns)

    def _near(self, begin_s: float, end_s: float) -> Sequence[tuple[float, float]]:
        """Those in between, with one before and one behind them: a file may be of months."""
        first = bisect_left(self.readings, (begin_s - _NEAR_S,))
        last = bisect_left(self.readings, (end_s + _NEAR_S,))
        return self.readings[max(0, first - 1) : last + 1]


def began_unix_s(window: Window) -> float:
    """When a window began."""
    return datetime.fromisoformat(window.began_at).timestamp()


@dataclass(frozen=True)
class FileMeter:
    """A meter's CSV file, read when a round is over."""

    file: MeterFile
    sleep: Callable[[float], None] = time.sleep

    def read(self, ended_s: float) -> FileReadings:
        """All its readings; it is waited for those that reach ``ended_s``, but not for long. What
        can't be read now may be half-written; a file that isn't there comes after the run."""
        for _ in range(int(_FILE_PATIENCE_S / COMMAND_EVERY_S)):
            found = self._now()
            reaches = bool(found.readings) and found.readings[-1][0] >= ended_s
            if reaches or not self.file.path.exists():
                break
            self.sleep(COMMAND_EVERY_S)
        return found

    def _now(self) -> FileReadings:
        """What is in the file now, or why that can't be told."""
        name = self.file.path.name
        try:
            return FileReadings(name, self.file.read())
        except BenchError as error:
            return FileReadings(name, missing=str(error))


class Watch:
    """Reads meters for as long as its block lasts."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = meters
        self._enough = threading.Event()
        self._found: list[list[Series]] = [[] for _ in meters]
        self._threads = [
            threading.Thread(target=self._read, args=(place, meter), daemon=True)
            for place, meter in enumerate(meters)
        ]

    def _read(self, place: int, meter: Meter) -> None:
        self._found[place] = meter.watch(self._enough)

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def programs_ns(self) -> int:
        """The CPU time so far of the programs that these meters ask."""
        return sum(meter.programs_ns() for meter in self._meters)

    @property
    def series(self) -> list[Series]:
        """What was read, when the block is over."""
        return [one for found in self._found for one in found]
