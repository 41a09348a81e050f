"""No file and no row of labelled data is left out in silence."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from data_cards import loaded
from PIL import Image

from bench.cards.datasets import Dataset
from bench.errors import SpecError

SHAPE = {"x": ("float32", ("batch", 4, 4, 3))}
DATA = '[dataset]\nname = "d"\npath = "d"\n'
TABLE = DATA.replace('"d"\n', '"d.parquet"\n', 2).replace('name = "d.parquet"', 'name = "d"')


def picture(path: Path, value: int = 9, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path, **options)


def pictures(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        picture(folder / "d" / name, number)


def values(found: Dataset) -> list[int]:
    """The grey of each picture."""
    return [round(float(image.mean())) for image in found.inputs["x"]]


# -- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["p.tiff", "p.tif", "p.gif", "p.bmp", "p.webp", "p.ppm", "p.JPG", "p.PnG", "p.jfif"]
)
def test_every_format_that_pillow_reads_counts(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, "a/1.png", "b/2.png")
    picture(tmp_path / "d/b" / name, 200)
    found = loaded(tmp_path, DATA, inputs=SHAPE)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]
    assert values(found)[2] == pytest.approx(200, abs=2)
    assert found.notes == ()


def test_images_in_deeper_folders_count_for_their_class_and_are_told(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "a/more/even/2.png", "b/3.png")
    found = loaded(tmp_path, DATA, inputs=SHAPE)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1]
    (note,) = found.notes
    assert note == (
        "d: 1 image is in folders inside a class folder and counted for that class; the first is "
        "a/more/even/2.png"
    )


def test_hidden_files_and_what_systems_leave_are_told_with_their_number(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "b/2.png")
    for name in ("a/._1.png", ".DS_Store", "b/Thumbs.db", "__MACOSX/a/._1.png", "@eaDir/s.jpg"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"none")
    picture(tmp_path / "d/a/.ipynb_checkpoints/1-checkpoint.png")
    found = loaded(tmp_path, DATA, inputs=SHAPE)
    assert found.examples == 2
    (note,) = found.notes
    assert note.startswith(
        "d: 6 files are left out, hidden or created by the operating system; the first is "
    )


@pytest.mark.parametrize("name", ["$RECYCLE.BIN", "System Volume Information", "lost+found"])
def test_a_folder_that_a_system_makes_on_every_disk_is_no_class(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, "a/1.png", "b/2.png")
    picture(tmp_path / "d" / name / "deleted.png")
    found = loaded(tmp_path, DATA, inputs=SHAPE)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


def test_images_below_a_hidden_folder_are_found(tmp_path: Path) -> None:
    """Downloads lie below ~/.cache: it is their place in the data set that hides files."""
    home = tmp_path / ".cache"
    home.mkdir()
    pictures(home, "a/1.png", "b/2.png")
    assert loaded(home, DATA, inputs=SHAPE).examples == 2


def test_other_files_and_images_of_no_class_are_told_with_their_number(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "b/2.png", "loose.png")
    for name in ("a/notes.txt", "b/2.xml", "labels.csv"):
        (tmp_path / "d" / name).write_text("x")
    other, loose = sorted(loaded(tmp_path, DATA, inputs=SHAPE).notes)
    assert other == "d: 1 file is left out, outside the class folders; the first is loose.png"
    assert loose == (
        "d: 3 files are left out, not in an image format that Pillow reads; the first is "
        "a/notes.txt"
    )


def test_images_without_any_folder_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "1.png", "2.png")
    (tmp_path / "d/.DS_Store").write_bytes(b"")
    with pytest.raises(
        SpecError,
        match=r"2 images are outside the class folders \(the first is "
        r"1\.png",
    ):
        loaded(tmp_path, DATA, inputs=SHAPE)


def test_frames_beyond_the_first_are_told(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png")
    more = [Image.fromarray(np.full((4, 4, 3), 70, np.uint8))]
    picture(tmp_path / "d/a/2.tiff", 30, save_all=True, append_images=more)
    found = loaded(tmp_path, DATA, inputs=SHAPE)
    assert values(found) == [0, 30]
    assert found.notes == (
        "d: 1 image has several frames, of which the first is read; the first is a/2.tiff",
    )


def test_what_shows_through_is_told_and_what_is_opaque_is_not(tmp_path: Path) -> None:
    for name, alpha in (("clear", 0), ("full", 255)):
        pixels = np.full((4, 4, 4), 40, np.uint8)
        pixels[..., 3] = alpha
        (tmp_path / "d/a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"d/a/{name}.png")
    palette = Image.fromarray(np.full((4, 4, 3), 80, np.uint8)).quantize(2)
    palette.save(tmp_path / "d/a/palette.png", transparency=bytes([0, 0]))
    found = loaded(tmp_path, DATA, inputs=SHAPE)
    assert values(found) == [40, 40, 80]
    (note,) = found.notes
    assert note == (
        "d: 2 images have transparent pixels, read as the colour that is stored for them; the "
        "first is a/clear.png"
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_an_image_of_any_mode_gives_its_colours(tmp_path: Path, mode: str) -> None:
    (tmp_path / "d/a").mkdir(parents=True)
    image = Image.fromarray(np.full((4, 4, 3), 255, np.uint8)).convert(mode)
    image.save(tmp_path / "d/a/1.tiff")
    found = loaded(tmp_path, DATA, inputs=SHAPE)
    assert np.abs(found.inputs["x"] - 255).max() <= 1


def test_a_link_to_a_folder_above_counts_nothing_twice(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "elsewhere/2.png")
    (tmp_path / "d/a/loop").symlink_to(tmp_path / "d")
    (tmp_path / "more").mkdir()
    picture(tmp_path / "more/3.png")
    (tmp_path / "d/a/linked").symlink_to(tmp_path / "more")
    found = loaded(tmp_path, DATA, inputs=SHAPE)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1]


def test_folders_that_are_splits_are_no_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png")
    with pytest.raises(SpecError, match=r"its folders are splits \(test, train\), not classes"):
        loaded(tmp_path, DATA, inputs=SHAPE)
    found = loaded(tmp_path, DATA + 'split = "test"\n', inputs=SHAPE)
    assert values(found) == [2, 3]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


def test_folders_that_are_numbers_are_not_numbered_as_text(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"{number}/p.png" for number in range(11)))
    with pytest.raises(SpecError, match=r"order as text \(0, 1, 10, \.\.\.\)"):
        loaded(tmp_path, DATA, inputs=SHAPE)
    names = json.dumps([str(number) for number in range(11)])
    found = loaded(tmp_path, f"{DATA}classes = {names}\n", inputs=SHAPE)
    assert found.labels is not None
    assert found.labels.tolist() == list(range(11)) == values(found)


def test_a_name_that_two_classes_have_counts_no_image_twice(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(SpecError, match="names 'a' twice"):
        loaded(tmp_path, DATA + 'classes = ["a", "b", "a"]\n', inputs=SHAPE)


def test_images_fill_one_input(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(SpecError, match="fills one input, but mine takes 2"):
        loaded(tmp_path, DATA, inputs={**SHAPE, "n": ("int64", ("batch",))})


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"no picture"])
def test_an_image_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    pictures(tmp_path, "a/1.png")
    (tmp_path / "d/a/2.gif").write_bytes(content)
    with pytest.raises(SpecError, match=r"a/2\.gif: not a readable image: ") as caught:
        loaded(tmp_path, DATA, inputs=SHAPE)
    assert "0x" not in str(caught.value)
    assert "\n" not in str(caught.value)


# -- Hugging Face folders -------------------------------------------------------------------------


def stream(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def saved(folder: Path, count: int = 6, **state: Any) -> None:
    """A data set whose inputs count up, in two files, with this state."""
    rows = [[float(number)] * 3 for number in range(count)]
    table = pa.table({"x": rows, "label": [number % 2 for number in range(count)]})
    stream(folder / "d/a.arrow", table.slice(0, 4))
    stream(folder / "d/b.arrow", table.slice(4))
    files = {"_data_files": [{"filename": "a.arrow"}, {"filename": "b.arrow"}]}
    (folder / "d/state.json").write_text(json.dumps(files | state))
    (folder / "d/dataset_info.json").write_text('{"features": null}')


def firsts(found: Dataset) -> list[float]:
    return [float(row[0]) for row in found.inputs["x"]]


def test_a_selection_is_followed_in_its_own_order(tmp_path: Path) -> None:
    saved(tmp_path)
    everything = loaded(tmp_path, DATA)
    assert firsts(everything) == [0, 1, 2, 3, 4, 5]
    stream(tmp_path / "d/i.arrow", pa.table({"indices": pa.array([5, 0], pa.uint64())}))
    saved(tmp_path, _indices_data_files=[{"filename": "i.arrow"}])
    found = loaded(tmp_path, DATA)
    assert firsts(found) == [5, 0]
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]
    assert found.sha256 != everything.sha256


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"_indices_data_files": [{"filename": "i.arrow"}]}, "the data set can't be read"),
        ({"_indices_data_files": ["i.arrow"]}, "`_indices_data_files` names no files"),
        ({"_data_files": [{"name": "a"}]}, "`_data_files` names no files"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, "the data set can't be read"),
        ({"_inplace_history": [{"transforms": [["drop", [], {}]]}]}, "datasets before 1.6"),
    ],
)
def test_a_state_that_cannot_be_followed_is_refused(
    tmp_path: Path, state: dict[str, Any], words: str
) -> None:
    stream(tmp_path / "d/i.arrow", pa.table({"indices": pa.array([99], pa.uint64())}))
    saved(tmp_path, **state)
    with pytest.raises(SpecError, match=words) as caught:
        loaded(tmp_path, DATA)
    assert "\n" not in str(caught.value)


def test_files_of_which_only_a_part_was_saved_give_that_part(tmp_path: Path) -> None:
    saved(tmp_path, _data_files=[{"filename": "a.arrow", "skip": 1, "take": 2}])
    found = loaded(tmp_path, DATA)
    assert firsts(found) == [1, 2]
    assert found.notes == (
        "d: 1 Arrow file is left out, not in state.json's list; the first is b.arrow",
    )


def test_another_split_than_the_cards_is_told(tmp_path: Path) -> None:
    saved(tmp_path, _split="train")
    found = loaded(tmp_path, DATA + 'split = "test"\n')
    assert found.notes == ("d: the data set is the split train, but the card says test",)


# -- files of tables ------------------------------------------------------------------------------

ROWS = pa.table({"x": [[1.0] * 3, [2.0] * 3], "label": [0, 1]})


def test_parquet_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for split in ("train", "test"):
        for number in range(2):
            pq.write_table(ROWS, tmp_path / f"d/{split}-0000{number}-of-00002.parquet")
    with pytest.raises(SpecError, match="it has the splits test, train"):
        loaded(tmp_path, DATA)
    found = loaded(tmp_path, DATA + 'split = "test"\n')
    assert firsts(found) == [1, 2, 1, 2]
    (tmp_path / "d/test-00000-of-00002.parquet").unlink()
    with pytest.raises(SpecError, match=r"1 file of 2 is missing \(number 0\)"):
        loaded(tmp_path, DATA + 'split = "test"\n')


def test_one_file_of_several_is_told(tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "test-00001-of-00003.parquet")
    found = loaded(tmp_path, DATA.replace('path = "d"', 'path = "test-00001-of-00003.parquet"'))
    (note,) = found.notes
    assert "it is file 2 of 3 of its data set; the others are ignored" in note


@pytest.mark.parametrize("name", ["d.arrow", "d.feather", "d.ipc"])
def test_arrow_files_of_both_kinds_are_read(tmp_path: Path, name: str) -> None:
    if name == "d.arrow":
        stream(tmp_path / name, ROWS)
    else:
        feather.write_feather(ROWS, str(tmp_path / name))
    assert firsts(loaded(tmp_path, DATA.replace('path = "d"', f'path = "{name}"'))) == [1, 2]


def test_a_folder_called_like_a_column_adds_none(tmp_path: Path) -> None:
    (tmp_path / "label=1").mkdir()
    pq.write_table(ROWS, tmp_path / "label=1/d.parquet")
    found = loaded(tmp_path, DATA.replace('path = "d"', 'path = "label=1/d.parquet"'))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


def test_names_of_classes_inside_a_parquet_file_count(tmp_path: Path) -> None:
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(ROWS.replace_schema_metadata(told), tmp_path / "d.parquet")
    found = loaded(tmp_path, TABLE + 'classes = ["yes", "no"]\n')
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]


def test_an_image_that_is_only_a_path_is_refused_in_these_words(tmp_path: Path) -> None:
    rows = [{"bytes": None, "path": "a.png"}]
    pq.write_table(pa.table({"x": rows, "label": [0]}), tmp_path / "d.parquet")
    with pytest.raises(SpecError, match=r"column x, row 0: it holds the path of an image \(a\.png"):
        loaded(tmp_path, TABLE, inputs=SHAPE)


def test_bytes_alone_are_an_image_too(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(buffer, "png")
    pq.write_table(pa.table({"x": [buffer.getvalue()], "label": [0]}), tmp_path / "d.parquet")
    assert values(loaded(tmp_path, TABLE, inputs=SHAPE)) == [7]


def test_a_format_that_is_not_read_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("{}")
    with pytest.raises(SpecError, match=r"d\.jsonl: unsupported format .*\.npz, \.csv"):
        loaded(tmp_path, DATA.replace('path = "d"', 'path = "d.jsonl"'))


# -- arrays ---------------------------------------------------------------------------------------


def test_a_set_without_examples_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((0, 3), np.float32), labels=np.zeros(0, np.int64))
    with pytest.raises(SpecError, match="it has no example"):
        loaded(tmp_path, DATA.replace('path = "d"', 'path = "d.npz"'))


def test_missing_values_in_an_array_are_told(tmp_path: Path) -> None:
    values = np.ones((4, 3), np.float32)
    values[2:, 1] = np.nan
    np.savez(tmp_path / "d.npz", x=values, labels=np.zeros(4, np.int64))
    found = loaded(tmp_path, DATA.replace('path = "d"', 'path = "d.npz"'))
    assert found.notes == ("d.npz: 2 examples hold NaN in 'x'; the first is row 2",)


def test_labels_under_another_name_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((4, 3), np.float32), y=np.zeros(4, np.int64))
    found = loaded(tmp_path, DATA.replace('path = "d"', 'path = "d.npz"'))
    assert found.labels is None
    assert found.notes == ("d.npz: it has no array `labels`; `y` is ignored",)
    pq.write_table(ROWS.rename_columns(["x", "Label"]), tmp_path / "d.parquet")
    assert loaded(tmp_path, TABLE).notes == (
        "d.parquet: no column is called 'label' (it has 'x', 'Label'); name it in the card",
    )


@pytest.mark.parametrize("splits", ['"test"', "[1]", "null"])
def test_splits_that_are_no_names_are_refused(tmp_path: Path, splits: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/dataset_dict.json").write_text(f'{{"splits": {splits}}}')
    with pytest.raises(SpecError, match=r"it lists no splits|it has the splits 1"):
        loaded(tmp_path, DATA + 'split = "test"\n')
