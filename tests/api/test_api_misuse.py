"""Every public function, called wrongly: one sentence that names the argument, or what lacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compared_runs import measured, on_disk
from fake_records import STUDENT, a_cell, a_failure

import bench
from bench.api import public
from bench.api.wording import says_python
from bench.errors import BenchError

PUBLISHED = Path(__file__).parents[2] / "results" / "default"
SIDES = [f"fashion-student@{target}/single-stream" for target in ("openvino:cpu", "torch:cpu")]


class Runs:
    """Runs that lack something, and places without any."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nowhere = folder / "nowhere"
        self.empty = folder / "empty"
        self.empty.mkdir()
        self.file = folder / "file.txt"
        self.file.write_text("x")
        self.broken = folder / "broken"
        self.broken.mkdir()
        (self.broken / "run.json").write_text("{")
        self.hollow = bench.Run(on_disk(folder / "hollow", []))
        self.failed = bench.Run(on_disk(folder / "failed", [a_failure(a_cell())]))
        unscored = [
            measured((1e5, 1.01e5), a_cell(model)).model_copy(update={"accuracy": None})
            for model in (STUDENT, a_cell().model)
        ]
        self.unscored = bench.Run(on_disk(folder / "unscored", unscored))
        stopped = on_disk(folder / "stopped", [measured((1e5, 1e5))])
        cells = (stopped.records[0].cell, a_cell(STUDENT))
        header = stopped.header.model_copy(update={"cells": cells})
        (stopped.path / "run.json").write_text(header.model_dump_json())
        self.stopped = bench.open(stopped.path)
        self.whole = bench.open(PUBLISHED)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("misused"))


Call = Callable[[Runs], Any]
#: What is called, how, and what the sentence has to name. Types are wrong on purpose.
CALLS: dict[str, list[tuple[Call, str]]] = {
    "run": [
        (lambda r: bench.run(3), "`models.0` is 3"),  # type: ignore
        (lambda r: bench.run([]), "`models` is empty"),
        (lambda r: bench.run(""), "`models` is ''"),
        (lambda r: bench.run("fashion-studnt", quiet=True), "Did you mean fashion-student"),
        (lambda r: bench.run("fashion-student", "onnxrutime:cpu", quiet=True), "onnxruntime"),
        (lambda r: bench.run("a", 3), "`targets.0` is 3"),  # type: ignore
        (lambda r: bench.run("a", preset=[]), "`preset` is []"),  # type: ignore
        (lambda r: bench.run(suite=3), "`suite` is 3"),  # type: ignore
        (lambda r: bench.run(suite=r.nowhere), "no such suite file"),
        (lambda r: bench.run("a", label=3), "`label` is 3"),  # type: ignore
        (lambda r: bench.run("a", results=None), "`results` is None"),  # type: ignore
        (lambda r: bench.run("a", precision="x%"), "`precision` is 'x%'"),
        (lambda r: bench.run("a", max_time_s="5s"), "`max_time_s` is '5s'"),  # type: ignore
        (lambda r: bench.run("a", variants="fp61"), "Did you mean fp16"),
        (lambda r: bench.run("a", scenarios="ofline"), "Did you mean offline"),
        (lambda r: bench.run("a", batch=[1, "x"]), "`batch.1` is 'x'"),  # type: ignore
        (lambda r: bench.run("a", loadgen="x"), "`loadgen` is 'x'"),  # type: ignore
        (lambda r: bench.run("a", loadgen={"min_duraton": 1}), "Did you mean `min_duration`"),
        (lambda r: bench.run("a", min_invocations="x"), "`min_invocations`"),  # type: ignore
        (lambda r: bench.run("a", wall_csv="x"), "`wall_csv` is only read with `energy`"),
        (lambda r: bench.run("a", latency_bound="5ms"), '`scenarios="server", latency_bound='),
        (lambda r: bench.run("a", scenarios="single-stream", batch=8), "`batch` contradicts"),
    ],
    "open": [
        (lambda r: bench.open(3), "`run` is 3"),  # type: ignore
        (lambda r: bench.open(""), "`run` is ''"),
        (lambda r: bench.open(r.whole), "`run` is <bench.Run"),  # type: ignore
        (lambda r: bench.open("nobody", results=r.empty), "nobody: neither a run directory"),
        (lambda r: bench.open(r.nowhere), "no such folder"),
        (lambda r: bench.open(r.empty), "not a run directory"),
        (lambda r: bench.open(r.file), "neither a run directory nor a bundle"),
        (lambda r: bench.open(r.broken), "can't be read as a run"),
        (lambda r: bench.open(r.folder), "Name one"),
        (lambda r: bench.open(results=r.empty), "Measure one with `bench.run`"),
        (lambda r: bench.open(results=3), "`results` is 3"),  # type: ignore
    ],
    "load": [
        (lambda r: bench.load(3), "`paths` is 3"),  # type: ignore
        (lambda r: bench.load([]), "`paths` is empty"),
        (lambda r: bench.load([r.whole]), "`paths` is <bench.Run"),  # type: ignore
        (lambda r: bench.load(r.nowhere), "no such folder"),
        (lambda r: bench.load(r.empty), "not a run directory"),
        (lambda r: bench.load(r.broken), "can't be read as a run"),
        (lambda r: bench.load(r.whole.path, "sample"), "Did you mean 'samples'"),  # type: ignore
        (lambda r: bench.load(r.whole.path, 3), "`what` is 3"),  # type: ignore
    ],
    "Run.compare": [
        (lambda r: r.whole.compare(3), "`other` is 3"),  # type: ignore
        (lambda r: r.whole.compare("nobody"), "nobody: neither"),
        (lambda r: r.whole.compare(r.whole), "same run"),
        (lambda r: r.hollow.compare(), "two cells with `cells`"),
        (lambda r: r.whole.compare(r.hollow), "no cell in common"),
        (lambda r: r.whole.compare(r.unscored), 'anyway: `allow=["model", "input"]`'),
        (lambda r: r.whole.compare(cells=SIDES[0]), "name two with `cells`"),
        (lambda r: r.whole.compare(cells=3), "`cells` is 3"),  # type: ignore
        (lambda r: r.whole.compare(cells=["x@y", SIDES[0]]), '`cells="x@y"`: no such cell'),
        (lambda r: r.whole.compare(allow="thread"), "Did you mean threads"),
        (lambda r: r.whole.compare(allow=["bench"]), '`allow="bench"`: that difference'),
        (lambda r: r.whole.compare(margin="x"), "`margin` is 'x'"),
        (lambda r: r.whole.compare(confidence=95), "`confidence` is 95"),
        (lambda r: r.whole.compare(confidence=float("nan")), "`confidence` is nan"),
    ],
    "Run.deal": [
        (lambda r: r.whole.deal(3), "`by` is 3"),  # type: ignore
        (lambda r: r.whole.deal("latncy"), "Did you mean 'latency'"),  # type: ignore
        (lambda r: r.whole.deal("energy"), "Measure it with `energy=True`"),
        (lambda r: r.whole.deal(loss=-1), "`loss` is -1"),
        (lambda r: r.whole.deal(loss="x"), "`loss` is 'x'"),
        (lambda r: r.hollow.deal(), "nothing to rank"),
        (lambda r: r.failed.deal(), "nothing to rank"),
        (lambda r: r.unscored.deal(), "Use models with labelled data"),
    ],
    "Run.report": [
        (lambda r: r.whole.report(3), "`path` is 3"),  # type: ignore
        (lambda r: r.whole.report(""), "`path` is ''"),
        (lambda r: r.whole.report(r.folder), "can't be written: Is a directory"),
        (lambda r: r.whole.report(r.file / "x.html"), "can't be written"),
        (lambda r: r.whole.report(r.folder / "x.html", title=3), "`title` is 3"),  # type: ignore
    ],
    "Run.plot": [
        (lambda r: r.whole.plot(3), "`name` is 3"),  # type: ignore
        (lambda r: r.whole.plot([]), "`name` is []"),  # type: ignore
        (lambda r: r.whole.plot("latncy"), "Did you mean 'latency'"),
        (lambda r: r.hollow.plot(), "nothing to draw"),
        (lambda r: r.failed.plot(), "nothing to draw"),
    ],
}


