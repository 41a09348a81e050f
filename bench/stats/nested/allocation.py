"""How many blocks a process should have, and how many calls a block, for the least time.

With variances p between processes, b between blocks and c a call, and what a process, a block and
a call cost to have one more of, k processes of n blocks of m calls have the variance
``(p + b/n + c/(n m)) / k`` and cost ``k (process + n (block + m call))``. The product of the two is
least at

    n = sqrt(process/block * b/p)        m = sqrt(block/call * c/b)

whatever k (Cauchy's inequality; Cochran 1977, "Sampling techniques", section 10.6; for benchmarks
Kalibera & Jones 2013, "Rigorous benchmarking in reasonable time", ISMM, section 6). Then k is what
the stopping rule finds to be enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.stats.distributions import student
from bench.stats.nested.components import Components

#: With fewer blocks of a process their spread isn't known.
FEWEST_ROUNDS = 4
#: Of 10 ms blocks, two thirds of a second: what wanders more slowly than that differs between
#: processes rather than blocks. Our choice.
MOST_ROUNDS = 64
#: Blocks of 10 ms did best where all cells were alike, those of 40 ms nearly as well (1.9 against
#: 1.5% of standard error after 10 s; docs/method.md), those of 160 ms much worse.
LONGEST_FACTOR = 4


@dataclass(frozen=True)
class Costs:
    """Seconds that one more costs."""

    process: float  #: until it is ready to be measured, and to end it
    block: float  #: all of it: handing over, what is discarded, and the calls
    opening: float  #: the part of a block that no call is timed in


@dataclass(frozen=True)
class Asked:
    """How narrow an interval has to be, and after how many processes it is looked at."""

    half_width: float  #: of the logarithm
    confidence: float
    looks: tuple[int, ...]  #: rising; the first are the fewest processes that are taken in any case


def half_width(variance: float, processes: int, confidence: float) -> float:
    """Of the logarithm, what Student's t makes of so many processes of that variance."""
    reach = student.quantile(processes - 1, 0.5 + confidence / 2)
    return reach * math.sqrt(variance / processes)


def rounds_worth(found: Components, costs: Costs, asked: Asked) -> int:
    """Blocks that a process should have: those that reach the half-width at the look where that
    takes least time; where none reaches it, what costs least time for any precision.

    The formula knows nothing of looks, nor that Student's t reaches far with few processes: it
    alone would have few processes of many blocks where more of fewer are sooner sure.
    """
    plans = [plan for look in asked.looks if (plan := _at_look(found, costs, asked, look))]
    if plans:
        return min(plans)[1]
    if found.processes <= 0:
        return MOST_ROUNDS
    price = costs.process / max(costs.block, 1e-9)
    return _possible(math.sqrt(price * found.blocks / found.processes))


def _at_look(
    found: Components, costs: Costs, asked: Asked, processes: int
) -> tuple[float, int] | None:
    """The seconds until so many processes give the half-width, and the blocks in each; None where
    no number of blocks does."""
    of_one = half_width(1.0, processes, asked.confidence)
    allowed = (asked.half_width / of_one) ** 2 - found.processes
    if allowed * MOST_ROUNDS < found.blocks:
        return None
    rounds = _possible(found.blocks / allowed) if found.blocks > 0 else FEWEST_ROUNDS
    return processes * (costs.process + rounds * costs.block), rounds


def _possible(rounds: float) -> int:
    return int(min(MOST_ROUNDS, max(FEWEST_ROUNDS, math.ceil(min(rounds, MOST_ROUNDS)))))


def longer_blocks(found: Components, costs: Costs, calls: int) -> int:
    """By which factor blocks of so many ``calls`` should be longer: 1, 2 or 4.

    They are never made shorter: by the formula they often should, but it knows nothing of caches
    that are cold, and 2.5 ms did worse than 10 where that was measured.
    """
    beyond = found.blocks - found.calls  # between blocks, however long
    if found.calls <= 0:
        return 1
    call_s = max((costs.block - costs.opening) / calls, 1e-12)
    if beyond <= 0:
        return LONGEST_FACTOR
    best = math.sqrt(costs.opening / call_s * found.calls * calls / beyond)
    factor = 1
    while factor < LONGEST_FACTOR and factor * calls * math.sqrt(2) <= best:
        factor *= 2
    return factor
