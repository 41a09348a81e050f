"""Cells that LoadGen drives: each invocation is one test of it, in a worker of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.errors import WorkerCrashed
from bench.measure.beats import DISCARDED_CALLS
from bench.measure.canary import Canary
from bench.measure.capacity_search import TOLERANCE, Made, find_capacity
from bench.measure.group import Group
from bench.measure.loadgen.asked import (
    library_of,
    loadgen_of,
    longest_s,
    performance_test,
    scenario_of,
    trial,
)
from bench.measure.member import Member
from bench.measure.server_group import bounds_of, refuse_too_long
from bench.record.block import Block
from bench.record.facts import Trial
from bench.record.loadgen import DETAIL, LoadGenSaid, said
from bench.stats.percentile import floor
from bench.worker.messages import DriveLoadGen, Driven, TimedBlock

#: LoadGen counts its first query as it does the others.
_ALL_COUNT = "LoadGen counts every query"


class LoadGenGroup(Group):
    """Their tests take turns in random order, whole: LoadGen's can't be cut into blocks."""

    def rounds(self, members: list[Member], canary: Canary) -> list[Block]:
        """One test of each member, the canary before each."""
        canary_blocks: list[Block] = []
        for position, turn in enumerate(self.context.rng.permutation(len(members))):
            member = members[turn]
            name = member.state.cell.id
            self.beats[name] = replace(self.beats[name], discard=0, why=_ALL_COUNT)
            canary_blocks += self.canary_blocks(canary, 0, 2 * position)
            with self.failing(member):
                member.blocks.append(self._tested(member, 2 * position + 1))
        return canary_blocks or self.canary_blocks(canary, 0, 0)

    def _doubt_percentile(self, member: Member) -> None:
        """How many queries there are is LoadGen's to say."""

    def _tested(self, member: Member, position: int) -> Block:
        """One test, its figures noted and its logs kept."""
        cell = member.state.cell
        kept = f"loadgen/{cell.id}/run_{self.generation + 1}"
        logs = self.context.store.folder(kept)
        with self.context.account.useful(member.state):
            beat = self.beats[cell.id]
            alone = member.worker.timed_block(calls=beat.calls, discard=DISCARDED_CALLS)
            test = performance_test(
                cell,
                logs,
                floor(alone.latency_ns),
                member.bound.queries_per_call,
                self._rate(member, alone),
            )
            member.watcher.start()
            asked = DriveLoadGen(test, library_of(member.state.planned))
            driven = member.worker.drive_loadgen(asked, longest_s(test))
            member.note_wait(member.watcher.stop())
        member.loadgen = said_in(logs, kept, driven, traced=test.traced)
        return Block(cell.id, self.generation, 0, position, driven.latency_ns)

    def _rate(self, member: Member, alone: TimedBlock) -> float | None:
        """The rate of a server: the one that is asked for, else the highest that is found to hold
        by trials through LoadGen."""
        cell = member.state.cell
        if scenario_of(cell) != "Server":
            return None
        given = loadgen_of(cell).target_qps
        return self._searched(member, alone) if given is None else given

    def _searched(self, member: Member, alone: TimedBlock) -> float:
        cell = member.state.cell
        # As for our own search: each begins at a place of its own.
        service_ns = floor(alone.latency_ns) * (1 + TOLERANCE * self.context.rng.random())
        tried: list[float] = []
        with tempfile.TemporaryDirectory(prefix="bench-loadgen-") as folder:
            try_rate = self._trial(member, Path(folder), tried)
            found = find_capacity(try_rate, service_ns, bounds_of(cell, alone, service_ns))
        member.trials = tuple(
            Trial(rate_per_s=rate, held=held, late_ns=0)
            for rate, held in zip(tried, found.held, strict=True)
        )
        return found.rate_per_s

    def _trial(
        self, member: Member, logs: Path, tried: list[float]
    ) -> Callable[[float, int, int], Made]:
        """What makes a trial of the member; LoadGen can't give one up early."""

        def one(rate_per_s: float, queries: int, allowed: int) -> Made:
            refuse_too_long(queries / rate_per_s, queries, self.suite.cell_timeout_s)
            test = trial(member.state.cell, logs, rate_per_s, queries)
            seed = int(self.context.rng.integers(0, 2**31))
            asked = DriveLoadGen(replace(test, schedule_rng_seed=str(seed)))
            driven = member.worker.drive_loadgen(asked, longest_s(test))
            tried.append(rate_per_s)
            return Made(driven.latency_ns)

        return one


def said_in(logs: Path, kept: str, driven: Driven, *, traced: bool) -> LoadGenSaid:
    """What LoadGen wrote of a test in the folder ``logs``, which the run knows as ``kept``."""
    try:
        text = (logs / DETAIL).read_text("utf-8", errors="replace")
    except OSError as error:
        raise WorkerCrashed(f"LoadGen left no log in {logs}: {error.strerror}.") from error
    return said(text, kept, call_ns=float(np.median(driven.call_ns)), traced=traced)
