"""What a race and its confirmation come to: pure functions of what was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bench.numbers import ratio
from bench.record.estimate import as_estimate
from bench.stats.interval import FEWEST_INVOCATIONS, ratio_interval, unpaired_ratio_interval
from bench.stats.nested.pairing import shared
from bench.stats.racing import ByRound, RacingRule, Standing, differences, ratios
from bench.trials.tune.kept import Fallen, Found, Gain, Placed, Tune


@dataclass(frozen=True)
class Costs:
    """Costs by cell and generation, of cells that did not fail."""

    by_cell: Mapping[str, Mapping[int, float]]

    def raced(self, tune: Tune) -> dict[str, dict[int, float]]:
        """What the race is decided on: of those that take part, the simplest first."""
        return {
            one.cell_id: {
                index: cost
                for index, cost in sorted(self.by_cell[one.cell_id].items())
                if tune.races(index)
            }
            for one in tune.racing
            if one.cell_id in self.by_cell and one.cell_id not in tune.thrown_out
        }

    def again(self, tune: Tune, pick: str, other: str) -> tuple[list[float], list[float], bool]:
        """What the confirmations of a pick measured of it and of another, and whether these are
        pairs: the generations that both took part in, else all of each, as where memory doesn't
        hold them beside each other."""
        ours, theirs = (self._confirming(tune, pick, name) for name in (pick, other))
        common = shared(ours, theirs)
        if common:
            return [ours[i] for i in common], [theirs[i] for i in common], True
        return list(ours.values()), list(theirs.values()), False

    def times_again(self, tune: Tune, names: Sequence[str]) -> int:
        """How many of each these are, of the pick, which is the first, beside any of the others."""
        pick, *others = names
        found = (self.again(tune, pick, other)[:2] for other in others)
        return min((min(map(len, both)) for both in found), default=0)

    def _confirming(self, tune: Tune, pick: str, name: str) -> dict[int, float]:
        taken = sorted(self.by_cell.get(name, {}).items())
        return {index: cost for index, cost in taken if tune.confirms(pick, index)}


def found_in(
    tune: Tune, standing: Standing, costs: Costs, doubts: Mapping[str, str], rule: RacingRule
) -> Found:
    """What is known of the race as it stands, and of the confirmation as far as it went."""
    raced = costs.raced(tune)
    best = placed(standing, raced, doubts, rule) if standing.look else ()
    pick = best[0].cell_id if best and not best[0].doubt else ""
    others = [one.cell_id for one in tune.against]
    return Found(
        processes=standing.look,
        over=rule.over(standing),
        best=best if pick else (),
        nearest=best[0] if best and not pick else None,
        fallen=tuple(
            Fallen(
                cell_id=name,
                against=out.against,
                processes=out.values,
                ratio=as_estimate(out.ratio),
            )
            for name, out in standing.out.items()
        ),
        gain=gain_over(tune, costs, pick, tune.default) if pick != tune.default else None,
        against=tuple(
            gain for other in others if (gain := gain_over(tune, costs, pick, other)) is not None
        ),
    )


def placed(
    standing: Standing,
    raced: Mapping[str, ByRound],
    doubts: Mapping[str, str],
    rule: RacingRule,
) -> tuple[Placed, ...]:
    """Those that are left: the pick; then those that raced to the end and cost about as little, the
    simplest first; then the others by what they seem to cost. Who is in doubt comes behind."""
    counts = {name: min(len(raced[name]), standing.look) for name in standing.left}
    leader = standing.leader
    told_by = {
        name: differences(raced[name], raced[leader], counts[name])
        for name in standing.left
        if name != leader
    }
    over = ratios(told_by, rule.per_look())
    simplest = list(raced)

    def order(name: str) -> tuple[object, ...]:
        estimate = over[name].estimate if name in over else 1.0
        near = estimate <= 1 + rule.margin and name in standing.racing
        return (name in doubts, not near, 0.0 if near else estimate, simplest.index(name))

    return tuple(
        Placed(
            cell_id=name,
            processes=told_by[name].size if name in told_by else counts[name],
            ratio=as_estimate(over[name]) if name in over else None,
            doubt=doubts.get(name, ""),
        )
        for name in sorted(standing.left, key=order)
    )


def gain_over(tune: Tune, costs: Costs, pick: str, other: str) -> Gain | None:
    """How many times less the pick costs than another, in the confirmation alone; None where too
    few processes of it were measured.

    How many there are doesn't depend on what they measured, so the paired t-interval is exact; of
    two that were measured apart it is Welch's.
    """
    if not pick or pick == other:
        return None
    ours, theirs, paired = costs.again(tune, pick, other)
    if min(len(ours), len(theirs)) < FEWEST_INVOCATIONS:
        return None
    interval = ratio_interval if paired else unpaired_ratio_interval
    times = as_estimate(interval(ours, theirs))
    return Gain(over=other, ratio=times, processes=min(len(ours), len(theirs)))


@dataclass(frozen=True)
class Refutation:
    """Why a pick isn't the best after all."""

    by: str
    why: str


def refuted(
    tune: Tune, costs: Costs, pick: str, possible: Collection[str], margin: float
) -> Refutation | None:
    """In its confirmation a pick costs more, with confidence, than the default, or than a
    configuration of ``--against`` by more than the margin; None where neither is so. ``possible``:
    those that may be returned in its place."""
    limits = {one.cell_id: 1 / (1 + margin) for one in tune.against} | {tune.default: 1.0}
    for other, limit in limits.items():
        gain = gain_over(tune, costs, pick, other) if other in possible else None
        if gain is not None and gain.ratio.high < limit:
            times = ratio(gain.ratio.value, gain.ratio.low, gain.ratio.high)
            why = (
                f"measured again, in {gain.processes} processes of each that were not used for the "
                f"choice, it is {times}, worse than {tune.words(other)}"
            )
            return Refutation(other, why)
    return None
