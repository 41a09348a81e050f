"""`bench model distill`: a student learns what its original knows; interruptions lose an epoch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.cards.card import load_card
from bench.cards.datasets import load_dataset
from bench.cards.distilling.classifiers import Recipe, distill
from bench.cards.export import export
from bench.cards.modules import make
from bench.cards.ready import Loaded
from bench.errors import SpecError

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(12, 3)).astype(np.float32)
RECIPE = Recipe("pupil", epochs=4, width=4, rate=0.05)


def save_data(path: Path, count: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(count, 12)).astype(np.float32)
    np.savez(path, x=x, labels=(x @ WEIGHTS).argmax(axis=1))


@pytest.fixture
def original(tmp_path: Path) -> Loaded:
    """A linear classifier that is always right, scored on 200 examples."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "linear",
        [value("x", TensorProto.FLOAT, ["batch", 12])],
        [value("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(3 * WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(tmp_path / "m.onnx"))
    save_data(tmp_path / "test.npz", 200, 1)
    save_data(tmp_path / "train.npz", 1500, 2)
    (tmp_path / "master.toml").write_text(
        'name = "master"\ntask = "classification"\n[source]\nonnx = "m.onnx"\n'
        '[[inputs]]\nname = "x"\nshape = ["batch", 12]\n'
        '[[outputs]]\nname = "logits"\nshape = ["batch", 3]\n'
        '[dataset]\nname = "d"\npath = "test.npz"\n'
    )
    card = load_card(tmp_path / "master.toml")
    return Loaded(card, card.model_file(), load_dataset(card))


def weights(card: Path) -> dict[str, Any]:
    source = load_card(card).model_file().torch
    assert source is not None
    return {k: v.numpy() for k, v in make(source).module.state_dict().items()}


def silent(text: str) -> None:
    pass


def made(original: Loaded, out: Path, recipe: Recipe = RECIPE, say: Any = silent) -> Path:
    return distill(original, str(original.card.path.parent / "train.npz"), recipe, out, say)


def test_a_student_learns_and_its_card_is_ready_to_run(original: Loaded, tmp_path: Path) -> None:
    path = made(original, tmp_path / "out")
    card = load_card(path)
    assert card.distilled_from == "master"
    assert "1500 examples of train.npz; temperature 2" in card.provenance.trained_on
    dataset = load_dataset(card)
    assert original.dataset is not None
    assert dataset.sha256 == original.dataset.sha256
    from bench.cards.export import run_onnx

    (logits,) = run_onnx(export(card, tmp_path / "cache"), dataset.inputs)
    assert (logits.argmax(axis=1) == dataset.labels).mean() > 0.6  # guessing is right in a third
    with open(tmp_path / "out/pupil.log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert not list((tmp_path / "out").glob("*.training.pt"))


def test_the_same_seed_gives_the_same_student_and_another_another(
    original: Loaded, tmp_path: Path
) -> None:
    first, again = (weights(made(original, tmp_path / name)) for name in "ab")
    other = weights(made(original, tmp_path / "c", Recipe("pupil", 4, width=4, rate=0.05, seed=2)))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
    assert any(not np.array_equal(values, other[name]) for name, values in first.items())


def test_an_interrupted_training_goes_on_to_the_same_end(original: Loaded, tmp_path: Path) -> None:
    whole = weights(made(original, tmp_path / "whole"))

    def interrupt(text: str) -> None:
        if "epoch 2/" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(original, tmp_path / "cut", say=interrupt)
    said: list[str] = []
    cut = weights(made(original, tmp_path / "cut", say=said.append))
    assert any("resuming after epoch 2" in text for text in said)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, cut[name])


def test_a_training_with_other_settings_is_not_mixed_in(original: Loaded, tmp_path: Path) -> None:
    def interrupt(text: str) -> None:
        if "epoch 1/" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(original, tmp_path, say=interrupt)
    with pytest.raises(SpecError, match="another temperature was started"):
        made(original, tmp_path, Recipe("pupil", 4, temperature=3, width=4, rate=0.05))
    (tmp_path / "pupil.training.pt").write_bytes(b"half a file")
    with pytest.raises(SpecError, match="delete it to start again"):
        made(original, tmp_path)


def test_a_control_learns_from_labels_alone(original: Loaded, tmp_path: Path) -> None:
    recipe = Recipe("alone", epochs=1, width=4, control_of="pupil")
    card = load_card(made(original, tmp_path, recipe))
    assert card.control_of == "pupil"
    assert card.distilled_from is None
    assert "the labels of 1500 examples" in card.provenance.trained_on


def test_training_on_test_examples_is_refused(original: Loaded, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="200 of 200 training examples are also in the test set"):
        distill(original, str(tmp_path / "test.npz"), RECIPE, tmp_path / "out", silent)
    save_data(tmp_path / "few.npz", 100, 5)
    with pytest.raises(SpecError, match="100 examples; at least 256 are needed"):
        distill(original, str(tmp_path / "few.npz"), RECIPE, tmp_path / "out", silent)
