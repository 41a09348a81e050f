"""How many rounds each cell of a group takes part in, learned from what was measured of it.

The first generation begins with the same few rounds for all. What is seen of the blocks there, and
of the processes in each generation, says how many rounds a process is worth (see
`bench.stats.nested.allocation`): a cell that wanders from block to block gets many, one that
doesn't few. The unit of an interval stays the process; pairs stay pairs, for cells with fewer
rounds take part in rounds of those with more (`bench.measure.pace.rounds`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.measure.beats import Beat, lengthened
from bench.measure.pace.stops import P99, ranking_rule, rivals
from bench.measure.state import CellState
from bench.record.block import Block, representative
from bench.spec import DECENT, Suite
from bench.stats.interval import exp
from bench.stats.nested.allocation import (
    FEWEST_ROUNDS,
    Asked,
    Costs,
    half_width,
    longer_blocks,
    rounds_worth,
)
from bench.stats.nested.components import (
    Components,
    against_others,
    calls_variance,
    error_by_blocks,
    estimate,
    intraclass_of,
)
from bench.stats.nested.pairing import Logs, Rounds, difference
from bench.stats.percentile import minimum_samples
from bench.stats.spending import geometric_looks
from bench.stats.stopping import stopping_confidence

#: Rounds of the first generation, after which it is looked at for the first time; the design whose
#: intervals held their coverage where nothing was learned. Slow calls have fewer
#: (`Spending.usual_rounds`).
ROUNDS = 8
#: Blocks are made longer where so many times the first rounds would be wanted: below that there is
#: little to save.
MANY = 2


@dataclass
class Learned:
    """What is known of one cell's blocks."""

    #: of each process's blocks, as logarithms
    medians: list[Logs] = field(default_factory=list)
    #: the same by invocation and round, disturbed blocks included: what is compared has to be there
    #: on both sides, and a few that were hit are left out of a midmean
    rounds: dict[int, Rounds] = field(default_factory=dict)
    calls: list[float] = field(default_factory=list)  #: variance of a median by its calls
    block_s: float = 0.0  #: what the last block took, all that is not timed included
    timed_s: float = 0.0  #: of that in timed calls

    def with_blocks(self, blocks: Sequence[Block]) -> Learned:
        """The same with one more process."""
        taken = representative(blocks)
        variance = calls_variance([block.latency_ns for block in taken])
        timed_s = float(np.mean([block.latency_ns.sum() for block in taken])) / 1e9
        rounds = _by_round(blocks)
        return replace(
            self,
            medians=[*self.medians, np.array([rounds[block.round] for block in taken])],
            rounds={**self.rounds, blocks[0].invocation: rounds},
            calls=[*self.calls, variance],
            timed_s=timed_s,
        )


@dataclass(frozen=True)
class Plan:
    """What a cell gets in each further generation."""

    rounds: int
    beat: Beat  #: what it does in each of them


