"""`bench.run`: the engine of the command, from scripts and notebooks."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compared_runs import measured, on_disk

import bench
from bench.api import measure
from bench.spec import QUICK, Suite

SCRIPT = """\
import bench
run = bench.run(
    "doubling.onnx", "stand-in:ok?us=20", scenarios="single-stream", preset="quick", quiet=True,
    max_time_s=0.6, min_invocations=2, accuracy=False, label="mine",
)
print(run.ok, run.label, run.path == bench.open("mine").path, [r["target"] for r in run.rows])
"""


@pytest.mark.parametrize("how", ["file", "-"])
def test_a_script_needs_no_main_guard(
    how: str, doubling_model: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Were workers started as `multiprocessing` does, each would run the script again."""
    (tmp_path / "doubling.onnx").write_bytes(doubling_model.read_bytes())
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py" if how == "file" else how],
        input=SCRIPT,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True mine True ['stand-in:ok?us=20']\n", done.stderr
    assert not done.stderr  # quiet
    (header,) = (tmp_path / "results" / "runs").glob("*/run.json")
    assert '"command": "bench.run([\'doubling.onnx\'], ' in header.read_text()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What `run` asks the engine for, and what the engine answers."""
    found: dict[str, Any] = {"interrupted": False}
    stored = on_disk(tmp_path / "elsewhere", [measured((1e5, 1e5))])

    @contextlib.contextmanager
    def prepare(suite: Suite, listener: object, cache: Path) -> Iterator[object]:
        found.update(suite=suite, listener=listener)
        yield "prepared"

    def start(prepared: object, results: Path, listener: object, **more: str) -> object:
        assert prepared == "prepared"
        assert listener is found["listener"]
        found.update(results=results, **more)
        return SimpleNamespace(path=stored.path, interrupted=found["interrupted"])

    monkeypatch.setattr(measure, "prepare", prepare)
    monkeypatch.setattr(measure, "start", start)
    return found


def test_one_value_or_several_are_given_alike(asked: dict[str, Any]) -> None:
    bench.run("a.onnx", "x:cpu", variants="fp16", scenarios="offline", batch=8, prompt=128)
    one = asked["suite"]
    several: dict[str, Any] = {"scenarios": ["offline"], "batch": [8], "prompt": [128]}
    bench.run(["a.onnx"], ["x:cpu"], variants=["fp16"], **several)
    assert asked["suite"] == one
    assert (one.models, one.targets, one.batch) == (("a.onnx",), ("x:cpu",), (8,))
    bench.run([Path("a.onnx"), "b"], scenarios="offline", batch="auto")
    assert asked["suite"].models == ("a.onnx", "b")
    assert asked["suite"].targets == ("*",)
    assert asked["suite"].batch == "auto"


def test_keywords_win_over_the_preset_and_that_over_the_suite(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "suite.toml"
    file.write_text('models = ["a"]\nprecision = 0.5\nmax_time_s = 77\nseed = 9\n')
    bench.run(suite=file, preset="quick", max_time_s=7, results=tmp_path, label="x")
    suite = asked["suite"]
    assert (suite.models, suite.seed) == (("a",), 9)
    assert (suite.precision, suite.max_time_s) == (QUICK["precision"], 7)
    assert (asked["results"], asked["label"]) == (tmp_path, "x")
    assert asked["command"].startswith(f"bench.run(['a'], suite='{file}', ")


def test_without_a_model_the_default_suite_is_measured(asked: dict[str, Any]) -> None:
    bench.run()
    assert asked["suite"].models[0] == "fashion-teacher"


def test_notes_are_heard_in_the_words_of_python(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    shown = SimpleNamespace(note=heard.append, close=lambda: None)
    monkeypatch.setattr(measure, "choose_listener", lambda quiet: shown)
    bench.run("a")
    asked["listener"].note("--threads 2 is the most")
    assert heard == ["`threads=2` is the most"]


def test_what_is_asked_for_wrongly_is_said(asked: dict[str, Any]) -> None:
    with pytest.raises(bench.BenchError, match=r"one of quick, thorough. Did you mean 'quick'?"):
        bench.run("a", preset="quik")  # type: ignore[arg-type]
    with pytest.raises(bench.BenchError, match="precision"):
        bench.run("a", precision=-1)
    with pytest.raises(bench.BenchError, match="label: "):
        bench.run("a", label="a\nb")
    assert "suite" not in asked


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("max_tme_s", "max_time_s"),
        ("max_time", "max_time_s"),
        ("varaints", "variants"),
        ("scenario", "scenarios"),
        ("target", "targets"),
        ("rezults", "results"),
        ("quick", 'preset="quick"'),
        ("no_accuracy", "accuracy=False"),
    ],
)
def test_a_mistyped_keyword_or_an_option_of_the_command_leads_to_the_keyword(
    keyword: str, meant: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=re.escape(f"Did you mean {meant}")) as caught:
        bench.run("a", **{keyword: 1})  # type: ignore[arg-type]
    assert f"bench.run() has no keyword {keyword!r}." in str(caught.value)
    assert "suite" not in asked


def test_an_empty_list_measures_nothing_rather_than_everything(asked: dict[str, Any]) -> None:
    for name in ("models", "targets", "variants", "batch"):
        with pytest.raises(bench.BenchError, match=f"`{name}` is empty"):
            bench.run(**{"models": "a", name: []})
    assert "suite" not in asked


def test_after_an_interrupt_what_was_measured_is_in_the_exception(asked: dict[str, Any]) -> None:
    asked["interrupted"] = True
    with pytest.raises(KeyboardInterrupt) as stopped:
        bench.run("a")
    assert isinstance(stopped.value, bench.Interrupted)
    assert len(stopped.value.run.rows) == 1
    assert f"bench.open({str(stopped.value.run.path)!r})" in str(stopped.value)
