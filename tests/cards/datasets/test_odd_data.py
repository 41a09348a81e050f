"""Data that looked right and was read wrong, or ended in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_cards import a_card, loaded

from bench.cards.datasets import tables
from bench.errors import SpecError

COLUMNS = '[dataset.columns]\ninputs = { x = ["f1", "f2", "f3"] }\n'


def data(path: str, classes: str = "") -> str:
    return f'[dataset]\nname = "d"\npath = "{path}"\n{classes}\n'


def saved_to_disk(folder: Path, labels: list[int], names: list[str]) -> None:
    folder.mkdir()
    table = pa.table({"x": [[1.0, 2.0, 3.0]] * len(labels), "label": labels})
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as stream:
        stream.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


@pytest.mark.parametrize("labels", [[0, -1], [0, 2]])
def test_a_number_without_a_name_is_refused_in_any_order_of_the_classes(
    tmp_path: Path, labels: list[int]
) -> None:
    saved_to_disk(tmp_path / "d", labels, ["b", "a"])
    with pytest.raises(SpecError, match=rf"the label {labels[1]} in row 1"):
        loaded(tmp_path, data("d", 'classes = ["a", "b"]'))


def test_a_state_that_lists_no_file_is_named(tmp_path: Path) -> None:
    saved_to_disk(tmp_path / "d", [0, 1], ["a", "b"])
    (tmp_path / "d" / "state.json").write_text("{}")
    with pytest.raises(SpecError, match=r"state\.json: it lists no data file"):
        loaded(tmp_path, data("d"))


def test_text_that_looks_like_numbers_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("s\n007\n1.50\n")
    card = a_card(tmp_path, data("d.csv") + '[dataset.columns]\ntext = ["s"]\n')
    assert tables.read_file(tmp_path / "d.csv", card).texts == (["007", "1.50"],)


def test_a_suffix_in_capitals_is_the_same_format(tmp_path: Path) -> None:
    (tmp_path / "d.CSV").write_text("f1,f2,f3,label\n1,2,3,0\n")
    found = loaded(tmp_path, data("d.CSV") + COLUMNS)
    np.testing.assert_array_equal(found.inputs["x"], [[1, 2, 3]])


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("f1,f2,f2,f3,label\n1,2,2,3,0\n")
    with pytest.raises(SpecError, match="several columns are called 'f2'"):
        loaded(tmp_path, data("d.csv") + COLUMNS)


def test_inner_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    values = [[[1.0], [2.0, 3.0]], [[1.0], [2.0]]]
    pq.write_table(pa.table({"x": values, "label": [0, 1]}), tmp_path / "d.parquet")
    with pytest.raises(SpecError, match="inner lists of different lengths"):
        loaded(tmp_path, data("d.parquet"))


def test_an_image_of_more_than_8_bits_is_not_cut_off(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "d" / "a").mkdir(parents=True)
    pixels = np.array([[0, 300], [30000, 65535]], np.uint16)
    image.fromarray(pixels).save(tmp_path / "d" / "a" / "deep.png")
    with pytest.raises(SpecError, match=r"deep\.png: .*more than 8 bits"):
        loaded(tmp_path, data("d"), inputs={"x": ("float32", ("batch", 2, 2, 3))})


@pytest.mark.parametrize(
    ("classes", "cells", "expected"),
    [
        (["false", "true"], ["true", "false"], [1, 0]),
        (["7", "3"], ["3", "7"], [1, 0]),  # names, though they look like places
        (["a", "b"], ["1", "0"], [1, 0]),
        (["no", "yes"], ["yes", "no"], [1, 0]),
    ],
)
def test_labels_in_a_text_file_are_names_where_the_card_has_such_names(
    tmp_path: Path, classes: list[str], cells: list[str], expected: list[int]
) -> None:
    rows = "".join(f"1,2,3,{cell}\n" for cell in cells)
    (tmp_path / "d.csv").write_text(f"f1,f2,f3,label\n{rows}")
    found = loaded(tmp_path, data("d.csv", f"classes = {json.dumps(classes)}") + COLUMNS)
    assert found.labels is not None
    assert found.labels.tolist() == expected


def test_truth_values_are_the_classes_0_and_1(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"f1": [1.0, 2], "f2": [1.0, 2], "f3": [1.0, 2], "label": [True, False]}),
        tmp_path / "d.parquet",
    )
    found = loaded(tmp_path, data("d.parquet") + COLUMNS)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]


def test_a_fraction_for_an_integer_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("f1,f2,f3,label\n1,2,3.5,0\n")
    inputs = {"x": ("int64", ("batch", 3))}
    with pytest.raises(SpecError, match=r"'x' takes int64, which can't hold 3\.5"):
        loaded(tmp_path, data("d.csv") + COLUMNS, inputs=inputs)
