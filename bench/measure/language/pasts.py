"""What has to be in a language model's cache before a token is timed, one past for all targets; and
how much memory a cell takes at least, before anything of it is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bench.cards.inputs import input_digest
from bench.cards.language.prompts import first_past, step_feeds
from bench.cards.ready import file_bytes
from bench.errors import BenchError, OutOfMemory
from bench.machine.memory import spare_bytes
from bench.measure.feeds import Feeds
from bench.measure.plan import PlannedCell
from bench.measure.reference import References
from bench.numbers import size
from bench.record.result import Footprint
from bench.runtimes.targets import on_host
from bench.scenarios import find_scenario

#: Of a logit: every export gives float32, whatever it computes in.
_LOGIT_BYTES = 4


def names_to_fill(cells: Iterable[PlannedCell]) -> list[str]:
    """The models whose cache has to hold a prompt first: each once, however many targets take it
    up."""
    filled = (p for p in cells if p.model.decoder is not None and p.prompt is not None)
    return list(dict.fromkeys(planned.cell.model.name for planned in filled))


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
            f"{planned.cell.label}: its cache can't be filled with a prompt: {found.why_not}."
        )
    names = [tensor.input for tensor in decoder.state]
    past = dict(zip(names, found.outputs[-len(names) :], strict=True))
    return replace(planned, inputs=Feeds.given({**planned.feeds, **past}))


def footprint(planned: PlannedCell) -> Footprint | None:
    """What is foretold of a cell; None where no state is kept, or nothing says how long it is."""
    decoder = planned.model.decoder
    scenario, batch = find_scenario(planned.cell.scenario), planned.cell.batch
    if decoder is None or scenario.size is None:
        return None
    weights = planned.cell.model.file_bytes
    before = decoder.state_bytes(batch, scenario.tokens - scenario.new_tokens)
    after = decoder.state_bytes(batch, scenario.tokens)
    # An answer's tokens come one by one, so the most logits at once are its prompt's.
    at_once = scenario.new_tokens if scenario.behind else scenario.size
    logits = _LOGIT_BYTES * decoder.vocabulary * batch * at_once
    needed = weights + before + after + logits
    return Footprint(
        weights_bytes=weights,
        cache_bytes=after,
        cache_token_bytes=decoder.token_bytes(),
        logits_bytes=logits,
        needed_bytes=max(needed, _filling_bytes(planned)),
        cache_cuts=decoder.cuts,
    )


def with_held(told: Footprint | None, planned: PlannedCell) -> Footprint | None:
    """With the size of the state that was bound, where a prompt left one."""
    decoder = planned.model.decoder
    if told is None or decoder is None or planned.prompt is None:
        return told
    feeds = planned.feeds
    held = sum(feeds[tensor.input].nbytes for tensor in decoder.state)
    return told.model_copy(update={"cache_held_bytes": held})


def _filling_bytes(planned: PlannedCell) -> int:
    """What the reference takes that runs the prompt before a token is timed: the default's weights,
    the state that it leaves, and logits of the whole prompt."""
    decoder = planned.model.decoder
    if decoder is None or planned.prompt is None:
        return 0
    batch, depth = planned.prompt.shape
    try:
        weights = file_bytes(planned.model.file)
    except (OSError, BenchError):  # it is gone, which loading it will tell
        weights = 0
    return weights + decoder.state_bytes(batch, depth) + _prompt_logits(planned)


def too_large(planned: PlannedCell) -> OutOfMemory | None:
    """Why a cell can't fit into the memory that is left, in the machine or on its device."""
    told = footprint(planned)
    if told is None:
        return None
    device = planned.choice.device
    here = device is None or on_host(device)
    needed = told.needed_bytes if here else _filling_bytes(planned)
    room = spare_bytes()
    if needed > room:
        return _refusal(
            planned, told, needed, f"{size(max(0, room))} of this machine's memory is free"
        )
    if device is not None and not here and device.memory_bytes is not None:
        needed = told.needed_bytes
        if needed > device.memory_bytes:
            return _refusal(planned, told, needed, f"{device.name} has {size(device.memory_bytes)}")
    return None


def _refusal(planned: PlannedCell, told: Footprint, needed: int, room: str) -> OutOfMemory:
    cell = planned.cell
    smaller = find_scenario(cell.scenario).flags
    parts = [
        f"{size(told.weights_bytes)} of weights",
        f"a cache of {size(told.cache_bytes)} ({size(told.cache_token_bytes)} a token)",
        f"{size(max(told.logits_bytes, _prompt_logits(planned)))} of logits",
    ]
    return OutOfMemory(
        f"{cell.label}: not loaded, because it needs at least {size(needed)} of memory "
        f"({', '.join(parts)}), and {room}. Give a smaller {smaller}"
        f"{' or --batch' if cell.batch > 1 else ''}, or free memory."
    )


def _prompt_logits(planned: PlannedCell) -> int:
    """Bytes of the logits of the prompt that fills the cache."""
    decoder, prompt = planned.model.decoder, planned.prompt
    if decoder is None or prompt is None:
        return 0
    return _LOGIT_BYTES * decoder.vocabulary * int(prompt.size)
