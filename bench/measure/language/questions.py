"""Scoring language models: which of several continuations is likeliest, and what they answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.backend import Options
from bench.cards.datasets.examples import Prompt, Question
from bench.cards.language.tokens import Tokens
from bench.decoding import Decoder
from bench.errors import AccuracyFailed
from bench.measure.language.texts import (
    Window,
    document_numbers,
    language_of,
    refuse_strange,
    scored,
)
from bench.measure.plan import PlannedCell
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.worker.messages import GoOn, TokenScores


@dataclass(frozen=True)
class Choices:
    """Questions as one model sees them: a window for each choice, whose targets are its tokens."""

    questions: tuple[Question, ...]
    every: tuple[Window, ...]

    def columns(self, found: TokenScores) -> dict[str, Array]:
        """One row for each choice of each question: ``log_p`` is the natural logarithm of its
        probability after the context, the sum of those of its tokens; ``bytes`` are its own."""
        rows = _rows(self.questions)
        log_p = np.bincount(self.owner, found.right.astype(np.float64), minlength=len(rows))
        return {
            "document": self.documents,
            "question": self.of_question,
            "choice": np.array([number for _, number, _, _ in rows]),
            "gold": np.array([number == question.gold for _, number, question, _ in rows]),
            "log_p": log_p,
            "bytes": np.array([len(choice.encode()) for _, _, _, choice in rows]),
        }

    @property
    def documents(self) -> Array:
        """For each choice the number of its question's document."""
        return document_numbers([question.document for _, _, question, _ in _rows(self.questions)])

    @property
    def of_question(self) -> Array:
        """For each choice the number of its question."""
        return np.array([place for place, _, _, _ in _rows(self.questions)])

    @property
    def owner(self) -> Array:
        """For each scored token the row of the choice that it is part of."""
        counts = [int((window.targets >= 0).sum()) for window in self.every]
        return np.repeat(np.arange(len(self.every)), counts)


def _rows(questions: Sequence[Question]) -> list[tuple[int, int, Question, str]]:
    return [
        (place, number, question, choice)
        for place, question in enumerate(questions)
        for number, choice in enumerate(question.choices)
    ]


def choices(planned: PlannedCell, questions: Sequence[Question]) -> Choices:
    """Questions as the cell's model sees them. Raises `AccuracyFailed` for one that is too long."""
    decoder, tokens = language_of(planned)
    every = [
        _choice(question, choice, decoder, tokens) for _, _, question, choice in _rows(questions)
    ]
    refuse_strange([_last_two(window) for window in every], decoder, tokens)
    return Choices(tuple(questions), tuple(every))


def question_columns(
    planned: PlannedCell, questions: Sequence[Question], launcher: Launcher, cpus: Sequence[int]
) -> dict[str, Array]:
    """One row for each choice of each question (see `Choices.columns`)."""
    decoder, _ = language_of(planned)
    seen = choices(planned, questions)
    return seen.columns(scored(planned, decoder, seen.every, launcher, cpus))


def _last_two(window: Window) -> Array:
    return np.concatenate([window.tokens, window.targets])


def _choice(question: Question, choice: str, decoder: Decoder, tokens: Tokens) -> Window:
    """What is seen, and the choice's tokens as targets.

    A space comes between context and choice where neither has one there, and is the choice's;
    both are split into tokens together (as in lm-evaluation-harness).
    """
    context = question.context.rstrip()
    between = question.context[len(context) :]
    if context and not between and not choice[:1].isspace():
        between = " "
    whole = tokens.ids(context + between + choice)
    begun = [] if tokens.first is None else [tokens.first]
    seen = min(len(tokens.ids(context)), len(whole) - 1) + len(begun)
    ids = np.array([*begun, *whole], np.int64)
    if seen == 0:
        raise AccuracyFailed(
            f"{question.document}: its context is empty and the tokenizer has no start token, so "
            "nothing comes before a choice."
        )
    _refuse_long(question.document, len(ids) - 1, decoder)
    targets = ids[1:].copy()
    targets[: seen - 1] = -1
    return Window(ids[:-1], targets)


def _refuse_long(document: str, count: int, decoder: Decoder) -> None:
    if decoder.context is not None and count > decoder.context:
        raise AccuracyFailed(
            f"{document}: it needs {count} tokens, but the context holds {decoder.context}. "
            "Shorten it, or leave it out."
        )


# -- answers --------------------------------------------------------------------------------------


def answer_columns(
    planned: PlannedCell, prompts: Sequence[Prompt], launcher: Launcher, cpus: Sequence[int]
) -> dict[str, Array]:
    """One row for each prompt: whether the most probable answer is right, a hash of its text, and
    how many tokens it has.

    An answer ends with the first line, the end of the text, or `dataset.max_tokens`; it is compared
    without spaces at its ends.
    """
    decoder, tokens = language_of(planned)
    data = planned.model.card.dataset
    assert data is not None
    asked = prompt_ids(planned, prompts, data.max_tokens)
    ends, described = np.array(sorted(tokens.ends | tokens.newlines), np.int64), decoder.to_json()
    choice = planned.choice
    options = Options(
        planned.options.threads, planned.options.allow_fallback, extra=planned.options.extra
    )
    said = []
    with loaded_worker(
        launcher, choice.runtime, choice.device, planned.file, options, cpus=cpus
    ) as (worker, _):
        for ids in asked:
            said.append(worker.go_on(GoOn(described, ids, ends, data.max_tokens)))
    texts = [tokens.text(ids).partition("\n")[0].strip() for ids in said]
    return {
        "document": document_numbers([prompt.document for prompt in prompts]),
        "right": np.array(
            [
                text in {answer.strip() for answer in prompt.answers}
                for prompt, text in zip(prompts, texts, strict=True)
            ]
        ),
        "answer": np.array([_hash(text) for text in texts], np.int64),
        "tokens": np.array([len(ids) for ids in said], np.int64),
    }


def prompt_ids(planned: PlannedCell, prompts: Sequence[Prompt], answer: int) -> list[Array]:
    """Each prompt in the model's tokens, behind what a text begins with. Raises `AccuracyFailed`
    for one that is empty, or that the context can't hold with ``answer`` tokens more."""
    decoder, tokens = language_of(planned)
    begun = [] if tokens.first is None else [tokens.first]
    asked = [np.array([*begun, *tokens.ids(one.text)], np.int64) for one in prompts]
    refuse_strange(asked, decoder, tokens)
    for prompt, ids in zip(prompts, asked, strict=True):
        if not len(ids):
            raise AccuracyFailed(f"{prompt.document}: its prompt is empty.")
        _refuse_long(prompt.document, len(ids) + answer, decoder)
    return asked


def _hash(text: str) -> int:
    """Of a text, as a number: tells whether two are the same."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
