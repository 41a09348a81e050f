"""The models that ship: their files, their figures, and that anybody can make the ONNX again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.cards.card import Card, load_card
from bench.cards.datasets import load_dataset
from bench.cards.export import example_inputs, export_module, run_onnx
from bench.discover import card_paths
from bench.stats.proportion import mcnemar_exact

FAMILY = ("fashion-teacher", "fashion-student", "fashion-student-ce")


@pytest.fixture(scope="module")
def cards() -> dict[str, Card]:
    return {name: load_card(card_paths()[name]) for name in FAMILY}


@pytest.fixture(scope="module")
def correct(cards: dict[str, Card]) -> dict[str, np.ndarray]:
    """Which of the 10,000 test images each shipped ONNX file gets right."""
    found = {}
    for name, card in cards.items():
        dataset = load_dataset(card)
        assert len(dataset.labels) == 10_000
        (logits,) = run_onnx(card.file(card.source.onnx or ""), dataset.inputs)
        found[name] = logits.argmax(axis=1) == dataset.labels
    return found


def test_all_weights_together_are_small(cards: dict[str, Card]) -> None:
    files = {
        card.file(name)
        for card in cards.values()
        for name in card.named_files()
        if name.endswith((".onnx", ".safetensors"))
    }
    assert len(files) == 6
    assert sum(file.stat().st_size for file in files) < 8_000_000


def test_every_shipped_file_has_its_digest_in_the_card(cards: dict[str, Card]) -> None:
    for card in cards.values():
        expected = {*card.named_files()}
        assert expected == set(card.provenance.sha256)


def test_the_cards_figures_are_what_the_shipped_files_reach(
    cards: dict[str, Card], correct: dict[str, np.ndarray]
) -> None:
    for name, card in cards.items():
        # A tie between two classes may fall the other way on another CPU.
        assert abs(int(correct[name].sum()) - card.provenance.figures["test_correct"]) <= 2


def test_distilling_helped_as_the_card_says(
    cards: dict[str, Card], correct: dict[str, np.ndarray]
) -> None:
    student, control = correct["fashion-student"], correct["fashion-student-ce"]
    gained, lost = int((student & ~control).sum()), int((~student & control).sum())
    figures = cards["fashion-student"].provenance.figures
    assert abs(gained - figures["only_student_correct"]) <= 2
    assert abs(lost - figures["only_control_correct"]) <= 2
    p = mcnemar_exact(gained, lost)
    assert p < 0.001
    assert np.log10(p) == pytest.approx(np.log10(figures["mcnemar_exact_p"]), abs=1)


def test_the_control_differs_from_the_student_in_weights_alone(cards: dict[str, Card]) -> None:
    student, control = cards["fashion-student"], cards["fashion-student-ce"]
    assert student.source.torch == control.source.torch
    assert control.control_of == student.name
    assert student.distilled_from == "fashion-teacher"
    assert student.content_sha256() != control.content_sha256()


@pytest.mark.slow
def test_exporting_again_gives_the_shipped_model(tmp_path: Path, cards: dict[str, Card]) -> None:
    pytest.importorskip("torch")
    card = cards["fashion-student"]
    source = card.model_file().torch
    assert source is not None
    again = export_module(card, source, tmp_path / "again.onnx")
    for size in (1, 7):
        inputs = example_inputs(card, size, seed=size)
        (shipped,) = run_onnx(card.file(card.source.onnx or ""), inputs)
        (made,) = run_onnx(again, inputs)
        np.testing.assert_allclose(made, shipped, rtol=1e-5, atol=1e-5)
