"""Server cells: each invocation searches for the highest rate at which its bound holds."""

from __future__ import annotations

from bench.arrays import Array
from bench.measure.canary import Canary
from bench.measure.capacity_search import TOLERANCE, find_capacity
from bench.measure.group import Group
from bench.measure.member import Member
from bench.record.block import Block
from bench.record.facts import Trial
from bench.stats.percentile import floor
from bench.worker.messages import ServeQueries


class ServerGroup(Group):
    """Cells whose figure is a capacity. Their searches take turns in random order, whole: queries
    that arrive at random moments can't be cut into blocks."""

    def rounds(self, members: list[Member], canary: Canary) -> list[Block]:
        """One search for each member, the canary before each."""
        canary_blocks: list[Block] = []
        for position, turn in enumerate(self.context.rng.permutation(len(members))):
            member = members[turn]
            canary_blocks += self.canary_blocks(canary, 0, 2 * position)
            with self.failing(member.state):
                member.blocks.append(self._search(member, 2 * position + 1))
        return canary_blocks or self.canary_blocks(canary, 0, 0)

    def _search(self, member: Member, position: int) -> Block:
        cell = member.state.cell
        assert cell.latency_bound_ns is not None
        bound_ns, beat = cell.latency_bound_ns, self.beats[cell.id]
        # Searches that begin at the same rate end at the same few rates, which would look like
        # agreement: each begins at a place of its own.
        service_ns = floor(self._service(member)) * (1 + TOLERANCE * self.context.rng.random())
        seeds = iter(self.context.rng.integers(0, 2**31, size=1000).tolist())
        tried: list[tuple[float, float]] = []  # rate, how late the generator was

        def trial(rate_per_s: float, queries: int, allowed: int) -> Array:
            served = member.worker.serve_queries(
                ServeQueries(
                    rate_per_s=rate_per_s,
                    queries=queries,
                    seed=next(seeds),
                    bound_ns=bound_ns,
                    allowed_above=allowed,
                    discard=beat.discard,
                )
            )
            tried.append((rate_per_s, served.generator_late_ns))
            return served.latency_ns

        with self.context.account.useful(member.state):
            member.watcher.start()
            found = find_capacity(trial, service_ns, bound_ns)
            # Waiting for a query to arrive is no disturbance, so only the counts are looked at.
            member.note_wait(member.watcher.stop())
        member.trials = tuple(
            Trial(rate_per_s=rate_per_s, held=held, late_ns=late_ns)
            for (rate_per_s, late_ns), held in zip(tried, found.held, strict=True)
        )
        return Block(cell.id, self.generation, 0, position, found.latency_ns)

    def _service(self, member: Member) -> Array:
        """Latencies of back-to-back calls, which tell where to begin."""
        beat = self.beats[member.state.cell.id]
        with self.context.account.useful(member.state):
            return member.worker.block(calls=beat.calls, discard=beat.discard)
