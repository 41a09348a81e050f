"""What int8-static is calibrated on: samples without labels, or made-up inputs that say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.arrays import Array
from bench.cards.calibration import load_calibration
from bench.cards.card import Card, card_for_onnx, load_card
from bench.cards.export import run_onnx
from bench.cards.ready import Loaded, load
from bench.cards.variants import in_batches
from bench.errors import SpecError
from bench.variants import MADE_UP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3, 8, 8), np.float32)
CARD = """
name = "net"
task = "raw"
source = { onnx = "m.onnx" }
inputs = [{ name = "x", dtype = "float32", shape = ["batch", 3, 8, 8] }]
"""


def write_net(path: Path, opset: int = 17, batch: int | str = "batch") -> Path:
    """A convolution whose channels differ a thousandfold, and a dense layer."""
    weights = {
        "k": RNG.standard_normal((4, 3, 3, 3)) * np.array([1, 10, 0.1, 0.01]).reshape(4, 1, 1, 1),
        "b": RNG.standard_normal(4),
        "w": RNG.standard_normal((10, 4)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)
        if opset >= 11
        else helper.make_node("Gemm", ["f", "w", "zero"], ["y"], transB=1),
    ]
    weights |= {} if opset >= 11 else {"zero": np.zeros(10)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=4 if opset < 13 else 8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def guess(model: Loaded, number: int) -> Mapping[str, Array]:
    size = model.card.inputs[0].shape[0]
    shape = (size if isinstance(size, int) else 1, 3, 8, 8)
    return {"x": np.random.default_rng(number).standard_normal(shape, np.float32)}


def say_nothing(_: str) -> None:
    return None


def loaded(card: Card, tmp_path: Path) -> Loaded:
    return load(card, tmp_path / "cache", say_nothing, ("int8-static",), guess=guess)


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17])
@pytest.mark.parametrize("batch", ["batch", 1, 3])
def test_a_model_by_path_is_calibrated_on_made_up_inputs_and_says_so(
    tmp_path: Path, opset: int, batch: int | str
) -> None:
    path = write_net(tmp_path / "m.onnx", opset, batch)
    form = loaded(card_for_onnx(path), tmp_path).form("int8-static")
    assert form.refused is None
    assert f"MinMax over {MADE_UP} (32)" in form.method
    assert ("per channel" in form.method) == (opset >= 13)
    assert [MADE_UP in note for note in form.notes] == [True]
    assert form.file.onnx is not None
    feeds = {"x": X[: batch if isinstance(batch, int) else 5]}
    (right,), (found,) = run_onnx(path, feeds), run_onnx(form.file.onnx, feeds)
    assert np.corrcoef(right.ravel(), found.ravel())[0, 1] > 0.99
    assert not np.array_equal(right, found)


def write_card(tmp_path: Path, more: str = "") -> Card:
    (tmp_path / "card.toml").write_text(CARD + more)
    return load_card(tmp_path / "card.toml")


def test_a_card_may_name_samples_without_labels_and_without_a_data_set(tmp_path: Path) -> None:
    write_net(tmp_path / "m.onnx")
    np.savez(tmp_path / "train.npz", x=(X * 2).astype(np.float32))
    named = '[calibration]\nname = "train"\npath = "train.npz"\nsamples = 4\n'
    card = write_card(tmp_path, f"{named}preprocessing = {{ scale = 0.5 }}\n")
    found = load_calibration(card, None, "int8-static")
    assert (found.samples, found.words) == (4, "4 samples of train")
    np.testing.assert_allclose(found.batches[0]["x"], X[:4])
    form = loaded(card, tmp_path).form("int8-static")
    assert "MinMax over 4 samples of train" in form.method
    assert form.notes == ()


def test_what_is_wrong_with_the_samples_is_told_with_the_form(tmp_path: Path) -> None:
    write_net(tmp_path / "m.onnx")
    np.savez(tmp_path / "train.npz", x=np.where(np.arange(5)[:, None, None, None] == 2, np.nan, X))
    card = write_card(tmp_path, '[calibration]\nname = "train"\npath = "train.npz"\n')
    notes = loaded(card, tmp_path).form("int8-static").notes
    assert len(notes) == 1
    assert notes[0].startswith("calibration: train.npz: ")


def test_a_model_that_is_scored_is_not_calibrated_on_made_up_inputs(tmp_path: Path) -> None:
    write_net(tmp_path / "m.onnx")
    np.savez(tmp_path / "test.npz", x=X, labels=np.arange(5))
    card = write_card(tmp_path, '[dataset]\nname = "test"\npath = "test.npz"\n')
    refused = loaded(card, tmp_path).form("int8-static").refused
    assert isinstance(refused, SpecError)
    assert "[calibration] table" in str(refused)
    assert "not in the test set" in str(refused)


@pytest.mark.parametrize(
    ("total", "fixed", "sizes"),
    [(5, None, [5]), (33, None, [16, 16, 1]), (5, 1, [1] * 5), (5, 3, [3, 3]), (2, 5, [5])],
)
def test_samples_travel_in_batches_that_the_model_takes(
    total: int, fixed: int | None, sizes: list[int]
) -> None:
    samples = np.arange(total)
    batches = in_batches({"x": samples}, fixed)
    assert [len(batch["x"]) for batch in batches] == sizes
    assert set(np.concatenate([batch["x"] for batch in batches]).tolist()) == set(range(total))


def test_inputs_that_are_alike_count_once(tmp_path: Path) -> None:
    card = card_for_onnx(write_net(tmp_path / "m.onnx"))
    same: dict[str, Any] = {"x": X[:1]}
    found = load_calibration(card, None, "int8-static", lambda number: same)
    assert found.samples == len(found.batches) == 1
    assert found.words == f"{MADE_UP} (1)"
