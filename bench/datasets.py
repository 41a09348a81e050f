"""Labelled data as arrays that a model takes."""

from __future__ import annotations

import hashlib
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.cards import Card, Preprocessing
from bench.errors import SpecError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Dataset:
    """``inputs`` maps input names to arrays of shape (examples, ...), ready for the model;
    ``labels`` is int64 of shape (examples,); ``sha256`` is of the file."""

    name: str
    split: str
    inputs: dict[str, Array]
    labels: Array
    sha256: str


def load_dataset(card: Card) -> Dataset:
    """The data set that ``card`` names.

    Raises `SpecError` when the file can't be read or does not fit the card.
    """
    if card.dataset is None:
        raise SpecError(f"{card.path}: the card names no data set.")
    path = card.file(card.dataset.path)
    arrays = _read(path)
    entry = card.inputs[0]
    stored = arrays.get(entry.name, arrays.get("images"))
    labels = arrays.get("labels")
    if stored is None or labels is None:
        raise SpecError(
            f"{path}: needs the arrays `images` (or `{entry.name}`) and `labels`; it has "
            f"{', '.join(sorted(arrays)) or 'none'}."
        )
    labels = _labels(labels, len(stored), len(card.dataset.classes), path)
    how = card.dataset.preprocessing
    if how.shape and math.prod(how.shape) != math.prod(stored.shape[1:]):
        raise SpecError(
            f"{path}: a stored sample of shape {stored.shape[1:]} can't be reshaped to "
            f"{how.shape}. Correct `dataset.preprocessing.shape` in {card.path}."
        )
    prepared = preprocess(stored, how).astype(entry.dtype)
    expected = tuple(dim if isinstance(dim, int) else -1 for dim in entry.shape[1:])
    fits = len(expected) == prepared.ndim - 1 and all(
        want in (-1, got) for want, got in zip(expected, prepared.shape[1:], strict=True)
    )
    if not fits:
        raise SpecError(
            f"{path}: a sample has the shape {prepared.shape[1:]} after preprocessing, the input "
            f"{entry.name!r} of {card.name} takes {expected}. Set `dataset.preprocessing.shape`."
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Dataset(card.dataset.name, card.dataset.split, {entry.name: prepared}, labels, sha256)


def preprocess(stored: Array, how: Preprocessing) -> Array:
    """``(x * scale - mean) / std`` in float32, each sample reshaped to ``how.shape``."""
    values = stored.astype(np.float32)
    if how.scale != 1.0 or how.mean != 0.0 or how.std != 1.0:
        values = (values * np.float32(how.scale) - np.float32(how.mean)) / np.float32(how.std)
    if how.shape:
        values = values.reshape(len(values), *how.shape)
    return values


def _read(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise SpecError(f"{path}: not a readable npz file: {error}.") from error


def _labels(labels: Array, examples: int, classes: int, path: Path) -> Array:
    if labels.shape != (examples,):
        raise SpecError(f"{path}: {examples} examples but labels of shape {labels.shape}.")
    if labels.dtype.kind not in "iu":
        raise SpecError(f"{path}: labels must be whole numbers, these are {labels.dtype}.")
    labels = labels.astype(np.int64)
    if examples and (labels.min() < 0 or (classes and labels.max() >= classes)):
        raise SpecError(
            f"{path}: labels run from {labels.min()} to {labels.max()}, but the card names "
            f"{classes} classes (0 to {classes - 1})."
        )
    return labels
