"""Whether the files of a model are still what they were when a run was planned.

A run loads its model again in each of its processes, for minutes or hours; a training job, a
download or a person may write the file meanwhile. So every load looks at it: at what the file
system says of the file, and where that is new at its content.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from bench.backend import ModelFile, StoredFile
from bench.errors import BenchError, ModelChanged

#: File systems take a change's time from the kernel's clock, which goes on in ticks of up to 10 ms
#: (CONFIG_HZ=100): two writes within one look like one.
_TICK_NS = 20_000_000
_SHA_DIGITS = 12


def file_sha256(path: Path) -> str:
    """Of a file's content, read anew where the file system says that it may be another."""
    if _is_fresh(path):
        return _content_sha256(path)
    return _sha256(path, _signature(path))


def stored_files(paths: Iterable[Path]) -> tuple[StoredFile, ...]:
    """The files as they are now."""
    found = []
    for path in dict.fromkeys(paths):
        if _is_fresh(path):
            time.sleep(_TICK_NS / 1e9)
        signature = _signature(path)
        found.append(StoredFile(path, _sha256(path, signature), signature))
    return tuple(found)


@contextmanager
def unchanged(model: ModelFile) -> Iterator[None]:
    """Around a load. Raises `ModelChanged` where a file is no longer what it was, or was written
    during the load: what was loaded is then unknown."""
    before = [(file, _look(file)) for file in model.files]
    try:
        yield
    except BenchError as error:
        _refuse_written(before, error)  # a half-written file is seldom one that loads
        raise
    _refuse_written(before)


def check_unchanged(model: ModelFile) -> None:
    """Raises `ModelChanged` where a file is no longer what it was."""
    for file in model.files:
        _look(file)


def _look(file: StoredFile) -> tuple[int, ...]:
    """The file's signature, once its content is known to be the same."""
    try:
        signature = _signature(file.path)
        if signature == file.signature:
            return signature
        now = _sha256(file.path, signature)
    except OSError as error:
        raise ModelChanged(
            f"{file.path} can't be read any more: {error.strerror}. Don't move or delete a "
            "model's files while it is measured. Run again."
        ) from error
    if now != file.sha256:
        raise ModelChanged(
            f"{file.path} was changed during the run: its SHA-256 was {file.sha256[:_SHA_DIGITS]} "
            f"and is {now[:_SHA_DIGITS]}. The measurements before and after are of two different "
            "models. Run again without changing the file."
        )
    return signature


def _refuse_written(
    before: Iterable[tuple[StoredFile, tuple[int, ...]]], cause: BenchError | None = None
) -> None:
    for file, signature in before:
        if _look(file) != signature:
            raise ModelChanged(
                f"{file.path} was written while it was loaded, so it is unknown which content was "
                "loaded. Run again without changing the file."
            ) from cause


def _signature(path: Path) -> tuple[int, ...]:
    """What a file system changes with a file's content: a new file has another inode, and nobody
    can set the time of a change (ctime) back."""
    found = os.stat(path)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _is_fresh(path: Path) -> bool:
    """Whether it was written so recently that another writing may not show."""
    return 0 <= time.time_ns() - os.stat(path).st_ctime_ns < _TICK_NS


@lru_cache(maxsize=4096)
def _sha256(path: Path, signature: tuple[int, ...]) -> str:
    return _content_sha256(path)


def _content_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
