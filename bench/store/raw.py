"""What a run found out besides its timed calls, read back: of each worker, and of each cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from bench.cell import Frozen
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.windows import IDLE, Window
from bench.store.find import ENERGY, FACTS, WORKERS
from bench.store.lines import read_lines
from bench.store.run import StoredRun

_Line = TypeVar("_Line", bound=Frozen)


@dataclass(frozen=True)
class RawFacts:
    """By cell and invocation, and by cell; of two lines the last counts, as everywhere."""

    workers: dict[tuple[str, int], WorkerFacts]
    cells: dict[str, CellFacts]
    energy: list[Window] = field(default_factory=list)  #: in the order of measuring
    skipped: list[str] = field(default_factory=list)

    def energy_of(self, cell_id: str) -> list[Window]:
        """The windows of a cell, and the idle ones of their rounds."""
        rounds = {window.index for window in self.energy if window.cell_id == cell_id}
        wanted = (cell_id, IDLE)
        return [w for w in self.energy if w.index in rounds and w.cell_id in wanted]


def _place(window: Window) -> tuple[int, str, int]:
    return window.index, window.cell_id, window.position


def read_raw(run: StoredRun) -> RawFacts:
    """Both are empty for a run that an older bench began."""
    skipped: list[str] = []

    def lines(name: str, kind: type[_Line]) -> list[_Line]:
        return list(read_lines(run.path / name, kind, run.header.schema_version, skipped))

    return RawFacts(
        workers={(w.cell_id, w.index): w for w in lines(WORKERS, WorkerFacts)},
        cells={c.cell_id: c for c in lines(FACTS, CellFacts)},
        energy=list({_place(window): window for window in lines(ENERGY, Window)}.values()),
        skipped=skipped,
    )
