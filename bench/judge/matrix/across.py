"""How many times as fast one model is as another: measured within each machine, pooled over the
machines of a kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from bench.cell import ModelIdentity
from bench.judge.compare import Measure
from bench.judge.matching import Match, Side
from bench.judge.matrix.cells import Asked, Column, Matrix, Row
from bench.judge.matrix.weigh import time_ratio
from bench.judge.pairs import relations
from bench.stats.interval import Interval
from bench.stats.pooled import Pooled, pool
from bench.store.machines import Machine
from bench.variants import DEFAULT

Relation = Literal["original", "control", "variant"]


@dataclass(frozen=True)
class OnMachine:
    """One machine's ratio, on the target of that kind on which the other model is fastest."""

    machine: Machine
    target: str
    ratio: Interval
    paired: bool


@dataclass(frozen=True)
class Across:
    """``model`` against ``other`` on the machines of a kind; above 1 ``model`` is faster.

    A ratio is one of rates: of how much is done in the same time.
    """

    model: Row
    other: Row
    relation: Relation
    kind: str
    machines: tuple[OnMachine, ...]
    pooled: Pooled


def across_machines(matrix: Matrix) -> list[Across]:
    """Distilled models against their originals and controls, variants against the default: a pooled
    ratio for each kind of device. Of a matrix of times or rates; others have none."""
    asked = matrix.asked
    if asked.by not in ("latency", "throughput", "price"):
        return []
    measure: Measure = "latency" if asked.by == "latency" else "throughput"
    found = []
    for one, other, relation in _pairs(matrix):
        by_kind: dict[str, list[OnMachine]] = {}
        for kind, here in _on_machines(matrix, one, other, measure):
            by_kind.setdefault(kind, []).append(here)
        for kind, machines in by_kind.items():
            pooled = pool([each.ratio for each in machines], asked.confidence)
            found.append(Across(one, other, relation, kind, tuple(machines), pooled))
    return found


def _pairs(matrix: Matrix) -> Iterator[tuple[Row, Row, Relation]]:
    models: dict[str, ModelIdentity] = {}
    for some in matrix.found.values():
        models |= {side.cell.model.name: side.cell.model for side in some}
    related: dict[tuple[str, str], Relation] = {
        (one, other): "control" if models[one].control_of else relation
        for one, other, relation in relations(models)
    }
    sizes: dict[tuple[object, ...], set[object]] = {}
    for row in matrix.rows:
        sizes.setdefault(row.named, set()).add(row.sizes)
    for one, other in permutations(matrix.rows, 2):
        if (one.scenario, one.batch) != (other.scenario, other.batch):
            continue
        # Where each of two models has one size alone, that is the size it was made for.
        made_for = (
            one.model != other.model and len(sizes[one.named]) == len(sizes[other.named]) == 1
        )
        if one.sizes != other.sizes and not made_for:
            continue
        if one.model == other.model:
            same = (one.sha256, one.data) == (other.sha256, other.data)
            if same and other.variant == DEFAULT and one.variant != DEFAULT:
                yield one, other, "variant"
        elif one.variant == other.variant and (one.model, other.model) in related:
            yield one, other, related[one.model, other.model]


def _on_machines(
    matrix: Matrix, one: Row, other: Row, measure: Measure
) -> Iterator[tuple[str, OnMachine]]:
    """Of each machine and kind of device the ratio on the target on which the other is fastest."""
    best: dict[tuple[Machine, str], tuple[float, Column, Match]] = {}
    for column in matrix.columns:
        entry = matrix.entries[other, column]
        both = _same_run(matrix, one, other, column)
        if both is None or entry.word or entry.rate is None:
            continue
        key = (column.machine, column.kind)
        if key not in best or entry.rate.value > best[key][0]:
            best[key] = (entry.rate.value, column, both)
    for (machine, kind), (_, column, both) in best.items():
        ratio = _ratio(both, measure, matrix.asked)
        if ratio is not None:
            yield kind, OnMachine(machine, column.target, ratio, both.same_group)


def _same_run(matrix: Matrix, one: Row, other: Row, column: Column) -> Match | None:
    """The two models' cells of the last run that has both, at one batch."""
    ours = [s for s in matrix.found.get((one, column), ()) if _ok(s)]
    others = [s for s in matrix.found.get((other, column), ()) if _ok(s)]
    both = [
        Match(a, b) for a in ours for b in others if a.run is b.run and a.cell.batch == b.cell.batch
    ]
    largest = matrix.asked.by in ("throughput", "price")
    batches = [match.a.cell.batch for match in both]
    wanted = (max if largest else min)(batches, default=0)
    return next((match for match in reversed(both) if match.a.cell.batch == wanted), None)


def _ok(side: Side) -> bool:
    record = side.record
    return record is not None and record.standing == "ok" and not record.simulated


def _ratio(both: Match, measure: Measure, asked: Asked) -> Interval | None:
    found = time_ratio(both.a, both.b, measure, asked, asked.confidence, elsewhere=False)
    if found is None or not 0 < found.low <= found.high < float("inf"):
        return None
    return found
