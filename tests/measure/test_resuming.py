"""A run is gone on with where it is still the same run, or what changed is allowed by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compared_runs import a_header
from fake_records import STUDENT, TEACHER, a_cell, a_record, an_invocation

from bench.__main__ import main
from bench.cell import Cell
from bench.errors import SpecError
from bench.machine.facts import machine_facts
from bench.measure import measuring, scoring
from bench.measure.resuming import changes, refuse
from bench.record.header import RunHeader
from bench.store import write
from bench.store.run import read_run
from bench.store.write import RunStore, resume_run

FACTS = machine_facts(("numpy",)).as_json()
CELL = a_cell(TEACHER)


def header(cells: tuple[Cell, ...] = (CELL,), **facts: Any) -> RunHeader:
    return a_header(cells, FACTS | facts)


def kinds(began: RunHeader, now: RunHeader) -> list[str]:
    return [change.kind for change in changes(began, now)]


def test_the_same_run_has_no_changes() -> None:
    assert changes(header(), header()) == []


def test_another_machine_is_told_by_the_facts_that_differ() -> None:
    now = header(machine_id="0" * 12, cpu_model="Another CPU")
    (change,) = changes(header(), now)
    assert (change.kind, change.what, change.now) == ("machine", "cpu_model", "Another CPU")
    began = a_header((CELL,), {"machine_id": "0" * 12})  # an older bench told less
    assert "its id" in [c.what for c in changes(began, header()) if c.kind == "machine"]


@pytest.mark.parametrize(
    "now",
    [
        header(packages={**FACTS["packages"], "numpy": "0.1"}),
        header(packages={}),
        header(python="2.7"),
        header().model_copy(update={"bench_version": "99"}),
        header().model_copy(update={"environments": {"cann": {"numpy": "1.26"}}}),
    ],
)
def test_another_version_of_anything_that_took_part_is_a_change(now: RunHeader) -> None:
    (change,) = changes(header(), now)
    assert change.kind == "versions"
    assert change.was != change.now


def test_another_content_of_a_model_is_one_change_and_not_another_plan() -> None:
    other = a_cell(TEACHER.model_copy(update={"sha256": "f" * 64}))
    (change,) = changes(header(), header((other,)))
    assert (change.kind, change.what) == ("model", TEACHER.name)
    assert (change.was, change.now) == (TEACHER.sha256[:12], "f" * 12)


def test_cells_that_came_or_went_are_another_plan() -> None:
    assert kinds(header(), header((CELL, a_cell(STUDENT)))) == ["plan"]
    assert kinds(header((CELL, a_cell(STUDENT))), header()) == ["plan"]


def test_what_changed_is_refused_unless_each_kind_is_allowed() -> None:
    now = header((CELL, a_cell(STUDENT)), python="2.7")
    found = changes(header(), now)
    with pytest.raises(SpecError) as caught:
        refuse(found, ["plan"], "the-run")
    said = str(caught.value)
    assert "the-run" in said
    assert f"Python was {FACTS['python']} and is 2.7" in said
    assert "--allow plan --allow versions" in said
    refuse(found, ["plan", "versions"], "the-run")
    with pytest.raises(SpecError, match=r"Start a new run\.$"):
        refuse(found, None, "the-run")


def test_a_run_is_read_when_it_is_locked_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what another process added in between would be measured again, over its samples."""
    RunStore.create(tmp_path, a_header([CELL])).close()
    lock = write.lock_folder

    def locked_late(path: Path) -> int:
        descriptor = lock(path)
        line = an_invocation(7, 5e4, CELL).model_dump_json()
        (path / "invocations.jsonl").write_text(line + "\n")
        return descriptor

    monkeypatch.setattr(write, "lock_folder", locked_late)
    store, stored = resume_run(tmp_path)
    store.close()
    assert [one.index for one in stored.invocations] == [7]


def test_a_run_that_can_not_be_gone_on_with_is_let_go_of(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, a_header([CELL]))
    store.append_record(a_record(CELL))
    store.close()
    (store.path / "run.json").write_text("{")
    for _ in range(2):
        with pytest.raises(SpecError, match="is broken"):
            resume_run(tmp_path)


# -- whole runs -----------------------------------------------------------------------------------

TINY = ["--quick", "--max-time", "0.5", "--max-invocations", "3", "--threads", "1"]


