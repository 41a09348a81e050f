"""A name from outside that becomes part of a file's name leads to no other folder and file."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_records import TEACHER, a_cell
from measured_runs import measured_run
from onnx import TensorProto, helper
from pydantic import ValidationError

from bench.__main__ import main
from bench.backend import ModelFile
from bench.cards.distilling.classifiers import Recipe as Training
from bench.cards.variants import Recipe, _cached
from bench.files import file_stem
from bench.measure.scoring import prediction_name
from bench.record.facts import CellFacts, Scored
from bench.store.run import read_run

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".hidden",
    "a/b",
    "a\\b",
    "x" * 300,
    "ü" * 200,
    "a\x00b",
    "a\nb",
    "\x1b[2J",
    "",
    "-rf",
    "\ud800",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_becomes_one_plain_part_of_a_file_name(name: str, tmp_path: Path) -> None:
    stem = file_stem(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,57}", stem), stem
    (tmp_path / f"{stem}.x").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.x"]


def test_names_that_differ_in_punctuation_alone_give_two_files() -> None:
    names = ["a:b", "a-b", "a/b", "a?b", "a b", "a..b", "A-b", "x" * 49, "x" * 50, *HOSTILE]
    assert len({file_stem(name) for name in names}) == len(set(names))
    assert file_stem("fashion-student") == "fashion-student", "a plain name stays as it is"


def a_model(path: Path) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("name", ["../../escaped", "/absolute", "..\\up", "x" * 300])
def test_a_variant_of_a_model_of_any_name_is_kept_in_the_cache(name: str, tmp_path: Path) -> None:
    source = a_model(tmp_path / "m.onnx")
    cache = tmp_path / "deep" / "cache"
    path = _cached(name, source, "fp16", Recipe("by copying", shutil.copyfile), cache)
    assert path.is_file()
    assert path.resolve().parent == (cache / "variants").resolve()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "m.onnx"]


@pytest.mark.parametrize("name", ["../../escaped", "/absolute"])
def test_an_export_of_a_model_of_any_name_is_kept_in_the_cache(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.cards import export as exporting

    asked: list[Path] = []
    monkeypatch.setattr(exporting, "make", lambda source: None)
    monkeypatch.setattr(exporting, "content_key", lambda card, made: "f" * 64)
    monkeypatch.setattr(
        exporting, "export_module", lambda card, source, path: asked.append(path) or path
    )
    card: Any = SimpleNamespace(
        name=name,
        source=SimpleNamespace(onnx=None),
        model_file=lambda: SimpleNamespace(torch=object()),
    )
    exporting.export(card, tmp_path / "cache")
    assert asked[0].resolve().parent == (tmp_path / "cache" / "exports").resolve()


def test_a_student_of_any_name_is_written_beside_its_recipe() -> None:
    assert "/" not in Training(name="../up").stem
    assert Training(name="my-student").stem == "my-student"


def planned(target: str, data: str = "d" * 64, name: str = "m", variant: str = "fp32") -> Any:
    model = TEACHER.model_copy(update={"name": name})
    cell = a_cell(model, target).model_copy(update={"variant": variant})
    return SimpleNamespace(
        cell=cell, model=SimpleNamespace(dataset=SimpleNamespace(sha256=data), file=ModelFile)
    )


def test_two_targets_variants_data_sets_or_models_never_share_a_file_of_predictions() -> None:
    several = [
        planned("a:cpu?x=1"),
        planned("a:cpu?x-1"),
        planned("a:cpu-x=1"),
        planned("A:cpu?x=1"),
        planned("a:cpu?x=1", data="e" * 64),
        planned("a:cpu?x=1", name="n"),
        planned("a:cpu?x=1", variant="../int8"),
        planned("a:cpu?x=1", variant="..-int8"),
    ]
    names = [prediction_name(one) for one in several]
    assert len({name.lower() for name in names}) == len(names)
    assert not any("/" in name for name in names)
    longest = planned("t" * 400, name="m" * 400, variant="v" * 400)
    assert len(f"{prediction_name(longest)}.parquet.partial") < 255, "NAME_MAX"


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x.parquet", "predictions/../../x.parquet", "predictions/a/b.parquet",
     "run.json", "samples/x.parquet", ""],
)  # fmt: skip
def test_a_line_that_names_a_file_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Scored(dataset="d", dataset_sha256="e", predictions=name)
    if name:
        with pytest.raises(ValidationError):
            CellFacts(cell_id="c", stop="precision", outputs=name)


def test_an_absolute_name_of_predictions_neither_reads_nor_replaces_that_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = measured_run(tmp_path)
    precious = tmp_path / "precious.parquet"
    pq.write_table(pa.table({"label": np.arange(3), "logits": np.arange(3)}), precious)
    before = precious.read_bytes()
    lines = (run / "records.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    record["accuracy"]["predictions"] = str(precious)
    (run / "records.jsonl").write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    assert main(["publish", str(run), "-o", str(tmp_path / "p")]) == 0
    assert "skipped records.jsonl line 1" in capsys.readouterr().err
    assert precious.read_bytes() == before
    stored = read_run(run)
    assert len(stored.records) == len(lines) - 1
    assert replace(stored, records=[]).skipped
