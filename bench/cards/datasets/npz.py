"""Arrays in an npz file: an array for each input (or ``images``), and ``labels``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card
from bench.cards.datasets.base import Stored
from bench.errors import SpecError
from bench.unchanged import file_sha256


def read(path: Path, card: Card) -> Stored:
    """Raises `SpecError` for a file that is broken or lacks an array."""
    arrays = _arrays(path)
    names = [tensor.name for tensor in card.inputs]
    if names[0] not in arrays and "images" in arrays:
        arrays[names[0]] = arrays["images"]
    missing = [name for name in names if name not in arrays]
    if missing:
        only = f"`images` (or `{names[0]}`)" if len(names) == 1 else _quoted(missing)
        raise SpecError(
            f"{path}: needs the arrays {only} and `labels`; it has "
            f"{', '.join(sorted(arrays)) or 'none'}."
        )
    return Stored(
        sha256=file_sha256(path),
        arrays={name: arrays[name] for name in names},
        labels=arrays.get("labels"),
        notes=_label_notes(arrays, names, card),
    )


def _label_notes(arrays: dict[str, Array], names: list[str], card: Card) -> tuple[str, ...]:
    others = _quoted(sorted(set(arrays) - {*names, "images"}))
    if card.task != "classification" or "labels" in arrays or not others:
        return ()
    return (f"it has no array `labels`; {others} is ignored",)


def retrieval(path: Path) -> dict[str, Array]:
    """What an npz file may hold beside its inputs for an embedding: ``pairs`` and ``scores``, or
    ``queries``, ``items`` and ``relevant``."""
    names = ("pairs", "scores", "queries", "items", "relevant")
    return {name: array for name, array in _arrays(path).items() if name in names}


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
            # What else lies in the zip file comes out as bytes.
            return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise SpecError(f"{path}: not a readable npz file: {error}.") from error


def _quoted(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
