"""The meters that a group of cells needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.machine.powercap import find_zones
from bench.machine.wall import MeterFile
from bench.measure.energy.meters import CommandMeter, DeviceMeter, FileMeter, Meter, ZoneMeter
from bench.measure.plan import PlannedCell
from bench.record.windows import OF_DEVICES, Scope
from bench.runtimes.client import Worker
from bench.runtimes.processes import Launcher
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import on_host
from bench.spec import Suite


def may_be_read(suite: Suite, cells: Sequence[PlannedCell]) -> bool:
    """Whether there may be a meter: at the wall, of the CPUs, or of an accelerator, of which only a
    worker can tell."""
    at_the_wall = suite.wall_command is not None or suite.wall_csv is not None
    on_devices = any(planned.on_accelerator for planned in cells)
    return at_the_wall or on_devices or bool(find_zones().zones)


@dataclass
class Meters:
    """The meters that a group of cells needs: the machine's, and those of their devices."""

    suite: Suite
    launcher: Launcher
    note: Callable[[str], None]  #: is told what is missing
    machine: list[ZoneMeter | CommandMeter] = field(default_factory=list)
    file: FileMeter | None = None
    devices: dict[str, DeviceMeter] = field(default_factory=dict)  #: by the meter's own name
    of_cell: dict[str, str] = field(default_factory=dict)  #: cell id -> its device's meter
    _runtimes: dict[str, Runtime] = field(default_factory=dict)  #: of the devices' meters
    _unread: set[str] = field(default_factory=set)  #: devices' meters that no worker reads now
    _held: ExitStack = field(default_factory=ExitStack)

    def open(self, cells: Sequence[PlannedCell], held: ExitStack) -> None:
        """Find them, for as long as ``held``; what is missing is told."""
        suite, note, self._held = self.suite, self.note, held
        rapl = find_zones()
        if rapl.zones:
            self.machine.append(ZoneMeter(rapl.zones))
        if suite.wall_command is not None:
            self.machine.append(CommandMeter(suite.wall_command))
        if suite.wall_csv is not None:
            file = MeterFile(Path(suite.wall_csv), suite.wall_offset_s, suite.wall_zone)
            self.file = FileMeter(file)
        for planned in cells:
            self._of(planned)
        for words in rapl.left_out:
            note(f"energy: {words}.")
        covered = all(planned.cell.id in self.of_cell for planned in cells)
        if rapl.trouble and not covered and not self.wall:
            note(f"energy of the CPUs: {rapl.trouble}.")
        if rapl.closed:
            note(f"{rapl.closed}.")

    def mend(self) -> None:
        """Have a new worker read a device's meter where the one that did has died: that costs the
        windows of a round, and not those of all that follow."""
        for name, meter in self.devices.items():
            try:
                meter.worker.watch_energy(meter.device, 0.0, 0.0)
            except BenchError as error:
                meter.worker.kill()
                self._replace(name, meter, error)

    def _replace(self, name: str, meter: DeviceMeter, died: BenchError) -> None:
        """Leaves it as it is where no worker can be had, which is told once: it is tried again
        before each round."""
        what, told_before = f"energy of {meter.device.id}", name in self._unread
        try:
            worker = self.launcher.worker(self._runtimes[name], 1)
        except BenchError as error:
            if not told_before:
                self.note(f"{what}: {died} No new worker can be started for its meter: {error}")
            self._unread.add(name)
            return
        self._held.callback(worker.end)
        meter.read_by(worker)
        self._unread.discard(name)
        if told_before:
            self.note(f"{what}: a new worker was started for its meter.")
        else:
            self.note(f"{what}: {died} A new worker was started for its meter.")

    def _worker(self, runtime: Runtime, what: str) -> Worker | None:
        """One that reads a meter; where there is none, that is told."""
        try:
            return self.launcher.worker(runtime, 1)
        except BenchError as error:
            self.note(f"energy of {what}: {error}")
            return None

    def _of(self, planned: PlannedCell) -> None:
        """The meter of a cell's device, if that has one."""
        choice = planned.choice
        assert choice.runtime is not None
        assert choice.device is not None
        if on_host(choice.device):
            return
        worker = self._worker(choice.runtime, planned.cell.target)
        if worker is None:
            return
        try:
            told = worker.watch_energy(choice.device, 0.0, 0.0)
        except BenchError as error:
            worker.kill()
            self.note(f"energy of {planned.cell.target}: {error}")
            return
        if not told.scope:
            worker.end()
            why = told.missing or "the device doesn't report it"
            self.note(f"energy of {planned.cell.target}: {why}.")
            return
        self.of_cell[planned.cell.id] = told.meter
        if told.meter in self.devices:
            worker.end()
            return
        self._held.callback(worker.end)
        self._runtimes[told.meter] = choice.runtime
        scopes: dict[str, Scope] = {scope: scope for scope in OF_DEVICES}
        scope = scopes.get(told.scope, "gpu-board")
        self.devices[told.meter] = DeviceMeter(worker, choice.device, scope, told.meter)

    @property
    def wall(self) -> bool:
        return self.suite.wall_command is not None or self.file is not None

    @property
    def scopes(self) -> set[Scope]:
        """What energies are read of."""
        found: set[Scope] = {meter.scope for meter in self.devices.values()}
        for meter in self.machine:
            found |= meter.scopes
        return found | ({"wall"} if self.wall else set())

    @property
    def any(self) -> bool:
        return bool(self.machine or self.devices or self.file)

    @property
    def all(self) -> list[Meter]:
        """Those that are read meanwhile."""
        return [*self.machine, *self.devices.values()]

    @property
    def workers(self) -> list[Worker]:
        """Those that read the meters of devices."""
        return [meter.worker for meter in self.devices.values()]
