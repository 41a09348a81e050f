"""The arrays that a cell is timed on: real samples of a data set, or seeded random ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError

#: Integer inputs of unknown meaning take 0 and 1: both are valid as a mask, a flag, a segment
#: number and an index into any table of two rows or more.
_SAFE_INTEGERS = 2


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
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape, dtype=np.float32), dtype)
    if dtype.kind in "iu":
        values = np.asarray(rng.integers(0, limit or _SAFE_INTEGERS, size=shape), dtype)
    elif dtype.kind == "b":
        values = np.asarray(rng.integers(0, 2, size=shape), dtype)
    else:
        raise SpecError(
            f"an input has the type {dtype}, for which no random values can be made. "
            "Give the model a card with a data set."
        )
    if values.size and limit is None:
        values.flat[0] = 1
    return values


def index_limits(onnx_file: Path) -> dict[str, int]:
    """Rows of the table that each integer input indexes, as far as the graph shows it.

    Follows an input through operators that keep its values (Cast, Reshape, ...) to the indices
    of a Gather whose table is an initializer.
    """
    import onnx  # onnx: start-up

    graph = onnx.load(str(onnx_file), load_external_data=False).graph
    rows = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) >= 1}
    origin = {value.name: value.name for value in graph.input}
    limits: dict[str, int] = {}
    for node in graph.node:  # ONNX orders nodes topologically
        if node.op_type in _KEEPS_VALUES and node.input and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type != "Gather" or len(node.input) < 2:
            continue
        table, source = rows.get(node.input[0]), origin.get(node.input[1])
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if table and source and axis == 0:
            limits[source] = min(table, limits.get(source, table))
    return limits


_KEEPS_VALUES = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"}


def resolve_shape(
    model: str, name: str, dims: tuple[int | str, ...], batch: int, sizes: Mapping[str, int]
) -> tuple[int, ...]:
    """The shape of one query of ``batch`` samples.

    A symbolic first dimension is the batch; the others take their sizes from ``sizes``
    (``--shape``). Raises `SpecError` for an unknown size.
    """
    shape: list[int] = []
    for position, dim in enumerate(dims):
        if isinstance(dim, int):
            shape.append(dim)
        elif position == 0:
            shape.append(batch)
        elif dim in sizes:
            shape.append(sizes[dim])
        else:
            raise SpecError(
                f"{model}: input {name!r} has the dimension {dim!r}, whose size is not known. "
                f"Give it: --shape {dim}=128."
            )
    return tuple(shape)


def input_digest(feeds: Mapping[str, Array]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(feeds):
        array = np.ascontiguousarray(feeds[name])
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
