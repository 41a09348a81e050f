"""How much memory a data set needs, found out before it is read."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from bench.cards.card import Card
from bench.cards.datasets import images
from bench.errors import OutOfMemory
from bench.numbers import size as in_bytes

#: As it is stored, and as the model takes it.
_COPIES = 2


def refuse_too_large(path: Path, card: Card, spare_bytes: int | None) -> None:
    """Raises `OutOfMemory` for a data set that ``spare_bytes`` of memory can't hold."""
    needed = _needed_bytes(path, card)
    if spare_bytes is not None and needed > spare_bytes:
        raise OutOfMemory(
            f"{path}: its samples need {in_bytes(needed)} as stored and as inputs of {card.name}, "
            f"but only {in_bytes(max(0, spare_bytes))} of memory is free. Use a part of the data, "
            "or a larger machine."
        )


def _needed_bytes(path: Path, card: Card) -> int:
    """At least: of a compressed table only the bytes on the disk are known."""
    if path.suffix.lower() == ".npz" and path.is_file():
        return _arrays_bytes(path, card)
    if path.is_dir() and images.holds_images(path):
        return _images_bytes(path, card)
    files = path.rglob("*") if path.is_dir() else [path]
    return _COPIES * sum(file.stat().st_size for file in files if file.is_file())


def _arrays_bytes(path: Path, card: Card) -> int:
    """By what the arrays' headers say: the file may be compressed."""
    taken = {tensor.name: np.dtype(tensor.dtype).itemsize for tensor in card.inputs}
    taken["images"] = next(iter(taken.values()))
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(
                math.prod(shape) * (dtype.itemsize + taken.get(name, 0))
                for name, shape, dtype in _headers(archive)
            )
    except (OSError, ValueError, zipfile.BadZipFile):
        return 0  # reading it tells what is wrong


def _headers(
    archive: zipfile.ZipFile,
) -> Iterator[tuple[str, tuple[int, ...], np.dtype[np.generic]]]:
    for entry in archive.namelist():
        if entry.endswith(".npy"):
            with archive.open(entry) as file:
                yield (entry.removesuffix(".npy"), *_header(file))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type, of an array in any version of the format."""
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    return shape, dtype


def _images_bytes(path: Path, card: Card) -> int:
    """Decoded a byte a value, and then in the type of the input, where its size is fixed."""
    tensor = card.inputs[0]
    values = math.prod(dim for dim in tensor.shape[1:] if isinstance(dim, int))
    return images.count(path) * values * (1 + np.dtype(tensor.dtype).itemsize)
