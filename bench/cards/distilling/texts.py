"""Text that a language model's student learns from: documents, a part of them held out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError, Unavailable

_LINES = ".jsonl"
_PLAIN = ".txt"
#: Fewer leave none to hold out that tells anything.
_FEWEST = 4
#: Looked at of all documents that are held out, and of each: their figures are for orientation, and
#: a model of 100 million parameters takes a minute for so many on two busy cores.
_HELD_OUT_CHARACTERS = 30_000
_CHARACTERS_EACH = 4_000
#: Tokenised at once: documents of a large text fit into memory as ids, not as what a tokenizer
#: says of each of them.
_AT_ONCE = 256


@dataclass(frozen=True)
class Texts:
    """Documents to learn from, and those that only the figures before and after are of.

    ``sha256`` is of all of them, in the order of the files.
    """

    training: tuple[str, ...]
    held_out: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Tokens:
    """A document's ids behind the token that begins one (where the model has such), and the bytes
    that predicting all but the first of them spells."""

    ids: Array
    spelt_bytes: int


def read_texts(paths: Sequence[Path], share: float, seed: int) -> Texts:
    """The documents of ``paths``, shuffled by ``seed``; ``share`` of them are held out.

    A .txt file is a document, a folder one for each .txt file in it, a .jsonl file one for each
    line (``{"text": ...}``). Raises `SpecError`.
    """
    documents = [text for path in paths for text in _documents(path) if text.strip()]
    if len(documents) < _FEWEST:
        raise SpecError(
            f"{', '.join(map(str, paths))}: {len(documents)} documents; {_FEWEST} are needed at "
            "least, since some are held out. A .txt file is one, a .jsonl file has one a line: "
            '{"text": "..."}.'
        )
    digest = hashlib.sha256("\0".join(documents).encode("utf-8", "surrogatepass"))
    order = np.random.default_rng(seed).permutation(len(documents))
    shuffled = [documents[place] for place in order]
    held = max(1, round(share * len(shuffled)))
    looked_at = tuple(_beginnings(shuffled[:held]))
    return Texts(tuple(shuffled[held:]), looked_at, digest.hexdigest())


def _beginnings(documents: Sequence[str]) -> Iterator[str]:
    """As much of the documents as is looked at."""
    left = _HELD_OUT_CHARACTERS
    for text in documents:
        if left <= 0:
            return
        yield text[:_CHARACTERS_EACH]
        left -= min(len(text), _CHARACTERS_EACH)


def _documents(path: Path) -> Iterator[str]:
    if path.is_dir():
        inside = sorted(path.glob(f"*{_PLAIN}"))
        if not inside:
            raise SpecError(f"{path}: there is no {_PLAIN} file in that folder.")
        yield from (_read(file) for file in inside)
    elif path.suffix == _LINES:
        for number, line in enumerate(_read(path).splitlines(), start=1):
            if line.strip():
                yield _text_of(line, f"{path}, line {number}")
    elif path.suffix == _PLAIN:
        yield _read(path)
    else:
        raise SpecError(
            f"{path}: give text as a {_PLAIN} file, a folder of them, or a {_LINES} file with a "
            'document a line: {"text": "..."}.'
        )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise SpecError(f"{path}: can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not text in UTF-8: {error.reason}.") from error


def _text_of(line: str, where: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f'{where}: a document is written as {{"text": "..."}}.') from error
    if not isinstance(text, str):
        raise SpecError(f'{where}: "text" is no text.')
    return text


def tokenised(
    documents: Sequence[str], tokenizer: Path, vocabulary: int, first: int | None
) -> list[Tokens]:
    """The ids of each document, behind ``first`` where that is given.

    Raises `SpecError` for a tokenizer that isn't there or is of another vocabulary.
    """
    if not tokenizer.is_file():
        raise SpecError(
            f"{tokenizer}: there is no such file, and without its tokenizer a model can't read."
        )
    try:
        from tokenizers import Tokenizer  # tokenizers: optional
    except ImportError as error:
        raise Unavailable(
            f"{tokenizer}: {error}, which reads it.", "pip install 'infer-bench[hf]'"
        ) from error
    try:
        reader = Tokenizer.from_file(str(tokenizer))
    except Exception as error:
        raise SpecError(f"{tokenizer}: can't be read: {error}.") from error
    reader.no_truncation()
    reader.no_padding()
    found = []
    for start in range(0, len(documents), _AT_ONCE):
        part = documents[start : start + _AT_ONCE]
        for text, encoding in zip(
            part, reader.encode_batch(list(part), add_special_tokens=False), strict=True
        ):
            spelt = len(text.encode("utf-8", "surrogatepass"))
            if first is None and encoding.offsets:
                unseen = text[: encoding.offsets[0][1]]
                spelt -= len(unseen.encode("utf-8", "surrogatepass"))
            begin = [] if first is None else [first]
            found.append(Tokens(np.array([*begin, *encoding.ids], np.int64), spelt))
    largest = max((int(one.ids.max()) for one in found if len(one.ids)), default=0)
    if largest >= vocabulary:
        raise SpecError(
            f"{tokenizer}: it gives the id {largest}, and the model knows {vocabulary}. It is "
            "another model's tokenizer: replace it."
        )
    return found


class Rows:
    """What a student reads at each step: documents one behind the other, cut into rows of equal
    length. Their order is another in each pass over the text, and follows from the seed."""

    def __init__(self, documents: Sequence[Tokens], *, length: int, batch: int, seed: int) -> None:
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
                f"the text has {tokens} tokens to learn from, and a step takes {length * batch}: "
                "give more text, or less to --batch or --length."
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
