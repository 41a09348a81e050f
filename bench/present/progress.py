"""What a run tells while it goes on: one protocol, and three ways of showing it.

`RichProgress` draws on a terminal, `LineProgress` writes plain lines (logs, CI), `QuietProgress`
says nothing. All of them write to stderr; results belong to stdout.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from bench.cell import Cell
from bench.judge.alike import Alike
from bench.measure.listener import Forecast, Listener, QuietProgress
from bench.numbers import counted, duration, half_width, printable, rate, relative_half_width
from bench.record.result import Record

HEARTBEAT_S = 10.0  #: plain lines: at most one line on unfinished cells in this time
LABEL_LIMIT = 160


def choose_listener(stream: TextIO | None = None, *, quiet: bool) -> Listener:
    """The listener that suits the stream (stderr unless said)."""
    stream = sys.stderr if stream is None else stream
    if quiet or stream is None:
        return QuietProgress()
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    return RichProgress(console) if console.is_terminal else LineProgress(stream)


class LineProgress:
    """One line for each event worth keeping in a log."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started = self._last_line = clock()
        self._done = 0
        self._total = 0
        self._alike = Alike(())
        self._left_s: float | None = None

    def run_started(self, cells: Sequence[Cell], run_dir: Path) -> None:
        self._total = len(cells)
        self._alike = Alike(cells)
        self._say(f"{cells_in_words(cells)}; records go to {run_dir}")

    def forecast(self, expected: Forecast) -> None:
        if self._left_s is None and self._total:
            self._say(f"{seconds_in_words(expected.remaining_s)} to go")
        self._left_s = expected.remaining_s

    def phase(self, text: str) -> None:
        self._say(text)

    def cell_progress(
        self,
        cell: Cell,
        invocations: int,
        median_ns: float | None,
        relative_half_width: float | None,
    ) -> None:
        if self._clock() - self._last_line < HEARTBEAT_S:
            return
        told = estimate(invocations, median_ns, relative_half_width)
        age = _times(self._age(), self._left_s)
        self._say(f"[{self._done}/{self._total}] {age} {self._alike.label(cell)}: {told}")

    def cell_finished(self, record: Record, done: int, total: int) -> None:
        self._done, self._total = done, total
        label = self._alike.label(record.cell)
        self._say(f"[{done}/{total}] {_standing(record):<6} {label}: {outcome(record)}")

    def note(self, text: str) -> None:
        self._say(f"note: {text}")

    def run_finished(self, run_dir: Path) -> None:
        self._say(ended("finished", self._age(), run_dir))

    def run_interrupted(self, run_dir: Path) -> None:
        self._say(ended("interrupted", self._age(), run_dir))

    def close(self) -> None: ...

    def _age(self) -> float:
        return self._clock() - self._started

    def _say(self, text: str) -> None:
        self._last_line = self._clock()
        print(printable(text, limit=1000), file=self._stream, flush=True)


