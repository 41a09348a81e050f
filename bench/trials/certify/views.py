"""Examples as one language model sees them: windows of its tokens, and what is made of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.arrays import Array
from bench.cards.datasets.examples import Document, Examples, Prompt, Question
from bench.cards.inputs import input_digest
from bench.cards.language.prompts import prompt_tokens
from bench.cards.language.tokens import Tokens
from bench.cards.tasks.text_generation import clusters
from bench.decoding import Decoder
from bench.errors import AccuracyFailed
from bench.measure.language.questions import choices
from bench.measure.language.steps import tokenizer_of
from bench.measure.language.texts import (
    LONGEST_WINDOW,
    Window,
    language_of,
    tokenised,
    windows,
)
from bench.measure.plan import PlannedCell
from bench.worker.messages import TokenScores

#: Where a model has no data: so many texts of so many tokens, or as many as its context holds.
_DRAWN, _DRAWN_TOKENS = 16, 256
#: Of a text that is gone on with, so many tokens are given; of a prompt or a question all.
_GIVEN = 32
#: A text of fewer tokens shows little of what attention does.
_FEWEST = 16

Columns = dict[str, Array]


@dataclass(frozen=True)
class View:
    """What one model is asked: the windows ``every``; of each token that they score, ``clusters``
    says what it is evidence of, from 0.

    ``columns`` makes the task's columns of the scores; None where nothing is decided by them.
    ``starts`` are beginnings of texts, to be gone on with. ``split`` is a digest: parties of
    one split see the same tokens.
    """

    decoder: Decoder
    every: tuple[Window, ...]
    clusters: Array
    starts: tuple[Array, ...]
    split: str
    columns: Callable[[TokenScores], Columns] | None = None

    @property
    def rows(self) -> int:
        """Tokens that are scored."""
        return len(self.clusters)

    @property
    def right(self) -> Array:
        """The tokens that come, in order."""
        return np.concatenate([window.targets[window.targets >= 0] for window in self.every])


def differing_text(view: View, differs: Array) -> Array | None:
    """The tokens, [1, tokens], up to one after which the logits differ: of windows' beginnings that
    end so the shortest, but of `_FEWEST` tokens or more where there is one. None where no row
    differs."""
    every = [np.flatnonzero(window.targets >= 0) for window in view.every]
    window = np.repeat(np.arange(len(every)), [len(places) for places in every])
    lengths = np.concatenate(every) + 1
    rows = np.flatnonzero(differs)
    if not len(rows):
        return None
    some = lengths[rows]
    row = rows[np.where(some >= _FEWEST, some, some.max() + _FEWEST - some).argmin()]
    found: Array = view.every[window[row]].tokens[np.newaxis, : lengths[row]]
    return found


def view_of(planned: PlannedCell, examples: Examples, span: tuple[int, int]) -> View:
    """Examples as the cell's model sees them, in windows of ``span``, size and stride.

    Raises `AccuracyFailed` for examples that the model can't see.
    """
    texts = [one for one in examples if isinstance(one, Document)]
    if texts:
        return _of_texts(planned, texts, span)
    questions = [one for one in examples if isinstance(one, Question)]
    if questions:
        return _of_questions(planned, questions)
    prompts = [one for one in examples if isinstance(one, Prompt)]
    seen = _of_texts(planned, [Document(one.document, one.text) for one in prompts], span, None)
    return replace(seen, columns=None)


def drawn_view(planned: PlannedCell, seed: int) -> View:
    """What a model without data is asked: a known text in its tokens, or ids that are drawn."""
    decoder = planned.model.decoder
    assert decoder is not None
    tokenizer = tokenizer_of(planned.model)
    count = min(_DRAWN_TOKENS, decoder.context or LONGEST_WINDOW)
    tokens = prompt_tokens(decoder, tokenizer, _DRAWN, count, seed)
    every = tuple(window for row in tokens for window in windows(row, count, count))
    own = "" if tokenizer is None else vocabulary_of(Tokens(tokenizer))
    return View(
        decoder,
        every,
        np.repeat(np.arange(len(every)), [int((w.targets >= 0).sum()) for w in every]),
        tuple(tokens[:, :_GIVEN]),
        _split(decoder, own, every),
    )


def _of_texts(
    planned: PlannedCell,
    texts: Sequence[Document],
    span: tuple[int, int],
    given: int | None = _GIVEN,
) -> View:
    decoder, tokens = language_of(planned)
    seen = tokenised(planned, texts, span)
    begun = [] if tokens.first is None else [tokens.first]
    document = np.repeat(seen.documents, [len(one.ids) for one in seen.encoded])
    sizes = np.concatenate([one.bytes for one in seen.encoded])
    return View(
        decoder,
        seen.every,
        clusters({"document": document, "bytes": sizes})[seen.predicted],
        tuple(np.array([*begun, *one.ids], np.int64)[:given] for one in seen.encoded),
        _split(decoder, vocabulary_of(tokens), seen.every),
        seen.columns,
    )


def _of_questions(planned: PlannedCell, questions: Sequence[Question]) -> View:
    decoder, tokens = language_of(planned)
    seen = choices(planned, questions)
    document, question = seen.documents, seen.of_question
    first = np.flatnonzero(np.diff(question, prepend=-1))
    return View(
        decoder,
        seen.every,
        (document if len(np.unique(document)) > 1 else question)[seen.owner],
        tuple(_context(seen.every[place]) for place in first),
        _split(decoder, vocabulary_of(tokens), seen.every),
        seen.columns,
    )


def _context(window: Window) -> Array:
    """What comes before the first token that is scored."""
    found: Array = window.tokens[: int(np.argmax(window.targets >= 0)) + 1]
    return found


def vocabulary_of(tokens: Tokens) -> str:
    """A digest of which id each piece of text has: a tokenizer off by one id has another."""
    text = json.dumps([tokens.vocabulary, tokens.first, sorted(tokens.ends)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _split(decoder: Decoder, vocabulary: str, every: Sequence[Window]) -> str:
    text = f"{decoder.vocabulary} {vocabulary} {windows_digest(every)}"
    return hashlib.sha256(text.encode()).hexdigest()


def windows_digest(every: Sequence[Window]) -> str:
    """SHA-256 of all that is seen, and of what comes."""
    parts = {name: [getattr(window, name) for window in every] for name in ("tokens", "targets")}
    together = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    sizes = np.array([len(window.tokens) for window in every])
    return input_digest({**together, "sizes": sizes})


def groups_of(names: Sequence[str]) -> tuple[tuple[str, ...], Array]:
    """What documents are parts of, by their names without a number at the end (``Ruth 3`` is of
    ``Ruth``), and the place of each document's group. None where all, or none, are of one group."""
    stems = [_NUMBER.sub("", name) or name for name in names]
    found = tuple(dict.fromkeys(stems))
    if not 1 < len(found) < len(names):
        return (), np.zeros(len(names), np.int64)
    return found, np.array([found.index(stem) for stem in stems], np.int64)


#: ``Ruth 3``, ``report-12``, ``line 5``, ``chapter_7.txt``.
_NUMBER = re.compile(r"[\s._:-]*\d+(?:[.:]\d+)*(?:\.(?:txt|md|jsonl?))?$")


def refuse_nothing(view: View, name: str) -> None:
    """Raise `AccuracyFailed` where no token is scored."""
    if not view.rows:
        raise AccuracyFailed(f"{name}: its examples have no tokens to compare.")
