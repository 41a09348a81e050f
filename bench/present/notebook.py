"""Progress in a notebook: one output that is written anew while a run goes on."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.cell import Cell
from bench.measure.listener import Forecast, QuietProgress
from bench.numbers import counted, printable
from bench.present.progress import LABEL_LIMIT, elapsed, ended, estimate, outcome
from bench.record.result import Record

_REFRESH_S = 0.25  #: an output that changes more often makes browsers slow
_NOTE_LIMIT = 1000


class Output(Protocol):
    """An output of a notebook's cell, to be written anew: a MIME type and its text each."""

    def update(self, bundle: dict[str, str], /, *, raw: bool) -> None: ...


def notebook_output() -> Output | None:
    """A new output below the cell that runs; None where this process is no notebook's kernel."""
    module: Any = sys.modules.get("IPython")  # which a kernel has imported
    shell = module.get_ipython() if module is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display  # only there is it installed for sure

    handle: Output = display({"text/plain": ""}, raw=True, display_id=True)
    return handle


class NotebookProgress(QuietProgress):
    """A bar, what is being done, and below it the notes and failures, which stay."""

    def __init__(self, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._started = clock()
        self._written = float("-inf")
        self._done, self._total = 0, 0
        self._phase = "starting"
        self._left = ""
        self._told: list[str] = []
        self._finished = False

    def run_started(self, cells: Sequence[Cell], run_dir: Path) -> None:
        self._total = len(cells)
        self._write()

    def forecast(self, expected: Forecast) -> None:
        self._left = f", about {elapsed(expected.remaining_s)} left"

    def phase(self, text: str) -> None:
        self._phase = printable(text)
        self._write()

    def cell_progress(
        self,
        cell: Cell,
        invocations: int,
        median_ns: float | None,
        relative_half_width: float | None,
    ) -> None:
        label = printable(cell.label, limit=LABEL_LIMIT)
        self._phase = f"{label}: {estimate(invocations, median_ns, relative_half_width)}"
        if self._clock() - self._written >= _REFRESH_S:
            self._write()

    def cell_finished(self, record: Record, done: int, total: int) -> None:
        self._done, self._total = done, total
        if record.standing != "ok":
            self._tell(f"{record.standing}: {record.cell.label}: {outcome(record)}")
        self._write()

    def note(self, text: str) -> None:
        self._tell(f"note: {text}")
        self._write()

    def run_finished(self, run_dir: Path) -> None:
        self._end("finished", run_dir)

    def run_interrupted(self, run_dir: Path) -> None:
        self._end("interrupted", run_dir)

    def _end(self, how: str, run_dir: Path) -> None:
        age = self._clock() - self._started
        self._phase = printable(ended(how, age, run_dir), limit=1000)
        self._finished = True
        self._write()

    def close(self) -> None:
        if not self._finished:
            self._phase = f"stopped after {elapsed(self._clock() - self._started)}"
            self._finished = True
            self._write()

    def _tell(self, text: str) -> None:
        self._told.append(printable(text, limit=_NOTE_LIMIT))

    def _write(self) -> None:
        self._written = self._clock()
        line = f"{self._counted()}, {self._phase}"
        bar = f'<progress value="{self._done}" max="{max(1, self._total)}"></progress> '
        lines = [html.escape(text) for text in (line, *self._told)]
        shown = "<br>".join([("" if self._finished else bar) + lines[0], *lines[1:]])
        text = "\n".join([line, *self._told])
        self._output.update({"text/html": shown, "text/plain": text}, raw=True)

    def _counted(self) -> str:
        if not self._total:
            return "preparing"
        if self._finished:
            return f"{self._done} of {counted(self._total, 'cell')}"
        age = elapsed(self._clock() - self._started)
        return f"{self._done}/{self._total} cells, {age}{self._left}"
