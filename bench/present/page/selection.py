"""Which records a page weighs, draws and lists where there are too many to show all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

from bench.judge.deal import Cost, ScoresOf, cost_of, subject, weighed
from bench.record.result import Record
from bench.store.scores import metric_of

#: More rows than a person scrolls through, and a page that stays well below 10 MB.
MOST_RECORDS = 1_000
#: Failures in the results table; their own section groups all of them by reason.
MOST_FAILED = 500
#: Lanes of a picture: about three screens.
MOST_LANES = 40
#: Every two targets of a load are compared where they are ranked.
MOST_RANKED = 12
#: Every two points of a front are compared, so their number counts twice.
MOST_POINTS = 48


@dataclass(frozen=True)
class Selection:
    """The records that are shown, and how many there are of each sort."""

    records: tuple[Record, ...]
    failed: tuple[Record, ...]  #: all of them, those with figures of something else among them
    measured: int

    @property
    def left_out(self) -> int:
        """How many that went well are not shown."""
        return self.measured - len(self.records)

    @property
    def rows(self) -> list[Record]:
        """What the results table lists: what is shown, and failures up to a number."""
        return [*self.records, *self.failed[:MOST_FAILED]]


def select(records: Sequence[Record], most: int = MOST_RECORDS) -> Selection:
    """Of the records that went well the best ``most``, each load and model having its turn."""
    failed = tuple(record for record in records if record.standing in ("failed", "wrong"))
    well = [record for record in records if record.standing in ("ok", "partial")]
    if len(well) <= most:
        return Selection(tuple(well), failed, len(well))
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in well:
        cell = record.cell
        key = (cell.model.name, cell.variant, cell.scenario, cell.batch)
        groups.setdefault(key, []).append(record)
    chosen = _in_turns([sorted(group, key=time_of_sample) for group in groups.values()], most)
    return Selection(tuple(r for r in well if r.cell_id in chosen), failed, len(well))


def _in_turns(groups: Sequence[Sequence[Record]], most: int) -> set[str]:
    """Ids of the first of each group, then of the second of each, and so on."""
    turns = (record for turn in zip_longest(*groups) for record in turn if record is not None)
    return set(islice(dict.fromkeys(record.cell_id for record in turns), most))


def best_of_each_load(records: Sequence[Record], most: int) -> list[Record]:
    """Of each model, variant and load the fastest ``most``."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        cell = record.cell
        key = (cell.model.name, cell.variant, cell.scenario, cell.batch)
        groups.setdefault(key, []).append(record)
    return [r for group in groups.values() for r in sorted(group, key=time_of_sample)[:most]]


def time_of_sample(record: Record) -> float:
    """What a sample costs in ns; infinite where that is not known, or means nothing."""
    if record.simulated:
        return float("inf")
    if record.cell.is_rate:
        return 1e9 / record.throughput.value if record.throughput else float("inf")
    return record.latency.median_ns.value / record.cell.batch if record.latency else float("inf")


def latency_records(records: Sequence[Record]) -> list[Record]:
    """Those with a latency that means something."""
    return [r for r in records if r.latency and not r.simulated and not r.cell.is_rate]


def rate_records(records: Sequence[Record]) -> list[Record]:
    """Those with a rate that means something."""
    return [r for r in records if r.throughput and not r.simulated and r.cell.is_rate]


def subjects(records: Sequence[Record]) -> list[Record]:
    """One record for each subject, whatever its load: the smallest batch, single streams first."""
    best: dict[tuple[object, ...], Record] = {}
    for record in records:
        key = subject(record.cell)
        kept = best.get(key)
        if kept is None or _order(record) < _order(kept):
            best[key] = record
    return list(best.values())


def _order(record: Record) -> tuple[bool, int]:
    return record.cell.is_rate, record.cell.batch


def cut_words(shown: int, of: int, what: str) -> str:
    """What a picture leaves out, as the end of its text; empty where it is nothing."""
    return f" Drawn are {shown} of {of:,} {what}; the table has more." if shown < of else ""


def cost_layers(records: Sequence[Record], cost: Cost, most: int) -> tuple[list[Record], str]:
    """The records to weigh: those of at most so many points of a front, the ones nearest
    the front by their estimates; and the sentence that says what was left out.

    Layer after layer of what no other estimate beats is peeled off.
    """
    scores = ScoresOf(records)
    wanted = weighed(records, cost)
    best: dict[tuple[object, ...], float] = {}
    goodness: dict[tuple[object, ...], float] = {}
    for record in records:
        price = cost_of(record, cost)
        if price and not record.simulated and record.cell.scenario == wanted:
            key = subject(record.cell)
            score = scores.of(record)
            if score is not None:
                goodness[key] = _goodness(score)
            best[key] = min(price, best.get(key, float("inf")))
    found = [(best[key], -good, key) for key, good in goodness.items()]
    points = sorted(found, key=lambda point: point[:2])
    if len(points) <= most:
        return list(records), ""
    chosen: set[tuple[object, ...]] = set()
    rest = points
    while rest and len(chosen) < most:
        layer, rest = _peel(rest)
        chosen |= {key for _, _, key in layer[: most - len(chosen)]}
    words = (
        f"{most} of {len(points):,} points were weighed against each other: those nearest the "
        "front by their estimates."
    )
    return [record for record in records if subject(record.cell) in chosen], words


_Estimated = tuple[float, float, tuple[object, ...]]


def _peel(points: Sequence[_Estimated]) -> tuple[list[_Estimated], list[_Estimated]]:
    """The points, ordered by cost, that no cheaper one beats in accuracy; and the others."""
    layer, rest, highest = [], [], float("inf")
    for point in points:
        if point[1] < highest:
            layer.append(point)
            highest = point[1]
        else:
            rest.append(point)
    return layer, rest


def _goodness(record: Record) -> float:
    assert record.accuracy is not None
    return metric_of(record).sign * record.accuracy.value.value
