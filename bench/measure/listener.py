"""What a run reports to while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.cell import Cell
from bench.record.result import Record


@dataclass(frozen=True)
class Forecast:
    """How long a run will take: a guess from its plan first, then from what was measured."""

    spent_s: float  #: since the command began
    remaining_s: float  #: until the last record is written

    @property
    def total_s(self) -> float:
        """From the start of the command to the last record."""
        return self.spent_s + self.remaining_s


class Listener(Protocol):
    """What a run reports to. Calls come from one thread, in this order."""

    def run_started(self, cells: Sequence[Cell], run_dir: Path) -> None:
        """``cells`` are those that are left to measure."""
        ...

    def forecast(self, expected: Forecast) -> None:
        """How long the run takes: told right after `run_started`, and again whenever something was
        measured or scored. It may rise as well as fall."""
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
        """A provisional estimate: a cell has been measured by so many workers, and its median so
        far is this. The first comes after one worker, without an interval; after none it is a
        glimpse of the first calls, while workers start."""
        ...

    def cell_finished(self, record: Record, done: int, total: int) -> None:
        """A record was written; ``done`` of ``total`` cells have one now."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should read, for example a warning about the machine."""
        ...

    def run_finished(self, run_dir: Path) -> None: ...

    def run_interrupted(self, run_dir: Path) -> None:
        """In place of `run_finished`."""
        ...

    def close(self) -> None:
        """Give the terminal back. To be called however the run ended; twice does nothing."""
        ...


class QuietProgress:
    """Says nothing."""

    def run_started(self, cells: Sequence[Cell], run_dir: Path) -> None: ...

    def forecast(self, expected: Forecast) -> None: ...

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

    def run_interrupted(self, run_dir: Path) -> None: ...

    def close(self) -> None: ...
