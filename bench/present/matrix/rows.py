"""The matrix as JSON-ready data, values as they are stored."""

from __future__ import annotations

from bench.judge.matrix.across import Across
from bench.judge.matrix.answer import Answered
from bench.judge.matrix.cells import Column, Entry, Row
from bench.judge.matrix.choice import Choice
from bench.judge.matrix.front import Front, FrontPoint
from bench.judge.matrix.machines import Beside
from bench.present.deal import interval_row
from bench.present.matrix.text import said_of
from bench.record.result import Estimate

Raw = dict[str, object]


def matrix_rows(answered: Answered) -> Raw:
    """All that `bench matrix` prints, and the ratios of each machine."""
    matrix = answered.matrix
    asked = matrix.asked
    return {
        "by": asked.by,
        "latency_bound_ns": asked.bound_ns,
        "within": asked.within,
        "confidence": asked.confidence,
        "currency": matrix.currency or None,
        "energy_scope": matrix.energy_way[0] if matrix.energy_way else None,
        "energy_kind": matrix.energy_way[1] if matrix.energy_way else None,
        "machines": [_machine(one) for one in answered.machines],
        "cells": [_entry(entry) for entry in matrix],
        "fronts": [_front(front) for front in answered.fronts],
        "choices": [_choice(choice) for choice in answered.choices],
        "ratios": [_across(each) for each in answered.across],
        "sentences": said_of(answered),
        "notes": list(matrix.notes),
        "unchecked": list(answered.unchecked),
        "skipped": list(answered.problems),
    }


def _machine(one: Beside) -> Raw:
    return {
        "machine": one.machine.name,
        "machine_id": one.machine.machine_id,
        "canary_ns": one.canary_ns,
        "canary_spread": one.spread,
        "cells": one.cells,
        "disturbed_cells": one.disturbed,
        "price_per_hour": one.price.per_hour if one.price else None,
        "currency": (one.price.currency or None) if one.price else None,
    }


def _place(column: Column) -> Raw:
    return {
        "machine": column.machine.name,
        "target": column.target,
        "use": column.detail or None,
        "device": column.kind,
    }


def _entry(entry: Entry) -> Raw:
    side = entry.side
    return {
        **(_named(entry) or {}),
        "model_sha256": entry.row.sha256,
        "run": str(side.run.path) if side is not None else None,
        "cell_id": side.id if side is not None else None,
        "word": entry.word or None,
        "failure": entry.why or None,
        **_bounds("value", entry.value),
        "rate_per_s": entry.rate.value if entry.rate else None,
        "bound": entry.kept,
        "best": entry.best,
        "leader": entry.leader,
    }


def _bounds(name: str, found: Estimate | None) -> Raw:
    return {
        name: found.value if found else None,
        f"{name}_low": found.low if found else None,
        f"{name}_high": found.high if found else None,
    }


def _named(entry: Entry | None) -> Raw | None:
    if entry is None:
        return None
    batch = entry.side.cell.batch if entry.side is not None else None
    return {**_row(entry.row), **_place(entry.column), "batch": batch}


def _row(row: Row | None) -> Raw:
    """What tells a row from all others; nulls of none."""
    return {
        "model": row.model if row else None,
        "variant": row.variant if row else None,
        "scenario": row.scenario if row else None,
        "apart": (row.apart or None) if row else None,
    }


def _front(front: Front) -> Raw:
    return {
        "dataset": front.dataset,
        "left_out": front.left_out,
        "points": [_point(point, front) for point in front.points],
    }


def _point(point: FrontPoint, front: Front) -> Raw:
    by = point.standing.by
    return {
        **(_named(point.entry) or {}),
        **_bounds("value", point.entry.value),
        "metric": point.score.metric,
        **_bounds("accuracy", point.score.value),
        "standing": point.standing.state,
        "dominated_by": None if by is None else _named(front.points[by].entry),
    }


def _choice(choice: Choice) -> Raw:
    return {
        **_row(choice.row),
        "best": _named(choice.best),
        "tied": [_named(entry) for entry in choice.tied],
        "beyond_bound": choice.missed,
        "bound_unknown": choice.unsure,
        "not_as_accurate": choice.lossy,
        "accuracy_unknown": choice.unjudged + len(choice.uncompared),
        "most_accurate": _named(choice.reference),
        "cheapest": _named(choice.cheapest),
        **_bounds("price_of_a_sample", choice.price),
        "cheapest_tied": [_named(entry) for entry in choice.cheapest_tied],
    }


def _across(each: Across) -> Raw:
    pooled = each.pooled
    return {
        **_row(each.model),
        "other": each.other.model,
        "other_variant": each.other.variant,
        "other_apart": each.other.apart or None,
        "relation": each.relation,
        "device": each.kind,
        "ratio": _finite(interval_row(pooled.ratio)),
        "machines": [
            {
                "machine": one.machine.name,
                "target": one.target,
                "paired": one.paired,
                "ratio": _finite(interval_row(one.ratio)),
            }
            for one in each.machines
        ],
        "tau": pooled.tau,
        "i_squared": pooled.i_squared,
        "prediction": _finite(interval_row(pooled.prediction)),
    }


def _finite(found: dict[str, float] | None) -> dict[str, float | None] | None:
    """JSON has no infinity: a bound beyond all numbers is null."""
    if found is None:
        return None
    return {name: x if x < float("inf") else None for name, x in found.items()}
