"""Fidelity on simulated models whose relations are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.cells import cell_len
from scipy.stats import spearmanr

from bench.cards.tasks.base import Columns
from bench.cards.tasks.classification import Classification
from bench.cards.tasks.embedding import Embedding
from bench.errors import SpecError
from bench.judge.fidelity import Titled, fidelity
from bench.present.fidelity import fidelity_row, fidelity_text, sentence

CLASSIFICATION, EMBEDDING = Classification(), Embedding()
N, CLASSES = 3000, 10


def world(seed: int = 0) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Labels, and how hard each example is: the same for every model."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, N)
    evidence = np.eye(CLASSES)[labels] * rng.gamma(4, 1, (N, 1))
    return rng, labels, evidence


def model(labels: np.ndarray, logits: np.ndarray) -> Columns:
    return {
        "label": labels,
        "predicted": logits.argmax(axis=1),
        "logits": logits.astype(np.float32),
    }


def family(seed: int = 0) -> dict[str, Columns]:
    """A teacher, a student that learned its logits, and two that know nothing of it."""
    rng, labels, evidence = world(seed)
    teacher = evidence + rng.normal(0, 1.5, (N, CLASSES))
    student = 0.7 * teacher + 0.3 * evidence + rng.normal(0, 0.8, (N, CLASSES))
    others = [evidence + rng.normal(0, 1.5, (N, CLASSES)) for _ in range(2)]
    return {
        "teacher": model(labels, teacher),
        "student": model(labels, student),
        "control": model(labels, others[0]),
        "other": model(labels, others[1]),
    }


def test_distillation_shows_in_every_measure_of_likeness() -> None:
    m = family()
    found = fidelity(CLASSIFICATION, m["student"], m["teacher"], m["control"])
    gained = {each.key: each.gained for each in found.measures}
    for key in ("agreement", "error_consistency", "same_wrong", "divergence"):
        assert gained[key] == "more", key
    titled = Titled("student", "teacher", "control", "x:cpu", "fp32", found)
    said = sentence(titled)
    assert "on these examples it is more like the original than control is in what it" in said
    assert "one control doesn't tell how much independent models differ" in said
    assert "distillation" not in said  # one control doesn't show what made the difference


def test_a_model_less_like_its_original_than_the_control_is_said_to_be() -> None:
    m = family()
    found = fidelity(CLASSIFICATION, m["control"], m["teacher"], m["student"])
    said = sentence(Titled("small", "teacher", "control", "x:cpu", "fp32", found))
    assert "on these examples it is less like the original than control is in what it" in said


def test_two_models_that_know_nothing_of_the_original_do_not_differ() -> None:
    m = family()
    found = fidelity(CLASSIFICATION, m["control"], m["teacher"], m["other"])
    unclear = [each.key for each in found.measures if each.gained == "unclear"]
    assert {"agreement", "error_consistency", "divergence"} <= set(unclear)


def test_without_outputs_or_control_what_is_left_is_compared() -> None:
    m = {
        name: {k: v for k, v in columns.items() if k != "logits"}
        for name, columns in family().items()
    }
    found = fidelity(CLASSIFICATION, m["student"], m["teacher"])
    values = {each.key: each.value for each in found.measures}
    assert values.keys() == {"agreement", "error_consistency", "same_wrong"}
    assert values["agreement"] is not None
    assert {each.gained for each in found.measures} == {"unknown"}
    titled = Titled("student", "teacher", None, "x:cpu", "int8-static", found)
    assert "there is no control" in sentence(titled)
    assert "KL" not in fidelity_text(titled).plain


def pairs(seed: int = 0) -> dict[str, Columns]:
    """Similarities of an original, of what was distilled from it, and of an independent model."""
    rng = np.random.default_rng(seed)
    gold = rng.random(300)
    original = gold + rng.normal(0, 0.3, 300)
    similarity = {
        "original": original,
        "student": original + rng.normal(0, 0.1, 300),
        "control": gold + rng.normal(0, 0.3, 300),
    }
    return {name: {"gold": gold, "similarity": values} for name, values in similarity.items()}


def test_an_embedding_is_like_its_original_in_how_it_orders_pairs() -> None:
    m = pairs()
    found = fidelity(EMBEDDING, m["student"], m["original"], m["control"])
    each = {measure.key: measure for measure in found.measures}
    assert each.keys() == {"rank_agreement", "similarity_error"}
    value = each["rank_agreement"].value
    assert value is not None
    expected = spearmanr(m["original"]["similarity"], m["student"]["similarity"]).statistic
    assert value.estimate == pytest.approx(expected)
    assert {measure.gained for measure in found.measures} == {"more"}
    words = sentence(Titled("student", "teacher", "control", "x:cpu", "fp32", found))
    assert "orders the pairs like teacher" in words
    assert "in how it orders and its similarities" in words


def test_an_embedding_whose_similarities_are_all_equal_has_no_order() -> None:
    m = pairs()
    flat = {**m["student"], "similarity": np.ones(300)}
    keys = {measure.key for measure in fidelity(EMBEDDING, flat, m["original"]).measures}
    assert keys == {"similarity_error"}


def test_retrieval_is_alike_where_the_same_queries_succeed() -> None:
    query = np.arange(50)
    original = {"query": query, "recall_at_10": (query % 2).astype(float)}
    student = {"query": query, "recall_at_10": np.where(query < 40, query % 2, 1.0)}
    found = fidelity(EMBEDDING, student, original)
    (measure,) = found.measures
    assert measure.key == "recall_agreement"
    assert measure.value is not None
    assert measure.value.estimate == pytest.approx(0.9)
    assert "90.0% of queries" in sentence(Titled("s", "o", None, "x:cpu", "fp32", found))


def test_calibration_has_an_interval_and_an_effect() -> None:
    m = family()
    found = fidelity(CLASSIFICATION, m["student"], m["teacher"], m["control"])
    ece = {measure.key: measure for measure in found.measures}["calibration_error"]
    for interval in (ece.value, ece.control, ece.effect, found.original_calibration):
        assert interval is not None
        assert interval.low <= interval.estimate <= interval.high
    assert ece.value is not None
    assert 0 < ece.value.high - ece.value.low < 0.2


def test_other_examples_are_refused() -> None:
    one, other = family(0)["student"], family(1)["teacher"]
    with pytest.raises(SpecError, match="other examples"):
        fidelity(CLASSIFICATION, one, other)


@pytest.mark.parametrize("name", ["fashion-student", "[red]x[/red]", "\x1b[31m", "y" * 300])
def test_the_report_fits_80_columns_and_is_json(name: str) -> None:
    m = family()
    found = fidelity(CLASSIFICATION, m["student"], m["teacher"], m["control"])
    titled = Titled(name, "teacher", "control", "x:cpu", "fp32", found)
    text = fidelity_text(titled, 80).plain
    assert max(map(cell_len, text.splitlines())) <= 80
    assert text.replace("\n", "").isprintable()
    row = fidelity_row(titled)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
