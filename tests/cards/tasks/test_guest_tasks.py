"""A task that others wrote runs as a guest: it can't print into results or end the program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.cards import tasks
from bench.cards.tasks import find_task
from bench.errors import SpecError

PLUGIN = """
import os, sys
print("imported")
class Theirs:
    scored = True
    def columns(self, outputs, data, card):
        print("columns")
        os.chdir("/")
        return {"outputs": outputs}
    def scores(self, columns, confidence):
        sys.exit(3)
"""


def test_a_task_prints_and_exits_as_a_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "theirs_task.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tasks, "entry_points", lambda group: {"theirs": "theirs_task:Theirs"})
    before = Path.cwd()
    find_task.cache_clear()
    task = find_task("theirs")
    assert task.scored
    assert task.columns("o", None, None) == {"outputs": "o"}  # type: ignore[arg-type,comparison-overlap]
    assert Path.cwd() == before
    with pytest.raises(SpecError, match=r"the task theirs .*: it ended the program .*: 3\)"):
        task.scores({}, 0.95)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "imported" in printed.err
    assert "columns" in printed.err
    find_task.cache_clear()
    sys.modules.pop("theirs_task")