@pytest.fixture
def card(tmp_path: Path, doubling_model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model with two labelled examples, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.onnx").write_bytes(doubling_model.read_bytes())
    rows = pa.table({"x": [[1.0, 0, 0, 0], [0, 1.0, 0, 0]], "label": [0, 1]})
    pq.write_table(rows, tmp_path / "data.parquet")
    (tmp_path / "m.toml").write_text(
        'name = "m"\ntask = "classification"\n[source]\nonnx = "model.onnx"\n'
        '[[inputs]]\nname = "x"\nshape = ["batch", 4]\n'
        '[dataset]\nname = "d"\npath = "data.parquet"\n'
    )
    return "m.toml"


def run(*arguments: str) -> int:
    return main(["run", *arguments])


def test_predictions_that_did_not_fit_on_the_disk_are_told_and_made_again_by_a_resume(
    card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scoring, "prediction_name", lambda planned: "p")
    create = RunStore.create.__func__  # type: ignore[attr-defined]

    def with_a_full_disk(cls: type[RunStore], results: Path, header: RunHeader) -> RunStore:
        store: RunStore = create(cls, results, header)
        (store.path / "predictions" / "p.parquet.partial").symlink_to("/dev/full")
        return store

    monkeypatch.setattr(RunStore, "create", classmethod(with_a_full_disk))
    arguments = ["-m", card, "-t", "onnxruntime:cpu", "--scenario", "single-stream", *TINY]
    assert run(*arguments, "--results", "runs") == 0
    said = capsys.readouterr()
    assert "has no accuracy" in said.err
    assert "No space left on device" in said.err
    (before,) = read_run(Path("runs")).records
    assert (before.status, before.accuracy) == ("ok", None)

    path = read_run(Path("runs")).path
    (path / "predictions" / "p.parquet.partial").unlink()
    invocations = (path / "invocations.jsonl").read_bytes()
    assert run("--resume", "runs") == 0
    assert "is scored now" in capsys.readouterr().err
    stored = read_run(path)
    (after,) = stored.records
    assert after.accuracy is not None
    assert after.accuracy.value.value == 1.0
    assert after.latency == before.latency
    assert (path / "invocations.jsonl").read_bytes() == invocations, "it was measured again"
    assert run("--resume", "runs", "--quiet") == 0
    assert len((path / "records.jsonl").read_text().splitlines()) == 2, "it was scored again"
    assert len(read_run(path).resumptions) == 2


def test_a_score_that_no_record_tells_of_is_not_made_again(
    card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a run is interrupted between the two."""
    arguments = ["-m", card, "-t", "onnxruntime:cpu", "--scenario", "single-stream", *TINY]
    assert run(*arguments, "--results", "runs") == 0
    (before,) = read_run(Path("runs")).records
    path = read_run(Path("runs")).path
    for name in ("records.jsonl", "facts.jsonl"):
        (path / name).write_text("")

    def again(*told: Any) -> Any:
        raise AssertionError("it was scored again")

    monkeypatch.setattr(measuring, "score", again)
    assert run("--resume", "runs", "--quiet") == 0
    (after,) = read_run(path).records
    assert after.accuracy == before.accuracy is not None


def test_a_failed_cell_is_tried_again_only_where_that_is_asked_for(
    card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples of the other cells, of the same generations, stay."""
    Path("other.onnx").write_bytes(Path("model.onnx").read_bytes())
    cells = ["-m", card, "-m", "other.onnx", "-t", "onnxruntime:cpu"]
    with monkeypatch.context() as meanwhile:
        too_big = measuring.Measuring._refused_as_too_big
        meanwhile.setattr(measuring.Measuring, "_refused_as_too_big", _fails_one(too_big))
        assert run(*cells, "--scenario", "single-stream", *TINY, "--results", "r") == 1
    stored = read_run(Path("r"))
    good, bad = (next(r for r in stored.records if r.status == s) for s in ("ok", "failed"))
    samples = {k: v.tolist() for k, v in stored.samples(good.cell_id).items()}
    assert samples

    assert run("--resume", "r", "--quiet") == 1
    assert {r.cell_id for r in read_run(Path("r")).records if r.status == "failed"} == {bad.cell_id}
    assert run("--resume", "r", "--quiet", "--retry-failed") == 0
    again = read_run(Path("r"))
    assert {r.status for r in again.records} == {"ok"}
    assert {k: v.tolist() for k, v in again.samples(good.cell_id).items()} == samples
    assert [r for r in again.records if r.cell_id == good.cell_id] == [good]
    assert set(again.samples(bad.cell_id)).isdisjoint(samples)
    assert [resumption.retried for resumption in again.resumptions] == [(), (bad.cell_id,)]


def _fails_one(too_big: Any) -> Any:
    def refused(self: Any, planned: Any) -> bool:
        if planned.cell.model.name != "other":
            return bool(too_big(self, planned))
        failure = measuring.OutOfMemory("there was no room")
        self.finish(measuring.CellState(planned, failure=failure, stop="failed"))
        return True

    return refused


def test_a_model_that_changed_between_two_parts_of_a_run_is_refused_or_recorded(
    card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    arguments = ["-m", card, "-t", "onnxruntime:cpu", "--scenario", "single-stream", *TINY]
    assert run(*arguments, "--results", "r", "--no-accuracy") == 0
    model = onnx.load("model.onnx")
    model.graph.node[0].op_type = "Mul"
    onnx.save(model, "model.onnx")
    capsys.readouterr()
    records = (read_run(Path("r")).path / "records.jsonl").read_bytes()
    assert run("--resume", "r", "--quiet") == 2
    assert "The model content changed: m was" in capsys.readouterr().err
    assert (read_run(Path("r")).path / "records.jsonl").read_bytes() == records
    assert run("--resume", "r", "--quiet", "--allow", "model") == 0
    assert "with another model content: m was" in capsys.readouterr().err
    stored = read_run(Path("r"))
    assert len(stored.records) == 2
    assert [c.kind for r in stored.resumptions for c in r.changes] == ["model"]


def test_what_only_a_resume_understands_is_refused_without_one(
    card: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in (["--retry-failed"], ["--allow", "plan"]):
        assert run("-m", card, *flags) == 2
        assert "--resume" in capsys.readouterr().err