@pytest.mark.parametrize(
    ("name", "place"), [(name, n) for name, calls in CALLS.items() for n in range(len(calls))]
)
def test_a_wrong_call_is_one_clear_sentence(
    name: str, place: int, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, named = CALLS[name][place]
    with pytest.raises(BenchError) as caught:
        call(runs)
    said = str(caught.value)
    assert named in said
    assert said.endswith((".", "?")), said
    assert "\n" not in said
    assert not re.search(r"(?<!`)--[a-z]", re.sub(r"`bench [^`]*`", "", said)), said
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_every_public_function_and_method_is_called_wrongly_here() -> None:
    functions = {name for name in public.__all__ if not isinstance(getattr(public, name), type)}
    methods = {
        f"Run.{name}"
        for name, member in vars(bench.Run).items()
        if callable(member) and not name.startswith("_")
    }
    assert set(CALLS) == functions | methods


def test_whatever_is_public_and_can_raise_says_it_in_python() -> None:
    code = says_python(len).__code__
    functions = [*(getattr(public, name) for name in CALLS if "." not in name)]
    functions += [member for name, member in vars(bench.Run).items() if f"Run.{name}" in CALLS]
    functions += [vars(bench.Run)[name].fget for name in ("table", "pairs", "samples", "sentences")]
    functions += [bench.Run.figures.func, bench.Comparison.table.fget, bench.Deal.table.fget]  # type: ignore
    assert [f.__qualname__ for f in functions if f.__code__ is not code] == []


@pytest.mark.parametrize("kind", [bench.Run, bench.Comparison, bench.Deal])
def test_what_functions_return_is_made_by_nothing_else(kind: Any) -> None:
    with pytest.raises(TypeError, match=f"makes? a bench.{kind.__name__}; nothing else does"):
        kind("results/runs/x")


@pytest.mark.parametrize("lacking", ["hollow", "failed", "stopped", "unscored"])
def test_a_run_that_lacks_something_shows_what_it_has(
    lacking: str, runs: Runs, tmp_path: Path
) -> None:
    run: bench.Run = getattr(runs, lacking)
    assert len(run.table) == len(run.rows)
    assert len(run.pairs) == (lacking == "unscored")
    assert len(run.samples) == 0
    assert str(run)
    assert run._repr_html_()
    assert isinstance(run.sentences, list)
    assert run.report(tmp_path / "page.html").is_file()
    assert bool(run.figures) == (lacking in ("stopped", "unscored"))


def test_what_is_wrong_with_a_run_is_among_its_warnings(runs: Runs) -> None:
    assert runs.failed.warnings == ["timeout: 1 cell."]
    assert runs.stopped.warnings[0] == "Only 1 cell of 2, stopped before its end."
    assert runs.whole.warnings == []
