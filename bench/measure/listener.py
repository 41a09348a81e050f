"""What a run reports to while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench.cell import Cell
from bench.record.result import Record


class Listener(Protocol):
    """What a run reports to. Calls come from one thread, in this order."""

    def run_started(self, cells: Sequence[Cell], run_dir: Path) -> None:
        """``cells`` are those that are left to measure."""
        ...

    def phase(self, text: str) -> None:
        """What is being done now, for example ``exporting fashion-teacher``."""
        ...

    def cell_progress(
        self,
        cell: Cell,
        invocations: int,
        median_ns: float | None,
        relative_half_width: float | None,
    ) -> None:
        """A cell has been measured by so many workers and its median stands at so much."""
        ...

    def cell_finished(self, record: Record, done: int, total: int) -> None:
        """A record was written; ``done`` of ``total`` cells have one now."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should read, for example a warning about the machine."""
        ...

    def run_finished(self, run_dir: Path) -> None: ...

    def close(self) -> None:
        """Give the terminal back. To be called however the run ended; twice does nothing."""
        ...


class QuietProgress:
    """Says nothing."""

    def run_started(self, cells: Sequence[Cell], run_dir: Path) -> None: ...

    def phase(self, text: str) -> None: ...

    def cell_progress(
        self,
        cell: Cell,
        invocations: int,
        median_ns: float | None,
        relative_half_width: float | None,
    ) -> None: ...

    def cell_finished(self, record: Record, done: int, total: int) -> None: ...

    def note(self, text: str) -> None: ...

    def run_finished(self, run_dir: Path) -> None: ...

    def close(self) -> None: ...
