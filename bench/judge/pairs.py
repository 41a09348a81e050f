"""Pairs: a distilled model (and its control) against its original, target by target.

A speed-up is a ratio of the same invocation: invocation i of both models was measured in turn,
block by block, so what the machine did to one it did to the other. It is made round by round
(`bench.stats.nested.pairing`), of medians in runs that kept no rounds. Accuracy is compared example
by example, with the exact McNemar test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench import bounds
from bench.cards.tasks.base import Change
from bench.cell import Cell, ModelIdentity
from bench.defaults import CONFIDENCE
from bench.judge.alike import (
    HOW,
    UNUSUAL,
    Alike,
    sample_sizes,
    sample_words,
    settings_in_words,
    settings_of,
    values_of,
)
from bench.numbers import NAME_LIMIT, printable
from bench.record.estimate import turns
from bench.record.result import Invocation, Record
from bench.scenarios import weighing
from bench.stats.interval import (
    FEWEST_INVOCATIONS,
    Interval,
    ratio_interval,
    unpaired_ratio_interval,
)
from bench.stats.nested.pairing import ratios, shared
from bench.variants import DEFAULT

Subject = tuple[str, str]  #: model and variant
Changed = Callable[[Record, Record], Change | None]
Relation = Literal["original", "control", "variant"]


@dataclass(frozen=True)
class Ratio:
    """How many times; above 1 is better for the pair's first model."""

    value: float
    low: float
    high: float
    confidence: float
    paired: bool
    invocations: int

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high, self.confidence)

    @property
    def verdict(self) -> Literal["faster", "slower", "unclear"]:
        """What the interval allows to say."""
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "unclear"


@dataclass(frozen=True)
class Pair:
    """One model against another on one target; what could not be compared is None, and ``missing``
    says why the latencies are not, unless throughputs alone were measured."""

    model: str
    other: str
    relation: Relation
    variant: str
    other_variant: str
    target: str
    size_ratio: float
    file_bytes: int
    other_file_bytes: int
    speedup: Ratio | None = None
    floor_speedup: Ratio | None = None
    throughput: Ratio | None = None
    accuracy: Change | None = None
    missing: str = ""
    #: how both were measured on the target, in words: what is unusual, and what tells the pair from
    #: others of these models there
    settings: str = ""

    @property
    def where(self) -> str:
        """The target, and how it was used where that needs telling."""
        return ", ".join(filter(None, (self.target, self.settings)))

    @property
    def speed(self) -> Ratio | None:
        """What sentences tell: the speed-up, or the throughput's ratio where there is none."""
        return self.throughput if self.speedup is None else self.speedup

    @property
    def by_throughput(self) -> bool:
        """Whether `speed` is of throughputs."""
        return self.speedup is None and self.throughput is not None

    @property
    def contended(self) -> bool:
        """Whether the medians and the floors disagree about which one is faster."""
        if self.speedup is None or self.floor_speedup is None:
            return False
        return {self.speedup.verdict, self.floor_speedup.verdict} == {"faster", "slower"}


def compare(records: Sequence[Record], change: Changed) -> list[Pair]:
    """Every pair on every target that both were tried on: the distilled models first, each variant
    against the same one of the other; then each variant against its own model in the default.

    ``change(record, other)`` compares what was stored of two scored records' predictions; None
    where it can't.
    """
    latest = {record.cell_id: record for record in records}
    subjects: dict[Subject, list[Record]] = {}
    for record in latest.values():
        subjects.setdefault((record.cell.model.name, record.cell.variant), []).append(record)
    return _told_apart(
        each
        for one, other, relation in _related(subjects)
        for mine, theirs in _on_shared_targets(subjects[one], subjects[other])
        for each in _of_each_size(relation, mine, theirs, change)
    )


def _told_apart(found: Iterable[tuple[Cell, Pair]]) -> list[Pair]:
    """The pairs, each with what tells it from others of the same models and target by the cell that
    it is of."""
    pairs = list(found)
    same: dict[tuple[str, ...], list[Cell]] = {}
    for cell, pair in pairs:
        same.setdefault(_named(pair), []).append(cell)
    alike = {key: Alike(cells, lambda _: "", _OF_A_PAIR) for key, cells in same.items()}
    return [
        replace(
            pair,
            settings=settings_in_words(settings_of(cell, UNUSUAL), alike[_named(pair)].apart(cell)),
        )
        for cell, pair in pairs
    ]


def _named(pair: Pair) -> tuple[str, ...]:
    return pair.model, pair.variant, pair.other, pair.other_variant, pair.target


def _related(
    subjects: Mapping[Subject, Sequence[Record]],
) -> Iterator[tuple[Subject, Subject, Relation]]:
    models = {name: records[-1].cell.model for (name, _), records in subjects.items()}
    variants = list(dict.fromkeys(variant for _, variant in subjects))
    for name, other, relation in relations(models):
        for variant in variants:
            if (name, variant) in subjects and (other, variant) in subjects:
                yield (name, variant), (other, variant), relation
    for name, variant in subjects:
        if variant != DEFAULT and (name, DEFAULT) in subjects:
            yield (name, variant), (name, DEFAULT), "variant"


