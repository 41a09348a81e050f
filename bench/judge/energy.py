"""Energies of two cells: the ratio with its interval, and which takes less.

Only energies of one scope, read in one way, are compared: a GPU's board and the CPUs' package are
different things, and a counter and readings of power differ within short times. What the CPUs take
beside a GPU's board is no energy of the GPU's cell: against a cell on the CPUs it would win.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.judge.matching import Match
from bench.record.energy import of_the_cell
from bench.record.result import Energy, Record
from bench.stats.interval import Interval, ratio_interval, unpaired_ratio_interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.nested.pairing import shared
from bench.stats.verdict import side, within_margin

EnergyVerdict = Literal["less", "more", "same", "inconclusive"]
#: What an energy is of, and how it was read.
Way = tuple[str, str]


@dataclass(frozen=True)
class EnergyEffect:
    """Energy of a sample, B over A: ``a`` and ``b`` are J, gross."""

    match: Match
    scope: str
    a: float
    b: float
    ratio: Interval
    paired: bool
    verdict: EnergyVerdict
    rounds: tuple[int, int]


def measured(record: Record | None) -> dict[Way, Energy]:
    """The energies of a record's cell that have figures, the device's own first; in each scope the
    kind of readings that counts comes first."""
    if record is None or record.standing != "ok" or record.simulated:
        return {}
    others = {one.scope: one for one in record.energy_by_other_kind}
    both = (each for one in of_the_cell(record.energy) for each in (one, others.get(one.scope)))
    return {(one.scope, one.kind): one for one in both if one and one.gross_j is not None}


def main_energy(record: Record) -> Energy | None:
    """The energy that stands for a cell: of its device, or of the CPUs if that has no meter of its
    own, else at the wall."""
    return next(iter(measured(record).values()), None)


def common_way(records: Sequence[Record]) -> Way | None:
    """The scope and kind of readings that most of the records have an energy of, a device's before
    others."""
    found = Counter(way for record in records for way in measured(record))
    return max(found, key=lambda way: found[way], default=None)


def in_common(a: Record | None, b: Record | None) -> tuple[Energy, Energy] | None:
    """An energy of each, of one scope and one kind of readings; None where there is none."""
    ours, theirs = measured(a), measured(b)
    way = next((way for way in theirs if way in ours), None)
    return None if way is None else (ours[way], theirs[way])


def told_apart(matches: Sequence[Match]) -> dict[tuple[Way, Way], int]:
    """How many matches have an energy on both sides, and none of one scope and kind of readings;
    by those that stand for the two."""
    found: Counter[tuple[Way, Way]] = Counter()
    for match in matches:
        ours, theirs = measured(match.a.record), measured(match.b.record)
        if ours and theirs and ours.keys().isdisjoint(theirs):
            found[next(iter(ours)), next(iter(theirs))] += 1
    return dict(found)


def read_as(record: Record, way: Way) -> Record:
    """The record with its energy of this scope and kind of readings alone, or with none: where
    several are weighed, all that is said of them is of one way."""
    found = measured(record).get(way)
    energy = () if found is None else (found,)
    return record.model_copy(update={"energy": energy, "energy_by_other_kind": ()})


def sample_j(energy: Energy) -> dict[int, float]:
    """J a sample by round."""
    return {one.index: one.gross_j / energy.samples for one in energy.rounds}


def energy_ratio(
    a: Energy, b: Energy, confidence: float, *, in_turn: bool
) -> tuple[Interval, bool] | None:
    """B over A, and whether round by round; None where a window gave no energy at all."""
    ours, theirs = sample_j(a), sample_j(b)
    if min([*ours.values(), *theirs.values()], default=0.0) <= 0:
        return None
    rounds = shared(ours, theirs) if in_turn else []
    if rounds:
        one, other = ([side_j[i] for i in rounds] for side_j in (ours, theirs))
        return ratio_interval(one, other, confidence), True
    return unpaired_ratio_interval(list(ours.values()), list(theirs.values()), confidence), False


def energy_effects(
    matches: Sequence[Match], margin: float, confidence: float
) -> list[EnergyEffect]:
    """Every match of which both sides have an energy of one scope; all intervals hold together."""
    known = [
        (match, *both)
        for match in matches
        if (both := in_common(match.a.record, match.b.record)) is not None
    ]
    each = simultaneous_confidence(max(1, len(known)), confidence)
    effects: list[EnergyEffect] = []
    for match, a, b in known:
        found = energy_ratio(a, b, each, in_turn=match.same_run)
        if found is None:
            continue
        interval, paired = found
        effects.append(
            EnergyEffect(
                match,
                a.scope,
                _mean(sample_j(a)),
                _mean(sample_j(b)),
                interval,
                paired,
                _verdict(interval, margin),
                (len(a.rounds), len(b.rounds)),
            )
        )
    return effects


def _mean(values: Mapping[int, float]) -> float:
    return sum(values.values()) / len(values)


def _verdict(ratio: Interval, margin: float) -> EnergyVerdict:
    if within_margin(ratio, margin):
        return "same"
    verdicts: dict[int, EnergyVerdict] = {-1: "less", 1: "more", 0: "inconclusive"}
    return verdicts[side(ratio)]
