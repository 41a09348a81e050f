"""The arrays that a cell is timed on: real samples of a data set, or seeded random ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.batch import BatchAxis
from bench.cards.card import Tensor
from bench.cards.sizes import is_rate
from bench.errors import SpecError

#: Integer inputs of unknown meaning take 0 and 1: both are valid as a mask, a flag, a segment
#: number and an index into any table of two rows or more.
_SAFE_INTEGERS = 2
#: What speech models are trained on, in samples a second.
SAMPLE_RATE = 16_000
_LENGTHS = re.compile(r"(.*_)?(lengths?|lens?)|lengths?_?\w*")


def draw_samples(inputs: Mapping[str, Array], batch: int, seed: int) -> dict[str, Array]:
    """``batch`` samples of a data set, drawn without replacement while they last."""
    total = len(next(iter(inputs.values())))
    rng = np.random.default_rng(seed)
    rows = rng.choice(total, size=batch, replace=batch > total)
    return {name: np.ascontiguousarray(array[rows]) for name, array in inputs.items()}


def random_inputs(
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    index_limits: Mapping[str, int],
    seed: int,
) -> dict[str, Array]:
    """Seeded inputs that are never all zero.

    Floats are standard normal, an ``attention_mask`` is all ones (no padding); integers that index
    a table (``index_limits``: input name to its rows) are uniform over it, other integers and
    booleans are 0 or 1 with a 1 in front.
    """
    rng = np.random.default_rng(seed)
    return {
        name: np.ones(shape, dtypes[name])
        if name == "attention_mask"
        else _random_array(rng, shape, np.dtype(dtypes[name]), index_limits.get(name))
        for name, shape in shapes.items()
    }


def _random_array(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], limit: int | None
) -> Array:
    if dtype.kind == "c":
        parts = rng.standard_normal((2, *shape))
        return np.asarray(parts[0] + 1j * parts[1], dtype)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape, dtype=np.float32), dtype)
    if dtype.kind in "iu":
        values = np.asarray(rng.integers(0, limit or _SAFE_INTEGERS, size=shape), dtype)
    elif dtype.kind == "b":
        values = np.asarray(rng.integers(0, 2, size=shape), dtype)
    else:
        raise SpecError(f"no random values can be made of the type {dtype}.")
    if values.size and limit is None:
        values.flat[0] = 1
    return values


def filled(
    inputs: Sequence[Tensor], shapes: Mapping[str, tuple[int, ...]], batch_axis: BatchAxis
) -> tuple[dict[str, float], dict[str, float]]:
    """Inputs that have one value throughout: those of which the card says it, and those whose name
    suggests it, a sample rate or the lengths of what other inputs hold."""
    told = {tensor.name: tensor.fill for tensor in inputs if tensor.fill is not None}
    guessed: dict[str, float] = {}
    for tensor in inputs:
        if tensor.name in told:
            continue
        if is_rate(tensor):
            guessed[tensor.name] = SAMPLE_RATE
        elif _is_lengths(tensor) and (steps := _steps(inputs, shapes, batch_axis, tensor)):
            guessed[tensor.name] = steps
    return told, guessed


def _is_lengths(tensor: Tensor) -> bool:
    return (
        len(tensor.shape) <= 1
        and np.dtype(tensor.dtype).kind in "iu"
        and _LENGTHS.fullmatch(tensor.name.lower()) is not None
    )


def _steps(
    inputs: Sequence[Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    batch_axis: BatchAxis,
    lengths: Tensor,
) -> int | None:
    """The size of the axis that lengths count along: the first open one that isn't the batch."""
    return next(
        (
            shapes[tensor.name][axis]
            for tensor in inputs
            if tensor is not lengths
            for axis, dim in enumerate(tensor.shape)
            if isinstance(dim, str) and batch_axis.axes.get(tensor.name) != axis
        ),
        None,
    )


def unfeedable(tensor: Tensor) -> str | None:
    """Why no values can be made for an input, as the end of a sentence; None where they can."""
    dtype = np.dtype(tensor.dtype)
    if dtype.kind in "fiubc":
        return None
    if dtype.kind == "O":
        return (
            "takes text, which can't be bound and timed. Encode it before the model: cut the file "
            "after the node that does"
        )
    return (
        f"takes {dtype.name}, which numpy and so bench can't feed. Let the file take float32 and "
        f"begin with a Cast to {dtype.name}"
    )


def input_digest(feeds: Mapping[str, Array]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(feeds):
        array = np.ascontiguousarray(feeds[name])
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)  # no copy: it may be large
    return digest.hexdigest()
