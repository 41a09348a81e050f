"""Windows of seconds: every cell's in turn, and the idle machine's before and after.

A round starts a fresh worker for each cell, side by side (`bench.measure.starting`), all of which
stay there in all of the round's windows, idle ones included: a device with contexts on it idles at
another power than one without. Each window begins with a lead of the same load that doesn't count,
in which the device comes to its clocks and meters that tell a mean of the last second forget what
was before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.errors import BenchError, OutOfMemory
from bench.machine.disturbance import round_watcher
from bench.machine.wall import read_command, zone_of
from bench.measure.beats import MAX_CALLS
from bench.measure.energy.found import Meters
from bench.measure.energy.meters import FileReadings, Meter, Series, Watch, began_unix_s
from bench.measure.member import Context, Member, cpus_of, let_go, send_away, used_by
from bench.measure.plan import PlannedCell
from bench.measure.starting import Room, start_members
from bench.measure.state import CellState
from bench.measure.taken import as_answered
from bench.record.windows import IDLE, Window
from bench.runtimes.client import Worker
from bench.scenarios import find_scenario
from bench.spec import Suite

#: NVML's power is a mean of the last second on many GPUs, and so are mains meters'.
LEAD_S = 1.0
#: Load behind the window, so that the last reading is not of something else.
TAIL_S = 0.25
#: Calls are made in blocks of about so long: between two of them nothing computes for some 25 us.
BLOCK_NS = 100_000_000
_IDLE_STEP_S = 0.05
#: Characters of an error in a window.
_MOST_WORDS = 300


def check_wall(suite: Suite) -> None:
    """Raise `SpecError` where the meter at the wall can't be read as it is asked for."""
    zone_of(suite.wall_zone)
    if suite.wall_command is not None:
        read_command(suite.wall_command)


def has_energy(planned: PlannedCell) -> bool:
    """Whether windows can be taken of a cell: queries back to back, on a device that is real."""
    simulated = planned.choice.device is not None and planned.choice.device.simulated
    return not simulated and not find_scenario(planned.cell.scenario).bounded


@dataclass
class Taken:
    """A window before what belongs to it is known from a file, too."""

    window: Window
    series: list[Series]

    def whole(self, file: FileReadings | None) -> Window:
        began = self.window.began_ns
        traces = [one.trace(began, began + self.window.span_ns) for one in self.series]
        traces += [file.trace(self.window)] if file else []
        return self.window.model_copy(update={"traces": tuple(traces)})


