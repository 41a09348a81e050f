"""From a card's data set on disk to arrays that its model takes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card, DatasetCard, Preprocessing, Tensor
from bench.cards.datasets import images, npz, tables
from bench.cards.datasets.base import Dataset, Stored
from bench.cards.datasets.text import tokenize
from bench.errors import SpecError


def load_dataset(card: Card) -> Dataset:
    """The data set that ``card`` names.

    Raises `SpecError` when it can't be read or does not fit the card, `Unavailable` where a
    package that reads it is not installed.
    """
    if card.dataset is None:
        raise SpecError(f"{card.path}: the card names no data set.")
    path = card.file(card.dataset.path)
    stored = _read(path, card)
    if stored.texts:
        return _of_texts(stored, card, path)
    inputs = {
        tensor.name: _fitted(stored.arrays[tensor.name], tensor, card, path)
        for tensor in card.inputs
    }
    counts = {len(array) for array in inputs.values()}
    if len(counts) > 1:
        raise SpecError(f"{path}: the inputs have different numbers of examples: {sorted(counts)}.")
    found = Dataset(
        name=card.dataset.name,
        split=card.dataset.split,
        inputs=inputs,
        labels=_labels(stored, counts.pop(), card.dataset, path),
        sha256=stored.sha256,
    )
    if card.task == "embedding" and path.suffix == ".npz":
        return _with_relations(found, npz.retrieval(path), path)
    return found


def _read(path: Path, card: Card) -> Stored:
    """By the format that ``path`` is in."""
    file, _, function = str(path).rpartition(":")
    if file.endswith(".py"):
        return tables.read_function(Path(file), function, card)
    if path.is_dir():
        if tables.is_saved_to_disk(path):
            return tables.read_saved_to_disk(path, card)
        if images.is_folder_of_images(path):
            return images.read(path, card)
        raise SpecError(
            f"{path}: neither images in one folder a class ({', '.join(images.SUFFIXES)}) nor a "
            "data set that Hugging Face's save_to_disk wrote."
        )
    if path.suffix.lower() in tables.SUFFIXES:
        return tables.read_file(path, card)
    return npz.read(path, card)


# -- arrays ---------------------------------------------------------------------------------------


def preprocess(stored: Array, how: Preprocessing) -> Array:
    """``(x * scale - mean) / std`` in float32, each sample laid out and reshaped as ``how`` says.

    A mean or std for each channel needs the channels last in what is stored.
    """
    values = stored.astype(np.float32)
    if how.scale != 1.0 or how.mean != 0.0 or how.std != 1.0:
        mean, std = np.asarray(how.mean, np.float32), np.asarray(how.std, np.float32)
        values = (values * np.float32(how.scale) - mean) / std
    if how.layout == "nchw":
        values = np.moveaxis(values, -1, 1)
    if how.shape:
        values = values.reshape(len(values), *how.shape)
    return np.ascontiguousarray(values)


def _fitted(stored: Array, tensor: Tensor, card: Card, path: Path) -> Array:
    """One input, prepared and checked against what the model takes."""
    assert card.dataset is not None
    how = card.dataset.preprocessing
    if how.shape and math.prod(how.shape) != math.prod(stored.shape[1:]):
        raise SpecError(
            f"{path}: a stored sample of shape {stored.shape[1:]} can't be reshaped to "
            f"{how.shape}. Correct `dataset.preprocessing.shape` in {card.path}."
        )
    channels = [len(value) for value in (how.mean, how.std) if isinstance(value, tuple)]
    if any(stored.ndim < 2 or count != stored.shape[-1] for count in channels):
        raise SpecError(
            f"{path}: `dataset.preprocessing` gives {channels[0]} values, one for each channel, "
            f"but the last axis of a stored sample, of shape {stored.shape[1:]}, is another number."
        )
    numeric = np.dtype(tensor.dtype).kind == "f"
    prepared = preprocess(stored, how) if numeric else stored
    prepared = _as_type(prepared, tensor, path)
    expected = tuple(dim if isinstance(dim, int) else -1 for dim in tensor.shape[1:])
    fits = len(expected) == prepared.ndim - 1 and all(
        want in (-1, got) for want, got in zip(expected, prepared.shape[1:], strict=True)
    )
    if not fits:
        raise SpecError(
            f"{path}: a sample has the shape {prepared.shape[1:]} after preprocessing, the input "
            f"{tensor.name!r} of {card.name} takes {expected}. Set `dataset.preprocessing.shape`."
        )
    return prepared


def _as_type(values: Array, tensor: Tensor, path: Path) -> Array:
    """``values`` in the input's type. Raises `SpecError` where an integer type would cut them."""
    with np.errstate(invalid="ignore"):
        found = values.astype(tensor.dtype)
    if found.dtype.kind in "iu" and not np.array_equal(found, values):
        odd = values[found != values].flat[0]
        raise SpecError(
            f"{path}: the input {tensor.name!r} takes {tensor.dtype}, which can't hold {odd:g}. "
            "Store whole numbers in its range."
        )
    return found


