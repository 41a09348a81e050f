"""What a notebook shows while a run goes on: one output, written anew."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_records import a_cell, a_failure, a_record

from bench.measure.listener import Forecast
from bench.present.notebook import NotebookProgress, notebook_output


class Output:
    """Keeps what it was last told."""

    def __init__(self) -> None:
        self.html = self.text = ""
        self.writes = 0

    def update(self, bundle: dict[str, str], /, *, raw: bool) -> None:
        assert raw
        self.html, self.text = bundle["text/html"], bundle["text/plain"]
        self.writes += 1


def test_it_tells_how_far_a_run_is_and_keeps_notes_and_failures() -> None:
    now = [0.0]
    output = Output()
    progress = NotebookProgress(output, clock=lambda: now[0])
    progress.note("a <b>note</b>")
    progress.run_started([a_cell(), a_cell(target="x:cpu")], Path("runs/a"))
    progress.forecast(Forecast(spent_s=1, remaining_s=30))
    now[0] = 5
    progress.cell_progress(a_cell(), 3, 250_000, 0.02)
    assert output.text.startswith("0/2 cells, 0:05, about 0:30 left, fashion-teacher")
    assert "250 µs ±2.0% after 3 invocations" in output.text
    assert '<progress value="0" max="2">' in output.html
    assert "a &lt;b&gt;note&lt;/b&gt;" in output.html
    progress.cell_finished(a_record(), 1, 2)
    progress.cell_finished(a_failure(a_cell(target="x:cpu")), 2, 2)
    assert "failed: fashion-teacher x:cpu" in output.text
    progress.run_finished(Path("runs/a"))
    progress.close()
    assert output.text.startswith("2 of 2 cells, finished after 0:05; the run is in runs/a")
    assert "<progress" not in output.html
    assert "note: a" in output.text


def test_it_is_not_written_more_often_than_a_browser_likes() -> None:
    output = Output()
    progress = NotebookProgress(output, clock=lambda: 1.0)
    progress.run_started([a_cell()], Path("a"))
    for invocations in range(100):
        progress.cell_progress(a_cell(), invocations, None, None)
    assert output.writes == 1


def test_a_run_that_is_stopped_says_so() -> None:
    output = Output()
    progress = NotebookProgress(output, clock=lambda: 1.0)
    progress.run_started([a_cell()], Path("a"))
    progress.close()
    assert "0 of 1 cell, stopped after 0:00" in output.text


@pytest.mark.parametrize(
    "module", [None, SimpleNamespace(get_ipython=lambda: None), SimpleNamespace(get_ipython=object)]
)
def test_a_script_and_a_terminal_have_no_output_of_a_notebook(
    module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module is None:
        monkeypatch.delitem(sys.modules, "IPython", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "IPython", module)
    assert notebook_output() is None
