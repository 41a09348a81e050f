"""Labels, however they are stored: the places of classes, or a refusal that names the row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_cards import loaded

from bench.errors import SpecError

NPZ = '[dataset]\nname = "d"\npath = "d.npz"\n'
TABLE = NPZ.replace("d.npz", "d.parquet")


def in_array(folder: Path, labels: Any, more: str = "") -> list[int]:
    labels = np.asarray(labels)
    np.savez(folder / "d.npz", x=np.ones((len(labels), 3), np.float32), labels=labels)
    found = loaded(folder, NPZ + more).labels
    assert found is not None
    assert found.dtype == np.int64
    return list(found)


def in_table(folder: Path, labels: pa.Array, more: str = "") -> list[int]:
    table = pa.table({"x": [[1.0] * 3] * len(labels), "label": labels})
    pq.write_table(table, folder / "d.parquet")
    found = loaded(folder, TABLE + more).labels
    assert found is not None
    return list(found)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0.0, 2.0, 1.0]),
        np.array([[0], [2], [1]]),
        np.array([0, 2, 1], np.uint64),
        np.array([b"0", b"2", b"1"]),
        np.array(["0", "2.0", "1"]),
    ],
)
def test_whole_numbers_of_any_type_are_places(tmp_path: Path, labels: Any) -> None:
    assert in_array(tmp_path, labels) == [0, 2, 1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1.5, 0.5], r"the label 1\.5 in row 1 \(2 of 3 rows\) is not a whole number"),
        ([0, np.nan, 1], "the label nan in row 1"),
        ([0, np.inf, 1], "the label inf in row 1"),
        (
            [0, 1, -1],
            r"the label -1 in row 2 \(1 of 3 rows are below 0\) is not a class: remove rows",
        ),
        ([-1, -1, -1], "its labels are withheld; use a split that has labels"),
        (np.eye(3), r"labels of shape \(3, 3\).*one-hot rows are reduced by argmax"),
        (np.array(["2020-01-01"] * 3, "datetime64[D]"), "labels must be whole numbers or text"),
        (np.array([0, 1, 2**64 - 1], np.uint64), "in row 2"),
        ([1 + 0j, 0, 1], "labels must be whole numbers or text"),
    ],
)
def test_what_is_no_class_is_named(tmp_path: Path, labels: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        in_array(tmp_path, labels)


def test_names_stored_as_bytes_are_names(tmp_path: Path) -> None:
    labels = np.array(["é", "a"]).astype("U").tolist()
    stored = np.array([name.encode() for name in labels])
    assert in_array(tmp_path, stored, 'classes = ["a", "é"]\n') == [1, 0]


def test_two_classes_of_one_name_need_numbers_as_labels(tmp_path: Path) -> None:
    """ImageNet has two cranes."""
    classes = 'classes = ["crane", "ship", "crane"]\n'
    assert in_array(tmp_path, [2, 0], classes) == [2, 0]
    with pytest.raises(SpecError, match="names 'crane' twice"):
        in_array(tmp_path, ["crane", "ship"], classes)


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["b", "a"]).dictionary_encode(),
        pa.array(["b", "a"], pa.large_string()),
        pa.array([1, 0]).dictionary_encode(),
        pa.array([1.0, 0.0]),
        pa.array([Decimal("1.00"), Decimal("0.00")]),
        pa.array([True, False]),
    ],
)
def test_columns_of_any_type_are_labels(tmp_path: Path, labels: pa.Array) -> None:
    assert in_table(tmp_path, labels, 'classes = ["a", "b"]\n') == [1, 0]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (pa.array([[0], [1]]), "column 'label' holds list"),
        (pa.array([b"a", b"b"]), "column 'label' holds binary"),
        (pa.array([0, None]), "column 'label' has no value in row 1"),
        (pa.array([{"a": 1}, {"a": 2}]), "column 'label' holds struct"),
    ],
)
def test_columns_that_hold_no_label_are_named(tmp_path: Path, labels: pa.Array, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        in_table(tmp_path, labels)
