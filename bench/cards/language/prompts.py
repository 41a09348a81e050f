"""What a decoder is timed on: token ids of real text where it has a tokenizer, else drawn ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.language.tokens import Tokens
from bench.decoding import Decoder
from bench.errors import SpecError
from bench.steps import first_past as first_past
from bench.steps import step_feeds as step_feeds

#: Genesis 1:1-23 of the King James Bible (1611), out of copyright in most places.
_TEXT = Path(__file__).with_name("genesis.txt")
#: The least vocabulary of a model whose tokenizer isn't known.
_SMALLEST = 2


def prompt_tokens(
    decoder: Decoder, tokenizer: Path | None, batch: int, count: int, seed: int
) -> Array:
    """``batch`` prompts of ``count`` ids, each from another place of the text (seeded), which goes
    on from its beginning where it ends.

    Raises `SpecError` for a tokenizer whose vocabulary is another than the head's.
    """
    rng = np.random.default_rng(seed)
    if tokenizer is None:
        return rng.integers(0, max(decoder.vocabulary, _SMALLEST), (batch, count))
    ids = Tokens(tokenizer).ids(_TEXT.read_text("utf-8"))
    if decoder.vocabulary and ids.max() >= decoder.vocabulary:
        raise SpecError(
            f"{tokenizer}: it gives the id {ids.max()}, but the model's vocabulary is "
            f"{decoder.vocabulary}. The tokenizer belongs to another model: replace it, or remove "
            "it to time random ids."
        )
    starts = rng.choice(len(ids), size=batch, replace=batch > len(ids))
    found: Array = ids[(starts[:, None] + np.arange(count)) % len(ids)]
    return found
