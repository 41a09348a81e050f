"""Starting the workers of a generation: side by side, while nothing is measured.

Loading, compiling and making a device's context take from a fraction of a second to minutes, in
which the scheduler only waits. As many workers start at once as there are cores, and as memory
holds while they do. How fast a cell is, which its blocks are sized by, is found out after that,
one worker at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import pairwise
from threading import Event

from bench.errors import BenchError, OutOfMemory
from bench.machine import memory
from bench.measure.member import (
    COLD,
    WARMUP_BUDGET_S,
    Context,
    Member,
    send_away,
    start_member,
)
from bench.measure.state import CellState
from bench.measure.taken import as_answered
from bench.runtimes.client import Worker

#: A worker that starts may hold its model twice for a moment: as it was read, and as it was
#: compiled.
_TWICE = 2


@dataclass
class DeviceRoom:
    """What is known of a device's memory; everything else on it counts as used."""

    before_bytes: int  #: free before the generation's first worker was on it
    free_bytes: int  #: after the last worker that told
    largest_bytes: int  #: what a worker takes of it, at most
    bound: bool  #: `largest_bytes` may be others' in part: one worker alone told it

    def holds(self, at_least_bytes: Sequence[int]) -> bool:
        """Whether workers fit beside each other that take so much each, at least."""
        return self.free_bytes >= sum(max(self.largest_bytes, each) for each in at_least_bytes)


#: What workers hold much the same of: a device, and a model's file by its content and variant.
Loaded = tuple[str, str, str]


@dataclass
class Room:
    """What workers take, as those that started before told, and whether another fits."""

    grown_bytes: dict[str, int] = field(default_factory=dict)  #: by cell
    of_file: dict[Loaded, int] = field(default_factory=dict)  #: the most of them
    devices: dict[str, DeviceRoom] = field(default_factory=dict)
    together: list[set[str]] = field(default_factory=list)  #: cells with workers alive at once
    overfull: set[str] = field(default_factory=set)  #: devices on which memory ran out
    #: Ids of cells that ran out of memory beside others. Whoever tried them there again would lose
    #: their time each time, so they are started beside none that starts, or measured alone.
    starts_alone: set[str] = field(default_factory=set)
    apart: set[str] = field(default_factory=set)

    def emptied(self) -> None:
        """The workers of a generation have ended."""
        for device in self.devices.values():
            device.free_bytes = device.before_bytes

    def learn(self, member: Member, *, alone: bool) -> None:
        """What a worker took; ``alone``: no other started on its device meanwhile."""
        self.grown_bytes[member.state.cell.id] = member.grown_bytes
        loaded = loaded_by(member.state)
        self.of_file[loaded] = max(member.grown_bytes, self.of_file.get(loaded, 0))
        name, told = device_of(member.state), member.device_memory
        if told is None or told.free_bytes is None or told.total_bytes is None:
            return
        known, used = self.devices.get(name), told.total_bytes - told.free_bytes
        if known is None:
            self.devices[name] = DeviceRoom(told.total_bytes, told.free_bytes, used, bound=True)
            return
        if alone:
            took = max(0, known.free_bytes - told.free_bytes)
            known.largest_bytes = took if known.bound else max(known.largest_bytes, took)
            if known.bound:
                known.before_bytes = min(known.before_bytes, known.free_bytes + took)
            known.bound = False
        known.free_bytes = min(known.free_bytes, told.free_bytes)

    def held(self, states: Sequence[CellState]) -> None:
        """Workers of all these are alive at once."""
        self.together.append({state.cell.id for state in states})

    def ran_out(self, state: CellState) -> None:
        """The cell's worker found no room beside those that had started or were starting."""
        self.overfull.add(device_of(state))

    def set_apart(self, state: CellState) -> None:
        """It ran out of memory beside others, and isn't tried there any more."""
        self.ran_out(state)
        self.apart.add(state.cell.id)

    def is_guess(self, state: CellState) -> bool:
        """Whether nothing but an earlier worker says that the cell's fits: its device doesn't tell
        of its memory."""
        untold = state.planned.on_accelerator and device_of(state) not in self.devices
        return untold and any(state.cell.id in alive for alive in self.together)

    def for_another(
        self, state: CellState, starting: Sequence[CellState], started: Sequence[CellState]
    ) -> bool:
        """Whether the cell's worker fits beside those that are starting and have started."""
        if not starting and not started:
            return True  # the first: how much it takes is learnt from it
        if any(one.cell.id in self.apart for one in (state, *starting, *started)):
            return False
        return self._in_memory(state, starting) and self._on_device(state, starting, started)

    def _in_memory(self, state: CellState, starting: Sequence[CellState]) -> bool:
        if not self.grown_bytes:
            return False
        if not starting:
            return memory.room_for_another(self._size(state))
        return memory.room_for_another(sum(_TWICE * self._size(s) for s in (*starting, state)))

    def _size(self, state: CellState) -> int:
        """What the cell's worker takes: what one of it, or else of the same file, told; where none
        has, what the largest did, or the model's file if that is more."""
        told = self.grown_bytes.get(state.cell.id, self.of_file.get(loaded_by(state)))
        if told is not None:
            return told
        return max(*self.grown_bytes.values(), state.cell.model.file_bytes)

    def _on_device(
        self, state: CellState, starting: Sequence[CellState], started: Sequence[CellState]
    ) -> bool:
        name = device_of(state)
        beside = [one for one in starting if device_of(one) == name]
        known = self.devices.get(name)
        if not state.planned.on_accelerator:
            return True
        if known is None:  # the first on it is looked at alone, and each while nothing is told
            there = [one for one in started if device_of(one) == name]
            return not beside or self._were_together(name, [*there, *beside, state])
        if known.bound and not beside:
            return True
        times = _TWICE if beside else 1
        return known.holds([times * self._unseen_file(one) for one in (*beside, state)])

    def _were_together(self, name: str, states: Sequence[CellState]) -> bool:
        """Whether workers of these cells were alive at once before, and the device, which doesn't
        tell of its memory, never ran out of it."""
        ids = {state.cell.id for state in states}
        return name not in self.overfull and any(ids <= alive for alive in self.together)

    def _unseen_file(self, state: CellState) -> int:
        """The size of the cell's model, of which no worker on its device has told what it takes."""
        return 0 if loaded_by(state) in self.of_file else state.cell.model.file_bytes


