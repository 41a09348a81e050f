"""Progress goes to a stream of its own: live on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from fake_records import STUDENT, a_cell, a_failure, a_record
from rich.console import Console

from bench.measure.listener import Forecast, Listener, QuietProgress
from bench.present.progress import (
    LineProgress,
    RichProgress,
    choose_listener,
    elapsed,
    outcome,
    seconds_in_words,
)


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_short_run(listener: Listener) -> None:
    cells = [a_cell(), a_cell(STUDENT)]
    listener.phase("looking for targets")
    listener.run_started(cells, Path("results/run"))
    listener.forecast(Forecast(2.0, 83.0))
    listener.note("governor is powersave")
    listener.phase("measuring")
    listener.cell_progress(cells[0], 1, None, None)
    listener.cell_progress(cells[0], 3, 271e3, 0.012)
    listener.cell_finished(a_record(cells[0]), 1, 2)
    listener.cell_finished(a_failure(cells[1]), 2, 2)
    listener.run_finished(Path("results/run"))
    listener.close()
    listener.close()


def test_plain_lines_tell_what_happened() -> None:
    stream = io.StringIO()
    a_short_run(LineProgress(stream, Clock()))
    assert stream.getvalue() == (
        "looking for targets\n"
        "2 models x 1 target, 2 cells to measure; records go to results/run\n"
        "about 80 s to go\n"
        "note: governor is powersave\n"
        "measuring\n"
        "[1/2] ok     fashion-teacher onnxruntime:cpu single-stream batch 1: 271 µs ±1.2%\n"
        "[2/2] failed fashion-student onnxruntime:cpu single-stream batch 1: "
        "timeout: no answer within 60 s; killed.\n"
        "finished after 0:00; the run is in results/run\n"
    )


def test_cells_of_one_name_are_told_apart() -> None:
    cells = [a_cell(threads=1), a_cell(threads=2)]
    lines, drawn = io.StringIO(), Terminal()
    for listener in (
        LineProgress(lines, Clock()),
        RichProgress(Console(file=drawn, force_terminal=True, width=120), Clock()),
    ):
        listener.run_started(cells, Path("r"))
        for done, cell in enumerate(cells, 1):
            listener.cell_finished(a_failure(cell), done, 2)
        listener.close()
    for told in (lines.getvalue(), drawn.getvalue()):
        assert "single-stream batch 1 (1 thread): timeout" in told
        assert "single-stream batch 1 (2 threads): timeout" in told


def test_a_silent_time_is_broken_by_a_heartbeat_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    listener = LineProgress(stream, clock)
    listener.run_started([a_cell()], Path("r"))
    for clock.now in (1.0, 5.0, 11.0, 12.0, 13.0):
        listener.cell_progress(a_cell(), 4, 271e3, 0.031)
    listener.forecast(Forecast(13.0, 30.0))
    listener.forecast(Forecast(14.0, 21.0))
    clock.now = 24.0
    listener.cell_progress(a_cell(), 5, 271e3, 0.031)
    lines = stream.getvalue().splitlines()
    line, later = [line for line in lines if "invocations" in line]
    assert line.endswith("single-stream batch 1: 271 µs ±3.1% after 4 invocations")
    assert "0:11" in line
    assert later.startswith("[0/1] 0:24, about 20 s left fashion-teacher")
    assert lines.count("about 30 s to go") == 1  # a log says it once, then beside the figures


def test_a_terminal_gets_live_lines_and_keeps_only_what_matters() -> None:
    stream = Terminal()
    a_short_run(RichProgress(Console(file=stream, force_terminal=True, width=80), Clock()))
    text = stream.getvalue()
    assert "note: governor is powersave" in text
    assert "failed  fashion-student" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor comes back


def test_the_live_lines_name_the_cell_the_estimate_and_what_is_left() -> None:
    clock = Clock()
    kept = io.StringIO()
    listener = RichProgress(Console(file=kept, width=100), clock)
    listener.run_started([a_cell()] * 9, Path("r"))
    listener.forecast(Forecast(0.0, 200.0))
    for done in (1, 2, 3):
        listener.cell_finished(a_record(), done, 9)
    clock.now = 20.0
    listener.forecast(Forecast(20.0, 70.0))
    clock.now = 30.0
    listener.phase("measuring")
    listener.cell_progress(a_cell(), 3, 271e3, 0.012)
    console = Console(file=io.StringIO(), width=100)
    console.print(listener)
    clock.now = 91.0  # past what was expected: nothing is promised any more
    console.print(listener)
    listener.close()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "3/9 cells" in text
    assert "0:30, about 60 s left" in text
    assert "1:31, longer than forecast" in text
    assert "1 model x 1 target, 9 cells to measure, about 3 min" in kept.getvalue()
    assert "fashion-teacher onnxruntime:cpu" in text
    assert "271 µs ±1.2% after 3 invocations" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-4, "about 1 s"),
        (7.4, "about 7 s"),
        (43, "about 45 s"),
        (83, "about 80 s"),
        (754, "about 13 min"),
        (9000, "about 2.5 h"),
    ],
)
def test_a_forecast_is_told_as_exactly_as_it_is_known(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


def test_markup_and_escapes_in_what_others_say_are_text() -> None:
    stream = Terminal()
    listener = RichProgress(Console(file=stream, force_terminal=True, width=200), Clock())
    listener.note("[red]loud[/red] \x1b]0;title\x07")
    assert "[red]loud[/red] \\x1b]0;title\\x07" in stream.getvalue()


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    a_short_run(QuietProgress())
    assert capsys.readouterr() == ("", "")


def test_the_listener_suits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(choose_listener(quiet=True), QuietProgress)
    assert isinstance(choose_listener(io.StringIO(), quiet=False), LineProgress)
    assert isinstance(choose_listener(Terminal(), quiet=False), RichProgress)


def test_outcomes() -> None:
    assert outcome(a_record(a_cell(scenario="offline", batch=32))).startswith("118 k/s ±")
    assert outcome(a_record(simulated=True)) == "done on a simulated device"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (42, "0:42"), (62, "1:02"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_elapsed(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


@pytest.mark.parametrize("kind", [LineProgress, RichProgress])
def test_how_a_run_ended_is_said_and_that_nothing_was_left(kind: type) -> None:
    stream = io.StringIO()
    progress: Any = kind(stream if kind is LineProgress else Console(file=stream), Clock())
    progress.run_started([], Path("results/run"))
    progress.forecast(Forecast(2.0, 0.0))
    progress.run_interrupted(Path("results/run"))
    said = stream.getvalue()
    assert "nothing is left to measure" in said
    assert "0 models" not in said
    assert "to go" not in said
    assert "interrupted after 0:00; the run is in results/run" in said
    assert "finished" not in said
