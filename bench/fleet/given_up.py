"""Cells that no node measured: their failures as records of the machine that they were left on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.cell import Cell
from bench.errors import NodeLost
from bench.files import write_bytes
from bench.fleet.disk import begun
from bench.fleet.nodes import NodeFacts
from bench.fleet.part import REMEDY
from bench.fleet.transport import Order
from bench.record.assemble import Evidence, assemble
from bench.record.facts import CellFacts
from bench.record.header import RunHeader
from bench.record.result import Failure
from bench.store.find import HEADER
from bench.store.run import read_run
from bench.store.write import RunStore


def write_failures(folder: Path, order: Order, node: NodeFacts, why: dict[str, str]) -> None:
    """Append a failed record for each cell of ``why`` (id -> why) to the run in ``folder``, which
    is begun where its node never began it. Those that have a record keep it."""
    if not begun(folder):
        folder.mkdir(parents=True, exist_ok=True)
        header = header_of(order, node, order.planned)
        write_bytes(folder / HEADER, header.model_dump_json(indent=1).encode())
    known = {record.cell_id for record in read_run(folder).records}
    cells = {cell.id: cell for cell in order.planned}
    store = RunStore(folder)
    store.remedy = REMEDY
    try:
        for cell_id, words in why.items():
            if cell_id not in known:
                _fail(store, cells[cell_id], words, order.suite.confidence)
    finally:
        store.close()


def _fail(store: RunStore, cell: Cell, words: str, confidence: float) -> None:
    failure = Failure(kind=NodeLost.kind, message=words)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = CellFacts(
        cell_id=cell.id, stop="failed", failure=failure, not_scored=words, finished_at=now
    )
    store.append_facts(facts)
    store.append_record(assemble(Evidence(cell, facts, (), {}), confidence))


def header_of(order: Order, node: NodeFacts, cells: Sequence[Cell]) -> RunHeader:
    """What a run on that node would have said of itself."""
    return RunHeader(
        bench_version=node.bench_version,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=order.command,
        suite=order.suite,
        targets=tuple(dict.fromkeys(cell.target for cell in cells)),
        models=order.suite.models,
        facts=dict(node.machine),
        cells=tuple(cells),
        keeps_raw=True,
        machine_name=order.machine_name,
        label=order.label,
    )


def narrow(folder: Path) -> int:
    """Let the header of a run that is over hold the cells alone that came to it, so that the rest,
    which other nodes measured, doesn't look as if it were missing. Returns how many of its cells
    have no figures that count."""
    if not begun(folder):
        return 0
    run = read_run(folder)
    failed = sum(record.standing != "ok" for record in run.records)
    if run.header_lost:
        return failed
    here = {record.cell_id for record in run.records}
    cells = tuple(cell for cell in run.header.cells if cell.id in here)
    if len(cells) < len(run.header.cells):
        header = run.header.model_copy(update={"cells": cells, "shared": True})
        write_bytes(folder / HEADER, header.model_dump_json(indent=1).encode())
    return failed
