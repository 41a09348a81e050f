"""A model's tokenizer: from text to ids, with the bytes that each is of, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError, Unavailable

TOKENIZER = "tokenizer.json"
_ITS_CONFIG = "tokenizer_config.json"
_CONFIGS = ("generation_config.json", "config.json")


@dataclass(frozen=True)
class Encoded:
    """A text's ids, int64, and how many of its UTF-8 bytes each is of: all bytes are some
    token's."""

    ids: Array
    bytes: Array


class Tokens:
    """The tokenizer in a file. Raises `Unavailable` without the package tokenizers, `SpecError`
    for a file that is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            from tokenizers import Tokenizer  # tokenizers: optional
        except ImportError as error:
            raise Unavailable(
                f"{path}: {error}, needed to read it.", "pip install 'infer-bench[hf]'"
            ) from error
        try:
            self._reader = Tokenizer.from_file(str(path))
        except Exception as error:
            raise SpecError(f"{path}: can't be read: {error}.") from error
        self._reader.no_truncation()
        self._reader.no_padding()

    def ids(self, text: str) -> Array:
        """Without tokens that a tokenizer puts around a text."""
        return np.array(self._reader.encode(text, add_special_tokens=False).ids, np.int64)

    def encoded(self, text: str) -> Encoded:
        """As `ids`, with the bytes of each."""
        found = self._reader.encode(text, add_special_tokens=False)
        places = np.array([end for _, end in found.offsets], np.int64)
        # Two tokens of one character end at the same place; a normaliser may drop characters.
        ends = np.maximum.accumulate(_bytes_before(text)[places])
        ends[-1:] = len(text.encode())
        return Encoded(np.array(found.ids, np.int64), np.diff(ends, prepend=0))

    def text(self, ids: Array) -> str:
        """Without special tokens."""
        found: str = self._reader.decode([int(number) for number in ids], skip_special_tokens=True)
        return found

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """The id of every piece of text that it knows, as it writes them."""
        found: dict[str, int] = self._reader.get_vocab(with_added_tokens=True)
        return found

    @cached_property
    def largest(self) -> int:
        """The largest id that it gives."""
        return max(self.vocabulary.values(), default=-1)

    @cached_property
    def first(self) -> int | None:
        """The id that a text begins with: the one that the tokenizer itself puts there, else what
        the files beside it call the beginning, else the end of a text; None without any.

        lm-evaluation-harness takes them in the same order (`HFLM.prefix_token_id`).
        """
        plain, framed = (self._reader.encode("a", add_special_tokens=s).ids for s in (False, True))
        if len(framed) > len(plain) and framed[0] in self._special and framed[0] != plain[0]:
            return int(framed[0])
        named = (*self._named("bos"), *self._named("eos"))
        return named[0] if named else None

    @cached_property
    def ends(self) -> frozenset[int]:
        """The ids that end a text."""
        return frozenset(self._named("eos"))

    @cached_property
    def newlines(self) -> frozenset[int]:
        """The ids whose text holds the end of a line."""
        return frozenset(n for n in range(self.largest + 1) if "\n" in self._reader.decode([n]))

    @cached_property
    def _special(self) -> frozenset[int]:
        """What is marked as special. An id that a configuration names and that is not, is of
        another vocabulary: transformers writes the defaults of a class into every config.json."""
        added = self._reader.get_added_tokens_decoder()
        return frozenset(number for number, token in added.items() if token.special)

    def _named(self, kind: str) -> tuple[int, ...]:
        found = (n for n in self._candidates(kind) if n is not None and n in self._special)
        return tuple(dict.fromkeys(found))

    def _candidates(self, kind: str) -> Iterator[int | None]:
        token = _json(self.path.with_name(_ITS_CONFIG)).get(f"{kind}_token")
        word = token.get("content") if isinstance(token, dict) else token
        if isinstance(word, str):
            yield self._reader.token_to_id(word)
        for name in _CONFIGS:
            found = _json(self.path.with_name(name)).get(f"{kind}_token_id")
            yield from found if isinstance(found, list) else [found]


def _bytes_before(text: str) -> Array:
    """How many bytes the first n characters take, for n from 0."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    sizes = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _json(path: Path) -> Mapping[str, Any]:
    """What a file beside the tokenizer says; nothing where it isn't there or is no object."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
