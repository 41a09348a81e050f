"""What a distilled model would be worth as a drafter for its original, from what a run has stored.

How often it puts first what the original does is read from the predictions on the scored texts,
token by token in their order, and so is how many tokens an iteration would give. It is a stand-in:
drafts are checked on the original's own answer, not on text that others wrote. Times are those of
the cells ``decode@D`` of both and ``verify@D+G`` of the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.arrays import Array
from bench.cards.tasks import find_task
from bench.cards.tasks.base import Columns
from bench.cards.tasks.text_generation import TextGeneration, clusters
from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.judge.pairs import relations, same_data
from bench.record.result import Record
from bench.scenarios import AT, DECODE, VERIFY, find_scenario
from bench.stats.clusters import cluster_intervals, ratio
from bench.stats.composed import product, quotient, weighted_sum
from bench.stats.interval import Interval
from bench.stats.of_means import OfMeans
from bench.stats.speculation import checks, shares, walk
from bench.store.run import StoredRun
from bench.variants import DEFAULT

#: What a bound of a positive figure is taken for where Student's t puts it at 0 or below.
_LEAST = 1e-9


@dataclass(frozen=True)
class Drafts:
    """Drafts of one length: tokens that an iteration gives, and how many times as fast it is."""

    length: int
    tokens: float
    speedup: Interval


@dataclass(frozen=True)
class Drafting:
    """A student as the drafter of its original on a target, behind ``depth`` tokens; or, in
    ``missing``, what has to be measured first."""

    original: str
    draft: str
    target: str
    depth: int
    agreement: Interval | None = None
    lengths: tuple[Drafts, ...] = ()
    missing: str = ""

    @property
    def best(self) -> Drafts | None:
        return max(self.lengths, key=lambda one: one.speedup.estimate, default=None)


def draftings(run: StoredRun) -> list[Drafting]:
    """Each distilled language model against its original, target by target, depth by depth."""
    latest = {record.cell_id: record for record in run.records}
    records = [r for r in latest.values() if r.cell.variant == DEFAULT and r.cell.batch == 1]
    models = {record.cell.model.name: record.cell.model for record in records}
    found: list[Drafting] = []
    for draft, original, relation in relations(models):
        is_control = models[draft].control_of is not None
        if relation != "original" or is_control or models[draft].task != TextGeneration.name:
            continue
        for target in dict.fromkeys(record.cell.target for record in records):
            here = [r for r in records if r.cell.target == target]
            mine, its = (
                [r for r in here if r.cell.model.name == name] for name in (original, draft)
            )
            found += _on_target(run, mine, its)
    return found


def _on_target(
    run: StoredRun, original: Sequence[Record], draft: Sequence[Record]
) -> Iterator[Drafting]:
    mine, its = _steps(original), _steps(draft)
    depths = sorted(
        {size for size, tokens in mine if tokens == 1} & {size for size, n in its if n == 1}
    )
    if not depths:
        return
    agreed, missing = _agreed(run, original, draft)
    cell, name = original[0].cell, draft[0].cell.model.name
    for depth in depths:
        bare = Drafting(cell.model.name, name, cell.target, depth)
        times = {tokens: r for (at, tokens), r in mine.items() if at == depth}
        if agreed is None:
            yield _without(bare, missing)
        elif len(times) < 2:
            yield _without(
                bare,
                "the time to check a draft was not measured: bench run with --scenario decode "
                f"--scenario verify --depth {depth}",
            )
        else:
            yield _expected(bare, agreed, times, its[depth, 1])


def _without(drafting: Drafting, missing: str) -> Drafting:
    return replace(drafting, missing=missing)


def _steps(records: Sequence[Record]) -> dict[tuple[int, int], Record]:
    """Steps that were timed, by depth and by how many tokens they take at once."""
    found = {}
    for record in records:
        scenario = find_scenario(record.cell.scenario)
        usable = record.standing == "ok" and not record.simulated and record.latency is not None
        if usable and scenario.plain_name in (DECODE.name, VERIFY.name) and AT in scenario.name:
            assert scenario.size is not None
            found[scenario.size, scenario.new_tokens] = record
    return found


def _agreed(
    run: StoredRun, original: Sequence[Record], draft: Sequence[Record]
) -> tuple[list[Array] | None, str]:
    """For each document whether the draft puts first what the original does, token by token; or why
    that isn't known."""
    mine, its = (next((r for r in some if r.accuracy), None) for some in (original, draft))
    unknown = (
        "the share of its tokens that the original accepts is unknown: score both on the same text"
    )
    if mine is None or its is None or not same_data(mine, its):
        return None, unknown
    try:
        one, other = run.scored_columns(mine), run.scored_columns(its)
    except SpecError as error:
        return None, f"{unknown} ({error})"
    if "predicted" not in one or "predicted" not in other:
        return None, unknown
    why = find_task(mine.cell.model.task).unlike(one, other)
    if why:
        return None, f"one can't draft for the other: {why}"
    return _by_document(one, other), ""


