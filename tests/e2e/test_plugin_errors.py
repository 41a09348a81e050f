"""An error that somebody else's code raises is told in its own words, and its traceback is kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import Bench
from installed import install

from bench.cards.tasks import find_task
from bench.discover import load_object
from bench.errors import AccuracyFailed, BenchError, Unavailable
from bench.worker import messages
from bench.worker.codec import encode
from bench.worker.work import Work, answer

PROJECT = """
[project]
name = "raising"
version = "1.0"
[project.entry-points."bench.tasks"]
raising-columns = "raising:Columns"
raising-made = "raising:Made"
abstract = "raising:Abstract"
"""
MODULE = """
from bench.cards.tasks.base import Task


class Columns(Task):
    name = "raising-columns"

    def columns(self, outputs, data, card):
        raise ValueError("these columns are odd\\nand then much more")

    def scores(self, columns, confidence):
        assert columns, "nothing to score"

    def change(self, this, other, confidence):
        return None


class Made(Columns):
    def __init__(self):
        raise KeyError("no such table")


class Abstract(Task):
    name = "abstract"
"""
CARD = """
name = "doubling"
task = "raising-columns"
[source]
onnx = "{onnx}"
[[inputs]]
name = "x"
shape = ["batch", 4]
[dataset]
name = "four"
path = "four.npz"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "raising.py").write_text(MODULE)
    (folder / "unloadable.py").write_text('raise ValueError("this import is odd")\n')
    install(PROJECT, folder)
    monkeypatch.syspath_prepend(folder)
    find_task.cache_clear()
    return folder


def last_line(error: BenchError) -> str:
    return error.log_tail.splitlines()[-1]


def test_what_a_task_raises_is_told_with_the_task_and_the_method(installed: Path) -> None:
    task = find_task("raising-columns")
    with pytest.raises(AccuracyFailed) as told:
        task.columns(np.zeros(1), None, None)
    assert str(told.value) == (
        "the task raising-columns (raising:Columns): columns raised ValueError: these columns are "
        "odd."
    )
    assert 'raise ValueError("these columns are odd' in told.value.log_tail
    with pytest.raises(AccuracyFailed, match="scores raised AssertionError: nothing to score"):
        task.scores({}, 0.95)


@pytest.mark.parametrize(
    ("name", "words"),
    [("raising-made", "KeyError: 'no such table'"), ("abstract", "TypeError: Can't instantiate")],
)
def test_a_task_that_can_not_be_made_is_no_bug_of_bench(
    installed: Path, name: str, words: str
) -> None:
    with pytest.raises(Unavailable) as told:
        find_task(name)
    assert f"the task {name} (raising:" in str(told.value)
    assert words in str(told.value)
    assert last_line(told.value).startswith(words)


def test_what_an_import_raises_keeps_its_traceback(installed: Path) -> None:
    with pytest.raises(Unavailable, match="ValueError: this import is odd") as told:
        load_object("backend", "odd", "unloadable:Odd")
    assert "unloadable.py" in told.value.log_tail
    assert last_line(told.value) == "ValueError: this import is odd"


def test_what_a_factory_raises_keeps_its_traceback(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from bench.apart import apart
    from bench.backend import TorchSource
    from bench.cards.modules import make

    file = tmp_path / "odd_net.py"
    file.write_text('def factory():\n    raise ValueError("this factory is odd")\n')
    source = TorchSource(file, "factory")
    with pytest.raises(BenchError, match="ValueError: this factory is odd") as told:
        apart("odd_net", lambda: make(source))
    assert "in factory" in told.value.log_tail
    assert last_line(told.value) == "ValueError: this factory is odd"


class Raising:
    """A backend."""

    def version(self) -> str:
        raise ValueError("this version is odd\nand then much more")


def test_the_log_of_a_worker_tells_the_type_of_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    asked, arrays = encode(messages.AskVersion())
    told, _ = answer(Work(Raising()), asked, arrays)  # type: ignore[arg-type]
    assert "ValueError: this version is odd" in str(told)
    log = capfd.readouterr().err
    assert "in version" in log
    assert "\nValueError: this version is odd\nand then much more" in log


@pytest.mark.long
def test_a_task_that_raises_costs_the_accuracy_and_leaves_its_traceback_with_the_run(
    bench: Bench,
    installed: Path,
    environment: dict[str, str],
    doubling_model: Path,
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "four.npz", x=np.ones((8, 4), np.float32), labels=np.zeros(8, int))
    (tmp_path / "doubling.toml").write_text(CARD.format(onnx=doubling_model))
    environment["PYTHONPATH"] += f"{os.pathsep}{installed}"
    few = ("--max-time", "0.2", "--min-invocations", "2", "--precision", "50%", "--threads", "1")
    targets = ("-t", "onnxruntime:cpu", "-t", "stand-in:raises")
    done = bench("run", "-m", "doubling.toml", *targets, "--scenario", "single-stream", *few)
    shown = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stderr
    assert "columns raised ValueError: these columns are odd" in shown
    assert "crashed: stand-in: RuntimeError: the driver said no" in shown
    (log,) = tmp_path.glob("results/runs/*/logs/doubling-*-onnxruntime-*-scoring.log")
    assert 'raise ValueError("these columns are odd' in log.read_text()
    logs = tmp_path.glob("results/runs/*/logs/stand-in-*.log")
    assert any("\nRuntimeError: the driver said no" in log.read_text() for log in logs)
