"""What a data set is, stored and made ready."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.arrays import Array
from bench.cards.datasets.examples import Examples
from bench.unchanged import file_sha256


@dataclass(frozen=True)
class Dataset:
    """``inputs`` maps input names to arrays of shape (examples, ...), ready for the model;
    ``sha256`` is of the content of the file or folder. ``notes`` tell what of that content was left
    out or cut, with how much there is of it and the first.

    Of the labels those are there that the task needs: ``labels``, int64 of shape (examples,);
    ``pairs``, int64 of shape (pairs, 2), places among the examples, with ``scores``, float64 of
    shape (pairs,); or ``queries`` and ``items``, places too, with ``relevant``, bool of shape
    (queries, items). Of a language model ``language`` holds the examples as text, and ``inputs``
    nothing: each model has a tokenizer of its own.
    """

    name: str
    split: str
    inputs: dict[str, Array]
    labels: Array | None
    sha256: str
    pairs: Array | None = None
    scores: Array | None = None
    queries: Array | None = None
    items: Array | None = None
    relevant: Array | None = None
    notes: tuple[str, ...] = ()
    language: Examples = ()

    @property
    def examples(self) -> int:
        return len(self.language or next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Stored:
    """What a reader found, before the card's preprocessing.

    ``arrays`` maps input names (or ``images``) to arrays of shape (examples, ...). ``labels`` are
    whole numbers, or text that ``classes`` or the card numbers. ``texts`` holds, where a tokenizer
    has yet to run, one list for each column of text, all of one length; ``scores`` their gold
    similarities. ``classes`` are the names that the storage itself knows. ``notes`` tell what was
    left out.
    """

    sha256: str
    arrays: Mapping[str, Array] = field(default_factory=dict)
    labels: Array | None = None
    classes: tuple[str, ...] = ()
    texts: tuple[list[str], ...] = ()
    scores: Array | None = None
    notes: tuple[str, ...] = ()


def counted(number: int, one: str, several: str = "") -> str:
    """``1 file``, ``3 files``; ``several`` where the plural takes more than an s."""
    return f"{number} {one}" if number == 1 else f"{number} {several or one + 's'}"


def folder_sha256(folder: Path, files: Iterable[Path]) -> str:
    """Hash of the relative paths and the contents of ``files``, whatever their order."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()
