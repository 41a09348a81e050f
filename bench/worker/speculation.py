"""Greedy speculative decoding inside the worker: a small model drafts, a large one checks.

Each iteration the draft makes a few tokens one by one; the original takes them all in one step and
keeps those that it would have made itself, and one of its own behind them. So the text is the
original's, token for token, but where rounding of a step of several tokens breaks a near tie
otherwise than steps of one do.

The draft's state is kept behind each token that it makes, so any number of them can be taken back.
The original's is cut to the tokens that were accepted where that can be done. Where it can't
(windows, groups of compressed tokens), it is put back to before the check, and the tokens that were
accepted are taken again with the next draft; where they are more than a draft's length, in a step
of their own, so that no step has more than 2 * length + 1 tokens.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Callable, List, Sequence, Tuple, Union

import numpy as np

from bench.capabilities import ChecksDrafts, DecodingStream
from bench.errors import AccuracyFailed, Unsupported

Array = np.ndarray[Any, Any]
Clock = Callable[[], int]


@dataclass
class Said:
    """A greedy answer: its tokens, the times of the prompt's step (both models' where one drafts)
    and of all that came after, and of each iteration how many tokens were drafted and accepted."""

    tokens: List[int]
    prompt_ns: int
    rest_ns: int
    drafted: List[int]
    accepted: List[int]
    #: of each token, the logit of the next best below its own, over the largest magnitude there
    margins: List[float]


def alone(
    stream: DecodingStream, prompt: Array, most: int, clock: Clock = time.perf_counter_ns
) -> Said:
    """``most`` tokens behind a prompt, one by one."""
    began = clock()
    stream.reset()
    given = [stream.step(_row(prompt))[0]]
    tokens = [int(given[-1].argmax())]
    first = clock()
    while len(tokens) < most:
        given.append(stream.step(_row([tokens[-1]]))[0])
        tokens.append(int(given[-1].argmax()))
    ended = clock()
    return Said(tokens, first - began, ended - first, [], [], [_margin(one) for one in given])


def speculate(
    original: DecodingStream,
    draft: DecodingStream,
    prompt: Array,
    most: int,
    length: int,
    clock: Clock = time.perf_counter_ns,
) -> Said:
    """The same with drafts of up to ``length`` tokens. Raises `Unsupported` for streams that can't
    take tokens back."""
    checking, drafting = _rewinding(original, "the original"), _rewinding(draft, "the draft")
    began = clock()
    original.reset()
    draft.reset()
    draft.step(_row(prompt))
    tokens = [int(original.step(_row(prompt))[0].argmax())]
    first = clock()
    drafted_counts, accepted_counts = [], []
    # What each model hasn't taken up of the text.
    waiting, behind = [tokens[0]], [tokens[0]]
    while len(tokens) < most:
        drafted, kept = _drafted(draft, drafting, behind, min(length, most - len(tokens) - 1))
        before, position = checking.keep(), original.position
        known = len(waiting)
        logits = checking.step_each(_row([*waiting, *drafted]))[0]
        chosen = logits[known - 1 :].argmax(axis=1)
        accepted = _agreed(drafted, chosen)
        new = [*drafted[:accepted], int(chosen[accepted])]
        tokens += new
        drafted_counts.append(len(drafted))
        accepted_counts.append(accepted)
        if accepted == len(drafted):
            waiting = new[-1:]
            behind = new[-2:] if drafted else [*behind, *new]
            continue
        drafting.put_back(kept[accepted])
        behind = new[-1:]
        if len(tokens) < most:  # behind the last token nobody needs the state
            waiting = _taken_back(original, checking, before, position, [*waiting, *new], length)
    ended = clock()
    return Said(tokens, first - began, ended - first, drafted_counts, accepted_counts, [])


def _drafted(
    stream: DecodingStream, drafting: ChecksDrafts, behind: List[int], count: int
) -> Tuple[List[int], List[object]]:
    """``count`` tokens behind those that the stream hasn't taken, and what it was like before each
    of them but for the first, which it is asked for with those."""
    drafted: List[int] = []
    kept: List[object] = []
    for _ in range(count):
        logits = stream.step(_row(drafted[-1:] or behind))
        kept.append(drafting.keep())
        drafted.append(int(logits[0].argmax()))
    return drafted, kept


def _agreed(drafted: Sequence[int], chosen: Array) -> int:
    """How many of the drafted tokens, from the first on, the original would have made."""
    differs = np.flatnonzero(np.array(drafted, np.int64) != chosen[: len(drafted)])
    return int(differs[0]) if len(differs) else len(drafted)


def _taken_back(
    original: DecodingStream,
    checking: ChecksDrafts,
    before: object,
    position: int,
    text: List[int],
    length: int,
) -> List[int]:
    """Take back what was rejected; of ``text``, which came behind ``position`` tokens, what the
    original hasn't taken up then."""
    if checking.cuts:
        checking.cut(position + len(text) - 1)
        return text[-1:]
    checking.put_back(before)
    if len(text) - 1 <= length:
        return text
    original.step(_row(text[:-1]))
    return text[-1:]


@dataclass
class Read:
    """A text read in steps: what the model puts first behind each token, and each step's time."""

    predicted: Array
    step_ns: List[int]


def read(
    stream: DecodingStream,
    prompt: Array,
    text: Array,
    at_once: int,
    clock: Clock = time.perf_counter_ns,
) -> Read:
    """Behind a prompt, a text in steps of ``at_once`` tokens; a shorter rest is left out."""
    stream.reset()
    stream.step(_row(prompt))
    predicted: List[Array] = []
    times: List[int] = []
    checking = _rewinding(stream, "it") if at_once > 1 else None
    for start in range(0, len(text) - at_once + 1, at_once):
        tokens = _row(text[start : start + at_once])
        began = clock()
        found = stream.step(tokens) if checking is None else checking.step_each(tokens)[0]
        predicted.append(found.argmax(axis=1))
        times.append(clock() - began)
    return Read(np.concatenate(predicted or [np.empty(0, np.int64)]), times)


def _rewinding(stream: object, which: str) -> ChecksDrafts:
    if not isinstance(stream, ChecksDrafts):
        raise Unsupported(
            f"{which} runs where steps can't be undone, which drafting needs. Use onnxruntime or "
            "torch."
        )
    return stream


def _row(tokens: Union[Sequence[int], Array]) -> Array:
    return np.array(tokens, np.int64).reshape(1, -1)


def _margin(logits: Array) -> float:
    if np.isnan(logits).any():
        raise AccuracyFailed("its logits contain NaN, so its next token is unknown.")
    second, best = np.partition(logits, -2)[-2:]
    return float((best - second) / max(float(np.abs(logits).max()), 1e-30))
