"""Measuring a group of cells so that drift of the machine hits all of them alike.

A *generation* forks one fresh worker for each cell and takes a number of rounds over them; in
each round every worker has one short block of calls, in random order, and a canary takes part.
Then the workers end. Each generation gives every cell one more invocation, so the spread between
processes, which more calls in one process can't reduce, is sampled too; and invocations of one
generation are pairs for a ratio of two cells.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.backend import to_plain
from bench.cell import Cell
from bench.errors import BenchError
from bench.machine.disturbance import Thresholds, Watcher, block_watcher, round_watcher
from bench.machine.memory import room_for_another
from bench.measure.plan import PlannedCell
from bench.present.progress import Listener
from bench.record.estimate import figures, relative_half_width
from bench.record.result import Invocation, StopReason
from bench.record.telemetry import summarise
from bench.runtimes.processes import Launcher, Runtime, Worker
from bench.spec import Suite
from bench.stats.percentile import floor, median, minimum_samples
from bench.stats.stopping import FEWEST_TO_RANK, RankingRule
from bench.store.run import Block, RunStore, trusted_samples

Array = np.ndarray[Any, Any]

#: Of blocks of 0.6 to 160 ms, 10 ms gave the smallest standard error of a ratio for the same
#: measuring time on a noisy two-core machine (docs/method.md).
BLOCK_NS = 10_000_000
#: Rounds in a generation: the design whose intervals held their coverage there.
ROUNDS = 8
#: The first calls after another worker's turn find cold caches and are 11 to 34% slow.
DISCARDED_CALLS = 5
#: A long call warms its own caches; past this time discarding more of them buys nothing.
DISCARD_NS = 2_000_000
#: Cells nearer than this factor to each other get the same number of calls a block: unequal
#: numbers made two identical cells differ by 4.7%.
EQUAL_CALLS_FACTOR = 2.0
MAX_CALLS = 20_000
#: A cell may overdraw its time by this factor for its first invocations.
PATIENCE = 3.0
P99 = 0.99
#: At most so many rounds more, for blocks that were disturbed.
EXTRA_ROUNDS = 4
WARMUP_BUDGET_S = 3.0
#: A block's figure is a median, which waiting for a tenth of the block hardly moves; at 2% nearly
#: every block of a busy two-core machine was marked, and a mark that all rows carry says nothing.
BLOCK_THRESHOLDS = Thresholds(wait_share=0.10)
CANARY = "canary"
CANARY_RUNTIME = Runtime(CANARY, "bench.worker.canary:Canary", {})


@dataclass
class CellState:
    """What is known of one cell so far."""

    planned: PlannedCell
    invocations: list[Invocation] = field(default_factory=list)
    samples: dict[int, Array] = field(default_factory=dict)
    placement: dict[str, Any] | None = None
    outputs: list[Array] | None = None  #: of the most recent timed call
    spent_s: float = 0.0
    failure: BenchError | None = None
    stop: StopReason | None = None
    group: str = ""  #: cells of one group share its generations

    @property
    def cell(self) -> Cell:
        return self.planned.cell

    def figures(self) -> Array:
        """What the cell is measured for, one figure an invocation (see `estimate.figures`)."""
        return figures(self.cell, self.invocations)


@dataclass(frozen=True)
class Beat:
    """How many calls a cell makes in each block, and how many it discards before."""

    calls: int
    discard: int


def equal_beats(latency_ns: Mapping[str, float]) -> dict[str, Beat]:
    """Calls a block for each cell: about `BLOCK_NS`, equal among cells of similar latency.

    Cells are chained in order of latency; a gap of `EQUAL_CALLS_FACTOR` or more starts a new chain,
    whose calls follow from its geometric mean.
    """
    beats: dict[str, Beat] = {}
    chain: list[str] = []

    def settle() -> None:
        if chain:
            mean = math.exp(sum(math.log(latency_ns[name]) for name in chain) / len(chain))
            beat = beat_for(mean)
            beats.update((name, beat) for name in chain)

    for name in sorted(latency_ns, key=lambda name: latency_ns[name]):
        if chain and latency_ns[name] >= latency_ns[chain[-1]] * EQUAL_CALLS_FACTOR:
            settle()
            chain.clear()
        chain.append(name)
    settle()
    return beats


def beat_for(latency_ns: float) -> Beat:
    """Calls that fill a block, and calls to discard before it."""
    calls = min(MAX_CALLS, max(1, round(BLOCK_NS / max(latency_ns, 1.0))))
    discard = min(DISCARDED_CALLS, max(1, math.ceil(DISCARD_NS / max(latency_ns, 1.0))))
    return Beat(calls, discard)


def undisturbed(blocks: Sequence[Block]) -> int:
    """How many of the blocks nothing disturbed."""
    return sum(not block.disturbed for block in blocks)


class Account:
    """Where the wall time of a run went: starting up (importing runtimes, finding devices,
    exporting), loading, compiling and measuring, or anything else."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self.startup_s = 0.0
        self.useful_s = 0.0

    def started_up(self) -> None:
        """All that is to be measured is known and ready."""
        self.startup_s = self.total_s

    @contextmanager
    def useful(self, state: CellState | None = None) -> Iterator[None]:
        """Time inside counts as useful, and against the budget of ``state``."""
        started = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - started
            self.useful_s += spent
            if state is not None:
                state.spent_s += spent

    @property
    def total_s(self) -> float:
        return self._clock() - self._started

    @property
    def overhead(self) -> float:
        """The share of the time since the start-up that was neither loading nor measuring."""
        since = self.total_s - self.startup_s
        return 1 - self.useful_s / since if since > 0 else 0.0