def relations(models: Mapping[str, ModelIdentity]) -> list[tuple[str, str, Relation]]:
    """Which model is compared with which: distilled and control with the original, then the
    distilled one with its control, and a form that others made with the model itself."""
    found: dict[tuple[str, str], Relation] = {}
    for model in models.values():
        if model.distilled_from in models and model.control_of is None:
            found[model.name, str(model.distilled_from)] = "original"
    for control in models.values():
        student = models.get(control.control_of or "")
        if student is not None and student.distilled_from in models:
            found[control.name, str(student.distilled_from)] = "original"
    for control in models.values():
        if control.control_of in models:
            found[str(control.control_of), control.name] = "control"
    for model in models.values():
        if model.variant_of in models:
            found[model.name, str(model.variant_of)] = "variant"
    return [(*names, relation) for names, relation in found.items() if names[0] != names[1]]


#: The settings that both models of a pair have: how they run, and what a sample is.
_OF_A_PAIR = (*HOW, "shape")


def _on_shared_targets(
    mine: Sequence[Record], theirs: Sequence[Record]
) -> list[tuple[list[Record], list[Record]]]:
    """The records of both, target by target, which they use in the same way."""
    other = _by_target(theirs)
    return [(found, other[key]) for key, found in _by_target(mine).items() if key in other]


def _by_target(records: Iterable[Record]) -> dict[tuple[object, ...], list[Record]]:
    grouped: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        key = (record.cell.target, *values_of(record.cell, HOW))
        grouped.setdefault(key, []).append(record)
    return grouped


def _of_each_size(
    relation: Relation, mine: Sequence[Record], theirs: Sequence[Record], change: Changed
) -> Iterator[tuple[Cell, Pair]]:
    """The pair of two models on a target at each size of a sample; and where they have none in
    common, what says so."""
    sizes = of_one_size(mine, theirs)
    for ours, others in sizes:
        yield ours[0].cell, compare_on_target(relation, ours, others, change)
    if not sizes:
        shapes = (
            " or ".join(dict.fromkeys(sample_words(r.cell) for r in records))
            for records in (mine, theirs)
        )
        pair = _nothing_compared(relation, mine[0].cell, theirs[0].cell)
        yield (
            mine[0].cell,
            replace(pair, missing=f"no input size in common: {' against '.join(shapes)}"),
        )


def of_one_size(
    mine: Sequence[Record], theirs: Sequence[Record]
) -> list[tuple[list[Record], list[Record]]]:
    """The records of two models, or of two variants of one, at each size of a sample that both
    have. Where each of two models has one alone, that is the size it was made for, and those are
    compared."""
    ours, others = _by_size(mine), _by_size(theirs)
    two_models = mine[0].cell.model.name != theirs[0].cell.model.name
    if two_models and len(ours) == len(others) == 1:
        return [(list(mine), list(theirs))]
    return [(found, others[size]) for size, found in ours.items() if size in others]


def _by_size(records: Iterable[Record]) -> dict[object, list[Record]]:
    grouped: dict[object, list[Record]] = {}
    for record in records:
        grouped.setdefault(sample_sizes(record.cell), []).append(record)
    return grouped


def compare_on_target(
    relation: Relation,
    mine: Sequence[Record],
    theirs: Sequence[Record],
    change: Changed,
) -> Pair:
    """Two models by all their records on one target."""
    alone = _same_load(mine, theirs, "latency", min)
    offline = _same_load(mine, theirs, "throughput", max)
    speedup = cost_ratio(alone, "latency")
    throughput = cost_ratio(offline, "throughput")
    known = speedup is not None or (alone is None and throughput is not None)
    return replace(
        _nothing_compared(relation, mine[0].cell, theirs[0].cell),
        speedup=speedup,
        floor_speedup=time_ratio(alone, lambda _, i: i.floor_ns),
        throughput=throughput,
        accuracy=_accuracy_change(mine, theirs, change),
        missing="" if known else _why_no_speed(alone or offline, mine, theirs),
    )


def _nothing_compared(relation: Relation, cell: Cell, other: Cell) -> Pair:
    """What is known of two models on one target without their figures."""
    size, other_size = cell.model.file_bytes, other.model.file_bytes
    return Pair(
        model=cell.model.name,
        other=other.model.name,
        relation=relation,
        variant=cell.variant,
        other_variant=other.variant,
        target=cell.target,
        size_ratio=other_size / size if size else float("nan"),
        file_bytes=size,
        other_file_bytes=other_size,
    )