def device_of(state: CellState) -> str:
    """The cell's device: its place on the PCI bus, where it tells, for backends have several names
    of one (``cuda:0``, ``tensorrt:0``); else its id."""
    device = state.planned.choice.device
    return "" if device is None else device.pci or device.id


def loaded_by(state: CellState) -> Loaded:
    """What the cell's worker loads, and where."""
    return device_of(state), state.cell.model.sha256, state.cell.variant


def starting_order(order: Sequence[CellState]) -> list[CellState]:
    """Who starts when. A runtime whose fork server has modules to import first keeps one of its
    workers waiting meanwhile, not all places: the others get theirs in the time."""
    quick: list[CellState] = []
    leading: dict[str, CellState] = {}
    following: list[CellState] = []
    for state in order:
        runtime = state.planned.choice.runtime
        if runtime is None or not runtime.imports_to_load:
            quick.append(state)
        elif runtime.label not in leading:
            leading[runtime.label] = state
        else:
            following.append(state)
    return [*quick[:1], *leading.values(), *quick[1:], *following]


def shares(taken: Sequence[tuple[float, float]]) -> list[float]:
    """How many seconds each of these has that took from one moment to another: time that several
    took is divided among them, as they wait for each other's cores."""
    moments = sorted({moment for both in taken for moment in both})
    found = [0.0] * len(taken)
    for begin, end in pairwise(moments):
        there = [at for at, (from_s, to_s) in enumerate(taken) if from_s <= begin and end <= to_s]
        for at in there:
            found[at] += (end - begin) / len(there)
    return found


@dataclass(frozen=True)
class Started:
    """What came of starting a generation's workers, each list in the order that was asked for."""

    members: list[Member]
    failed: list[tuple[CellState, BenchError]]
    without_room: list[CellState]  #: those that ran out of memory included
    ran_out: list[CellState]  #: of memory, beside others
    workers: list[Worker]  #: all that there were


def start_members(
    order: Sequence[CellState],
    context: Context,
    room: Room,
    sized: Collection[str] = (),
    *,
    glimpses: bool = False,
) -> Started:
    """A warm worker for each cell, as long as memory lasts; the latency of those that are not
    ``sized`` (by their ids) is one that nothing disturbed. With ``glimpses`` the first calls of
    cells without a figure are shown meanwhile. Whatever else is raised ends all."""
    with context.account.starting():
        return _Start(order, context, room, sized, glimpses).run()


