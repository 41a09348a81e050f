"""``--batch auto``: batches are doubled until throughput stops rising, or memory ends.

Which batch comes next follows from the records alone, so a run that is gone on with goes on here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bench.measure.plan import Plan, PlannedCell, at_batch
from bench.record.result import Record
from bench.record.sweeps import Swept, rates_of, swept
from bench.stats.sweep import has_levelled_off

#: No sweep goes on beyond: an accelerator's largest useful batch of the smallest models lies below.
MOST_BATCH = 65_536
#: So many batches share what a run's budget has for a sweep: 1 to 128. Our choice; few sweeps are
#: longer, and those end where the budget does.
_USUAL_BATCHES = 8


def to_share(cells: Sequence[PlannedCell]) -> int:
    """Among how many cells a run's budget is shared, with those that sweeps will add."""
    return sum(_USUAL_BATCHES if p.sweeps else 1 for p in cells if p.refused is None)


def next_cells(plan: Plan, records: Sequence[Record]) -> list[PlannedCell]:
    """The next batch of the sweeps that go on.

    Only the smallest that comes next, so that equal batches are measured in turn.
    """
    due: dict[int, list[PlannedCell]] = {}
    sweeps = swept(records)
    for planned in plan.cells:
        key = Swept.key_of(planned.cell)
        if planned.sweeps and key in sweeps:
            sweep = sweeps[key]
            if not _is_over(sweep, plan.suite.margin, plan.suite.confidence):
                due.setdefault(2 * max(sweep.batches), []).append(planned)
    for batch, begun in sorted(due.items()):
        found = [next_one for p in begun if (next_one := at_batch(plan.suite, p, batch))]
        if found:
            return found
    return []


def larger_batches(
    plan: Plan, records: Sequence[Record], cell_ids: Collection[str]
) -> list[list[PlannedCell]]:
    """The cells of sweeps that are not planned, but have records and are among these; those of
    equal batches together."""
    groups: dict[int, list[PlannedCell]] = {}
    sweeps = swept([record for record in records if record.cell_id in cell_ids])
    for planned in plan.cells:
        sweep = sweeps.get(Swept.key_of(planned.cell)) if planned.sweeps else None
        for batch in sweep.batches if sweep is not None else ():
            if batch != planned.cell.batch:
                found = at_batch(plan.suite, planned, batch)
                groups.setdefault(batch, []).extend([found] if found is not None else [])
    return [group for _, group in sorted(groups.items())]


def _is_over(sweep: Swept, margin: float, confidence: float) -> bool:
    rates = rates_of(sweep)
    if sweep.failed or sweep.end or not rates or 2 * max(sweep.batches) > MOST_BATCH:
        return True
    return has_levelled_off(rates, margin, confidence)
