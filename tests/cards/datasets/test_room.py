"""Data sets that memory can't hold are refused before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_cards import a_card  # type: ignore[import-not-found]

from bench.cards.datasets import load, load_dataset
from bench.errors import OutOfMemory

NPZ = '[dataset]\nname = "d"\npath = "d.npz"\nsplit = "test"\n'
ROWS = 1000


def arrays(folder: Path, save: Any = np.savez) -> Any:
    """A card and a file of 1000 rows of 3 bytes, which the model takes as float32."""
    save(folder / "d.npz", x=np.zeros((ROWS, 3), np.uint8), labels=np.zeros(ROWS, np.int64))
    return a_card(folder, NPZ)


#: Stored in a byte a value, taken in four, and labels.
NEEDED = ROWS * 3 * (1 + 4) + ROWS * 8


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_refused_by_their_size_in_memory_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Any
) -> None:
    card = arrays(tmp_path, save)
    assert load_dataset(card, NEEDED).examples == ROWS
    monkeypatch.setattr(load, "_read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(OutOfMemory, match=r"d\.npz: its samples need 22.5 KiB"):
        load_dataset(card, NEEDED - 1)


def test_a_folder_of_images_is_refused_by_their_number_and_the_models_size(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        pillow.new("RGB", (2, 2)).save(tmp_path / "images" / name / "0.png")
    data = (
        '[dataset]\nname = "d"\npath = "images"\nsplit = "test"\n'
        '[dataset.preprocessing]\nlayout = "nchw"\n'
    )
    card = a_card(tmp_path, data, inputs={"x": ("float32", ("batch", 3, 2, 2))})
    needed = 2 * 12 * (1 + 4)
    assert load_dataset(card, needed).examples == 2
    with pytest.raises(OutOfMemory, match="images: its samples need"):
        load_dataset(card, needed - 1)


def test_a_table_is_refused_by_its_size_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("x,label\n" + "1.5,0\n" * ROWS)
    card = a_card(
        tmp_path,
        '[dataset]\nname = "d"\npath = "d.csv"\nsplit = "test"\n',
        inputs={"x": ("float32", ("batch",))},
    )
    size = (tmp_path / "d.csv").stat().st_size
    with pytest.raises(OutOfMemory, match=r"d\.csv: its samples need"):
        load_dataset(card, 2 * size - 1)


def test_a_broken_file_is_told_by_what_reads_it(tmp_path: Path) -> None:
    card = arrays(tmp_path)
    (tmp_path / "d.npz").write_bytes(b"PK no zip file")
    with pytest.raises(Exception, match="not a readable npz file"):
        load_dataset(card, 1)
