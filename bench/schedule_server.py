"""Server cells: each invocation searches for the highest rate at which its bound holds."""

from __future__ import annotations

import numpy as np

from bench.launch import Worker
from bench.schedule import Group, Member
from bench.server import Array, find_capacity
from bench.store import Block


class ServerGroup(Group):
    """Cells whose figure is a capacity. Their searches take turns in random order, whole: queries
    that arrive at random moments can't be cut into blocks."""

    def rounds(self, members: list[Member], canary: Worker) -> list[Block]:
        """One search for each member, the canary before each."""
        canary_blocks: list[Block] = []
        for position, turn in enumerate(self.context.rng.permutation(len(members))):
            member = members[turn]
            canary_blocks.append(self.canary_block(canary, 0, 2 * position))
            with self.failing(member.state):
                member.blocks.append(self._search(member, 2 * position + 1))
        return canary_blocks or [self.canary_block(canary, 0, 0)]

    def _search(self, member: Member, position: int) -> Block:
        cell = member.state.cell
        assert cell.latency_bound_ns is not None
        bound_ns = cell.latency_bound_ns
        service_ns = float(np.median(self._service(member)))
        seeds = iter(self.context.rng.integers(0, 2**31, size=1000).tolist())

        def trial(rate_per_s: float, queries: int, allowed: int) -> Array:
            _, (latency_ns,) = member.worker.request(
                "open-loop",
                rate_per_s=rate_per_s,
                queries=queries,
                seed=next(seeds),
                bound_ns=bound_ns,
                allowed_above=allowed,
            )
            return latency_ns

        with self.context.account.useful(member.state):
            member.watcher.start()
            found = find_capacity(trial, service_ns, bound_ns)
            # Waiting for a query to arrive is no disturbance, so only the counts are looked at.
            member.watcher.stop()
        member.capacity_per_s = found.rate_per_s
        return Block(cell.id, self.generation, 0, position, found.latency_ns)

    def _service(self, member: Member) -> Array:
        """Latencies of back-to-back calls, the upper end of what the search has to try."""
        beat = self.beats[member.state.cell.id]
        with self.context.account.useful(member.state):
            _, (latency_ns,) = member.worker.request(
                "block", calls=beat.calls, discard=beat.discard
            )
        return latency_ns
