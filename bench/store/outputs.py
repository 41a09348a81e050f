"""Outputs on disk: the arrays that parity is computed from, as much of them as is compared.

A file is named by its content, so equal outputs are stored once and a changed file is noticed.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError

FOLDER = "outputs"
#: Larger outputs are not kept: four samples of a classifier are some 10 kB, those of a model that
#: puts out whole images would be most of a run.
MOST_BYTES = 1 << 20
#: Of a .npy file of version 1.0 (its length has two bytes; numpy.lib.format).
_MOST_HEADER = 10 + (1 << 16)
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
        check_size(path)
        with np.load(path, allow_pickle=False) as stored:
            arrays = [stored[f"arr_{place}"] for place in range(len(stored.files))]
    except (*_BROKEN, SpecError) as error:
        raise SpecError(f"{path}: the outputs can't be read: {error}") from error
    if file_name(arrays) != name:
        raise SpecError(f"{path}: the outputs are not the ones stored by the run.")
    return arrays


#: What numpy and zipfile raise for a file that is not what its name says.
_BROKEN = (
    *(OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def check_size(path: Path) -> None:
    """Raise `SpecError` where arrays are larger than what is kept, or than what is there of them:
    a compressed file of some bytes may say that it holds gigabytes."""
    try:
        with zipfile.ZipFile(path) as file:
            for info in file.infolist():
                if info.file_size > MOST_BYTES + _MOST_HEADER:
                    raise SpecError("it is larger than outputs can be.")
                with file.open(info) as member:
                    _check_array(member, info.file_size)
    except _BROKEN as error:
        raise SpecError(f"not a file of arrays ({error}).") from error


def _check_array(member: IO[bytes], size: int) -> None:
    """Raises `ValueError` for what is no array of numbers, `SpecError` for a wrong length."""
    major, _ = np.lib.format.read_magic(member)
    if major != 1:
        raise ValueError(f"version {major} of its format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != size - member.tell():
        raise SpecError("an array is not as long as it says.")
