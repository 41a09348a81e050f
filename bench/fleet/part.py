"""A part of a run at a time: some of its cells now, others in a later process.

`run.json` holds every cell that may be measured here; each part measures those that it is given, by
the rules of a run that is resumed: nothing twice, and only while the machine, the versions and the
models are still what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from bench import __version__
from bench.cell import Cell
from bench.errors import SpecError
from bench.measure.listener import Listener
from bench.measure.measuring import Outcome, now
from bench.measure.prepare import Prepared
from bench.measure.resuming import changes, refuse
from bench.measure.run import carry_out
from bench.record.header import RunHeader
from bench.record.resumption import Resumption
from bench.store.find import HEADER
from bench.store.run import StoredRun
from bench.store.write import RunStore, resume_run

_FEW = 3  #: so many cells are named, more are counted
#: What to do once the disk has space again.
REMEDY = "resume the fleet run"


class OtherPlan(SpecError):
    """This machine doesn't plan the cells that it is to measure."""


class OtherMachine(SpecError):
    """The machine, its versions or the models are no longer what they were when the run began."""


def only(prepared: Prepared, wanted: Collection[Cell]) -> Prepared:
    """The same with a plan of these cells alone. Raises `OtherPlan` where one isn't planned."""
    ids = {cell.id for cell in wanted}
    mine = tuple(planned for planned in prepared.plan.cells if planned.cell.id in ids)
    found = {planned.cell.id for planned in mine}
    missing = [cell for cell in wanted if cell.id not in found]
    if missing:
        raise OtherPlan(_differs(missing, prepared))
    return replace(prepared, plan=replace(prepared.plan, cells=mine))


def _differs(missing: Sequence[Cell], prepared: Prepared) -> str:
    """Which cells this machine doesn't plan, and what about the first of them differs."""
    named = "; ".join(f"{cell.label} ({cell.id})" for cell in missing[:_FEW])
    more = f" and {len(missing) - _FEW} more" if len(missing) > _FEW else ""
    wanted = missing[0].model_dump(mode="json")
    near = [p.cell for p in prepared.plan.cells if p.cell.label == missing[0].label]
    found = near[0].model_dump(mode="json") if near else {}
    keys = [key for key in found if found[key] != wanted[key]]
    other = [f"{key} is {found[key]}, not {wanted[key]}" for key in keys]
    why = f" Here {', '.join(other)}." if other else ""
    return f"this machine doesn't plan {named}{more}.{why}"


def measure_part(
    prepared: Prepared,
    path: Path,
    header: RunHeader,
    listener: Listener,
    *,
    allowed: Collection[str] = (),
    written: Callable[[str], None] | None = None,
) -> Outcome:
    """Measure the plan's cells as a part of the run at ``path``, which ``header`` begins where
    there is none. ``written`` is told each file as it reaches the disk. An interrupted cell has no
    record: for a fleet a cell with a record is done.

    Raises `OtherMachine` where something changed since the run began that isn't ``allowed``.
    """
    if not (path / HEADER).is_file():
        store = RunStore.begin(path, header, written)
        store.remedy = REMEDY
        return carry_out(prepared, store, None, listener, keeps_partial=False)
    store, stored = resume_run(path)
    store.written = written or store.written
    store.remedy = REMEDY
    try:
        _note(store, stored, header, allowed)
    except BaseException:
        store.close()
        raise
    return carry_out(prepared, store, stored, listener, keeps_partial=False)


def _note(store: RunStore, stored: StoredRun, header: RunHeader, allowed: Collection[str]) -> None:
    """Refuse what changed, or write it down; a part like any other isn't worth a line. Each part
    knows the environments that its own cells use."""
    began = stored.header
    both = began.environments.keys() & header.environments.keys()
    kept = {name: began.environments[name] for name in both}
    known = {name: header.environments[name] for name in both}
    found = changes(
        began.model_copy(update={"environments": kept}),
        header.model_copy(update={"environments": known}),
    )
    try:
        refuse(found, allowed, stored.path.name)
    except SpecError as error:
        raise OtherMachine(str(error)) from error
    if found:
        store.append_resumption(
            Resumption(
                resumed_at=now(),
                command=header.command,
                bench_version=__version__,
                changes=tuple(found),
            )
        )
