"""What has to be in a language model's cache before a token is timed: one past for all targets."""

from __future__ import annotations

from dataclasses import replace

from bench.cards.inputs import input_digest
from bench.cards.language.prompts import first_past, step_feeds
from bench.errors import BenchError
from bench.measure.feeds import Feeds
from bench.measure.plan import PlannedCell
from bench.measure.reference import References


def with_past(planned: PlannedCell, references: References) -> PlannedCell:
    """The cell with a real past in its inputs: the state that the reference has after the prompt.

    All targets decode from the same state. Raises `BenchError` where no reference can tell it.
    """
    decoder, prompt = planned.model.decoder, planned.prompt
    if decoder is None or prompt is None:
        return planned
    feeds = step_feeds(decoder, prompt, first_past(decoder, len(prompt)), 0)
    shapes = {name: tuple(array.shape) for name, array in feeds.items()}
    asked = replace(
        planned,
        inputs=Feeds.given(feeds),
        cell=planned.cell.model_copy(update={"input_sha256": input_digest(feeds)}),
        options=replace(planned.options, shapes=shapes),
    )
    found = references.of(asked)
    if found.outputs is None:
        raise BenchError(
            f"{planned.cell.label}: nothing can fill its cache with a prompt: {found.why_not}."
        )
    names = [tensor.input for tensor in decoder.state]
    past = dict(zip(names, found.outputs[-len(names) :], strict=True))
    return replace(planned, inputs=Feeds.given({**planned.feeds, **past}))
