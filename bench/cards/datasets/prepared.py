"""Stored samples as what the network takes: scaled, laid out, in the input's type and shape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card, Preprocessing, Tensor
from bench.cards.datasets.base import counted
from bench.errors import SpecError

_IMAGE_AXES = 3  #: height, width, channels


def prepared(arrays: Mapping[str, Array], card: Card, path: Path) -> dict[str, Array]:
    """An array for each of the card's inputs. Raises `SpecError` for what doesn't fit the model."""
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            what = "one value" if array.ndim == 0 else str(array.dtype)
            raise SpecError(f"{path}: {name!r} is {what}; it must be numbers, one row per sample.")
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1:
        raise SpecError(f"{path}: the inputs have different numbers of examples: {sorted(counts)}.")
    if counts == {0}:
        raise SpecError(f"{path}: it has no examples; a data set needs at least one.")
    concerned = _concerned(arrays, card)
    return {
        tensor.name: _fitted(arrays[tensor.name], tensor, card, path, concerned)
        for tensor in card.inputs
    }


def gap_notes(inputs: Mapping[str, Array]) -> Iterator[str]:
    """Where samples hold NaN: some models take it for a missing value, others answer NaN."""
    for name, array in inputs.items():
        if array.dtype.kind != "f":
            continue
        rows = np.flatnonzero(np.isnan(array).reshape(len(array), -1).any(axis=1))
        if len(rows):
            number = counted(len(rows), "example holds", "examples hold")
            yield f"{number} NaN in {name!r}; the first is row {rows[0]}"


def _concerned(arrays: Mapping[str, Array], card: Card) -> set[str]:
    """The inputs that `Preprocessing` is of: images where there are such, else numbers with a
    fraction. Ids, masks and lengths beside them stay as they are stored."""
    pictures = {name for name, array in arrays.items() if array.ndim == 1 + _IMAGE_AXES}
    floats = {tensor.name for tensor in card.inputs if np.dtype(tensor.dtype).kind == "f"}
    return pictures or floats or set(arrays)


def preprocess(stored: Array, how: Preprocessing, kind: np.dtype[Any]) -> Array:
    """``(x * scale - mean) / std``, each sample laid out and reshaped as ``how`` says.

    A mean or std for each channel needs the channels last in what is stored. Values that nothing
    scales keep their type; others are computed in ``kind`` where it is a float of 32 bits or more,
    else in float32.
    """
    values = stored
    if _scales(how):
        kind = kind if kind.kind == "f" and kind.itemsize >= 4 else np.dtype(np.float32)
        mean, std = np.asarray(how.mean, kind), np.asarray(how.std, kind)
        values = (stored.astype(kind) * kind.type(how.scale) - mean) / std
    if how.layout == "nchw" and values.ndim > 2:
        values = np.moveaxis(values, -1, 1)
    if how.shape:
        values = values.reshape(len(values), *how.shape)
    return np.ascontiguousarray(values)


def _scales(how: Preprocessing) -> bool:
    return how.scale != 1.0 or how.mean != 0.0 or how.std != 1.0


def _fitted(stored: Array, tensor: Tensor, card: Card, path: Path, concerned: set[str]) -> Array:
    """One input, prepared and checked against what the model takes."""
    assert card.dataset is not None
    values = stored
    if tensor.name in concerned:
        how = card.dataset.preprocessing
        _refuse_impossible(stored, how, card, path)
        values = preprocess(stored, how, np.dtype(tensor.dtype))
    values = _as_type(values, tensor, path, scaled=_scales(card.dataset.preprocessing))
    expected = tuple(dim if isinstance(dim, int) else -1 for dim in tensor.shape[1:])
    if not _fits(values.shape[1:], expected):
        raise SpecError(
            f"{path}: a sample has the shape {values.shape[1:]} after preprocessing, the input "
            f"{tensor.name!r} of {card.name} takes {expected}. {_advice(stored, expected, card)}"
        )
    return values


def _fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    return len(expected) == len(shape) and all(
        want in (-1, got) for want, got in zip(expected, shape, strict=True)
    )


def _refuse_impossible(stored: Array, how: Preprocessing, card: Card, path: Path) -> None:
    sample = stored.shape[1:]
    if how.shape and math.prod(how.shape) != math.prod(sample):
        raise SpecError(
            f"{path}: a stored sample of shape {sample} can't be reshaped to {how.shape}. Correct "
            f"`dataset.preprocessing.shape` in {card.path}."
        )
    channels_first = len(sample) == _IMAGE_AXES and (sample[-1], *sample[:-1]) == how.shape
    if channels_first and how.layout != "nchw" and 1 not in sample:
        raise SpecError(
            f"{path}: `dataset.preprocessing.shape` would mix the pixels of a sample of shape "
            f'{sample}; to move the channels forward, set `layout = "nchw"` in its place.'
        )
    channels = [len(value) for value in (how.mean, how.std) if isinstance(value, tuple)]
    if any(stored.ndim < 2 or count != stored.shape[-1] for count in channels):
        raise SpecError(
            f"{path}: `dataset.preprocessing` gives {channels[0]} values, one for each channel, "
            f"but the last axis of a stored sample, of shape {sample}, has another size."
        )


def _advice(stored: Array, expected: tuple[int, ...], card: Card) -> str:
    """Which key of the card makes a stored sample fit."""
    assert card.dataset is not None
    sample, key = stored.shape[1:], "dataset.preprocessing"
    if len(sample) != _IMAGE_AXES or len(expected) != _IMAGE_AXES:
        return f"Set `{key}.shape`."
    if card.dataset.preprocessing.layout != "nchw" and _fits((sample[2], *sample[:2]), expected):
        return f'Set `{key}.layout = "nchw"`.'
    if card.dataset.preprocessing.layout == "nchw" and _fits(sample, expected):
        return f"The channels are already where the model expects them: leave `{key}.layout` out."
    channels = {side for side in (expected[0], expected[2]) if side in (1, 3, 4)}
    if channels == {1} and sample[2] == 3:
        return f'Set `{key}.colour = "grey"`.'
    return f"Set `{key}.size`, `crop` or `layout`; `shape` if the samples are not images."


def _as_type(values: Array, tensor: Tensor, path: Path, *, scaled: bool) -> Array:
    """``values`` in the input's type. Raises `SpecError` where that would change them."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = values.astype(tensor.dtype)
    if found.dtype.kind == "f":
        changed = np.isinf(found) & np.isfinite(values)
    elif found.dtype.kind in "biu":
        changed = found != values
    else:
        raise SpecError(f"{path}: the input {tensor.name!r} takes {tensor.dtype}, not numbers.")
    if changed.any():
        row = int(np.argwhere(changed)[0][0])
        advice = (
            "Leave `scale`, `mean` and `std` of `dataset.preprocessing` out if the network scales "
            "its input itself"
            if scaled and found.dtype.kind != "f"
            else "Store values in its range"
            if found.dtype.kind == "f"
            else "Store whole numbers in its range"
        )
        raise SpecError(
            f"{path}: the input {tensor.name!r} takes {tensor.dtype}, which can't hold "
            f"{values[changed].flat[0]:g} (in row {row}). {advice}."
        )
    return found
