"""The likeness of a language model's variants to itself, from what a run stored."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from fake_records import TEACHER, a_cell, a_record

from bench.judge.fidelities import Fidelities
from bench.present.fidelity import fidelity_row, fidelity_text
from bench.record.result import Record
from bench.stats.interval import Interval
from bench.store.run import StoredRun


def stored(task: str, columns: dict[str, dict[str, np.ndarray]]) -> StoredRun:
    """A run in which one model was scored in each variant."""
    model = TEACHER.model_copy(update={"task": task})
    records = []
    for variant in columns:
        record = a_record(a_cell(model, variant=variant))
        assert record.accuracy is not None
        kept = record.accuracy.model_copy(update={"predictions": f"predictions/{variant}.parquet"})
        records.append(record.model_copy(update={"accuracy": kept}))

    def predictions(record: Record) -> dict[str, np.ndarray]:
        return columns[record.cell.variant]

    return cast(StoredRun, cast(Any, SimpleNamespace(records=records, predictions=predictions)))


def answers(seed: int) -> dict[str, np.ndarray]:
    right = np.random.default_rng(0).random(50) < 0.7
    right[:seed] ^= True
    return {"document": np.arange(50), "right": right, "answer": right * 7, "tokens": right * 1}


def test_a_language_models_variant_is_compared_with_the_model_itself() -> None:
    run = stored("text-generation", {"int8-dynamic": answers(5), "fp32": answers(0)})
    (titled,) = Fidelities(run).first_of_each()
    assert (titled.student, titled.original) == (TEACHER.name, TEACHER.name)
    assert titled.variant == "int8-dynamic"
    flips = {m.key: m.value for m in titled.found.measures}["flips"]
    assert flips is not None
    assert flips.estimate == pytest.approx(0.1)
    assert "in int8-dynamic still" in " ".join(fidelity_text(titled).plain.split())


def test_a_further_target_is_compared_with_the_first_and_told_as_data() -> None:
    run = stored("text-generation", {"fp32": answers(0), "fp32 ": answers(2)})
    other = run.records[1]
    cell = other.cell.model_copy(update={"variant": "fp32", "target": "openvino:cpu"})
    run.records[1] = other.model_copy(update={"cell": cell})

    def predictions(record: Record) -> dict[str, np.ndarray]:
        return answers(2 if record.cell.target == "openvino:cpu" else 0)

    again = cast(
        StoredRun, cast(Any, SimpleNamespace(records=run.records, predictions=predictions))
    )
    fidelities = Fidelities(again)
    (titled,) = fidelities.each()
    row = fidelity_row(titled)
    assert (row["target"], row["original_target"]) == ("openvino:cpu", "onnxruntime:cpu")
    assert fidelities.first_of_each() == []


def test_variants_of_others_and_the_default_alone_are_not() -> None:
    alone = stored("text-generation", {"fp32": answers(0)})
    assert Fidelities(alone).first_of_each() == []
    label = {"label": np.arange(9), "predicted": np.arange(9)}
    assert not Fidelities(
        stored("classification", {"int8-dynamic": label, "fp32": label})
    ).first_of_each()


def test_a_divergence_far_below_a_thousandth_is_still_a_number() -> None:
    run = stored("text-generation", {"bf16": answers(0), "fp32": answers(0)})
    (titled,) = Fidelities(run).each()
    tiny = Interval(0.00042, 0.0004, 0.00044, 0.95)
    measures = (replace(titled.found.measures[0], value=tiny),)
    shown = fidelity_text(replace(titled, found=replace(titled.found, measures=measures))).plain
    assert "0.00042 ±0.00002" in shown
