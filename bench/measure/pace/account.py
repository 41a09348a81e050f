"""Where the time of a run went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from bench.measure.state import CellState


class Account:
    """Where the wall time of a run went: starting up (importing runtimes, finding devices,
    exporting), starting workers (loading, compiling), measuring, or anything else."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self.startup_s = 0.0
        self.useful_s = 0.0
        self.starting_s = 0.0
        self.scoring_s = 0.0  #: of the useful seconds
        self.metering_s = 0.0  #: of energy, in which workers started too

    def started_up(self) -> None:
        """All that is to be measured is known and ready."""
        self.startup_s = self.total_s

    @contextmanager
    def useful(self, state: CellState | None = None) -> Iterator[None]:
        """Time inside counts as useful, and against the budget of ``state``."""
        started = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - started
            self.useful_s += spent
            if state is not None:
                state.spent_s += spent

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Time inside counts as useful, and as that of scoring."""
        with self._counted("scoring_s"), self.useful():
            yield

    def metering(self) -> AbstractContextManager[None]:
        """Time inside is that of energy, whatever else it counts as."""
        return self._counted("metering_s")

    def starting(self) -> AbstractContextManager[None]:
        """Time inside is that of workers that start; it counts against no cell's budget."""
        return self._counted("starting_s")

    @contextmanager
    def _counted(self, name: Literal["scoring_s", "metering_s", "starting_s"]) -> Iterator[None]:
        """Time inside is added to that."""
        started = self._clock()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + self._clock() - started)

    @property
    def total_s(self) -> float:
        return self._clock() - self._started

    @property
    def other_s(self) -> float:
        """Since the start-up, what was neither starting workers nor measuring or scoring."""
        return max(0.0, self.total_s - self.startup_s - self.useful_s - self.starting_s)

    def told(self) -> str:
        """Where the time went, in a sentence."""
        return (
            f"{self.startup_s:.0f} s to start up, {self.total_s - self.startup_s:.0f} s to "
            f"measure: {self.starting_s:.0f} s to start workers (load and compile), "
            f"{self.useful_s - self.scoring_s:.0f} s to time and check, {self.scoring_s:.0f} s to "
            f"score, {self.other_s:.0f} s for the rest."
        )
