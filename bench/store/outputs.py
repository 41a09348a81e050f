"""Outputs on disk: the arrays that parity is computed from, as much of them as is compared.

A file is named by its content, so equal outputs are stored once and a changed file is noticed.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError

FOLDER = "outputs"
#: Larger outputs are not kept: four samples of a classifier are some 10 kB, those of a model that
#: puts out whole images would be most of a run.
MOST_BYTES = 1 << 20
#: What a reader needs no further library for: floats, integers, booleans.
_PLAIN_KINDS = "fiub"


def can_be_kept(arrays: Sequence[Array]) -> bool:
    """Whether they are small enough, and of types that numpy has."""
    plain = all(array.dtype.kind in _PLAIN_KINDS for array in arrays)
    return plain and sum(array.nbytes for array in arrays) <= MOST_BYTES


def file_name(arrays: Sequence[Array]) -> str:
    """Where the arrays are stored within a run."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"{FOLDER}/{digest.hexdigest()[:16]}.npz"


def packed(arrays: Sequence[Array]) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, *arrays)  # as arr_0, arr_1, ...
    return out.getvalue()


def read_outputs(run: Path, name: str) -> list[Array]:
    """The arrays of one file of a run. Raises `SpecError` where it is lost, broken or changed."""
    path = run / name
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = [stored[f"arr_{place}"] for place in range(len(stored.files))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SpecError(f"{path}: the outputs can't be read: {error}.") from error
    if file_name(arrays) != name:
        raise SpecError(f"{path}: the outputs are not those that the run stored.")
    return arrays