def _by_document(original: Columns, draft: Columns) -> list[Array]:
    told = (original["predicted"] >= 0) & (draft["predicted"] >= 0)
    same = original["predicted"] == draft["predicted"]
    places = clusters(original)
    found = [same[told & (places == place)] for place in range(int(places.max()) + 1)]
    return [each for each in found if len(each)]


def _expected(
    bare: Drafting, agreed: Sequence[Array], times: Mapping[int, Record], draft: Record
) -> Drafting:
    if len(agreed) < 2:
        return _without(bare, "an interval needs two documents: score both on more text")
    told = next((r.footprint for n, r in times.items() if n > 1 and r.footprint), None)
    cuts = bool(told is not None and told.cache_cuts)
    sizes = sorted(times)
    found = [
        each
        for size in sizes[1:]
        if (each := _at(size - 1, agreed, times, draft, cuts=cuts)) is not None
    ]
    if not found:
        longest = 2 * (sizes[1] - 1)
        return _without(
            bare,
            "its state can't be truncated, so steps get longer than the measured ones: bench run "
            f"with --scenario verify --depth {bare.depth} --draft {sizes[1] - 1},{longest}",
        )
    share = ratio(
        np.array([each.sum() for each in agreed], float), np.array([len(e) for e in agreed], float)
    )
    (agreement,) = cluster_intervals([share], CONFIDENCE)
    return replace(bare, agreement=agreement, lengths=tuple(found))


def _at(
    length: int,
    agreed: Sequence[Array],
    times: Mapping[int, Record],
    draft: Record,
    *,
    cuts: bool,
) -> Drafts | None:
    """None where a step is longer than those that were measured."""
    sizes, rows = sorted(times), []
    for each in agreed:
        walked = walk(each, length)
        steps = shares(checks(walked, length, cuts=cuts), sizes)
        if steps is None:
            return None
        rows.append([walked.tokens, len(walked.drafted), walked.drafted.sum(), *steps])
    features = np.array(rows, np.float64)
    known = [_time(draft), *(_time(times[size]) for size in sizes)]
    one = _time(times[1])
    each_ns = np.array([part.estimate for part in known])
    texts = OfMeans(features, lambda m: m[..., 0] * one.estimate / (m[..., 2:] @ each_ns))
    (found,) = cluster_intervals([texts], CONFIDENCE)
    if found is None:
        return None
    by_texts = Interval(found.estimate, max(found.low, _LEAST), found.high, CONFIDENCE)
    mean = features.mean(axis=0)
    spent = weighted_sum(list(zip((mean[2:] / mean[0]).tolist(), known, strict=True)))
    timed = quotient(one, Interval(spent.estimate, max(spent.low, _LEAST), spent.high, CONFIDENCE))
    scale = timed.estimate
    relative = Interval(1.0, timed.low / scale, timed.high / scale, CONFIDENCE)
    return Drafts(length, float(mean[0] / mean[1]), product(by_texts, relative))


def _time(record: Record) -> Interval:
    assert record.latency is not None
    median = record.latency.median_ns
    return Interval(median.value, median.low, median.high, median.confidence)