def _same_load(
    mine: Sequence[Record],
    theirs: Sequence[Record],
    cost: Literal["latency", "throughput"],
    choose: Callable[[Iterable[int]], int],
) -> tuple[Record, Record] | None:
    """Both models' records of the scenario that a cost is read from, at a batch and under bounds
    that both have."""
    both = {r.cell.scenario for r in mine} & {r.cell.scenario for r in theirs}
    scenario = weighing(cost, sorted(both))
    ours = {_load(r.cell): r for r in mine if r.cell.scenario == scenario}
    others = {_load(r.cell): r for r in theirs if r.cell.scenario == scenario}
    shared = [load for load in ours if load in others]
    if not shared:
        return None
    batch = choose(batch for batch, *_ in shared)
    load = next(load for load in shared if load[0] == batch)
    return ours[load], others[load]


def _load(cell: Cell) -> tuple[int, *tuple[int | None, ...]]:
    """What of a load of one scenario is set."""
    return cell.batch, *bounds.values(cell)


def cost_ratio(
    both: tuple[Record, Record] | None,
    cost: Literal["latency", "throughput"],
    confidence: float = CONFIDENCE,
) -> Ratio | None:
    """How many times as long the other takes: for a query, or of throughputs for a sample, since
    batches may differ. None where that can't be said."""
    if cost == "throughput":
        return time_ratio(both, lambda r, i: i.query_ns / r.cell.batch, confidence)
    if both is not None and all(map(_has_rounds, both)) and both[0].group == both[1].group:
        mine, theirs = ({i.index: turns(i) for i in r.invocations} for r in both)
        if shared(mine, theirs):  # else of other runs, or not measured in turn for long
            found = ratios(mine, theirs)
            return _ratio(dict.fromkeys(found, 1.0), found, confidence)
    return time_ratio(both, lambda _, i: i.median_ns, confidence)


def _has_rounds(record: Record) -> bool:
    """Whether it has a figure, and of each process what it took round by round."""
    return _has_figure(record) and all(one.round_ns for one in record.invocations)


def _has_figure(record: Record) -> bool:
    return record.standing == "ok" and not record.simulated


def time_ratio(
    both: tuple[Record, Record] | None,
    time: Callable[[Record, Invocation], float],
    confidence: float = CONFIDENCE,
) -> Ratio | None:
    """How many times as long the other takes, by some time of each invocation; None where that
    can't be said."""
    if both is None or not all(_has_figure(record) for record in both):
        return None
    mine, theirs = ({i.index: time(r, i) for i in r.invocations if i.calls > 0} for r in both)
    return _ratio(mine, theirs, confidence)


def _ratio(
    mine: Mapping[int, float], theirs: Mapping[int, float], confidence: float
) -> Ratio | None:
    """Theirs over mine: pair by pair where both have the same invocations."""
    if min(len(mine), len(theirs)) < FEWEST_INVOCATIONS:
        return None
    if min(*mine.values(), *theirs.values()) <= 0:
        return None
    paired = mine.keys() == theirs.keys()
    if paired:
        order = sorted(mine)
        found = ratio_interval([mine[i] for i in order], [theirs[i] for i in order], confidence)
    else:
        found = unpaired_ratio_interval(list(mine.values()), list(theirs.values()), confidence)
    return Ratio(
        value=found.estimate,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        paired=paired,
        invocations=min(len(mine), len(theirs)),
    )


def _why_no_speed(
    both: tuple[Record, Record] | None, mine: Sequence[Record], theirs: Sequence[Record]
) -> str:
    if any(record.simulated for record in (*mine, *theirs)):
        return "simulated"
    if both is None:
        return "not measured"
    for record in both:
        name = printable(record.cell.model.name, limit=NAME_LIMIT)
        if record.failure is not None:
            return f"{name} failed"
        if record.wrong:
            return f"{name} is WRONG"
        if record.partial:
            return f"{name} was stopped early"
    return "too few invocations"


def _accuracy_change(
    mine: Sequence[Record], theirs: Sequence[Record], change: Changed
) -> Change | None:
    ours = next((r for r in mine if r.accuracy is not None), None)
    others = next((r for r in theirs if r.accuracy is not None), None)
    if ours is None or others is None or not same_data(ours, others):
        return None
    return change(ours, others)


def same_data(one: Record, two: Record) -> bool:
    """Whether two records are scored by the same metric on the same labelled data."""
    a, b = one.accuracy, two.accuracy
    if a is None or b is None or one.cell.model.task != two.cell.model.task:
        return False
    return (a.metric, a.dataset_sha256) == (b.metric, b.dataset_sha256)


def score_for(record: Record, scored: Sequence[Record]) -> Record | None:
    """The one whose accuracy is that of ``record``: itself, or of ``scored``, all of its content,
    variant and target, the last one.

    A model is scored once on a target, whatever the loads. But two runs may score it on other
    labelled data, of another length for one: those measured with inputs of the same size come
    first, and None is returned where they were scored on different data.
    """
    if record.accuracy is not None:
        return record
    sizes = sample_sizes(record.cell)
    near = [one for one in scored if sample_sizes(one.cell) == sizes] or scored
    alike = all(same_data(one, near[-1]) for one in near)
    return near[-1] if near and alike else None