# -- labels ---------------------------------------------------------------------------------------


def _labels(stored: Stored, examples: int, data: DatasetCard, path: Path) -> Array | None:
    if stored.labels is None:
        return None
    labels = stored.labels
    if labels.shape != (examples,):
        raise SpecError(f"{path}: {examples} examples but labels of shape {labels.shape}.")
    classes = data.classes or stored.classes
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "U":
        names = labels.tolist()
        # Where the card names the classes, a file of text holds their names or their places.
        if set(names) <= set(classes) or not all(map(_PLACE.fullmatch, names)):
            return _numbered(names, classes, path)
        labels = np.array([int(name) for name in names])
    if labels.dtype.kind not in "iu":
        raise SpecError(f"{path}: labels must be whole numbers, these are {labels.dtype}.")
    labels = labels.astype(np.int64)
    # The data set may know the names of its own numbers, whatever the card calls them.
    _refuse_outside(labels, stored.classes or classes, path)
    if stored.classes and data.classes and stored.classes != data.classes:
        # The card may number the same names otherwise.
        return _numbered([stored.classes[label] for label in labels], data.classes, path)
    return labels


#: A class's place among the model's outputs, as a file of text has it.
_PLACE = re.compile(r"-?\d{1,9}")


def _refuse_outside(labels: Array, classes: Sequence[str], path: Path) -> None:
    if len(labels) and (labels.min() < 0 or (classes and labels.max() >= len(classes))):
        raise SpecError(
            f"{path}: labels run from {labels.min()} to {labels.max()}, but the card names "
            f"{len(classes)} classes (0 to {len(classes) - 1})."
        )


def _numbered(names: Sequence[str], classes: Sequence[str], path: Path) -> Array:
    if not classes:
        raise SpecError(
            f"{path}: the labels are text; `dataset.classes` in the card has to name them in the "
            "order of the model's outputs."
        )
    places = {name: place for place, name in enumerate(classes)}
    for row, name in enumerate(names):
        if name not in places:
            raise SpecError(
                f"{path}: the label {name!r} in row {row} is none of the card's classes "
                f"({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})."
            )
    return np.array([places[name] for name in names], dtype=np.int64)


# -- texts and pairs ------------------------------------------------------------------------------


def _of_texts(stored: Stored, card: Card, path: Path) -> Dataset:
    """Texts as token ids; each different text is one example, and pairs say which belong together.

    Labelled texts stay one example a row.
    """
    assert card.dataset is not None
    data = card.dataset
    if data.tokenizer is None:
        raise SpecError(
            f"{card.path}: text needs `dataset.tokenizer`, a tokenizer.json or the folder of one."
        )
    labelled = stored.labels is not None and stored.scores is None
    rows = [text for column in stored.texts for text in column]
    texts = rows if labelled else list(dict.fromkeys(rows))
    names = [tensor.name for tensor in card.inputs]
    found = Dataset(
        name=data.name,
        split=data.split,
        inputs=tokenize(texts, card.file(data.tokenizer), data.max_length, names),
        labels=_labels(stored, len(texts), data, path) if labelled else None,
        sha256=stored.sha256,
    )
    if labelled or stored.scores is None or len(stored.texts) != 2:
        return found
    place = {text: number for number, text in enumerate(texts)}
    pairs = np.array([[place[text] for text in column] for column in stored.texts]).T
    return replace(found, pairs=pairs, scores=stored.scores)


def _with_relations(found: Dataset, extra: dict[str, Array], path: Path) -> Dataset:
    """Checks that pairs, queries and items are places among the examples."""
    for name in ("pairs", "queries", "items"):
        places = extra.get(name)
        if places is not None and (places.dtype.kind not in "iu" or _outside(places, found)):
            raise SpecError(
                f"{path}: `{name}` has to hold places among the {found.examples} examples, from 0."
            )
    pairs, scores = extra.get("pairs"), extra.get("scores")
    if pairs is not None and (scores is None or pairs.shape != (len(scores), 2)):
        raise SpecError(f"{path}: `pairs` has to be (pairs, 2) and `scores` one number for each.")
    relevant = extra.get("relevant")
    if relevant is not None:
        sides = tuple(len(extra.get(name, ())) for name in ("queries", "items"))
        if relevant.shape != sides or not relevant.astype(bool).any(axis=1).all():
            raise SpecError(
                f"{path}: `relevant` has to be (queries, items) with something relevant for each "
                "query."
            )
    return replace(
        found,
        pairs=pairs,
        scores=None if scores is None else scores.astype(np.float64),
        queries=extra.get("queries"),
        items=extra.get("items"),
        relevant=None if relevant is None else relevant.astype(bool),
    )


def _outside(places: Array, found: Dataset) -> bool:
    return bool(places.size) and bool(places.min() < 0 or places.max() >= found.examples)
