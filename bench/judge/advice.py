"""What would decide an inconclusive limit, as flags that `bench run` takes."""

from __future__ import annotations

import math

from bench.judge.matching import Match
from bench.numbers import significant
from bench.record.result import Record
from bench.spec import SECONDS_PER_INVOCATION
from bench.stats.distributions import student
from bench.stats.interval import Interval

#: More invocations than this are no advice.
MOST_INVOCATIONS = 500
#: An invocation also starts a process and waits for others, which records don't tell: this factor
#: over what they tell was enough wherever it was tried.
_UNTOLD_TIME = 2.0


def more_invocations(
    found: Interval, limit: float, have: tuple[int, int], match: Match, flag: str
) -> str:
    """How many invocations of either run would bring the nearer end of the interval to the limit,
    were the estimate and the spread right; ``flag`` is the one that sets the limit."""
    needed = _invocations_needed(found, limit, min(have))
    if needed is None:
        return (
            f"It would take more than {MOST_INVOCATIONS} invocations: use a quieter machine or a "
            f"wider {flag}."
        )
    return (
        f"About {needed} invocations on both sides would decide (now {have[0]} and {have[1]}): "
        f"{_flags(needed, match)}."
    )


def _flags(needed: int, match: Match) -> str:
    """What makes `bench run` take so many: the suites of both runs bound them, and their time."""
    suites = [one.run.header.suite for one in (match.a, match.b)]
    each_s = max(_seconds_each(one.record) for one in (match.a, match.b))
    flags = [f"--min-invocations {needed}"]
    if needed > min(suite.max_invocations for suite in suites):
        flags.append(f"--max-invocations {needed}")
    if needed * each_s > min(suite.max_time_s for suite in suites):
        flags.append(f"--max-time {math.ceil(needed * each_s)}")
    return " ".join(flags)


def _seconds_each(record: Record | None) -> float:
    """What one invocation of a record takes about, in seconds of a cell's time."""
    invocations = record.invocations if record is not None else ()
    spent_ns = [
        i.load_ns
        + i.first_inference_ns
        + i.busy_ns
        + (i.warmup_calls + i.discarded_calls) * i.median_ns
        for i in invocations
    ]
    known = _UNTOLD_TIME * sum(spent_ns) / len(spent_ns) / 1e9 if spent_ns else 0.0
    return max(known, SECONDS_PER_INVOCATION)


def _invocations_needed(found: Interval, limit: float, have: int) -> int | None:
    """On a logarithmic scale an interval reaches t(n) s / sqrt(n) to either side, t with the
    degrees of freedom of two groups of n alike."""
    end = found.high if found.estimate < limit else found.low
    if found.estimate == limit or end <= 0:
        return None
    if end == math.inf:
        return have + 1
    reach, distance = (abs(math.log(x / found.estimate)) for x in (end, limit))
    spread = reach / _reach_of(have, found.confidence)
    for n in range(have + 1, MOST_INVOCATIONS + 1):
        if spread * _reach_of(n, found.confidence) <= distance:
            return n
    return None


def _reach_of(n: int, confidence: float) -> float:
    return student.quantile(2 * n - 2, 0.5 + confidence / 2) / math.sqrt(n)


def more_examples(distance: float, found: Interval, have: int) -> str:
    """As `more_invocations`; an accuracy's interval is about as wide on either side."""
    needed = have * (found.half_width / distance) ** 2 if distance else math.inf
    if not needed <= 100 * have:
        return "It is too near the limit to decide; choose another limit."
    return f"About {significant(needed, 2)} labelled examples would decide (now {have})."
