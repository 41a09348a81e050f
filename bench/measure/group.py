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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np

from bench.cell import Cell
from bench.discover import load_object
from bench.errors import BenchError, OutOfMemory
from bench.files import file_stem
from bench.machine.disturbance import round_watcher
from bench.measure.beats import Beat, equal_beats
from bench.measure.canary import Canary
from bench.measure.member import (
    BLOCK_THRESHOLDS,
    Context,
    Member,
    asides,
    cpus_of,
    facts_of,
    keep_placement,
    last_words,
    let_go,
    send_away,
    used_by,
)
from bench.measure.pace.rounds import takes_part
from bench.measure.pace.spending import ROUNDS, Spending
from bench.measure.pace.stops import P99, stops
from bench.measure.starting import Room, start_members
from bench.measure.state import CellState
from bench.measure.taken import as_answered, figured
from bench.record.assemble import canary_median
from bench.record.block import CANARY, Block, block_medians
from bench.record.estimate import relative_half_width
from bench.record.facts import WorkerFacts
from bench.record.result import Invocation, StopReason
from bench.runtimes.client import Worker
from bench.scenarios import find_scenario
from bench.stats.percentile import minimum_samples
from bench.unchanged import check_unchanged

#: At most so many rounds more, for blocks that were disturbed.
EXTRA_ROUNDS = 4


#: An invocation of which a larger part of the blocks was disturbed is followed by a look at which
#: CPUs are idle; as for the mark of a cell (`bench.record.estimate`).
MOVING_SHARE = 0.25


def shares_cpu(member: Member) -> bool:
    """Whether other programs had the member's CPUs in too many of its blocks; those of a server are
    never marked as disturbed, but how long it waited is told of them too."""
    disturbed = sum(block.disturbed for block in member.blocks)
    waited = sum(share > BLOCK_THRESHOLDS.wait_share for share in member.waited)
    return max(disturbed, waited) > MOVING_SHARE * len(member.blocks)


def undisturbed(blocks: Sequence[Block]) -> int:
    """How many of the blocks nothing disturbed."""
    return sum(not block.disturbed for block in blocks)


