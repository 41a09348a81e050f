"""Text that a language model's student learns from: documents, a part of them held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.card import DatasetCard
from bench.cards.datasets.documents import read_language
from bench.cards.datasets.examples import Document
from bench.cards.language.tokens import Encoded, Tokens
from bench.errors import SpecError

#: Fewer leave none to hold out that tells anything.
_FEWEST = 4
#: Looked at of all documents that are held out, and of each: their figures are for orientation, and
#: a model of 100 million parameters takes a minute for so many on two busy cores.
_HELD_OUT_CHARACTERS = 30_000
_CHARACTERS_EACH = 4_000


@dataclass(frozen=True)
class Texts:
    """Documents to learn from, and those that only the figures before and after are of.

    ``sha256`` is of all of them, in the order of the files.
    """

    training: tuple[str, ...]
    held_out: tuple[str, ...]
    sha256: str


def read_texts(paths: Sequence[Path], share: float, seed: int) -> Texts:
    """The documents of ``paths``, shuffled by ``seed``; ``share`` of them are held out.

    They are read as the data that language models are scored on. Raises `SpecError`.
    """
    documents = [document for path in paths for document in _documents(path)]
    if len(documents) < _FEWEST:
        raise SpecError(
            f"{', '.join(map(str, paths))}: {len(documents)} documents; at least {_FEWEST} are "
            "needed, because some are held out. A .txt file is one document, a .jsonl file has "
            "one per line: "
            '{"text": "..."}.'
        )
    together = "\0".join(text for document in documents for text in document)
    digest = hashlib.sha256(together.encode("utf-8", "surrogatepass"))
    order = np.random.default_rng(seed).permutation(len(documents))
    shuffled = [documents[place] for place in order]
    held = max(1, round(share * len(shuffled)))
    held_out, training = (
        [text for document in part for text in document]
        for part in (shuffled[:held], shuffled[held:])
    )
    return Texts(tuple(training), tuple(_beginnings(held_out)), digest.hexdigest())


def _beginnings(documents: Sequence[str]) -> Iterator[str]:
    """As much of the documents as is looked at."""
    left = _HELD_OUT_CHARACTERS
    for text in documents:
        if left <= 0:
            return
        yield text[:_CHARACTERS_EACH]
        left -= min(len(text), _CHARACTERS_EACH)


def _documents(path: Path) -> list[tuple[str, ...]]:
    """The texts of ``path``, those of one document together. Raises `SpecError`."""
    try:
        found = read_language(path, DatasetCard(name=path.name, path=str(path)))
    except OSError as error:
        raise SpecError(f"{path}: can't be read: {error.strerror or error}.") from error
    documents: dict[str, list[str]] = {}
    for one in found.language:
        if not isinstance(one, Document):
            raise SpecError(
                f"{path}: a student learns from texts, but these are questions: write each line as "
                '{"text": "..."}.'
            )
        if one.text.strip():
            documents.setdefault(one.document, []).append(one.text)
    return [tuple(texts) for texts in documents.values()]


def tokenised(documents: Sequence[str], tokenizer: Path, vocabulary: int) -> list[Encoded]:
    """The ids of each document, behind the one that begins a text where there is such.

    Raises `SpecError` for a tokenizer that isn't there or is of another vocabulary.
    """
    if not tokenizer.is_file():
        raise SpecError(
            f"{tokenizer}: no such file, and a model can't read text without its tokenizer."
        )
    tokens = Tokens(tokenizer)
    begin = [] if tokens.first is None else [tokens.first]
    found = []
    for text in documents:
        one = tokens.encoded(text)
        ids, sizes = [*begin, *one.ids], [*[0 for _ in begin], *one.bytes]
        found.append(Encoded(np.array(ids, np.int64), np.array(sizes, np.int64)))
    largest = max((int(one.ids.max()) for one in found if len(one.ids)), default=0)
    if largest >= vocabulary:
        raise SpecError(
            f"{tokenizer}: it gives the id {largest}, but the model's vocabulary is {vocabulary}. "
            "The tokenizer belongs to another model: replace it."
        )
    return found


class Rows:
    """What a student reads at each step: documents one behind the other, cut into rows of equal
    length. Their order is another in each pass over the text, and follows from the seed."""

    def __init__(self, documents: Sequence[Encoded], *, length: int, batch: int, seed: int) -> None:
        self._documents = documents
        self._length = length
        self._batch = batch
        self._seed = seed
        self._pass = -1
        self._rows = np.empty((0, length), np.int64)
        tokens = sum(len(one.ids) for one in documents)
        self.steps_a_pass = tokens // (length * batch)
        if not self.steps_a_pass:
            raise SpecError(
                f"the text has {tokens} tokens to learn from, but a step needs {length * batch}: "
                "give more text, or a smaller --batch or --length."
            )

    def of_step(self, step: int) -> Array:
        """The ids [batch, length] of the ``step``-th step from 0."""
        number, place = divmod(step, self.steps_a_pass)
        if number != self._pass:
            order = np.random.default_rng([self._seed, number]).permutation(len(self._documents))
            ids = np.concatenate([self._documents[i].ids for i in order])
            rows = self.steps_a_pass * self._batch
            self._rows = ids[: rows * self._length].reshape(rows, self._length)
            self._pass = number
        found: Array = self._rows[place * self._batch : (place + 1) * self._batch]
        return found
