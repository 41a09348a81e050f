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
from bench.cards.datasets.examples import Document
from bench.cards.language.prompts import first_past, step_feeds
from bench.cards.language.tokens import Tokens
from bench.decoding import Decoder
from bench.errors import AccuracyFailed
from bench.measure.language.steps import tokenizer_of
from bench.measure.plan import PlannedCell
from bench.runtimes.client import Worker
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.worker.messages import ScoreTokens, TokenScores

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


def document_columns(
    planned: PlannedCell, texts: Sequence[Document], launcher: Launcher, cpus: Sequence[int]
) -> dict[str, Array]:
    """One row for each token of the data set's texts (see `TextGeneration`).

    A text's first token, where nothing comes before it, is not predicted: it has the probability
    1 / vocabulary, and -1 for what was predicted.
    """
    decoder, tokens = language_of(planned)
    size, stride = _window(planned, decoder)
    encoded = [tokens.encoded(text.text) for text in texts]
    refuse_strange([one.ids for one in encoded], decoder, tokens)
    names = {name: place for place, name in enumerate(dict.fromkeys(t.document for t in texts))}
    begun = [] if tokens.first is None else [tokens.first]
    every = [w for one in encoded for w in windows(_joined(begun, one.ids), size, stride)]
    if sum(len(one.ids) for one in encoded) < 2 or not every:
        raise AccuracyFailed(
            f"{planned.model.card.name}: the texts are a single token each, so there is nothing "
            "to predict."
        )
    found = scored(planned, decoder, every, launcher, cpus)
    token = np.concatenate([one.ids for one in encoded])
    vocabulary = decoder.vocabulary or int(tokens.largest) + 1
    first = np.concatenate([np.arange(len(one.ids)) == 0 for one in encoded])
    predicted = ~first if tokens.first is None else np.ones(len(token), bool)
    step = -(-len(token) // KEPT_DISTRIBUTIONS)
    kept = predicted & (np.arange(len(token)) % step == 0)
    return {
        "document": np.repeat([names[t.document] for t in texts], [len(e.ids) for e in encoded]),
        "bytes": np.concatenate([one.bytes for one in encoded]),
        "token": token,
        "vocabulary": np.full(len(token), vocabulary),
        "log_p": _placed(found.right, predicted, -np.log(vocabulary)),
        "predicted": _placed(found.ids[:, 0], predicted, -1),
        "top_ids": np.where(kept[:, np.newaxis], _placed(found.ids, predicted, -1), -1),
        "top_log_p": np.where(kept[:, np.newaxis], _placed(found.best, predicted, 0), 0),
        "tail_log_p": np.where(kept, _placed(found.tail, predicted, 0), 0),
    }


def language_of(planned: PlannedCell) -> tuple[Decoder, Tokens]:
    """How a language model is fed. Raises `AccuracyFailed` for one that can't be fed with text."""
    model = planned.model
    if model.decoder is None:
        raise AccuracyFailed(
            f"{model.card.name}: it keeps no cache of tokens, so it is not scored on text. Export "
            "it with one, or give its checkpoint."
        )
    tokenizer = _tokenizer(planned)
    if tokenizer is None:
        raise AccuracyFailed(
            f"{model.card.name}: it has no tokenizer.json, so it can't be scored on text; it is "
            "timed on drawn ids. Put its tokenizer beside it, or name it in `dataset.tokenizer`."
        )
    return model.decoder, Tokens(tokenizer)


def _tokenizer(planned: PlannedCell) -> Path | None:
    card = planned.model.card
    if card.dataset is not None and card.dataset.tokenizer is not None:
        return card.file(card.dataset.tokenizer)
    return tokenizer_of(planned.model)


def _window(planned: PlannedCell, decoder: Decoder) -> tuple[int, int]:
    data, context = planned.model.card.dataset, decoder.context or LONGEST_WINDOW
    size = data.window if data is not None and data.window is not None else None
    if size is not None and size > context:
        raise AccuracyFailed(
            f"{planned.model.card.name}: `dataset.window` is {size} tokens, and its context holds "
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
            f"{tokens.path}: it gives the id {max(largest, tokens.first or 0)}, and the model "
            f"knows {decoder.vocabulary}. It is another model's tokenizer: replace it."
        )


def _joined(*parts: Iterable[int]) -> Array:
    return np.concatenate([np.asarray(part, np.int64) for part in parts])


def _placed(values: Array, where: Array, otherwise: float) -> Array:
    """``values`` in the rows of ``where``, in order, and ``otherwise`` in all others."""
    found = np.full((len(where), *values.shape[1:]), otherwise, values.dtype)
    found[where] = values
    return found


# -- through the session --------------------------------------------------------------------------


def scored(
    planned: PlannedCell,
    decoder: Decoder,
    every: Sequence[Window],
    launcher: Launcher,
    cpus: Sequence[int],
) -> TokenScores:
    """Each window's targets, in order, by a session with the cell's own options.

    Windows are filled up behind their end, which what comes before doesn't see: all calls have one
    shape. Raises `AccuracyFailed` where a target has no probability at all.
    """
    longest = max((len(window.tokens) for window in every), default=1)
    length = max(longest, min(-(-longest // _ROUND) * _ROUND, decoder.context or longest))
    rows = _rows(planned, decoder, length, len(every))
    feeds = _feeds(decoder, (), rows, length)
    options = replace(planned.options, shapes={n: tuple(a.shape) for n, a in feeds.items()})
    choice, found = planned.choice, []
    with loaded_worker(
        launcher, choice.runtime, choice.device, planned.file, options, cpus=cpus
    ) as (worker, loaded):
        names = [spec.name for spec in loaded.outputs]
        # PyTorch's outputs have no names: the decoder's order is theirs.
        output = names.index(decoder.logits) if decoder.logits in names else 0
        for start in range(0, len(every), rows):
            some = every[start : start + rows]
            found.append(_asked(worker, decoder, some, rows, length, output))
    together = TokenScores(
        *(
            np.concatenate([getattr(part, name) for part in found])
            for name in ("right", "ids", "best", "tail")
        )
    )
    if not np.isfinite(together.right).all():
        raise AccuracyFailed(
            f"{planned.model.card.name}: it gives a token that comes the probability 0, so its "
            "score would be infinite."
        )
    return together


def _rows(planned: PlannedCell, decoder: Decoder, length: int, windows: int) -> int:
    affordable = _LOGITS_BYTES // (4 * length * max(1, decoder.vocabulary))
    most = min(affordable, _MOST_TOKENS // length, windows)
    return planned.batch_axis.samples(max(1, most))


def _asked(
    worker: Worker,
    decoder: Decoder,
    some: Sequence[Window],
    rows: int,
    length: int,
    output: int,
) -> TokenScores:
    targets = np.full((rows, length), -1, np.int64)
    for row, window in enumerate(some):
        targets[row, : len(window.targets)] = window.targets
    feeds = _feeds(decoder, [window.tokens for window in some], rows, length)
    return worker.score_tokens(ScoreTokens(feeds, output, targets, TOP))


def _feeds(decoder: Decoder, some: Sequence[Array], rows: int, length: int) -> dict[str, Array]:
    """A prompt in each row, after nothing; id 0 where there is no token."""
    tokens = np.zeros((rows, length), np.int64)
    for row, ids in enumerate(some):
        tokens[row, : len(ids)] = ids
    return step_feeds(decoder, tokens, first_past(decoder, rows), 0)
