"""Images by class: read, prepared, and every mistake named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from data_cards import a_card, loaded
from PIL import Image

from bench.cards.datasets import load_dataset
from bench.errors import SpecError

SHAPE = {"x": ("float32", ("batch", 3, 4, 4))}
DATA = """
[dataset]
name = "d"
path = "pictures"
[dataset.preprocessing]
layout = "nchw"
scale = 0.5
mean = [1.0, 2.0, 3.0]
std = [1.0, 2.0, 4.0]
"""


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog", "cat", "eel")):
        pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        save(tmp_path / "pictures" / name / f"{number}.png", pixels)
    return tmp_path


def test_folders_are_classes_and_pixels_are_prepared_channel_by_channel(pictures: Path) -> None:
    found = loaded(pictures, DATA, inputs=SHAPE)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1, 2]
    first = np.asarray(Image.open(pictures / "pictures/cat/0.png")).astype(np.float32)
    expected = ((first * 0.5 - [1, 2, 3]) / [1, 2, 4]).transpose(2, 0, 1)
    np.testing.assert_allclose(found.inputs["x"][0], expected, rtol=1e-6)
    assert found.inputs["x"].flags.c_contiguous


def test_the_cards_order_of_classes_wins(pictures: Path) -> None:
    found = loaded(
        pictures,
        DATA.replace("[dataset.pre", 'classes = ["eel", "dog", "cat"]\n[dataset.pre'),
        inputs=SHAPE,
    )
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 2]


def test_images_as_files_and_as_arrays_are_the_same_data(pictures: Path) -> None:
    by_file = loaded(pictures, DATA, inputs=SHAPE)
    files = sorted((pictures / "pictures").rglob("*.png"))
    stored = np.stack([np.asarray(Image.open(file)) for file in files])
    np.savez(pictures / "d.npz", images=stored, labels=np.array([0, 0, 1, 2]))
    by_array = loaded(pictures, DATA.replace('"pictures"', '"d.npz"'), inputs=SHAPE)
    np.testing.assert_array_equal(by_file.inputs["x"], by_array.inputs["x"])


def test_the_hash_follows_the_content(pictures: Path) -> None:
    first = loaded(pictures, DATA, inputs=SHAPE).sha256
    assert loaded(pictures, DATA, inputs=SHAPE).sha256 == first
    save(pictures / "pictures/dog/1.png", np.zeros((4, 4, 3), np.uint8))
    assert loaded(pictures, DATA, inputs=SHAPE).sha256 != first


def test_sizes_are_made_equal_as_the_card_says(tmp_path: Path) -> None:
    for number, size in enumerate(((8, 16), (20, 10))):
        save(tmp_path / f"pictures/a/{number}.png", np.full((*size, 3), 10, np.uint8))
    plain = '[dataset]\nname = "d"\npath = "pictures"\n[dataset.preprocessing]\nlayout = "nchw"\n'
    with pytest.raises(SpecError, match=r"differ in size \(8x16, 20x10\)"):
        loaded(tmp_path, plain, inputs=SHAPE)
    for how in ("size = [4, 4]", "resize = 5\ncrop = [4, 4]"):
        assert loaded(tmp_path, plain + how, inputs=SHAPE).inputs["x"].shape == (2, 3, 4, 4)
    with pytest.raises(SpecError, match="smaller than the crop of 9x9"):
        loaded(tmp_path, plain + "crop = [9, 9]", inputs=SHAPE)


def test_grey_and_colour_are_converted(tmp_path: Path) -> None:
    save(tmp_path / "pictures/a/0.png", np.full((4, 4), 7, np.uint8))
    save(tmp_path / "pictures/a/1.png", np.full((4, 4, 3), 7, np.uint8))
    text = '[dataset]\nname = "d"\npath = "pictures"\n[dataset.preprocessing]\nlayout = "nchw"\n'
    assert loaded(tmp_path, text, inputs=SHAPE).inputs["x"].shape == (2, 3, 4, 4)
    grey = {"x": ("float32", ("batch", 1, 4, 4))}
    found = loaded(tmp_path, text + 'colour = "grey"', inputs=grey)
    assert found.inputs["x"].shape == (2, 1, 4, 4)


def test_an_image_is_turned_as_the_camera_was(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(32, dtype=np.uint8).reshape(4, 8))
    exif = image.getexif()
    exif[0x0112] = 6  # "turn by 90 degrees"
    buffer = io.BytesIO()
    image.save(buffer, "png", exif=exif)
    (tmp_path / "pictures/a").mkdir(parents=True)
    (tmp_path / "pictures/a/0.png").write_bytes(buffer.getvalue())
    text = '[dataset]\nname = "d"\npath = "pictures"\n[dataset.preprocessing]\ncolour = "grey"'
    found = loaded(tmp_path, text, inputs={"x": ("float32", ("batch", 8, 4, 1))})
    assert found.inputs["x"].shape == (1, 8, 4, 1)


def test_a_broken_image_is_named(pictures: Path) -> None:
    (pictures / "pictures/dog/1.png").write_bytes(b"no picture")
    with pytest.raises(SpecError, match=r"dog/1\.png: not a readable image"):
        loaded(pictures, DATA, inputs=SHAPE)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ('["cat", "dog"]', "a folder eel that is not a class"),
        ('["cat", "dog", "eel", "fox"]', "no folder for fox"),
    ],
)
def test_folders_and_classes_have_to_agree(pictures: Path, classes: str, words: str) -> None:
    text = DATA.replace("[dataset.pre", f"classes = {classes}\n[dataset.pre")
    with pytest.raises(SpecError, match=words):
        loaded(pictures, text, inputs=SHAPE)


def test_an_empty_class_and_a_folder_without_images(pictures: Path) -> None:
    (pictures / "pictures/fox").mkdir()
    with pytest.raises(SpecError, match="the folder fox has no image"):
        loaded(pictures, DATA, inputs=SHAPE)
    (pictures / "nothing").mkdir()
    card = a_card(pictures, DATA.replace('"pictures"', '"nothing"'), inputs=SHAPE)
    with pytest.raises(SpecError, match="expected images in one folder per class"):
        load_dataset(card)


def test_a_mean_for_each_channel_needs_channels(pictures: Path) -> None:
    text = DATA.replace("[1.0, 2.0, 3.0]", "[1.0, 2.0]")
    with pytest.raises(SpecError, match="one for each channel"):
        loaded(pictures, text, inputs=SHAPE)
