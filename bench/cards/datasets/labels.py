"""Labels as the places of classes among a model's outputs, however they are stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.card import DatasetCard
from bench.cards.datasets.base import Stored
from bench.errors import SpecError

#: A class's place, as a file of text has it; tables with a gap somewhere write "1.0" for 1.
_PLACE = re.compile(r"(-?\d{1,9})(?:\.0*)?")


def places_of(stored: Stored, examples: int, data: DatasetCard, path: Path) -> Array | None:
    """``stored.labels`` as int64 of shape (examples,); None where there are none.

    Raises `SpecError` naming the row of the first label that is no class.
    """
    if stored.labels is None:
        return None
    labels = _one_each(stored.labels, examples, path)
    classes = data.classes or stored.classes
    if labels.dtype.kind == "U":
        names = labels.tolist()
        found = [_PLACE.fullmatch(name) for name in names]
        # Where the card names the classes, a file of text holds their names or their places.
        if set(names) <= set(classes) or not all(found):
            return _numbered(names, classes, path)
        labels = np.array([int(match[1]) for match in found if match])
    labels = _whole(labels, path)
    # The data set may know the names of its own numbers, whatever the card calls them.
    _refuse_outside(labels, stored.classes or classes, path)
    if stored.classes and data.classes and stored.classes != data.classes:
        # The card may number the same names otherwise.
        return _numbered([stored.classes[label] for label in labels], data.classes, path)
    return labels


def _one_each(labels: Array, examples: int, path: Path) -> Array:
    if labels.shape == (examples, 1):
        labels = labels[:, 0]
    if labels.shape != (examples,):
        raise SpecError(
            f"{path}: {examples} examples but labels of shape {labels.shape}; give one class per "
            "example (one-hot rows are reduced by argmax)."
        )
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels


def _whole(labels: Array, path: Path) -> Array:
    """Numbers as int64. Raises `SpecError` for a fraction, NaN and what is no number."""
    if labels.dtype.kind not in "biuf":
        raise SpecError(f"{path}: labels must be whole numbers or text, these are {labels.dtype}.")
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    odd = np.flatnonzero(whole != labels)
    if len(odd):
        raise SpecError(
            f"{path}: the label {labels[odd[0]]} in row {odd[0]} ({len(odd)} of "
            f"{len(labels)} rows) is not a whole number, so it can't be a class."
        )
    return whole


def _refuse_outside(labels: Array, classes: Sequence[str], path: Path) -> None:
    negative = np.flatnonzero(labels < 0)
    if len(negative):
        every = len(negative) == len(labels)
        advice = (
            "its labels are withheld; use a split that has labels"
            if every
            else "remove rows without a class"
        )
        raise SpecError(
            f"{path}: the label {labels[negative[0]]} in row {negative[0]} ({len(negative)} of "
            f"{len(labels)} rows are below 0) is not a class: {advice}."
        )
    beyond = np.flatnonzero(labels >= len(classes)) if classes else negative
    if len(beyond):
        raise SpecError(
            f"{path}: the label {labels[beyond[0]]} in row {beyond[0]} ({len(beyond)} of "
            f"{len(labels)} rows) is none of the {len(classes)} classes (0 to "
            f"{len(classes) - 1}); correct it, or `dataset.classes`."
        )


def refuse_one_name_for_two(classes: Sequence[str], path: Path) -> None:
    """Raise `SpecError` where a name can't tell which of the model's outputs it means."""
    twice = next((name for name in classes if classes.count(name) > 1), None)
    if twice is not None:
        raise SpecError(
            f"{path}: `dataset.classes` names {twice!r} twice, so a label with that name is "
            "ambiguous; give each class its own name, or use numeric labels."
        )


def _numbered(names: Sequence[str], classes: Sequence[str], path: Path) -> Array:
    if not classes:
        raise SpecError(
            f"{path}: the labels are text ({names[0]!r} in row 0); `dataset.classes` in the card "
            "must list them in the order of the model's outputs."
        )
    refuse_one_name_for_two(classes, path)
    places = {name: place for place, name in enumerate(classes)}
    strange = [row for row, name in enumerate(names) if name not in places]
    if strange:
        # Among places, what is none is the mistake.
        row = next((row for row in strange if not _PLACE.fullmatch(names[row])), strange[0])
        raise SpecError(
            f"{path}: the label {names[row]!r} in row {row} is none of the card's classes "
            f"({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}); correct it, or "
            "`dataset.classes`."
        )
    return np.array([places[name] for name in names], dtype=np.int64)