@dataclass(frozen=True)
class Context:
    """What measuring needs from its surroundings."""

    suite: Suite
    launcher: Launcher
    store: RunStore
    listener: Listener
    account: Account
    rng: np.random.Generator
    cpus: Mapping[int, tuple[int, ...]]  #: by how many cores a cell computes on
    finish: Callable[[CellState], None]  #: writes the record


@dataclass
class Member:
    """One worker of the current generation."""

    state: CellState
    worker: Worker
    load: dict[str, Any]
    bind: dict[str, Any]
    warmup: dict[str, Any]
    watcher: Watcher
    blocks: list[Block] = field(default_factory=list)
    capacity_per_s: float | None = None
    generator_late_ns: float | None = None

    @property
    def grown_bytes(self) -> int:
        """What loading and binding added to the worker, as far as the system tells."""
        before, after = self.load["rss_before_load_bytes"], self.bind["rss_bytes"]
        return max(0, after - before) if before is not None and after is not None else 0


def start_member(state: CellState, context: Context) -> Member:
    """Fork, load, bind and warm up one worker. Raises `BenchError`; leaves no worker then."""
    planned = state.planned
    assert planned.choice.runtime is not None
    assert planned.choice.device is not None
    with context.account.useful(state):
        worker = context.launcher.worker(planned.choice.runtime, planned.cell.threads)
        try:
            load, _ = worker.request(
                "load",
                model=to_plain(planned.file),
                device=to_plain(planned.choice.device),
                options=to_plain(planned.options),
                cpus=list(context.cpus[planned.cores]),
            )
            bind, _ = worker.request(
                "bind",
                *planned.feeds.values(),
                names=list(planned.feeds),
                lane=planned.cell.lane,
                streams=planned.streams,
            )
            warmup: dict[str, Any] = {}
            if not planned.choice.device.simulated:
                warmup, _ = worker.request("warm-up", budget_s=WARMUP_BUDGET_S)
        except BaseException:
            worker.kill()
            raise
    return Member(state, worker, load, bind, warmup, block_watcher([worker.pid]))


def copy_times(member: Member) -> dict[str, float]:
    """Median times in ns of the copies to and from the device; empty where they aren't known."""
    if not member.bind.get("times_copies"):
        return {}
    times, _ = member.worker.request("copy-times", latency_ns=member.warmup["latency_ns"])
    # At least 1 ns: an empty copy may take none on a coarse clock, and estimates are geometric.
    return {name: max(1.0, float(np.median(values))) for name, values in times.items()}


def device_readings(member: Member) -> list[dict[str, Any]]:
    """What the device told of itself after each block; empty where the backend can't ask it."""
    if not member.bind.get("tells_of_device"):
        return []
    answer, _ = member.worker.request("telemetry")
    return list(answer["readings"])