class RichProgress:
    """A few live lines at the bottom of a terminal; notes and failures scroll by above them."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started = clock()
        self._done = self._total = 0
        self._alike = Alike(())
        #: Until when the run is expected to take, by the clock.
        self._until: float | None = None
        self._phase = "starting"
        self._cell = ""
        self._estimate = self._asked = ""
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    def run_started(self, cells: Sequence[Cell], run_dir: Path) -> None:
        self._total = len(cells)
        self._alike = Alike(cells)
        self._asked = cells_in_words(cells)
        self._start_live()

    def forecast(self, expected: Forecast) -> None:
        if self._until is None:
            told = seconds_in_words(expected.remaining_s)
            told = f", {told}" if self._total else ""
            self._print(f"{self._asked}{told}", "bold")
        self._until = self._clock() + expected.remaining_s

    def phase(self, text: str) -> None:
        self._phase = printable(text)
        self._cell = self._estimate = ""
        self._start_live()

    def cell_progress(
        self,
        cell: Cell,
        invocations: int,
        median_ns: float | None,
        relative_half_width: float | None,
    ) -> None:
        self._cell = printable(self._alike.label(cell), limit=LABEL_LIMIT)
        self._estimate = estimate(invocations, median_ns, relative_half_width)

    def cell_finished(self, record: Record, done: int, total: int) -> None:
        self._done, self._total = done, total
        if record.standing != "ok":
            label = self._alike.label(record.cell)
            self._print(f"{_standing(record)}  {label}: {outcome(record)}", "red")

    def note(self, text: str) -> None:
        self._print(f"note: {text}", "yellow")

    def run_finished(self, run_dir: Path) -> None:
        self.close()
        self._print(ended("finished", self._age(), run_dir), "dim")

    def run_interrupted(self, run_dir: Path) -> None:
        self.close()
        self._print(ended("interrupted", self._age(), run_dir), "dim")

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            atexit.unregister(self.close)

    def __rich__(self) -> RenderableType:
        return Group(
            self._bar_line(), self._line(self._phase), self._line(self._estimate, self._cell)
        )

    def _start_live(self) -> None:
        if self._live is None:
            self._live = Live(
                get_renderable=self.__rich__,
                console=self._console,
                refresh_per_second=8,
                transient=True,
            )
            self._live.start()
            atexit.register(self.close)  # never leave a hidden cursor behind

    def _bar_line(self) -> RenderableType:
        line = Table.grid(padding=(0, 1))
        for _ in range(4):
            line.add_column(no_wrap=True)
        bar = ProgressBar(total=max(1, self._total), completed=self._done, width=24)
        counted = f"{self._done}/{self._total} cells" if self._total else "preparing"
        line.add_row(self._spinner, bar, Text(counted), Text(self._left(), style="dim"))
        return line

    def _left(self) -> str:
        left = None if self._until is None or self._done == self._total else self._until
        return _times(self._age(), None if left is None else left - self._clock())

    @staticmethod
    def _line(*parts: str) -> RenderableType:
        text = "  " + "  ".join(filter(None, parts))
        return Text(text, no_wrap=True, overflow="ellipsis")

    def _age(self) -> float:
        return self._clock() - self._started

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(printable(text, limit=1000), style=style))


def _standing(record: Record) -> str:
    return "WRONG" if record.standing == "wrong" else record.standing


def outcome(record: Record) -> str:
    """What came of a cell, in a few words."""
    if record.wrong:
        return "; ".join(f"{c.name}: {c.detail}" for c in record.checks if c.name in record.wrong)
    if record.failure is not None:
        return f"{record.failure.kind}: {record.failure.message}"
    if record.simulated:
        return "done on a simulated device"
    if record.cell.is_rate and record.throughput is not None:
        found = record.throughput
        return f"{rate(found.value)} {half_width(found.value, found.low, found.high)}"
    if record.latency is not None:
        found = record.latency.median_ns
        return f"{duration(found.value)} {half_width(found.value, found.low, found.high)}"
    if (alone := record.lone_ns) is not None:
        return f"{duration(alone)} of one invocation"
    if (alone := record.lone_rate) is not None:
        return f"{rate(alone)} of one invocation"
    return "done"


def cells_in_words(cells: Sequence[Cell]) -> str:
    """``3 models x 4 targets, 24 cells to measure``."""
    if not cells:
        return "nothing is left to measure"
    models = {(cell.model.name, cell.variant) for cell in cells}
    targets = {cell.target for cell in cells}
    return (
        f"{counted(len(models), 'model')} x {counted(len(targets), 'target')}, "
        f"{counted(len(cells), 'cell')} to measure"
    )


def ended(how: str, seconds: float, run_dir: Path) -> str:
    """``finished after 1:02; the run is in DIR``."""
    return f"{how} after {elapsed(seconds)}; the run is in {run_dir}"


def seconds_in_words(seconds: float) -> str:
    """``about 80 s``, ``about 12 min``: a forecast is good to two digits at most."""
    if seconds < 1:
        return "about 1 s"
    step = 1 if seconds < 10 else 5 if seconds < 60 else 10
    if seconds < 180:
        return f"about {step * round(seconds / step):.0f} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 120 else f"about {minutes / 60:.1f} h"


def _times(age_s: float, left_s: float | None) -> str:
    """``0:30, about 60 s left``."""
    if left_s is None:
        return elapsed(age_s)
    left = f"{seconds_in_words(left_s)} left" if left_s > 0 else "longer than forecast"
    return f"{elapsed(age_s)}, {left}"


def elapsed(seconds: float) -> str:
    """``0:42``, ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def estimate(invocations: int, median_ns: float | None, share: float | None) -> str:
    told = counted(invocations, "invocation")
    if median_ns is None:
        return told
    if not invocations:
        return f"about {duration(median_ns)} in its first calls"
    interval = f" {relative_half_width(share)}" if share is not None else ""
    return f"{duration(median_ns)}{interval} after {told}"