class Group:
    """Cells that are measured interleaved until each has its answer or its budget is spent."""

    def __init__(self, name: str, states: Sequence[CellState], context: Context) -> None:
        self.name = name
        self.states = list(states)
        self.context = context
        self.suite = context.suite
        self.part = 0
        self.elsewhere = True  #: the CPUs are chosen anew before the next generation
        self.beats: dict[str, Beat] = {}
        self.room = Room()
        self.spending = Spending(self.suite, context.allowance.cell_s)
        self.workers: list[Worker] = []  #: all that this generation had or has
        self.apart: list[CellState] = []  #: of it, those to be measured when the others have ended
        self.failed: list[CellState] = []  #: of this generation, whose records wait for its end
        taken = [i.index for state in states for i in state.invocations]
        self.generation = max([context.first_generation, *(index + 1 for index in taken)])

    def run(self) -> None:
        """Measure; every cell ends with a record. Interrupting loses at most one generation."""
        with Canary(self.context.launcher) as canary:
            while waiting := [state for state in self.states if not state.stop]:
                self._part(waiting, canary)

    @property
    def cpus(self) -> tuple[int, ...]:
        """Those that the cells of the group are measured on now."""
        return self.context.cpus[max(state.planned.cores for state in self.states)]

    def _part(self, waiting: Sequence[CellState], canary: Canary) -> None:
        """Measure as many cells as fit into memory together until they have their answers."""
        cells = "1 cell" if len(waiting) == 1 else f"{len(waiting)} cells in turn"
        self.context.listener.phase(f"measuring {self.name}, {cells}")
        self.part += 1
        together = self._generation(waiting, canary)
        self.context.first_seen(together)
        fitting = [state for state in waiting if state.cell.id not in self.room.apart]
        if any(state not in together for state in fitting):
            self.context.listener.note(
                f"only {len(together)} of {len(fitting)} workers fit in memory at once: the "
                "others are measured afterwards, and ratios between the two groups are not paired."
            )
        while active := [state for state in together if not state.stop]:
            self._generation(active, canary)
            together = [state for state in together if state not in self.apart]

    def _generation(self, active: Sequence[CellState], canary: Canary) -> list[CellState]:
        """One more invocation of each cell; the cells that had room, failed ones included."""
        self.apart = []
        self._choose_cpus(canary)
        began_s = self.context.account.total_s
        members, without_room = self._start_members(active)
        try:
            self.spending.started(self.context.account.total_s - began_s, len(members))
            active = [state for state in active if state not in without_room]
            workers = [*canary.workers, *(member.worker for member in members)]
            own = [os.getpid(), *(worker.pid for worker in workers)]
            used = {cpu for state in active for cpu in cpus_of(state.planned, self.context)}
            with round_watcher(own, sorted({*used, *self.cpus}), used_by(workers)) as watcher:
                watcher.start()
                canary_blocks = self.rounds(members, canary)
                reasons = tuple(watcher.stop().disturbed())
            self.elsewhere = any(shares_cpu(member) for member in members)
            self._collect(members, canary_blocks, reasons)
            active = [state for state in active if state not in self.apart]
            for state in active:
                state.group = state.group or f"{self.name}, part {self.part}"
        finally:
            for member in members:
                let_go(member)
        for state in active:
            if not state.stop:
                self._show(state)
        seconds = self.context.account.total_s - began_s
        # Another generation would end later by most of itself.
        late = self.context.allowance.left_s() < seconds / 2
        asked = [state for state in active if not state.stop]
        least = self.spending.least_half_widths(asked)
        for state, reason in stops(asked, self.states, self.suite, late=late, least=least):
            self._stop(state, reason)
        for state in asked:
            state.overdrawn |= not state.stop and state.spent_s >= self.suite.max_time_s
        self.generation += 1
        waiting = [state for state in self.states if not state.stop]
        self.context.measured(active, waiting, seconds)
        # Only now that no worker lives: a record takes scores and references, which compute.
        while self.failed:
            self.context.finish(self.failed.pop(0))
        return active

    def _start_members(self, active: Sequence[CellState]) -> tuple[list[Member], list[CellState]]:
        """A worker for each cell, as long as memory lasts; and the cells that found no room, those
        that ran out of memory among them."""
        order = [active[position] for position in self.context.rng.permutation(len(active))]
        # Calls of a block are equal among cells of similar latency: all are sized, or none.
        sized = self.beats.keys() if {s.cell.id for s in active} <= self.beats.keys() else ()
        self.room.emptied()
        started = start_members(order, self.context, self.room, sized, glimpses=True)
        self.workers = started.workers
        for state, error in started.failed:
            self._fail(state, error)
        for state in started.ran_out:
            self._set_apart(state)
        new = {m.state.cell.id: float(m.warmup.latency_ns) for m in started.members}
        if not set(new) <= set(self.beats):
            self.beats = equal_beats(new)
            for member in started.members:
                self._doubt_percentile(member)
        return started.members, started.without_room

    def _doubt_percentile(self, member: Member) -> None:
        """Say, before anything is timed, that a p99 is out of reach, and what would be enough."""
        cell, suite = member.state.cell, self.suite
        if cell.is_rate:
            return
        needed = minimum_samples(P99)
        latency_s = member.warmup.latency_ns / 1e9
        per_invocation = self._usual_rounds(member) * self.beats[cell.id].calls
        enough_s = math.ceil(needed * latency_s)
        if suite.max_time_s < enough_s:
            remedy = f"--max-time {enough_s}"
        elif suite.max_invocations * per_invocation < needed:
            remedy = f"--max-invocations {math.ceil(needed / per_invocation)}"
        else:
            return
        self.context.listener.note(
            f"{cell.label}: a p99 needs {needed} queries, too many at {latency_s:.2g} s each; "
            f"raise the limit with {remedy}."
        )

    def _choose_cpus(self, canary: Canary) -> None:
        """Where this generation is measured: where the one before it was, if it had its CPUs for
        itself, else on the idlest CPUs as they are now, all cells and the canary alike."""
        if self.elsewhere:
            self.context.cpus.choose_again()
        with self.context.account.useful():
            canary.stay_on(self.cpus[-1])

    def rounds(self, members: list[Member], canary: Canary) -> list[Block]:
        """Blocks in random turn; a member whose worker fails leaves, the others go on.

        Where nothing was learned of a cell yet, it has the usual ones, and then as many more as
        these say are worth it."""
        rounds = self._rounds_of(members)
        canary_blocks = self._turns(members, canary, 0, rounds)
        self._find_openings(members)
        self._show_first(members)
        done = max(rounds.values(), default=0)
        new = [m for m in members if not self.spending.knows(m.state.cell.id)]
        unfinished = {m.state.cell.id: m.blocks for m in new if not m.gone}
        if unfinished:
            found = self.spending.plans(self._alive(members), self.beats, unfinished)
            more = {k: found[k].rounds - rounds[k] for k in unfinished if k in found}
            canary_blocks += self._turns(members, canary, done, more)
        self._again_where_disturbed(members)
        return canary_blocks

    def _rounds_of(self, members: Sequence[Member]) -> dict[str, int]:
        """How many each member begins this generation with; its blocks may be longer from here."""
        found = self.spending.plans(self._alive(members), self.beats)
        self.beats |= {cell_id: plan.beat for cell_id, plan in found.items()}
        usual = {member.state.cell.id: self._usual_rounds(member) for member in members}
        return {i: found[i].rounds if i in found else rounds for i, rounds in usual.items()}

    def _usual_rounds(self, member: Member) -> int:
        """Those of a cell of which nothing is known but about how long a call takes; the first
        blocks have their opening besides."""
        beat = self.beats[member.state.cell.id]
        calls = beat.calls + beat.most_opening
        return self.spending.usual_rounds(calls * member.warmup.latency_ns / 1e9)

    @staticmethod
    def _alive(members: Sequence[Member]) -> list[CellState]:
        return [member.state for member in members if not member.gone]

    def _turns(
        self, members: Sequence[Member], canary: Canary, first: int, wanted: Mapping[str, int]
    ) -> list[Block]:
        """So many rounds for each cell, spread over those of the cell that gets most; the canary
        takes part in `ROUNDS` at most. The rounds count on from ``first``."""
        canary_blocks: list[Block] = []
        total = max(wanted.values(), default=0)
        for number in range(total):
            turns: list[Member | None] = [  # None is the canary's
                member
                for member in members
                if takes_part(number, wanted.get(member.state.cell.id, 0), total)
            ]
            if takes_part(number, min(ROUNDS, total), total):
                turns.append(None)
            for position, turn in enumerate(self.context.rng.permutation(len(turns))):
                member = turns[turn]
                if member is None:
                    canary_blocks += self.canary_blocks(canary, first + number, position)
                elif not member.gone:
                    with self.failing(member):
                        member.blocks.append(self.block(member, first + number, position))
        return canary_blocks

    def _find_openings(self, members: Sequence[Member]) -> None:
        """How many calls at the beginning of each block aren't to count, where that isn't known:
        the first blocks were timed from their first call on, and lose it now."""
        for member in members:
            beat = self.beats[member.state.cell.id]
            if beat.why or not member.blocks or member.gone:
                continue
            found = beat.sought([block.latency_ns for block in member.blocks])
            self.beats[member.state.cell.id] = found
            member.blocks = [block.without_opening(found.discard) for block in member.blocks]

    def _again_where_disturbed(self, members: Sequence[Member]) -> None:
        """One more block for each that was disturbed, in rounds like the others."""
        first = 1 + max((b.round for member in members for b in member.blocks), default=-1)
        enough = {m.state.cell.id: min(ROUNDS, len(m.blocks)) for m in members}
        for number in range(first, first + EXTRA_ROUNDS):
            short = [
                member
                for member in members
                if not member.gone and undisturbed(member.blocks) < enough[member.state.cell.id]
            ]
            for position, turn in enumerate(self.context.rng.permutation(len(short))):
                with self.failing(short[turn]):
                    short[turn].blocks.append(self.block(short[turn], number, position))

    def block(self, member: Member, number: int, position: int) -> Block:
        """So many calls of one member, back to back; all that it makes while it isn't known how
        many of the first are not to count."""
        beat = self.beats[member.state.cell.id]
        calls, discard = beat.calls, beat.discard
        if not beat.why:
            calls, discard = beat.calls + beat.most_opening, 0
        began_s = self.context.account.total_s
        with self.context.account.useful(member.state):
            member.watcher.start()
            timed = member.worker.timed_block(calls=calls, discard=discard)
            seen = member.watcher.stop()
        self.spending.note_block(member.state.cell.id, self.context.account.total_s - began_s)
        member.note_wait(seen)
        return Block(
            member.state.cell.id,
            self.generation,
            number,
            position,
            timed.latency_ns,
            disturbed=bool(seen.disturbed(BLOCK_THRESHOLDS)),
            ttft_ns=timed.ttft_ns,
            gaps_ns=timed.gaps_ns,
        )

    def canary_blocks(self, canary: Canary, number: int, position: int) -> list[Block]:
        """One block of the canary; none where it died in it."""
        with self.context.account.useful():
            latency_ns = canary.block()
        if latency_ns is None:
            return []
        return [Block(CANARY, self.generation, number, position, latency_ns)]

    def _collect(
        self,
        members: Sequence[Member],
        canary_blocks: Sequence[Block],
        reasons: tuple[str, ...],
    ) -> None:
        """Write what the generation gave, then take it into account."""
        canary_ns = canary_median(canary_blocks)
        done: list[tuple[Member, WorkerFacts, Invocation]] = []
        for member in members:
            if not member.gone:
                with self.failing(member):
                    told = self._end(member, reasons)
                    done.append((member, told, figured(told, member.blocks, canary_ns)))
        blocks = [block for member, *_ in done for block in member.blocks]
        if done:
            stem = file_stem(self.name.replace(" ", "-"))
            self.context.store.write_samples(
                f"{stem}-{self.generation:04d}", [*canary_blocks, *blocks]
            )
            self.context.store.append_workers([told for _, told, _ in done])
            self.context.store.append_invocations([one for *_, one in done])
            self.spending.note({m.state.cell.id: m.blocks for m, *_ in done})
            for member, _, one in done:
                member.state.invocations.append(one)
                member.state.take(one.index, member.blocks)

    def _end(self, member: Member, reasons: tuple[str, ...]) -> WorkerFacts:
        """Take outputs and facts from the worker that was timed, and let it go."""
        state = member.state
        check_unchanged(state.planned.loads.file)  # a runtime may have mapped it, and not copied
        with self.context.account.useful(state):
            if state.cell.lane != "api":
                state.outputs = state.planned.given(member.worker.fetch())
            said = last_words(member)
        with self.context.account.useful():  # a device is timed in a session that loads once more
            said |= asides(member, self.context.listener.note)
        with self.context.account.useful(state):
            member.worker.end()
        keep_placement(state, member.bound)
        told = facts_of(member, self.generation, self.beats[state.cell.id], said)
        return told.model_copy(
            update={"disturbances": reasons, "cpus": cpus_of(state.planned, self.context)}
        )

    def _show_first(self, members: Sequence[Member]) -> None:
        """The first figures, as soon as there are any: further rounds may take a while."""
        for member in members:
            state = member.state
            if not state.invocations and member.blocks and not member.gone:
                median = float(np.median(block_medians(member.blocks)))
                self.context.listener.cell_progress(state.cell, 1, median, None)

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
    def failing(self, member: Member) -> Iterator[None]:
        """An error ends this cell and its worker, not the run: one that was meant, or what came of
        an answer that nobody thought of. What ran out of memory beside others isn't too large for
        it: it is measured when these have ended."""
        try:
            with as_answered(member.state.cell.target):
                yield
        except BenchError as error:
            send_away(member)
            if isinstance(error, OutOfMemory) and member.worker.was_beside(self.workers):
                self._set_apart(member.state)
            else:
                self._fail(member.state, error)

    def _set_apart(self, state: CellState) -> None:
        """It is measured when the others have ended, in this generation and in all that follow."""
        self.room.set_apart(state)
        self.apart.append(state)
        self.context.listener.note(
            f"{state.cell.label} ran out of memory beside others: it is measured after them, and "
            "its ratios to them are not paired from here on."
        )

    def _fail(self, state: CellState, error: BenchError) -> None:
        state.failure, state.stop = error, "failed"
        self.failed.append(state)


#: What measures cells whose queries MLPerf's LoadGen issues.
LOADGEN = "bench.measure.loadgen.group:LoadGenGroup"


def group_class(cell: Cell) -> type[Group]:
    """What measures a cell, and those of the same load."""
    scenario = find_scenario(cell.scenario)
    path = scenario.group if cell.loadgen is None else LOADGEN
    return cast("type[Group]", load_object("group", scenario.name, path))