class Spending:
    """Learns how the cells of a group vary, and what measuring them costs."""

    def __init__(self, suite: Suite, cell_s: float = math.inf) -> None:
        """``cell_s``: what a cell may take of the run's budget."""
        self.suite = suite
        self.cell_s = min(cell_s, suite.max_time_s)
        self.process_s = 0.0  #: of one worker's start, as the account has it
        self.learned: dict[str, Learned] = {}

    def started(self, seconds: float, workers: int) -> None:
        """A generation's workers were started in this time, whether beside each other or not."""
        if workers:
            self.process_s = seconds / workers

    def usual_rounds(self, block_s: float) -> int:
        """As many as a process has before anything is learned: `ROUNDS`, or where blocks take so
        long that the fewest processes would overrun a cell's time, as many as it holds."""
        held = self.suite.max_time_s / self.suite.min_invocations / max(block_s, 1e-9)
        return max(FEWEST_ROUNDS, min(ROUNDS, int(held)))

    def knows(self, cell_id: str) -> bool:
        """Whether a process of the cell was measured."""
        return cell_id in self.learned and bool(self.learned[cell_id].medians)

    def note_block(self, cell_id: str, seconds: float) -> None:
        """A block took so long, all that is not timed included."""
        learned = self.learned.setdefault(cell_id, Learned())
        learned.block_s = seconds

    def note(self, blocks: Mapping[str, Sequence[Block]]) -> None:
        """One more process of each cell."""
        self.learned |= self._with(blocks)

    def _with(self, blocks: Mapping[str, Sequence[Block]]) -> dict[str, Learned]:
        return {
            cell_id: self.learned.get(cell_id, Learned()).with_blocks(mine)
            for cell_id, mine in blocks.items()
            if mine
        }

    def least_half_widths(self, states: Sequence[CellState]) -> dict[str, float]:
        """For each cell, as a share: the half-width of its interval if nothing but its blocks
        varied. A narrower one comes of processes that agree by luck."""
        confidence = stopping_confidence(self.suite.confidence)
        found = {}
        for state in states:
            count = len(state.invocations)
            if count > 1 and self.knows(state.cell.id):
                error = error_by_blocks(self.learned[state.cell.id].medians)
                found[state.cell.id] = exp(half_width(error**2, count, confidence)) - 1
        return found

    def plans(
        self,
        states: Sequence[CellState],
        beats: Mapping[str, Beat],
        unfinished: Mapping[str, Sequence[Block]] | None = None,
    ) -> dict[str, Plan]:
        """For each cell that anything is known of; ``unfinished`` are the blocks of a generation
        that goes on, in which they stay as long as they are."""
        known = self.learned | self._with(unfinished or {})
        known = {s.cell.id: known[s.cell.id] for s in states if s.cell.id in known}
        known = {cell_id: found for cell_id, found in known.items() if found.medians}
        asked, components = self._asked(states, known), self._components(known)
        worth = {
            cell_id: max(rounds_worth(each, self._costs(mine), asked[cell_id]) for each in found)
            for (cell_id, mine), found in zip(known.items(), components.values(), strict=True)
        }
        made = beats
        if not unfinished:
            made = lengthened(beats, self._longer(known, components, beats, worth))
        return {
            cell_id: self._plan(mine, worth[cell_id], asked[cell_id], beats[cell_id], made[cell_id])
            for cell_id, mine in known.items()
        }

    def _costs(self, mine: Learned) -> Costs:
        return Costs(self.process_s, mine.block_s, max(0.0, mine.block_s - mine.timed_s))

    def _longer(
        self,
        known: Mapping[str, Learned],
        components: Mapping[str, Sequence[Components]],
        beats: Mapping[str, Beat],
        worth: Mapping[str, int],
    ) -> dict[str, int]:
        """By which factor the blocks of each cell should be longer, as far as it alone is asked."""
        found = dict.fromkeys(known, 1)
        for cell_id, mine in known.items():
            if worth[cell_id] >= MANY * ROUNDS:
                costs, calls = self._costs(mine), beats[cell_id].calls
                found[cell_id] = min(
                    longer_blocks(each, costs, calls) for each in components[cell_id]
                )
        return found

    def _plan(self, mine: Learned, worth: int, asked: Asked, beat: Beat, made: Beat) -> Plan:
        """``worth`` rounds of the blocks as they are, or fewer of those that will be ``made``."""
        usual = self.usual_rounds(mine.block_s)
        affordable = self.cell_s / asked.looks[0] / max(mine.block_s, 1e-9)
        rounds = min(worth, max(usual, int(affordable))) * beat.calls // made.calls
        tail = math.ceil(minimum_samples(P99) / (asked.looks[0] * made.calls))
        return Plan(max(FEWEST_ROUNDS, rounds, min(usual, tail)), made)

    def _components(self, known: Mapping[str, Learned]) -> dict[str, list[Components]]:
        """For each cell those of it alone, which decide how sure its latency is, unless only the
        order is asked for; and those against the cells that it is measured in turn with."""
        alone = [mine.medians for mine in known.values()]
        against = against_others([mine.rounds for mine in known.values()])
        ranks = self.suite.goal == "rank"
        shares = intraclass_of(alone), intraclass_of(against)
        found = {}
        for cell_id, mine, others in zip(known, known.values(), against, strict=True):
            calls = float(np.mean(mine.calls))
            each = [(mine.medians, shares[0])] if not (others and ranks) else []
            each += [(others, shares[1])] if others else []
            found[cell_id] = [estimate(medians, calls, share) for medians, share in each]
        return found

    def _asked(self, states: Sequence[CellState], known: Mapping[str, Learned]) -> dict[str, Asked]:
        """How sure the answer of each cell has to be."""
        suite = self.suite
        if suite.goal != "rank":
            confidence = stopping_confidence(suite.confidence)
            looks = tuple(geometric_looks(suite.min_invocations, suite.max_invocations))
            coarse = max(DECENT, suite.precision)
            width = coarse if suite.goal == "overview" else suite.precision
            asked = Asked(math.log1p(width), confidence, looks)
            return dict.fromkeys(known, asked)
        found: dict[str, Asked] = {}
        for others in rivals(states):
            rule = ranking_rule(len(others), suite)
            levels = {s.cell.id: known[s.cell.id].rounds for s in others if s.cell.id in known}
            for cell_id, mine in levels.items():
                gaps = [_gap(mine, theirs) for other, theirs in levels.items() if other != cell_id]
                width = min([_to_show(gap, suite.margin) for gap in gaps], default=suite.margin)
                found[cell_id] = Asked(width, rule.per_look(), rule.looks())
        return {cell_id: found[cell_id] for cell_id in known}


def _gap(mine: Mapping[int, Rounds], theirs: Mapping[int, Rounds]) -> float:
    """How far apart two cells are, as a logarithm, by the generations that both took part in."""
    common = mine.keys() & theirs.keys()
    if not common:
        return abs(_mean(mine) - _mean(theirs))
    return abs(float(np.mean([difference(mine[one], theirs[one]) for one in common])))


def _mean(rounds: Mapping[int, Rounds]) -> float:
    return float(np.mean([log for each in rounds.values() for log in each.values()]))


def _by_round(blocks: Sequence[Block]) -> Rounds:
    return {b.round: math.log(max(float(np.median(b.latency_ns)), 1.0)) for b in blocks}


def _to_show(gap: float, margin: float) -> float:
    """The half-width that shows that a gap is one, or that it is smaller than the margin."""
    return gap if gap > margin else max(margin - gap, margin / 4)