def try_out(state: CellState, context: Context) -> None:
    """A simulated device: its outputs and placement count, and no latency is taken."""
    try:
        member = start_member(state, context)
        with context.account.useful(state):
            _, state.outputs = member.worker.request("fetch")
            member.worker.end()
        state.placement = member.bind["placement"]
        state.stop = "simulated"
    except BenchError as error:
        state.failure, state.stop = error, "failed"
    context.finish(state)


def stops(
    active: Sequence[CellState], everybody: Sequence[CellState], suite: Suite
) -> list[tuple[CellState, StopReason]]:
    """Which of the active cells have their answer, or have used up their budget."""
    answered = _ranked if suite.goal == "rank" else _precise
    done = answered(active, everybody, suite)
    found: list[tuple[CellState, StopReason]] = []
    for state in active:
        count = len(state.invocations)
        if state.cell.id in done:
            found.append((state, "ranked" if suite.goal == "rank" else "precision"))
        elif state.spent_s >= suite.max_time_s and count >= fewest(state, suite):
            found.append((state, "max-time"))
        elif count >= suite.max_invocations:
            found.append((state, "max-invocations"))
    return found


def fewest(state: CellState, suite: Suite) -> int:
    """Invocations that a cell gets although its time is up: an interval from two processes is
    hundreds of percent wide. A model that takes minutes to compile makes do with two."""
    return suite.min_invocations if state.spent_s < PATIENCE * suite.max_time_s else 2


def _precise(active: Sequence[CellState], everybody: Sequence[CellState], suite: Suite) -> set[str]:
    """Cells whose interval is as narrow as asked."""
    return {
        state.cell.id
        for state in active
        if len(state.invocations) >= suite.min_invocations
        and relative_half_width(state.figures(), suite.confidence) <= suite.precision
    }


def _ranked(active: Sequence[CellState], everybody: Sequence[CellState], suite: Suite) -> set[str]:
    """Cells whose order among the targets of their model is settled."""
    rivals: dict[tuple[str, str], list[CellState]] = {}
    for state in everybody:
        if state.failure is None:
            rivals.setdefault((state.cell.model.sha256, state.cell.variant), []).append(state)
    settled: set[str] = set()
    for states in rivals.values():
        first = min(FEWEST_TO_RANK, suite.min_invocations)
        rule = RankingRule(
            len(states), suite.confidence, suite.margin, first, suite.max_invocations
        )
        figures = {
            state.cell.id: dict(
                zip([i.index for i in state.invocations], state.figures().tolist(), strict=True)
            )
            for state in states
        }
        if min(len(values) for values in figures.values()) >= first:
            settled |= set(figures) - rule.open_cells(figures)
    return settled


