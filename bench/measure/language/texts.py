"""Scoring language models: how probable what was written is, token by token.

Texts longer than the window are seen in windows that overlap. With x_0 what a text begins with (or,
without that, its first token), x_1 ... x_n its tokens, W the window and S the stride, window k sees
x_kS ... x_(kS+W-1) and scores those of the tokens after each that no window before it scored: the
first window W of them, each further one S, with at least W - S tokens before each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.backend import Options
from bench.cards.datasets.examples import Document
from bench.cards.language.prompts import first_past, step_feeds
from bench.cards.language.tokens import Encoded, Tokens
from bench.decoding import Decoder
from bench.errors import AccuracyFailed
from bench.measure.language.steps import tokenizer_of
from bench.measure.plan import PlannedCell
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.worker.messages import LoadedInfo, ScoreTokens, TokenScores

#: Of a window where the card says no other, at most: what llama.cpp's perplexity takes.
LONGEST_WINDOW = 512
#: The most probable ids that are kept of a token's distribution.
TOP = 8
#: Distributions are kept of so many tokens of a data set, evenly spread: a megabyte.
KEPT_DISTRIBUTIONS = 16_384
#: Several windows are one call of the session up to so many bytes of float32 logits, and so many
#: tokens: exported mixtures of experts gather the weights of each token's experts.
_LOGITS_BYTES = 64 << 20
_MOST_TOKENS = 1024
#: Lengths are rounded up to a multiple: few shapes for runtimes that compile each.
_ROUND = 16


@dataclass(frozen=True)
class Window:
    """Ids that are seen, and what comes after each: -1 where that isn't scored."""

    tokens: Array
    targets: Array


def windows(ids: Array, size: int, stride: int) -> Iterator[Window]:
    """The windows of x_0 ... x_n."""
    start = scored = 0
    while scored < len(ids) - 1:
        end = min(start + size, len(ids) - 1)
        targets = ids[start + 1 : end + 1].copy()
        targets[: scored - start] = -1
        yield Window(ids[start:end], targets)
        start, scored = start + stride, end