class EnergyPass:
    """Rounds of windows over a group of cells."""

    def __init__(
        self,
        cells: Sequence[PlannedCell],
        context: Context,
        first: int,
        room: Room | None = None,
    ) -> None:
        """``room``: what is known of the cells' workers already, and who is measured apart."""
        self.cells = [planned for planned in cells if has_energy(planned)]
        self.context = context
        self.next = first  #: the index of the next round
        self.suite = context.suite
        self.failed: dict[str, str] = {}
        self.room = room or Room()
        self.workers: list[Worker] = []  #: all that this round had or has
        self.waiting: list[PlannedCell] = []  #: for a round without the others of this one

    def run(self, rounds: Callable[[], int], took: Callable[[float], None]) -> bool:
        """Measure and write; whether there was anything to read. ``rounds`` says before each round
        how many there are to be in all, and ``took`` is told what a round took."""
        account = self.context.account
        with ExitStack() as held:
            meters = self.meters(held)
            if not meters.any or not self.cells:
                return False
            made = 0
            while made < (count := rounds()):
                names = "1 cell" if len(self.cells) == 1 else f"{len(self.cells)} cells in turn"
                made += 1
                self.context.listener.phase(f"energy of {names}, round {made} of {count}")
                began_s = account.total_s
                self.windows_of(self.cells, meters)
                took(account.total_s - began_s)
        return True

    def meters(self, held: ExitStack) -> Meters:
        """Those of all cells, opened."""
        context = self.context
        meters = Meters(context.suite, context.launcher, context.listener.note)
        with context.account.useful():
            meters.open(self.cells, held)
        return meters

    def windows_of(self, cells: Sequence[PlannedCell], meters: Meters) -> list[Window]:
        """One of each; those that memory doesn't hold beside the others follow in a round of their
        own."""
        found: list[Window] = []
        due = cells
        while due:
            self.waiting = []
            found += self.round_of(due, meters)
            due = self.waiting
        return found

    def round_of(self, cells: Sequence[PlannedCell], meters: Meters) -> list[Window]:
        """Measure a window of each of these and write them."""
        windows = self._round(cells, meters)
        self.context.store.append_energy(windows)
        self.next += 1
        return windows

    def _round(self, cells: Sequence[PlannedCell], meters: Meters) -> list[Window]:
        members = self._start(cells)
        try:
            with self.context.account.useful():
                taken = self._in_turn(members, meters)
        finally:
            for member in members:
                let_go(member)
        last_s = max(began_unix_s(one.window) + one.window.span_ns / 1e9 for one in taken)
        file = meters.file.read(last_s) if meters.file else None
        # Who failed in its own window has that one already.
        there = {one.window.cell_id for one in taken}
        asked = [planned.cell.id for planned in cells if planned.cell.id not in there]
        lost = [self._lost(each, self.failed[each]) for each in asked if each in self.failed]
        return [*(one.whole(file) for one in taken), *lost]

    def _start(self, cells: Sequence[PlannedCell]) -> list[Member]:
        """Warm workers in random order, started side by side; of those that fail, now or before,
        there is none."""
        there = [planned for planned in cells if planned.cell.id not in self.failed]
        order = [CellState(there[place]) for place in self.context.rng.permutation(len(there))]
        self.room.emptied()
        started = start_members(order, self.context, self.room)
        self.workers = started.workers
        for state, error in started.failed:
            self._fail(state.planned, error)
        self.waiting += [state.planned for state in started.without_room]
        return started.members

    def _in_turn(self, members: Sequence[Member], meters: Meters) -> list[Taken]:
        """A window of each, between two of the idle machine."""
        meters.mend()
        workers = [*meters.workers, *(member.worker for member in members)]
        taken = [self._idle(meters, workers, 0)]
        for position, member in enumerate(members, 1):
            found = self._of_cell(member.state.cell.id, member, meters, workers, position)
            taken += [found] if found else []
        taken.append(self._idle(meters, workers, len(members) + 1))
        return taken

    def _fail(self, planned: PlannedCell, error: BenchError) -> None:
        self.failed[planned.cell.id] = str(error)[:_MOST_WORDS]
        self.context.listener.note(f"{planned.cell.label}: no energy: {error}")

    def _lost(self, cell_id: str, why: str) -> Window:
        return Window(
            cell_id=cell_id,
            index=self.next,
            position=0,
            began_at=_now(),
            began_ns=time.perf_counter_ns(),
            span_ns=0,
            queries=0,
            failed=why,
        )

    def _idle(self, meters: Meters, workers: Sequence[Worker], position: int) -> Taken:
        def rest() -> int:
            time.sleep(_IDLE_STEP_S)
            return 0

        return self._window(IDLE, rest, meters.all, workers, position)

    def _of_cell(
        self,
        cell_id: str,
        member: Member,
        meters: Meters,
        workers: Sequence[Worker],
        position: int,
    ) -> Taken | None:
        """None where it is to be measured without the others."""
        calls = max(1, min(MAX_CALLS, BLOCK_NS // max(1, member.warmup.latency_ns)))

        def compute() -> int:
            made = member.worker.timed_block(calls=calls, discard=0)
            return len(made.latency_ns) * member.bound.queries_per_call

        def untimed() -> int:
            """Calls that brought the device to its clock draw power, too."""
            if not member.bound.tells_of_device:
                return 0
            calls = sum(member.worker.readings().raising_calls)
            return calls * member.bound.queries_per_call

        mine = meters.of_cell.get(cell_id)
        read = [*meters.machine, *([meters.devices[mine]] if mine else [])]
        try:
            with as_answered(member.state.cell.target):
                taken = self._window(cell_id, compute, read, workers, position, untimed)
                throttled = _throttled(member)
        except BenchError as error:
            send_away(member)
            if isinstance(error, OutOfMemory) and member.worker.was_beside(self.workers):
                self.room.set_apart(member.state)
                self.waiting.append(member.state.planned)
                return None
            self._fail(member.state.planned, error)
            why = self.failed[cell_id]
            return Taken(self._lost(cell_id, why).model_copy(update={"position": position}), [])
        taken.window = taken.window.model_copy(update={"throttled": throttled})
        return taken

    def _window(
        self,
        cell_id: str,
        work: Callable[[], int],
        meters: Sequence[Meter],
        workers: Sequence[Worker],
        position: int,
        untimed: Callable[[], int] = lambda: 0,
    ) -> Taken:
        """Lead, window and tail of one load, the meters read all the time; ``untimed`` counts the
        queries so far that ``work`` doesn't tell of."""
        own = [os.getpid(), *(worker.pid for worker in workers)]
        cpus = sorted({cpu for planned in self.cells for cpu in cpus_of(planned, self.context)})
        with round_watcher(own, cpus, used_by(workers)) as watcher, Watch(meters) as watch:
            _until(LEAD_S, work)
            before = untimed()
            programs_ns = watch.programs_ns()
            watcher.start()
            began_at, began_ns = _now(), time.perf_counter_ns()
            queries = _until(self.suite.energy_window_s, work)
            span_ns = time.perf_counter_ns() - began_ns
            queries += untimed() - before
            seen = watcher.stop().with_own(watch.programs_ns() - programs_ns)
            _until(TAIL_S, work)
        window = Window(
            cell_id=cell_id,
            index=self.next,
            position=position,
            began_at=began_at,
            began_ns=began_ns,
            span_ns=span_ns,
            queries=queries,
            disturbed=tuple(seen.disturbed()),
        )
        return Taken(window, watch.series)


def _until(seconds: float, work: Callable[[], int]) -> int:
    """Work until so much time is over; what it made together."""
    end = time.perf_counter_ns() + int(seconds * 1e9)
    made = work()
    while time.perf_counter_ns() < end:
        made += work()
    return made


def _throttled(member: Member) -> tuple[str, ...]:
    """Why the device was slower than it can be, in any reading of the window."""
    if not member.bound.tells_of_device:
        return ()
    told = [reading.get("throttled", []) for reading in member.worker.readings().readings]
    return tuple(dict.fromkeys(why for reasons in told for why in reasons))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