class _Start:
    """One generation's start."""

    def __init__(
        self,
        order: Sequence[CellState],
        context: Context,
        room: Room,
        sized: Collection[str],
        glimpses: bool,
    ) -> None:
        self.glimpses = glimpses
        self.order, self.context, self.room, self.sized = order, context, room, sized
        beside = [state for state in order if state.cell.id not in room.apart]
        self.waiting = deque(
            starting_order([state for state in beside if state.cell.id not in room.starts_alone])
        )
        #: to be started beside none that starts
        self.alone = deque(state for state in beside if state.cell.id in room.starts_alone)
        #: measured apart, so the last to begin: beside one of these no other has room
        self.apart = deque(state for state in order if state.cell.id in room.apart)
        self.running: dict[Future[Member], CellState] = {}
        self.members: list[Member] = []
        self.without_room: list[CellState] = []
        self.ran_out: list[CellState] = []
        self.accompanied: set[int] = set()  #: ids of the states beside which another started
        self.failed: list[tuple[CellState, BenchError]] = []
        self.born: list[Worker] = []
        self.took: list[tuple[CellState, float, float]] = []  #: from its fork until it was ready
        self.stopped = Event()
        self.crowded = False  #: whether any two started at once

    def run(self) -> Started:
        pool = ThreadPoolExecutor(self.context.at_once, "start")
        try:
            while self.waiting or self.running or self.alone or self.apart:
                self._begin(pool)
                if not self.running:
                    break
                for done in wait(self.running, return_when=FIRST_COMPLETED).done:
                    self._take(done)
            self._count()
            self._settle()
            self.room.held([member.state for member in self.members])
        except BaseException:
            # Threads that wait for a worker see it end. One that hangs elsewhere is not waited for.
            self.stopped.set()
            for worker in self.born:
                worker.kill()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        place = {id(state): at for at, state in enumerate(self.order)}
        self.members.sort(key=lambda member: place[id(member.state)])
        self.failed.sort(key=lambda pair: place[id(pair[0])])
        self.without_room.sort(key=lambda state: place[id(state)])
        self.ran_out.sort(key=lambda state: place[id(state)])
        return Started(self.members, self.failed, self.without_room, self.ran_out, self.born)

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        """Start as many of those that wait as fit now; then those that are to be alone, and then
        one that is measured apart, where there is no other."""
        while self.waiting and len(self.running) < self.context.at_once:
            if self._has_room(self.waiting[0]):
                self._submit(pool, self.waiting.popleft())
            elif self.running:  # they may leave some
                return
            else:
                self.without_room.append(self.waiting.popleft())
        while (last := self.alone or self.apart) and not self.running:
            state = last.popleft()
            if self._has_room(state):
                self._submit(pool, state)
            else:
                self.without_room.append(state)

    def _has_room(self, state: CellState) -> bool:
        started = [member.state for member in self.members]
        return self.room.for_another(state, list(self.running.values()), started)

    def _submit(self, pool: ThreadPoolExecutor, state: CellState) -> None:
        if self.running:
            self.crowded = True
            self.accompanied |= {id(one) for one in (state, *self.running.values())}
        self.running[pool.submit(self._one, state)] = state

    def _one(self, state: CellState) -> Member:
        """In a thread: one cell's worker."""
        forked_s: list[float] = []

        def born(worker: Worker) -> None:
            # What comes before is its runtime's: importing it, once for all of its workers.
            forked_s.append(self.context.account.total_s)
            self.born.append(worker)
            if self.stopped.is_set():
                worker.kill()

        try:
            with as_answered(state.cell.target):
                warm = state.cell.id in self.sized
                glimpse = self.glimpses and not warm and not state.invocations
                return start_member(state, self.context, born, warm=warm, glimpse=glimpse)
        finally:
            self.took += [(state, at_s, self.context.account.total_s) for at_s in forked_s]

    def _take(self, done: Future[Member]) -> None:
        state = self.running.pop(done)
        try:
            member = done.result()
        except BenchError as error:
            self._did_not_start(state, error)
            return
        self.members.append(member)
        if member.glimpse_ns is not None:
            self.context.listener.cell_progress(state.cell, 0, member.glimpse_ns, None)
        others = [device_of(one) for one in self.running.values()]
        self.room.learn(member, alone=device_of(state) not in others)

    def _count(self) -> None:
        """What each cell took of the time to start."""
        parts = shares([(began_s, ended_s) for _, began_s, ended_s in self.took])
        for (state, *_), seconds in zip(self.took, parts, strict=True):
            state.starting_s += seconds

    def _did_not_start(self, state: CellState, error: BenchError) -> None:
        """What ran out of memory beside others isn't too large for it: where others started, it is
        started once more when none does, and from then on; where that is not enough, it is measured
        when these have ended.

        Where it was a guess that it fits beside others, whatever it fails of may be lack of room:
        not every runtime says so."""
        accompanied, no_memory = id(state) in self.accompanied, isinstance(error, OutOfMemory)
        if accompanied and (no_memory or self.room.is_guess(state)):
            self.room.ran_out(state)
            self.accompanied.discard(id(state))
            self.room.starts_alone.add(state.cell.id)
            self.alone.append(state)
        elif no_memory and self.members:
            self._set_apart(state)
        else:
            self.failed.append((state, error))

    def _set_apart(self, state: CellState) -> None:
        """It doesn't fit beside the others, and isn't tried there any more."""
        self.room.set_apart(state)
        self.without_room.append(state)
        self.ran_out.append(state)

    def _settle(self) -> None:
        """Warm up, one at a time, those whose latency matters now, and those that got no rest to
        settle in while others started."""
        for member in list(self.members):
            cold = member.warmup is COLD
            if not cold and (member.warmup.settled or not self.crowded):
                continue
            try:
                with as_answered(member.state.cell.target):
                    again = member.worker.warm_up(WARMUP_BUDGET_S)
            except BenchError as error:
                send_away(member)
                self.members.remove(member)
                if isinstance(error, OutOfMemory) and member.worker.was_beside(self.born):
                    self._set_apart(member.state)
                else:
                    self.failed.append((member.state, error))
                continue
            member.warmup = replace(again, calls=member.warmup.calls + again.calls)
