"""The JSON Schemas that ship are those of the models, and what is written fulfils them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from compared_runs import on_disk
from fake_records import a_run
from jsonschema import Draft202012Validator
from made_certificates import broken, made_certificate, moved, outputs

from bench.errors import SpecError
from bench.record.schema import FOLDER, MODELS, generate, shipped, text
from bench.store.interchange.foreign import read_foreign, store
from bench.store.interchange.formats import READERS
from bench.store.samples import sample_files

TESTS = Path(__file__).parents[1]
FOREIGN = TESTS / "store" / "interchange" / "files"


@pytest.mark.parametrize("name", MODELS)
def test_what_ships_is_what_the_models_generate(name: str) -> None:
    path = FOLDER / f"{name}.schema.json"
    assert path.read_text() == text(generate(name)), "run: python -m bench.record.schema"
    Draft202012Validator.check_schema(shipped(name))


def test_nothing_else_ships() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in MODELS}


def check(name: str, values: list[Any]) -> None:
    validator = Draft202012Validator(shipped(name))
    assert values
    for value in values:
        validator.validate(value)


def check_run(path: Path) -> None:
    check("run", [json.loads((path / "run.json").read_text())])
    lines = (path / "records.jsonl").read_text().splitlines()
    check("record", [json.loads(line) for line in lines])


def test_a_run_that_was_measured_fulfils_them() -> None:
    path = TESTS / "runs" / "version-1"
    check_run(path)
    lines = (path / "invocations.jsonl").read_text().splitlines()
    check("invocation", [json.loads(line) for line in lines])
    for file in sample_files(path):
        check("sample", pq.read_table(file).slice(0, 100).to_pylist())


def test_failed_simulated_and_foreign_records_fulfil_them(tmp_path: Path) -> None:
    check_run(on_disk(tmp_path, a_run()).path)
    found = read_foreign(FOREIGN / "llama_bench.json", READERS, None)
    check_run(store(found, tmp_path, "bench results import"))


def test_a_certificate_fulfils_its_schema(tmp_path: Path) -> None:
    targets = {"openvino:cpu": moved(outputs()), "tract:cpu": broken(outputs())}
    made_certificate(tmp_path, targets)
    told = json.loads((tmp_path / "certificate.json").read_text())
    check("certificate", [told])
    assert not Draft202012Validator(shipped("certificate")).is_valid(told | {"findings": None})


def test_a_schema_refuses_what_is_no_record() -> None:
    validator = Draft202012Validator(shipped("record"))
    assert not validator.is_valid({"status": "ok"})
    line = (TESTS / "runs" / "version-1" / "records.jsonl").read_text().splitlines()[0]
    record = json.loads(line)
    assert validator.is_valid(record | {"a_later_field": 1})
    assert not validator.is_valid(record | {"status": "good"})


def test_a_name_without_schema_is_refused() -> None:
    with pytest.raises(SpecError, match="Available: run, record"):
        shipped("recrod")
