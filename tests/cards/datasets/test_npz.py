"""Labelled data: read, prepared, and refused where it doesn't fit the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_card import GOOD, save_model

from bench.cards.card import Preprocessing, load_card
from bench.cards.datasets import load_dataset
from bench.cards.datasets.prepared import preprocess
from bench.errors import SpecError

DATA = """
[dataset]
name = "d"
path = "d.npz"
split = "test"
classes = ["a", "b"]
[dataset.preprocessing]
scale = 0.5
mean = 1.0
std = 2.0
shape = [4]
"""


def dataset(folder: Path, **arrays: Any) -> Any:
    save_model(folder / "m.onnx")
    values = {"images": np.ones((6, 2, 2), np.uint8) * 8, "labels": np.array([0, 1] * 3, np.uint8)}
    np.savez(folder / "d.npz", **(values | arrays))
    path = folder / "mine.toml"
    path.write_text(GOOD + DATA)
    return load_dataset(load_card(path))


def test_samples_are_scaled_shifted_and_shaped(tmp_path: Path) -> None:
    found = dataset(tmp_path)
    np.testing.assert_array_equal(found.inputs["x"], np.full((6, 4), 1.5, np.float32))
    assert found.inputs["x"].dtype == np.float32
    assert found.labels.tolist() == [0, 1] * 3
    assert len(found.sha256) == 64


def test_nothing_is_changed_without_preprocessing() -> None:
    stored = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(preprocess(stored, Preprocessing(), np.dtype(np.float32)), stored)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"labels": np.array([0, 1, 2, 0, 1, 0])},
            r"the label 2 in row 2 \(1 of 6 rows\) is none of the 2",
        ),
        (
            {"labels": np.array([0, -1, 0, 0, 1, 0])},
            "the label -1 in row 1 .*remove rows without a class",
        ),
        ({"labels": np.array([0, 1])}, "6 examples but labels of shape"),
        (
            {"labels": np.linspace(0, 1, 6)},
            r"the label 0\.2 in row 1 \(4 of 6 rows\) is not a whole number",
        ),
        ({"images": np.ones((6, 5), np.float32)}, "can't be reshaped"),
    ],
)
def test_data_that_does_not_fit_is_one_sentence(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        dataset(tmp_path, **arrays)
    assert "d.npz" in str(caught.value)


def test_a_file_without_the_arrays_names_them(tmp_path: Path) -> None:
    dataset(tmp_path)
    np.savez(tmp_path / "d.npz", pictures=np.ones(3))
    with pytest.raises(SpecError, match=r"needs the arrays .*it has pictures"):
        load_dataset(load_card(tmp_path / "mine.toml"))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    dataset(tmp_path)
    (tmp_path / "d.npz").write_bytes(b"PK no zip")
    with pytest.raises(SpecError, match="not a readable npz file"):
        load_dataset(load_card(tmp_path / "mine.toml"))
