"""Whether what a language model answered is right: its last step, held against a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.arrays import Array
from bench.cards.inputs import input_digest
from bench.cards.language.prompts import first_past, step_feeds
from bench.measure.feeds import Feeds
from bench.measure.plan import PlannedCell


def behind_its_text(
    planned: PlannedCell, outputs: Sequence[Array]
) -> tuple[PlannedCell, Sequence[Array]]:
    """What to ask a reference of a cell, and what to hold against its answer.

    Of whole queries ``outputs`` are the tokens that the last step had seen and the logits that it
    gave. The reference takes those tokens at once, so that what is compared went through every step
    of the state, and one near tie on the way doesn't lead the two to other texts.
    """
    if planned.prompts is None:
        return planned, outputs
    tokens, logits = outputs
    decoder = planned.model.decoder
    assert decoder is not None
    feeds = step_feeds(decoder, tokens, first_past(decoder, len(tokens)), 0)
    asked = replace(
        planned,
        inputs=Feeds.given(feeds),
        cell=planned.cell.model_copy(update={"input_sha256": input_digest({"text": tokens})}),
        options=replace(planned.options, shapes={n: tuple(a.shape) for n, a in feeds.items()}),
        last_logits=True,
    )
    return asked, [logits]