@dataclass(frozen=True)
class Tokenised:
    """Texts as one model's tokenizer splits them.

    ``every`` are the windows that score all tokens with something before them; ``documents`` the
    number of each text's document, from 0; ``begun`` says whether something comes before a text's
    first token.
    """

    encoded: tuple[Encoded, ...]
    documents: Array
    every: tuple[Window, ...]
    vocabulary: int
    begun: bool

    @property
    def predicted(self) -> Array:
        """For each token whether anything predicts it: that is what the windows score, in order."""
        first = np.concatenate([np.arange(len(one.ids)) == 0 for one in self.encoded])
        return np.ones(len(first), bool) if self.begun else ~first

    def columns(self, found: TokenScores) -> dict[str, Array]:
        """One row for each token (see `TextGeneration`), from what the windows' targets scored.

        A text's first token, where nothing comes before it, is not predicted: it has the
        probability 1 / vocabulary, and -1 for what was predicted.
        """
        token = np.concatenate([one.ids for one in self.encoded])
        predicted = self.predicted
        step = -(-len(token) // KEPT_DISTRIBUTIONS)
        kept = predicted & (np.arange(len(token)) % step == 0)
        return {
            "document": np.repeat(self.documents, [len(one.ids) for one in self.encoded]),
            "bytes": np.concatenate([one.bytes for one in self.encoded]),
            "token": token,
            "vocabulary": np.full(len(token), self.vocabulary),
            "log_p": _placed(found.right, predicted, -np.log(self.vocabulary)),
            "predicted": _placed(found.ids[:, 0], predicted, -1),
            "top_ids": np.where(kept[:, np.newaxis], _placed(found.ids, predicted, -1), -1),
            "top_log_p": np.where(kept[:, np.newaxis], _placed(found.best, predicted, 0), 0),
            "tail_log_p": np.where(kept, _placed(found.tail, predicted, 0), 0),
        }


def tokenised(
    planned: PlannedCell, texts: Sequence[Document], span: tuple[int, int] | None = None
) -> Tokenised:
    """Texts as the cell's model sees them, in windows of its own or of ``span``, size and stride.

    Raises `AccuracyFailed` where there is nothing to predict.
    """
    decoder, tokens = language_of(planned)
    size, stride = span or window_span(planned, decoder)
    encoded = tuple(tokens.encoded(text.text) for text in texts)
    refuse_strange([one.ids for one in encoded], decoder, tokens)
    begun = [] if tokens.first is None else [tokens.first]
    every = [w for one in encoded for w in windows(_joined(begun, one.ids), size, stride)]
    if sum(len(one.ids) for one in encoded) < 2 or not every:
        raise AccuracyFailed(
            f"{planned.model.card.name}: the texts are a single token each, so there is nothing "
            "to predict."
        )
    return Tokenised(
        encoded,
        document_numbers([text.document for text in texts]),
        tuple(every),
        decoder.vocabulary or int(tokens.largest) + 1,
        bool(begun),
    )


def document_columns(
    planned: PlannedCell, texts: Sequence[Document], launcher: Launcher, cpus: Sequence[int]
) -> dict[str, Array]:
    """One row for each token of the data set's texts (see `Tokenised.columns`)."""
    decoder, _ = language_of(planned)
    seen = tokenised(planned, texts)
    return seen.columns(scored(planned, decoder, seen.every, launcher, cpus))


def document_numbers(names: Sequence[str]) -> Array:
    """Numbers from 0 in the order of their first."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], np.int64)


def language_of(planned: PlannedCell) -> tuple[Decoder, Tokens]:
    """How a language model is fed. Raises `AccuracyFailed` for one that can't be fed with text."""
    model = planned.model
    if model.decoder is None:
        raise AccuracyFailed(
            f"{model.card.name}: it has no token cache, so it is not scored on text. Export it "
            "with one, or give its checkpoint."
        )
    tokenizer = _tokenizer(planned)
    if tokenizer is None:
        raise AccuracyFailed(
            f"{model.card.name}: it has no tokenizer.json, so it can't be scored on text; it is "
            "timed on random ids. Put its tokenizer beside it, or name it in `dataset.tokenizer`."
        )
    return model.decoder, Tokens(tokenizer)


def _tokenizer(planned: PlannedCell) -> Path | None:
    card = planned.model.card
    if card.dataset is not None and card.dataset.tokenizer is not None:
        return card.file(card.dataset.tokenizer)
    return tokenizer_of(planned.model)


def window_span(planned: PlannedCell, decoder: Decoder) -> tuple[int, int]:
    """The size of a model's windows and their stride, as its card says."""
    data, context = planned.model.card.dataset, decoder.context or LONGEST_WINDOW
    size = data.window if data is not None and data.window is not None else None
    if size is not None and size > context:
        raise AccuracyFailed(
            f"{planned.model.card.name}: `dataset.window` is {size} tokens, but its context holds "
            f"{context}."
        )
    size = size or min(context, LONGEST_WINDOW)
    stride = data.stride if data is not None else None
    return size, min(size, stride or max(1, size // 2))


def refuse_strange(texts: Iterable[Array], decoder: Decoder, tokens: Tokens) -> None:
    """Raise `AccuracyFailed` where the tokenizer gives ids that the model has no logits for."""
    largest = max((int(ids.max(initial=-1)) for ids in texts), default=-1)
    if decoder.vocabulary and max(largest, tokens.first or 0) >= decoder.vocabulary:
        raise AccuracyFailed(
            f"{tokens.path}: it gives the id {max(largest, tokens.first or 0)}, but the model's "
            f"vocabulary is {decoder.vocabulary}. The tokenizer belongs to another model: replace "
            "it."
        )


def _joined(*parts: Iterable[int]) -> Array:
    return np.concatenate([np.asarray(part, np.int64) for part in parts])


def _placed(values: Array, where: Array, otherwise: float) -> Array:
    """``values`` in the rows of ``where``, in order, and ``otherwise`` in all others."""
    found = np.full((len(where), *values.shape[1:]), otherwise, values.dtype)
    found[where] = values
    return found


# -- through the session --------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """How windows are put to a session: ``rows`` of them at once, each ``length`` tokens long."""

    rows: int
    length: int


def form_of(planned: PlannedCell, decoder: Decoder, every: Sequence[Window]) -> Form:
    """One shape for all calls: windows are filled up behind their end, which what comes before
    doesn't see."""
    longest = max((len(window.tokens) for window in every), default=1)
    length = max(longest, min(-(-longest // _ROUND) * _ROUND, decoder.context or longest))
    affordable = _LOGITS_BYTES // (4 * length * max(1, decoder.vocabulary))
    most = min(affordable, _MOST_TOKENS // length, len(every))
    return Form(planned.batch_axis.samples(max(1, most)), length)


def options_for(planned: PlannedCell, decoder: Decoder, form: Form) -> Options:
    """The cell's own options, with the shapes of such a call."""
    feeds = _feeds(decoder, (), form)
    return replace(planned.options, shapes={n: tuple(a.shape) for n, a in feeds.items()})


def queries(
    decoder: Decoder, every: Sequence[Window], form: Form
) -> Iterator[tuple[dict[str, Array], Array]]:
    """The inputs of each call, and the targets, [rows, length], -1 where none is scored."""
    for start in range(0, len(every), form.rows):
        some = every[start : start + form.rows]
        targets = np.full((form.rows, form.length), -1, np.int64)
        for row, window in enumerate(some):
            targets[row, : len(window.targets)] = window.targets
        yield _feeds(decoder, [window.tokens for window in some], form), targets


def logits_place(decoder: Decoder, loaded: LoadedInfo) -> int:
    """Which of a session's outputs the logits are."""
    names = [spec.name for spec in loaded.outputs]
    # PyTorch's outputs have no names: the decoder's order is theirs.
    return names.index(decoder.logits) if decoder.logits in names else 0


def joined_scores(parts: Sequence[TokenScores]) -> TokenScores:
    """Those of several calls together."""
    return TokenScores(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("right", "ids", "best", "tail")
        )
    )


def scored(
    planned: PlannedCell,
    decoder: Decoder,
    every: Sequence[Window],
    launcher: Launcher,
    cpus: Sequence[int],
) -> TokenScores:
    """Each window's targets, in order, by a session with the cell's own options.

    Raises `AccuracyFailed` where a target has no probability at all.
    """
    form, choice, found = form_of(planned, decoder, every), planned.choice, []
    options = options_for(planned, decoder, form)
    with loaded_worker(
        launcher, choice.runtime, choice.device, planned.file, options, cpus=cpus
    ) as (worker, loaded):
        place = logits_place(decoder, loaded)
        for feeds, targets in queries(decoder, every, form):
            found.append(worker.score_tokens(ScoreTokens(feeds, place, targets, TOP)))
    together = joined_scores(found)
    if not np.isfinite(together.right).all():
        raise AccuracyFailed(
            f"{planned.model.card.name}: it gives probability 0 to a token that occurs, so its "
            "score would be infinite."
        )
    return together


def _feeds(decoder: Decoder, some: Sequence[Array], form: Form) -> dict[str, Array]:
    """A prompt in each row, after nothing; id 0 where there is no token."""
    tokens = np.zeros((form.rows, form.length), np.int64)
    for row, ids in enumerate(some):
        tokens[row, : len(ids)] = ids
    return step_feeds(decoder, tokens, first_past(decoder, form.rows), 0)
