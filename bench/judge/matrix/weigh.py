"""How one cell of a matrix compares with another: within a machine invocation by invocation where
both were measured in turn, across machines by Welch's interval.

A ratio here is of *costs*, the other's over the first's: above 1 the first is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.judge.compare import Measure, effect_of, why_no_effect
from bench.judge.energy import energy_ratio, in_common
from bench.judge.matching import Match, Side
from bench.judge.matrix.cells import Asked, By, Entry
from bench.judge.matrix.scores import Scores
from bench.record.estimate import within_limits
from bench.record.result import LEAST, Estimate, Record
from bench.stats.interval import FEWEST_INVOCATIONS, Interval, trimmed_mean_interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.verdict import Verdict, within_margin
from bench.store.scores import metric_of

_MEASURES: dict[By, Measure] = {"latency": "latency", "throughput": "throughput"}


def time_ratio(
    one: Side, other: Side, measure: Measure, asked: Asked, confidence: float, *, elsewhere: bool
) -> Interval | None:
    """The other's time over the first's; None where it can't be said, or the machine drifted.

    ``elsewhere``: whether the two were measured on different machines.
    """
    match = Match(one, other)
    if why_no_effect(match):
        return None
    found = effect_of(match, asked.margin, confidence, other_machine=elsewhere, measure=measure)
    if found.withheld is not None or found.verdict is Verdict.CONTENTION_DEPENDENT:
        return None
    return found.ratio


def cost_ratio(
    one: Entry, other: Entry, by: By, asked: Asked, confidence: float
) -> Interval | None:
    """The other's cost over the first's; None where it can't be said. Accuracy is no cost."""
    if one.side is None or other.side is None:
        return None
    if by == "energy":
        return _energy_ratio(Match(one.side, other.side), confidence)
    elsewhere = one.column.machine != other.column.machine
    measure = _MEASURES.get(by, "throughput")
    found = time_ratio(one.side, other.side, measure, asked, confidence, elsewhere=elsewhere)
    if by != "price" or found is None:
        return found
    prices = [asked.prices.get(entry.column.machine.name) for entry in (one, other)]
    if prices[0] is None or prices[1] is None or prices[0].currency != prices[1].currency:
        return None
    if prices[0].per_hour <= 0 or prices[1].per_hour <= 0:
        return None
    factor = prices[1].per_hour / prices[0].per_hour
    return replace(
        found, estimate=found.estimate * factor, low=found.low * factor, high=found.high * factor
    )


def _energy_ratio(match: Match, confidence: float) -> Interval | None:
    both = in_common(match.a.record, match.b.record)
    if both is None:
        return None
    found = energy_ratio(*both, confidence, in_turn=match.same_run)
    return None if found is None else found[0]


def told_apart(
    leader: Entry, other: Entry, by: By, asked: Asked, confidence: float, scores: Scores
) -> bool:
    """Whether the leader is surely better, by more than what counts as nothing."""
    if by == "accuracy":
        change = scores.change(leader.scored, other.scored, confidence)
        return change is not None and change.gain.low > 0
    ratio = cost_ratio(leader, other, by, asked, confidence)
    return ratio is not None and ratio.low > 1 and not within_margin(ratio, asked.margin)


def best_of(
    entries: Sequence[Entry], by: By, asked: Asked, scores: Scores
) -> tuple[Entry | None, list[Entry]]:
    """The one with the best figure, and the others that are not told apart from it.

    The leader's comparisons with all others hold together, as many as there are others: with
    that confidence the truly best one is among those returned (Hsu 1981, Annals of Statistics
    9:1026). ``entries`` are usable.
    """
    known = [entry for entry in entries if cost(entry, by, asked) is not None]
    if not known:
        return None, []
    # Where accuracies are compared, what has no predictions can't be what others are held against.
    firm = [e for e in known if by != "accuracy" or scores.known(e.scored)] or known
    leader = min(firm, key=lambda entry: cost(entry, by, asked) or 0.0)
    each = simultaneous_confidence(max(1, len(known) - 1), asked.confidence)
    others = [entry for entry in known if entry is not leader]
    return leader, [e for e in others if not told_apart(leader, e, by, asked, each, scores)]


def cost(entry: Entry, by: By, asked: Asked) -> float | None:
    """What is the lower the better; None where it isn't known."""
    if by == "price":
        found = price_of(entry, asked)
        return None if found is None else found.value
    if by == "accuracy":
        record = entry.scored.record if entry.scored is not None else None
        if record is None or record.accuracy is None:
            return None
        return -metric_of(record).sign * record.accuracy.value.value
    if entry.value is None:
        return None
    return 1e9 / entry.value.value if by == "throughput" else entry.value.value


def rate_of(record: Record, confidence: float) -> Estimate | None:
    """Samples a second of this load: as it was measured, or of queries one after another."""
    if record.throughput is not None:
        return record.throughput
    times = [i.query_ns / record.cell.batch for i in record.invocations if i.calls and i.busy_ns]
    if len(times) < FEWEST_INVOCATIONS or min(times) <= 0:
        return None
    found = trimmed_mean_interval([1e9 / each for each in times], confidence)
    return within_limits(found.estimate, max(found.low, LEAST), found.high, confidence)


def price_of(entry: Entry, asked: Asked) -> Estimate | None:
    """Money a sample: the price of an hour over the samples of an hour. The price is exact, so the
    interval is that of the rate."""
    price = asked.prices.get(entry.column.machine.name)
    if price is None or entry.rate is None:
        return None
    per_s = price.per_hour / 3600
    rate = entry.rate
    return within_limits(per_s / rate.value, per_s / rate.high, per_s / rate.low, rate.confidence)


def loss_allowed(side: Side, within: float) -> float:
    """A loss of accuracy that a person wrote, as the metric stores it."""
    assert side.record is not None
    return metric_of(side.record).scale.from_points(100 * within)


def surely_within(
    one: Side | None, best: Side | None, within: float, confidence: float, scores: Scores
) -> bool | None:
    """Whether ``one`` surely loses no more accuracy than that against ``best``; None where their
    predictions can't be compared."""
    if one is None or best is None:
        return None
    if one is best:
        return True
    change = scores.change(one, best, confidence)
    return None if change is None else change.gain.low >= -loss_allowed(one, within)
