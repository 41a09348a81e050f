"""How far the tests are: a bar on a terminal, a line now and then elsewhere; all on stderr."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.numbers import printable
from bench.trials.portability.outcomes import TestResult

_LINE_EVERY_S = 10.0


class Teller(Protocol):
    """What is told while the report is being made."""

    def note(self, text: str) -> None:
        """Something that the user should read."""

    def phase(self, text: str) -> None:
        """What is being done now."""

    def target_started(self, target: str, tests: int, kept: int) -> None:
        """``tests`` will be run; ``kept`` more are known from before."""

    def tested(self, result: TestResult) -> None: ...


class QuietTeller:
    """Says nothing."""

    def note(self, text: str) -> None: ...

    def phase(self, text: str) -> None: ...

    def target_started(self, target: str, tests: int, kept: int) -> None: ...

    def tested(self, result: TestResult) -> None: ...


class LineTeller(QuietTeller):
    """Plain lines, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._target, self._total, self._last = "", 0, 0.0
        self._counts: Counter[str] = Counter()

    def note(self, text: str) -> None:
        self._console.print(f"note: {printable(text, limit=1000)}", soft_wrap=True)

    def phase(self, text: str) -> None:
        self._console.print(printable(text, limit=200), soft_wrap=True)

    def target_started(self, target: str, tests: int, kept: int) -> None:
        self._target, self._total, self._last = target, tests, time.monotonic()
        self._counts.clear()
        if tests or kept:
            self.phase(f"{target}: {tests} tests to run, {kept} known")

    def tested(self, result: TestResult) -> None:
        self._counts[result.outcome] += 1
        done = self._counts.total()
        if done == self._total or time.monotonic() - self._last > _LINE_EVERY_S:
            self._last = time.monotonic()
            counts = ", ".join(f"{count} {outcome}" for outcome, count in self._counts.items())
            self.phase(f"{self._target}: {done}/{self._total} ({counts})")


class BarTeller(QuietTeller):
    """A bar for each target."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def note(self, text: str) -> None:
        self._progress.console.print(f"note: {printable(text, limit=1000)}", style="yellow")

    def phase(self, text: str) -> None:
        self._progress.update(self._task, description=printable(text, limit=60))

    def target_started(self, target: str, tests: int, kept: int) -> None:
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(printable(target, limit=40), total=tests or None)

    def tested(self, result: TestResult) -> None:
        self._progress.advance(self._task)


@contextmanager
def telling(*, quiet: bool) -> Iterator[Teller]:
    """The teller that suits stderr; the terminal is given back however it ends."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if quiet:
        yield QuietTeller()
    elif not console.is_terminal:
        yield LineTeller(console)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            yield BarTeller(bar)