class Group:
    """Cells that are measured interleaved until each has its answer or its budget is spent."""

    def __init__(self, name: str, states: Sequence[CellState], context: Context) -> None:
        self.name = name
        self.states = list(states)
        self.context = context
        self.suite = context.suite
        self.cpus = context.cpus[max(state.planned.cores for state in states)]
        self.part = 0
        self.beats: dict[str, Beat] = {}
        self.generation = 1 + max(
            (i.index for state in states for i in state.invocations), default=-1
        )

    def run(self) -> None:
        """Measure; every cell ends with a record. Interrupting loses at most one generation."""
        canary = self._start_canary()
        try:
            while waiting := [state for state in self.states if not state.stop]:
                self._part(waiting, canary)
        finally:
            canary.kill()

    def _part(self, waiting: Sequence[CellState], canary: Worker) -> None:
        """Measure as many cells as fit into memory together until they have their answers."""
        cells = "1 cell" if len(waiting) == 1 else f"{len(waiting)} cells in turn"
        self.context.listener.phase(f"measuring {self.name}, {cells}")
        self.part += 1
        together = self._generation(waiting, canary)
        if len(together) < len(waiting):
            self.context.listener.note(
                f"memory holds {len(together)} of {len(waiting)} workers at once: the others are "
                "measured afterwards, and ratios between the two are not paired."
            )
        while active := [state for state in together if not state.stop]:
            self._generation(active, canary)

    def _generation(self, active: Sequence[CellState], canary: Worker) -> list[CellState]:
        """One more invocation of each cell; the cells that had room, failed ones included."""
        members, without_room = self._start_members(active)
        active = [state for state in active if state not in without_room]
        for state in active:
            state.group = state.group or f"{self.name}, part {self.part}"
        own = [os.getpid(), canary.pid, *(member.worker.pid for member in members)]
        try:
            with round_watcher(own, self.cpus) as watcher:
                watcher.start()
                canary_blocks = self.rounds(members, canary)
                reasons = tuple(watcher.stop().disturbed())
            self._collect(members, canary_blocks, reasons)
        finally:
            for member in members:
                member.watcher.close()
                member.worker.kill()
        for state in active:
            if not state.stop:
                self._show(state)
        for state, reason in stops([s for s in active if not s.stop], self.states, self.suite):
            self._stop(state, reason)
        self.generation += 1
        return active

    def _start_members(self, active: Sequence[CellState]) -> tuple[list[Member], list[CellState]]:
        """A worker for each cell, as long as memory lasts; and the cells that found no room."""
        members: list[Member] = []
        without_room: list[CellState] = []
        largest_bytes = 0
        try:
            for position in self.context.rng.permutation(len(active)):
                state = active[position]
                if members and not room_for_another(largest_bytes):
                    without_room.append(state)
                    continue
                with self.failing(state):
                    members.append(start_member(state, self.context))
                    largest_bytes = max(largest_bytes, members[-1].grown_bytes)
        except BaseException:
            for member in members:
                member.worker.kill()
            raise
        new = {m.state.cell.id: float(m.warmup["latency_ns"]) for m in members}
        if not set(new) <= set(self.beats):
            self.beats = equal_beats(new)
            for member in members:
                self._doubt_percentile(member)
        return members, without_room

    def _doubt_percentile(self, member: Member) -> None:
        """Say, before anything is timed, that a p99 is out of reach, and what would be enough."""
        cell, suite = member.state.cell, self.suite
        if cell.is_rate:
            return
        needed = minimum_samples(P99)
        latency_s = member.warmup["latency_ns"] / 1e9
        per_invocation = ROUNDS * self.beats[cell.id].calls
        enough_s = math.ceil(needed * latency_s)
        if suite.max_time_s < enough_s:
            remedy = f"--max-time {enough_s}"
        elif suite.max_invocations * per_invocation < needed:
            remedy = f"--max-invocations {math.ceil(needed / per_invocation)}"
        else:
            return
        self.context.listener.note(
            f"{cell.label}: a p99 needs {needed} queries, which don't fit at {latency_s:.2g} s "
            f"each; {remedy} would be enough."
        )

    def _start_canary(self) -> Worker:
        worker = self.context.launcher.worker(CANARY_RUNTIME, 1)
        device = {"id": "cpu", "vendor": "", "name": CANARY}
        options = {"threads": 1, "allow_fallback": False, "shapes": {}, "extra": {}}
        cpus = list(self.cpus[-1:])
        worker.request("load", model={"name": CANARY}, device=device, options=options, cpus=cpus)
        worker.request("bind", names=[], lane="prepared")
        warmup, _ = worker.request("warm-up", budget_s=WARMUP_BUDGET_S)
        self.beats_canary = beat_for(warmup["latency_ns"])
        return worker

    def rounds(self, members: list[Member], canary: Worker) -> list[Block]:
        """Blocks in random turn; a member whose worker fails leaves, the others go on."""
        canary_blocks: list[Block] = []
        for number in range(ROUNDS):
            for position, turn in enumerate(self.context.rng.permutation(len(members) + 1)):
                if turn == len(members):
                    canary_blocks.append(self.canary_block(canary, number, position))
                    continue
                member = members[turn]
                if member.state.failure is None:
                    with self.failing(member.state):
                        member.blocks.append(self._block(member, number, position))
        self._again_where_disturbed(members)
        return canary_blocks

    def _again_where_disturbed(self, members: Sequence[Member]) -> None:
        """One more block for each that was disturbed, in rounds like the others."""
        for number in range(ROUNDS, ROUNDS + EXTRA_ROUNDS):
            short = [
                member
                for member in members
                if member.state.failure is None and undisturbed(member.blocks) < ROUNDS
            ]
            for position, turn in enumerate(self.context.rng.permutation(len(short))):
                with self.failing(short[turn].state):
                    short[turn].blocks.append(self._block(short[turn], number, position))

    def _block(self, member: Member, number: int, position: int) -> Block:
        beat = self.beats[member.state.cell.id]
        with self.context.account.useful(member.state):
            member.watcher.start()
            _, (latency_ns,) = member.worker.request(
                "block", calls=beat.calls, discard=beat.discard
            )
            disturbed = bool(member.watcher.stop().disturbed(BLOCK_THRESHOLDS))
        return Block(member.state.cell.id, self.generation, number, position, latency_ns, disturbed)

    def canary_block(self, canary: Worker, number: int, position: int) -> Block:
        beat = self.beats_canary
        with self.context.account.useful():
            _, (latency_ns,) = canary.request("block", calls=beat.calls, discard=beat.discard)
        return Block(CANARY, self.generation, number, position, latency_ns)

    def _collect(
        self,
        members: Sequence[Member],
        canary_blocks: Sequence[Block],
        reasons: tuple[str, ...],
    ) -> None:
        """Write what the generation gave, then take it into account."""
        canary_ns = float(np.median(np.concatenate([b.latency_ns for b in canary_blocks])))
        done: list[tuple[Member, Invocation]] = []
        for member in members:
            if member.state.failure is None:
                with self.failing(member.state):
                    done.append((member, self._end(member, canary_ns, reasons)))
        blocks = [block for member, _ in done for block in member.blocks]
        if done:
            self.context.store.write_samples(
                f"{self.name.replace(' ', '-')}-{self.generation:04d}", [*canary_blocks, *blocks]
            )
            self.context.store.append_invocations([invocation for _, invocation in done])
        for member, invocation in done:
            member.state.invocations.append(invocation)
            member.state.samples[invocation.index] = trusted_samples(member.blocks)

    def _end(self, member: Member, canary_ns: float, reasons: tuple[str, ...]) -> Invocation:
        """Take outputs and memory from the worker that was timed, and let it go."""
        state = member.state
        with self.context.account.useful(state):
            if state.cell.lane != "api":
                _, state.outputs = member.worker.request("fetch")
            memory, _ = member.worker.request("memory")
            readings = device_readings(member)
            # The last thing: copying needs memory of its own, and is not what is measured here.
            copies = copy_times(member)
            member.worker.end()
        state.placement = member.bind["placement"]
        latency_ns = trusted_samples(member.blocks)
        beat = self.beats[state.cell.id]
        return Invocation(
            cell_id=state.cell.id,
            index=self.generation,
            load_ns=member.load["load_ns"] + member.bind["bind_ns"],
            first_inference_ns=member.bind["first_inference_ns"],
            warmup_calls=member.warmup["calls"],
            settled=member.warmup["settled"],
            calls=len(latency_ns),
            blocks=len(member.blocks),
            discarded_calls=beat.discard * len(member.blocks),
            median_ns=median(latency_ns),
            floor_ns=floor(latency_ns),
            busy_ns=int(latency_ns.sum()),
            peak_rss_bytes=memory["peak_rss_bytes"],
            rss_before_load_bytes=member.load["rss_before_load_bytes"],
            canary_ns=canary_ns,
            disturbed_blocks=sum(block.disturbed for block in member.blocks),
            disturbances=reasons,
            cpus=self.context.cpus[state.planned.cores],
            queries_per_call=member.bind["queries_per_call"],
            capacity_per_s=member.capacity_per_s,
            generator_late_ns=member.generator_late_ns,
            h2d_ns=copies.get("h2d_ns"),
            d2h_ns=copies.get("d2h_ns"),
            **summarise(readings),
        )

    def _show(self, state: CellState) -> None:
        count = len(state.invocations)
        confidence = self.suite.confidence
        width = relative_half_width(state.figures(), confidence) if count > 1 else None
        median = float(np.median([i.median_ns for i in state.invocations])) if count else None
        self.context.listener.cell_progress(state.cell, count, median, width)

    def _stop(self, state: CellState, reason: StopReason) -> None:
        state.stop = reason
        self.context.finish(state)

    @contextmanager
    def failing(self, state: CellState) -> Iterator[None]:
        """A typed error ends this cell, not the run."""
        try:
            yield
        except BenchError as error:
            state.failure = error
            self._stop(state, "failed")
