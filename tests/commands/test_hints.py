"""Next steps are for somebody who sits at a terminal, and errors for everybody."""

from __future__ import annotations

import sys

import pytest

from bench.commands.output import hint, interrupted


@pytest.mark.parametrize(
    ("terminal", "service", "shown"),
    [(True, "", True), (True, "false", True), (True, "true", False), (False, "", False)],
)
def test_a_hint_is_shown_at_a_terminal_outside_of_ci(
    terminal: bool,
    service: str,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CI", service)
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    hint("bench report runs/a")
    assert ("bench report" in capsys.readouterr().err) is shown


@pytest.mark.parametrize(("service", "shown"), [("", True), ("1", False)])
def test_a_log_tells_how_to_resume_unless_the_folder_is_gone_with_the_job(
    service: str, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", service)
    interrupted("bench run --resume runs/a")
    said = capsys.readouterr().err
    assert said.startswith("Interrupted.")
    assert ("--resume runs/a" in said) is shown
