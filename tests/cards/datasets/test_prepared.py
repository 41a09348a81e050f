"""Stored samples become what the model takes, in any type, as the card says or with a refusal that
leads somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_cards import loaded
from PIL import Image

from bench.errors import SpecError

DATA = '[dataset]\nname = "d"\npath = "d.npz"\n[dataset.preprocessing]\n'
PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


def fed(folder: Path, how: str, kind: str, shape: tuple[int, ...], stored: Any = PIXELS) -> Any:
    np.savez(folder / "d.npz", x=stored, labels=np.zeros(len(stored), np.int64))
    found = loaded(folder, DATA + how, inputs={"x": (kind, ("batch", *shape))}).inputs["x"]
    assert found.dtype == kind
    return found


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "float64", "float16"])
def test_the_layout_is_applied_in_every_type(tmp_path: Path, kind: str) -> None:
    found = fed(tmp_path, 'layout = "nchw"', kind, (3, 4, 5))
    np.testing.assert_array_equal(found, PIXELS.transpose(0, 3, 1, 2))


def test_whole_results_of_scaling_fit_an_integer_input(tmp_path: Path) -> None:
    found = fed(tmp_path, 'layout = "nchw"\nmean = 128.0', "int8", (3, 4, 5))
    np.testing.assert_array_equal(found, PIXELS.transpose(0, 3, 1, 2).astype(np.int16) - 128)


@pytest.mark.parametrize("how", ["scale = 0.5", "mean = [0.5, 0.5, 0.5]", "std = 3.0"])
def test_scaling_that_an_integer_input_cannot_hold_is_refused(tmp_path: Path, how: str) -> None:
    with pytest.raises(SpecError, match=r"takes uint8, .*Leave `scale`, `mean` and `std`"):
        fed(tmp_path, how, "uint8", (4, 5, 3))


def test_a_shape_is_applied_to_an_integer_input(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        fed(tmp_path, "shape = [60]", "uint8", (60,)), PIXELS.reshape(2, 60)
    )


def test_image_files_are_resized_for_an_integer_input(tmp_path: Path) -> None:
    (tmp_path / "d/a").mkdir(parents=True)
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(tmp_path / "d/a/1.png")
    text = DATA.replace("d.npz", "d") + 'size = [4, 4]\nlayout = "nchw"'
    found = loaded(tmp_path, text, inputs={"x": ("uint8", ("batch", 3, 4, 4))})
    np.testing.assert_array_equal(found.inputs["x"], np.full((1, 3, 4, 4), 9))


@pytest.mark.parametrize(
    ("how", "shape", "words"),
    [
        ("", (3, 4, 5), r'Set `dataset\.preprocessing\.layout = "nchw"`'),
        ('layout = "nchw"', (4, 5, 3), "leave `dataset.preprocessing.layout` out"),
        ("", (1, 4, 5), 'colour = "grey"'),
        ("", (3, 8, 8), "`dataset.preprocessing.size`"),
        ("", (60,), r"Set `dataset\.preprocessing\.shape`"),
        ("shape = [3, 4, 5]", (3, 4, 5), r'would mix the pixels .*set `layout = "nchw"`'),
    ],
)
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_a_refusal_names_the_key_that_helps(
    tmp_path: Path, kind: str, how: str, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        fed(tmp_path, how, kind, shape)


def test_ids_beside_an_image_stay_as_they_are_stored(tmp_path: Path) -> None:
    ids = np.array([[1, 2], [3, 4]])
    np.savez(tmp_path / "d.npz", x=PIXELS, ids=ids, flags=ids * 0.5, labels=[0, 0])
    found = loaded(
        tmp_path,
        DATA + 'scale = 2.0\nmean = [1.0, 2.0, 3.0]\nlayout = "nchw"',
        inputs={
            "x": ("float32", ("batch", 3, 4, 5)),
            "ids": ("int64", ("batch", 2)),
            "flags": ("float32", ("batch", 2)),
        },
    )
    np.testing.assert_array_equal(found.inputs["ids"], ids)
    np.testing.assert_array_equal(found.inputs["flags"], ids * 0.5)
    expected = (PIXELS * 2.0 - [1, 2, 3]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found.inputs["x"], expected)


@pytest.mark.parametrize(
    ("kind", "stored", "words"),
    [
        ("float32", [[1e300] * 3], r"takes float32, which can't hold 1e\+300 \(in row 0\)"),
        ("float16", [[0.0] * 3, [70000.0] * 3], r"can't hold 70000 \(in row 1\)"),
        ("bool", [[0, 1, 2]], "takes bool, which can't hold 2"),
        ("float32", [["a"] * 3], "'x' is <U1; it must be numbers"),
        ("float32", [[1j] * 3], "'x' is complex128"),
    ],
)
def test_values_that_the_type_would_change_are_refused(
    tmp_path: Path, kind: str, stored: Any, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        fed(tmp_path, "", kind, (3,), np.array(stored))


def test_a_double_stays_a_double(tmp_path: Path) -> None:
    stored = np.array([[2.0**53 + 2, 1 / 3, 1e300]])
    np.testing.assert_array_equal(fed(tmp_path, "", "float64", (3,), stored), stored)


# -- columns of tables ----------------------------------------------------------------------------


def column(folder: Path, values: pa.Array, shape: tuple[int, ...] = (2, 2)) -> Any:
    table = pa.table([values, pa.array([0] * len(values))], ["x", "label"])
    pq.write_table(table, folder / "d.parquet")
    text = DATA.replace("d.npz", "d.parquet")
    return loaded(folder, text, inputs={"x": ("float32", ("batch", *shape))}).inputs["x"]


LISTS = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


@pytest.mark.parametrize(
    "values",
    [
        pa.array(LISTS),
        pa.array(LISTS, pa.large_list(pa.list_(pa.float16()))),
        pa.array(LISTS, pa.list_(pa.list_(pa.int8(), 2), 2)),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.array(LISTS, np.float32)),
    ],
)
def test_lists_in_lists_of_any_kind_are_arrays(tmp_path: Path, values: pa.Array) -> None:
    np.testing.assert_array_equal(column(tmp_path, values), LISTS)


def test_lists_of_views_are_arrays(tmp_path: Path) -> None:
    """Which Arrow files may hold, and Parquet does not."""
    table = pa.table({"x": pa.array([[1, 2]] * 2, pa.list_view(pa.int8())), "label": [0, 1]})
    with pa.ipc.new_stream(str(tmp_path / "d.arrow"), table.schema) as writer:
        writer.write_table(table)
    text = DATA.replace("d.npz", "d.arrow")
    found = loaded(tmp_path, text, inputs={"x": ("float32", ("batch", 2))})
    np.testing.assert_array_equal(found.inputs["x"], [[1, 2], [1, 2]])


def test_a_gap_inside_a_list_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="column 'x' has no value in row 1"):
        column(tmp_path, pa.array([[[1, 2], [3, 4]], [[5, 6], [7, None]]]))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2]] * 2).cast(pa.list_(pa.decimal128(20, 1))),
        pa.array([[1.0, 2.0]] * 2, pa.list_(pa.float32())),
    ],
)
def test_numbers_of_any_kind_are_numbers(tmp_path: Path, values: pa.Array) -> None:
    np.testing.assert_array_equal(column(tmp_path, values, (2,)), [[1, 2], [1, 2]])


def test_text_in_a_column_of_numbers_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="holds string, not numbers: row 1 is 'x'"):
        column(tmp_path, pa.array(["1", "x"]), ())
