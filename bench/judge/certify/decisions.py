"""Whether the primary metric is equivalent, worse, or not decided yet: whole, and in each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.arrays import Array
from bench.cards.tasks.base import Change, Columns, Task
from bench.record.certificate import Decisions, Group
from bench.record.estimate import as_estimate
from bench.stats.distributions import normal
from bench.stats.equivalence import (
    needed_of_means,
    needed_of_proportions,
    two_one_sided,
)
from bench.stats.multiple import holm_adjusted
from bench.stats.proportion import p_of_worse

#: A group of fewer rows is not judged by itself.
FEWEST_IN_A_GROUP = 10


def decisions_of(
    task: Task,
    candidate: Columns,
    reference: Columns,
    margin: float,
    confidence: float,
    groups: Sequence[str] = (),
) -> Decisions | None:
    """The change of the task's primary metric, held to ``margin``; None where the items differ or
    there is no metric.

    Columns may have `group`, the place in ``groups`` of what each row belongs to.
    """
    mine, theirs = _without_group(candidate), _without_group(reference)
    change = task.change(mine, theirs, two_one_sided(confidence))
    if change is None:
        return None
    return Decisions(
        metric=change.metric.name,
        better=change.metric.better,
        reference=change.other,
        candidate=change.this,
        gain=as_estimate(change.gain),
        margin=margin,
        p=change.p,
        test=change.test,
        examples=change.examples,
        lost=change.only_other_right,
        gained=change.only_this_right,
        groups=_groups(task, candidate, reference, margin, confidence, groups),
        needed=_needed(change, margin, confidence),
    )


def moved(task: Task, again: Columns, plain: Columns, confidence: float) -> float | None:
    """By how much the primary metric differs between two passes of one party; None where the items
    differ."""
    mine, theirs = _without_group(again), _without_group(plain)
    change = _change(task, mine, theirs, confidence)
    return None if change is None else abs(change.gain.estimate)


def default_margin(task: Task, columns: Columns, confidence: float) -> float | None:
    """What of the primary metric doesn't matter, unless somebody says otherwise."""
    scores = task.scores(_without_group(columns), confidence)
    return scores[0].metric.negligible if scores else None


def _needed(change: Change, margin: float, confidence: float) -> int | None:
    lost, gained = change.only_other_right, change.only_this_right
    if lost is not None and gained is not None:
        return needed_of_proportions(lost, gained, change.examples, margin, confidence)
    return needed_of_means(change.gain, change.examples, margin)


def _groups(
    task: Task,
    candidate: Columns,
    reference: Columns,
    margin: float,
    confidence: float,
    names: Sequence[str],
) -> tuple[Group, ...]:
    """Each group of its own, with Holm's correction: one that is surely worse by more than the
    margin is degraded, whatever the whole says."""
    if "group" not in candidate or "group" not in reference or len(names) < 2:
        return ()
    found: list[tuple[str, Change, float]] = []
    for place, name in enumerate(names):
        # Each by its own: the same text may be of other tokens to the two.
        mine, theirs = (_of_group(columns, place) for columns in (candidate, reference))
        if min(len(next(iter(each.values()))) for each in (mine, theirs)) < FEWEST_IN_A_GROUP:
            continue
        change = _change(task, mine, theirs, confidence)
        if change is not None:
            found.append((name, change, _p_of_worse(change, margin)))
    adjusted = holm_adjusted([p for _, _, p in found]) if found else np.array([])
    return tuple(
        Group(
            name=name,
            examples=change.examples,
            gain=as_estimate(change.gain),
            p=float(p),
            degraded=bool(p <= 1 - confidence),
        )
        for (name, change, _), p in zip(found, adjusted, strict=True)
    )


def _change(task: Task, mine: Columns, theirs: Columns, confidence: float) -> Change | None:
    try:
        return task.change(mine, theirs, two_one_sided(confidence))
    except ValueError:  # a single document has no interval
        return None


def _p_of_worse(change: Change, margin: float) -> float:
    """One-sided p of "no worse than the margin": of proportions by the score that their interval
    inverts, else by the normal that has the interval's width."""
    lost, gained = change.only_other_right, change.only_this_right
    if lost is not None and gained is not None:
        return p_of_worse(lost, gained, change.examples, margin)
    gain = change.gain
    reach = (gain.high - gain.estimate) / normal.quantile(0.5 + gain.confidence / 2)
    if reach <= 0:
        return float(gain.estimate >= -margin)
    return normal.below((gain.estimate + margin) / reach)


def _of_group(columns: Columns, place: int) -> dict[str, Array]:
    mask = columns["group"] == place
    return {name: values[mask] for name, values in _without_group(columns).items()}


def _without_group(columns: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values for name, values in columns.items() if name != "group"}
