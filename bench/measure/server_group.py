"""Server cells: each invocation searches for the highest rate at which its bounds hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bench.arrays import Array
from bench.cell import Cell
from bench.errors import Unsupported
from bench.measure.canary import Canary
from bench.measure.capacity_search import (
    TOLERANCE,
    Bound,
    Made,
    find_capacity,
    latency_bound,
    tpot_bound,
    ttft_bound,
)
from bench.measure.group import Group
from bench.measure.member import Member
from bench.numbers import duration, significant
from bench.record.block import Block
from bench.record.facts import Trial
from bench.record.queries import time_per_token
from bench.scenarios import find_scenario
from bench.stats.percentile import floor
from bench.worker.messages import Bounds, ServeQueries, TimedBlock


class ServerGroup(Group):
    """Cells whose figure is a capacity. Their searches take turns in random order, whole: queries
    that arrive at random moments can't be cut into blocks."""

    def rounds(self, members: list[Member], canary: Canary) -> list[Block]:
        """One search for each member, the canary before each."""
        canary_blocks: list[Block] = []
        for position, turn in enumerate(self.context.rng.permutation(len(members))):
            member = members[turn]
            canary_blocks += self.canary_blocks(canary, 0, 2 * position)
            with self.failing(member):
                member.blocks.append(self._search(member, 2 * position + 1))
        return canary_blocks or self.canary_blocks(canary, 0, 0)

    def _search(self, member: Member, position: int) -> Block:
        cell = member.state.cell
        alone = self._alone(member)
        # Searches that begin at the same rate end at the same few rates, which would look like
        # agreement: each begins at a place of its own.
        begin = 1 + TOLERANCE * self.context.rng.random()
        service_ns = floor(alone.latency_ns) * begin
        tried: list[tuple[float, float]] = []  # rate, how late the generator was
        trial = self._trial(member, tried)
        with self.context.account.useful(member.state):
            member.watcher.start()
            found = find_capacity(trial, service_ns, bounds_of(cell, alone, service_ns))
            # Waiting for a query to arrive is no disturbance, so only the counts are looked at.
            member.note_wait(member.watcher.stop())
        member.trials = tuple(
            Trial(rate_per_s=rate_per_s, held=held, late_ns=late_ns)
            for (rate_per_s, late_ns), held in zip(tried, found.held, strict=True)
        )
        made = found.made
        return Block(cell.id, self.generation, 0, position, made.latency_ns, ttft_ns=made.ttft_ns)

    def _trial(
        self, member: Member, tried: list[tuple[float, float]]
    ) -> Callable[[float, int, int], Made]:
        """What makes a trial of the member; what it tried is noted."""
        cell, beat = member.state.cell, self.beats[member.state.cell.id]
        seeds = iter(self.context.rng.integers(0, 2**31, size=1000).tolist())
        bounds = Bounds(cell.latency_bound_ns, cell.ttft_bound_ns, cell.tpot_bound_ns)
        answer = find_scenario(cell.scenario).answer or 0

        def trial(rate_per_s: float, queries: int, allowed: int) -> Made:
            refuse_too_long(queries / rate_per_s, queries, self.suite.cell_timeout_s)
            served = member.worker.serve_queries(
                ServeQueries(
                    rate_per_s=rate_per_s,
                    queries=queries,
                    seed=next(seeds),
                    bounds=bounds,
                    allowed_above=allowed,
                    discard=beat.discard,
                )
            )
            tried.append((rate_per_s, served.generator_late_ns))
            return Made(served.latency_ns, served.ttft_ns, answer)

        return trial

    def _alone(self, member: Member) -> TimedBlock:
        """Back-to-back calls, which tell where to begin."""
        beat = self.beats[member.state.cell.id]
        with self.context.account.useful(member.state):
            return member.worker.timed_block(calls=beat.calls, discard=beat.discard)


def bounds_of(cell: Cell, alone: TimedBlock, service_ns: float) -> Sequence[Bound]:
    """The bounds of a cell, with what queries take that nothing disturbs."""
    if cell.latency_bound_ns is not None:
        return [latency_bound(cell.latency_bound_ns, service_ns)]
    answer = find_scenario(cell.scenario).answer
    assert answer is not None
    assert alone.ttft_ns is not None
    found = []
    if cell.ttft_bound_ns is not None:
        found.append(ttft_bound(cell.ttft_bound_ns, floor(alone.ttft_ns)))
    per_token_ns: Array | None = time_per_token(alone.latency_ns, alone.ttft_ns, answer)
    if cell.tpot_bound_ns is not None and per_token_ns is not None:
        found.append(tpot_bound(cell.tpot_bound_ns, floor(per_token_ns)))
    return found


def refuse_too_long(trial_s: float, queries: int, timeout_s: float) -> None:
    """Raise `Unsupported` for a trial that would be taken for a worker that hangs."""
    if trial_s > timeout_s:
        enough_s = math.ceil(2 * trial_s)
        raise Unsupported(
            f"a trial of {queries} queries, which a p99 needs, takes {duration(trial_s * 1e9)} at "
            f"{significant(queries / trial_s, 2)} queries/s, longer than --cell-timeout allows. "
            f"Give --cell-timeout {enough_s}, or shorter queries."
        )
